"""The results of a Label Studio annotation: regions that were drawn and classes that were chosen, checked one by one.

A region is one box, polygon, point or brush stroke. What regions together mean is in `drawings`.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

SHAPES = ("rectangle", "polygon", "keypoint", "brush")
KINDS = {name: kind for kind in SHAPES for name in (kind, f"{kind}labels")}
"""Results that are regions: with labels of their own, or with those of a separate "labels" result of the same id."""
ASIDE = ("textarea", "rating", "number", "datetime", "relation")
GEOMETRY = {"x", "points", "rle"}
"""What the value of a result has if it is about a region, and not about the image."""
LOW, HIGH = -1.0, 101.0
"""Percent by which a tool may overshoot; a number beyond is no percent at all."""
LARGEST = 1_000_000
"""Pixels of an image's side."""


class UnreadableError(ValueError):
    """Why the labels of an image cannot be taken."""


@dataclass
class Region:
    """One thing that an annotator drew."""

    kind: str
    value: dict[str, Any]
    """As it stands in the file."""
    size: tuple[int, int] | None
    """Width and height of the image."""
    parent: str | None
    meta: dict[str, Any]
    names: dict[str, None]
    """Its labels, each once, in order."""


Regions = dict[str | int, Region]
"""By their ids; by their position where they have none."""


def has_keypoints(results: Any) -> bool:
    """Tell whether there are keypoints among the results."""
    if not isinstance(results, list):
        return False
    types = (result.get("type") for result in results if isinstance(result, dict))
    return any(kind in ("keypoint", "keypointlabels") for kind in types)


def sorted_out(results: Any, notes: Counter[str]) -> tuple[Regions, list[str]]:
    """Return the regions, and the classes of the whole image."""
    if not isinstance(results, list):
        raise UnreadableError("it has no list of results")
    if not all(isinstance(result, dict) and isinstance(result.get("type"), str) for result in results):
        raise UnreadableError("a result without a type")
    regions: Regions = {}
    for position, result in enumerate(results):
        if result["type"] in KINDS:
            _add(regions, _id(result) or position, _region(result))
    chosen: list[str] = []
    for result in results:
        if result["type"] not in KINDS:
            chosen += _remark(result, regions, notes)
    return regions, chosen


def _remark(result: dict[str, Any], regions: Regions, notes: Counter[str]) -> list[str]:
    """Add what a result says of a region to it, or return the classes it gives the image."""
    kind, id_ = result["type"], _id(result)
    if kind in ASIDE:
        notes["relations, texts, ratings, numbers and dates were left out"] += 1
    elif kind == "labels":
        if id_ not in regions:
            raise UnreadableError("labels whose region is missing")
        regions[id_].names.update(_names(result, kind))
    elif id_ in regions or (kind in ("choices", "taxonomy") and _value(result).keys() & GEOMETRY):
        notes["attributes of regions were left out"] += 1
    elif kind != "choices":
        raise UnreadableError(
            f"a result of the type {kind[:40]!r}; alctl reads choices, boxes, polygons, keypoints and brushes"
        )
    else:
        return list(_names(result, kind))
    return []


def _add(regions: Regions, id_: str | int, region: Region) -> None:
    """Take a region; one that several tools labeled stands several times in the file."""
    if (earlier := regions.get(id_)) is None:
        regions[id_] = region
    elif earlier.kind == region.kind and _geometry(earlier) == _geometry(region):
        earlier.names.update(region.names)
    else:
        raise UnreadableError(f"two regions with the id {str(id_)[:40]!r}")


def _geometry(region: Region) -> dict[str, Any]:
    return {key: part for key, part in region.value.items() if not key.endswith("labels")}


def _region(result: dict[str, Any]) -> Region:
    kind, meta, parent = result["type"], result.get("meta"), result.get("parentID")
    if turn := measure(result.get("image_rotation") or 0, "image_rotation") % 360:
        raise UnreadableError(
            f"drawn while the image was turned by {turn:g} degrees, so that its coordinates are not the image's own"
        )
    if result.get("item_index"):
        raise UnreadableError("drawn on one of several images of its task")
    return Region(
        KINDS[kind],
        _value(result),
        _size(result),
        parent if isinstance(parent, str) and parent else None,
        meta if isinstance(meta, dict) else {},
        {} if kind in SHAPES else _names(result, kind),
    )


def _id(result: dict[str, Any]) -> str | None:
    id_ = result.get("id")
    return id_ if isinstance(id_, str) and id_ else None


def _value(result: dict[str, Any]) -> dict[str, Any]:
    value = result.get("value")
    if not isinstance(value, dict):
        raise UnreadableError("a result without a value")
    return value


def _names(result: dict[str, Any], key: str) -> dict[str, None]:
    names = _value(result).get(key)
    if not isinstance(names, list) or not names:
        raise UnreadableError("a choice of nothing" if key == "choices" else "a region without a label")
    return dict.fromkeys(clean(name, "a label") for name in names)


def clean(text: Any, what: str) -> str:
    """Return a text that can be stored; UnreadableError if it is none, is empty, or holds the null character."""
    if not isinstance(text, str) or not text:
        raise UnreadableError(f"{what} that is not a text")
    if "\0" in text:
        raise UnreadableError(f"{what} with a character that no text has: {text[:40]!r}")
    return text


def _size(result: dict[str, Any]) -> tuple[int, int] | None:
    width, height = result.get("original_width"), result.get("original_height")
    if width is None and height is None:
        return None
    sides = measure(width, "original_width"), measure(height, "original_height")
    if any(side != int(side) or not 0 < side <= LARGEST for side in sides):
        raise UnreadableError(f"an image of {sides[0]:g} × {sides[1]:g} pixels")
    return int(sides[0]), int(sides[1])


def measure(value: Any, what: str) -> float:
    """Return a number that an image can have; UnreadableError if it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not -1e9 < value < 1e9:
        raise UnreadableError(f"{what} is {_shown(value)}, which is not a number that an image can have")
    return float(value)


def percent(value: Any, what: str) -> float:
    """Return a number that can be percent; UnreadableError if it is none."""
    number = measure(value, what)
    if not LOW <= number <= HIGH:
        raise UnreadableError(f"{what} is {number:g}, but Label Studio counts in percent, from 0 to 100")
    return number


def _shown(value: Any) -> str:
    if value is None:
        return "missing"
    return f"a {type(value).__name__}" if isinstance(value, list | dict) else repr(value)[:40]
