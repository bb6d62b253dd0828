"""CVAT's XML piece by piece: how it declares labels, draws skeletons, packs masks, and how alctl writes an image.

What CVAT has no place for (the box of a skeleton, several polygons of one object) is written as attributes whose names
begin with ``alctl_``. CVAT drops attributes that a label does not declare, so they serve files that nobody edited.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape, unescape
from typing import Any, NamedTuple
from xml.etree.ElementTree import Element
from xml.sax.saxutils import quoteattr

import numpy as np

from alctl.errors import AlctlError
from alctl.labels import rle
from alctl.labels.annotation import RLE, Annotation, Category, LabeledImage

LARGEST_WINDOW = 1 << 28
"""Pixels of a mask's window that are still believed; they are in memory at once."""
Box = tuple[float, float, float, float]
OURS = "alctl_"
"""How the attributes that alctl writes begin."""
_UNITS = f"{OURS}units"
MARKS = ("crowd", "difficult")
"""What an object may be besides its class; attributes of the same name, after `OURS`, say it."""
_NUMBERS = re.compile(r"[-+0-9.eE,;\s]*", re.ASCII)
"""What numbers are made of, so that ``float`` meets none of Python's other spellings, such as "nan" and "1_0"."""
_WHOLE = re.compile(r"-?[0-9]{1,9}")
_DRAWN = re.compile(r"<(line|circle)\b([^>]*)>")
_DRAWN_ATTRIBUTE = re.compile(r'([a-z-]+)="([^"]*)"')
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Window(NamedTuple):
    """A mask as CVAT has it: run lengths row by row, background first, in a part of the image."""

    left: int
    top: int
    width: int
    height: int
    runs: "rle.Counts"


def of_window(window: Window, size: tuple[int, int]) -> RLE:
    """Return the mask in an image of (height, width); ValueError if the window is not in it or not filled."""
    left, top, width, height, runs = window
    if min(left, top) < 0 or min(width, height) < 1 or left + width > size[1] or top + height > size[0]:
        raise ValueError(
            f"a window of {width} × {height} pixels at {left}, {top} is not inside the image of {size[1]} × {size[0]}"
        )
    pixels = width * height
    if pixels > LARGEST_WINDOW or runs.max() > pixels or int(runs.sum()) != pixels:
        raise ValueError(f"run lengths that do not add up to the window of {width} × {height} pixels")
    mask = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width)
    columns = np.zeros((width, height + 2), dtype=bool)
    columns[:, 1:-1] = mask.T
    column, row = np.nonzero(columns[:, 1:] != columns[:, :-1])  # where the runs of each column begin and end
    edges = (left + column) * size[0] + top + row
    through = np.flatnonzero(edges[1:] == edges[:-1])  # the run goes on at the top of the next column
    edges = np.delete(edges, np.concatenate([through, through + 1]))
    counts = np.diff(np.concatenate([[0], edges, [size[0] * size[1]]]))
    return rle.packed(counts if counts[-1] else counts[:-1], size)


def window_of(mask: RLE) -> Window:
    """Return the smallest window that holds a mask; of an empty mask, its first pixel."""
    pixels = rle.to_mask(mask)
    columns, rows = np.flatnonzero(pixels.any(axis=0)), np.flatnonzero(pixels.any(axis=1))
    left, right = (int(columns[0]), int(columns[-1]) + 1) if len(columns) else (0, 1)
    top, bottom = (int(rows[0]), int(rows[-1]) + 1) if len(rows) else (0, 1)
    flat = pixels[top:bottom, left:right].ravel()
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs = np.diff(np.concatenate([[0] if not flat[0] else [0, 0], edges, [len(flat)]]))
    return Window(left, top, right - left, bottom - top, runs)


def declared(meta: Element) -> list[Category]:
    """Return the classes that the head of a file declares; the points of a skeleton are not classes."""
    names: dict[str, str] = {}
    points: dict[str, dict[str, None]] = {}
    for label in meta.iter("label"):
        name, parent = ((label.findtext(part) or "").strip() for part in ("name", "parent"))
        if name and parent:
            points.setdefault(parent, {})[name] = None
        elif name:
            names.setdefault(name, label.findtext("svg") or "")
    return [
        Category(name, tuple(points.get(name, ())), _edges(svg, tuple(points.get(name, ()))))
        for name, svg in names.items()
    ]


def states_pixels(meta: Element) -> bool:
    """Tell whether the head of a file says that its coordinates are pixels: alctl's does, and CVAT tells when it wrote it."""
    return meta.findtext(_UNITS) == "pixels" or meta.find("dumped") is not None


def _edges(svg: str, names: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """Return which points a skeleton's drawing joins; what it draws of other points does not matter."""
    nodes: dict[str, int] = {}
    lines: list[tuple[str, str]] = []
    place = {name: number for number, name in enumerate(names)}
    for kind, given in _DRAWN.findall(svg):
        drawn = {key: unescape(value) for key, value in _DRAWN_ATTRIBUTE.findall(given)}
        if kind == "line":
            lines.append((drawn.get("data-node-from", ""), drawn.get("data-node-to", "")))
        elif (name := drawn.get("data-label-name", "")) in place:
            nodes[drawn.get("data-node-id", "")] = place[name]
    return tuple((nodes[a], nodes[b]) for a, b in lines if a in nodes and b in nodes)


def _svg(category: Category) -> str:
    """Draw a skeleton for CVAT's editor: its points on a circle, in percent."""
    turns = [2 * math.pi * number / len(category.keypoints) for number in range(len(category.keypoints))]
    places = [(f"{50 + 40 * math.sin(turn):.2f}", f"{50 - 40 * math.cos(turn):.2f}") for turn in turns]
    lines = [
        f'<line x1="{places[a][0]}" y1="{places[a][1]}" x2="{places[b][0]}" y2="{places[b][1]}" '
        f'data-type="edge" data-node-from="{a + 1}" data-node-to="{b + 1}"></line>'
        for a, b in category.skeleton
    ]
    nodes = [
        f'<circle r="1.5" cx="{x}" cy="{y}" data-type="element node" data-element-id="{number}" '
        f'data-node-id="{number}" data-label-name="{escape(name)}"></circle>'
        for number, (name, (x, y)) in enumerate(zip(category.keypoints, places, strict=True), 1)
    ]
    return "".join(lines + nodes)


def as_json(category: Category) -> dict[str, Any]:
    """Return a label as CVAT's "raw" editor and its command line take it."""
    if not category.keypoints:
        return {"name": category.name, "attributes": []}
    points = [{"name": name, "type": "points", "attributes": []} for name in category.keypoints]
    return {
        "name": category.name, "type": "skeleton", "attributes": [], "svg": _svg(category), "sublabels": points,
    }  # fmt: skip


def head_xml(categories: Sequence[Category], origin: str) -> Iterator[str]:
    """Yield the lines before the first image."""
    yield '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n<meta>\n<task>\n<labels>\n'
    for category in categories:
        kind = (
            f"<type>skeleton</type><svg>{_text(_svg(category))}</svg>"
            if category.keypoints
            else "<type>any</type>"
        )
        yield f"<label><name>{_text(category.name)}</name>{kind}<attributes></attributes></label>\n"
        for name in category.keypoints:
            yield (
                f"<label><name>{_text(name)}</name><type>points</type><attributes></attributes>"
                f"<parent>{_text(category.name)}</parent></label>\n"
            )
    yield f"</labels>\n</task>\n<source>{_text(origin)}</source>\n<{_UNITS}>pixels</{_UNITS}>\n</meta>\n"


def image_xml(number: int, image: LabeledImage, points: Mapping[str, Sequence[str]], source: str) -> str:
    """Return an ``<image>`` with its shapes; ``points`` are the names of each class's keypoints."""
    size = {"width": image.width, "height": image.height}
    attributes = {"id": number, "name": image.path} | {key: side for key, side in size.items() if side}
    inside = [
        shape
        for place, annotation in enumerate(image.annotations, 1)
        for shape in _shapes(annotation, place, points.get(annotation.category, ()), source)
    ]
    return _element("image", attributes, inside, "\n") + "\n"


def _shapes(annotation: Annotation, place: int, names: Sequence[str], source: str) -> Iterator[str]:
    common = {"label": annotation.category, "source": source}
    if annotation.whole_image:
        yield _element("tag", common)
        return
    parts = list(_parts(annotation, names))
    marks = {mark: "1" for mark in MARKS if getattr(annotation, mark)}
    if len(parts) > 1:
        marks["object"] = str(place)
    if annotation.bbox is not None and (parts[0][0] != "box" or not _exact(annotation.bbox)):
        marks["box"] = " ".join(map(_plain, annotation.bbox))
    for count, (tag, attributes, inside) in enumerate(parts):
        kept = [key for key in marks if key != "box" or count == 0]
        noted = [_element("attribute", {"name": OURS + key}, [_text(marks[key])]) for key in kept]
        yield _element(tag, common | {"occluded": 0} | attributes | {"z_order": 0}, [*inside, *noted])


def _exact(box: Box) -> bool:
    """Tell whether a box comes back from its corners to the last digit; otherwise it would look like another one."""
    x, y, width, height = box
    return (x + width) - x == width and (y + height) - y == height


Part = tuple[str, dict[str, object], list[str]]


def _parts(annotation: Annotation, names: Sequence[str]) -> Iterator[Part]:
    """Yield the shapes that CVAT needs for one object: tag, attributes, what is inside."""
    seen = {visibility for _, _, visibility in annotation.keypoints}
    if annotation.keypoints and not names and seen in ({1}, {2}):
        points = ";".join(f"{_plain(x)},{_plain(y)}" for x, y, _ in annotation.keypoints)
        yield "points", {"points": points, "occluded": int(seen == {1})}, []
    elif annotation.keypoints:
        yield "skeleton", {}, list(_skeleton(annotation, names))
    if isinstance(annotation.segmentation, RLE):
        window = window_of(annotation.segmentation)
        runs = ", ".join(map(str, window.runs.tolist()))
        place = {side: getattr(window, side) for side in ("left", "top", "width", "height")}
        yield "mask", {"rle": runs} | place, []
    else:
        for polygon in annotation.segmentation or ():
            pairs = zip(polygon[::2], polygon[1::2], strict=True)
            yield "polygon", {"points": ";".join(f"{_plain(x)},{_plain(y)}" for x, y in pairs)}, []
    if annotation.bbox is not None and not annotation.keypoints and not annotation.segmentation:
        x, y, width, height = annotation.bbox
        sides = zip(("xtl", "ytl", "xbr", "ybr"), (x, y, x + width, y + height), strict=True)
        yield "box", {key: _plain(side) for key, side in sides}, []


def _skeleton(annotation: Annotation, names: Sequence[str]) -> Iterator[str]:
    numbered = [str(number + 1) for number in range(len(annotation.keypoints))]
    for name, (x, y, visibility) in zip(names or numbered, annotation.keypoints, strict=True):
        yield _element(
            "points",
            {
                "label": name,
                "outside": int(visibility == 0),
                "occluded": int(visibility == 1),
                "points": f"{_plain(x)},{_plain(y)}",
            },
        )


def _element(tag: str, attributes: Mapping[str, object], inside: Sequence[str] = (), end: str = "") -> str:
    given = "".join(f" {key}={quoteattr(_checked(str(value)))}" for key, value in attributes.items())
    content = end + end.join(inside) + end if inside else ""
    return f"<{tag}{given}>{content}</{tag}>" if inside else f"<{tag}{given}/>"


def _plain(value: float) -> str:
    return repr(float(value))


def _text(value: str) -> str:
    return escape(_checked(value), quote=False).replace("\r", "&#13;")


def _checked(value: str) -> str:
    if found := _NOT_XML.search(value):
        raise AlctlError(f"{value!r} holds {found[0]!r}, which XML cannot; rename it to write it for CVAT")
    return value


def mark_of(element: Element, name: str) -> str:
    """Return what alctl noted beside a shape when it wrote it."""
    for child in element:
        if child.get("name") == OURS + name and child.tag == "attribute":
            return child.text or ""
    return ""


def points_of(element: Element) -> list[tuple[float, float]]:
    """Return x and y of each point of a shape."""
    text = element.get("points", "")
    pairs = [pair.split(",") for pair in text.split(";")]
    try:
        found = [(float(x), float(y)) for x, y in pairs]
    except ValueError as error:
        raise ValueError("its points are not pairs of numbers 'x,y' with semicolons between them") from error
    if not _NUMBERS.fullmatch(text) or not all(math.isfinite(x) and math.isfinite(y) for x, y in found):
        raise ValueError("its points are not finite numbers")
    return found


def number_of(element: Element, name: str, default: str = "") -> float:
    """Return an attribute that is a number."""
    return _number(element.get(name, default), name)


def box_of(element: Element) -> Box | None:
    """Return the box that alctl noted beside a shape when it wrote it."""
    texts = mark_of(element, "box").split()
    if not texts:
        return None
    if len(texts) != 4:
        raise ValueError(f"{OURS}box has {len(texts)} numbers, where four make a box")
    x, y, width, height = (_number(text, f"{OURS}box") for text in texts)
    return x, y, width, height


def _number(text: str, name: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or not _NUMBERS.fullmatch(text):
        raise ValueError(f"{name} is {text[:40]!r}, not a number")
    return value


def whole_of(element: Element, name: str, default: str = "") -> int:
    """Return an attribute that is a whole number."""
    text = element.get(name, default).strip()
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"{name} is {text[:40]!r}, not a whole number")
    return int(text)


def side_of(element: Element, name: str) -> int | None:
    """Return the width or height that an image declares, if it does."""
    if element.get(name) is None:
        return None
    if (side := whole_of(element, name)) < 1:
        raise ValueError(f"{name} is {side}")
    return side


def flag_of(element: Element, name: str) -> bool:
    """Return an attribute that is 0, as it is by default, or 1."""
    text = element.get(name, "0")
    if text not in ("0", "1"):
        raise ValueError(f"{name} is {text[:40]!r}, neither 0 nor 1")
    return text == "1"
