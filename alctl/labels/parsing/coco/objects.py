"""Turn COCO's categories, images and annotations, parsed JSON of any content, into alctl's; ValueError says what is wrong."""

from collections import Counter
from collections.abc import Iterator
from math import isfinite
from typing import Any, NamedTuple

import numpy as np

from alctl.errors import AlctlError
from alctl.labels import rle, shapes
from alctl.labels.annotation import RLE, Annotation, Category, LabeledImage, Polygons

_LARGEST_SIDE = 1 << 31
_LARGEST_ITEM = 999_999_999
_HEXADECIMAL = frozenset("0123456789abcdefABCDEF")
_FLOAT, _NUMBER = frozenset({float}), frozenset({float, int})
_TRUE: tuple[Any, ...] = (1, "1", "true", "True")
_FALSE: tuple[Any, ...] = (0, None, "0", "false", "False", "")
_CVAT_DEFAULTS = {"occluded": False}


def shown(value: object) -> str:
    """Return a value for an error message: short, and as JSON has it, more or less."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}…"


class _Class(NamedTuple):
    name: str
    keypoints: int


class Classes:
    """The file's classes by their ids, and what is to be told about them and their objects at the end."""

    def __init__(self, name: str, rows: list[Any], used: set[int | str]) -> None:
        self.notes: Counter[str] = Counter()
        self._categories: dict[str, Category] = {}
        self.by_id: dict[int | str, _Class] = {}
        parents = _parents(rows)
        for position, row in enumerate(rows, 1):
            try:
                id_, category = self._category(row)
            except ValueError as error:
                raise AlctlError(f"{name}: category {position} of its list: {error}") from error
            if id_ in self.by_id:
                raise AlctlError(f"{name}: two categories have the id {shown(id_)}")
            self.by_id[id_] = _Class(category.name, len(category.keypoints))
            if category.name in parents and id_ not in used:
                self.notes["classes only group others and have no annotation; they were left out"] += 1
            elif category.name in self._categories:
                self.notes["classes share their name with another and were taken for one"] += 1
            else:
                self._categories[category.name] = category

    def _category(self, row: Any) -> tuple[int | str, Category]:
        if type(row) is not dict:
            raise ValueError(f"{shown(row)} is not an object")
        id_, name = row.get("id"), row.get("name")
        if type(id_) is not int and type(id_) is not str:
            raise ValueError(f"its id is {shown(id_)}, neither a whole number nor text")
        if type(name) is not str or not name.strip():
            raise ValueError(f"its name is {shown(name)}")
        keypoints = row.get("keypoints") or []
        if type(keypoints) is not list or any(type(point) is not str for point in keypoints):
            raise ValueError(f"its keypoints are {shown(keypoints)}, not a list of names")
        skeleton = _skeleton(row.get("skeleton"), len(keypoints))
        if skeleton is None:
            self.notes["classes have a skeleton that does not fit their keypoints; it was left out"] += 1
        return id_, Category(name, tuple(keypoints), skeleton or ())

    def declared(self) -> Iterator[Category]:
        """Yield the classes in the file's order."""
        yield from self._categories.values()


def _parents(rows: list[Any]) -> set[str]:
    """Return the names that classes give for what they are kinds of, other than their own."""
    found = [(row.get("name"), row.get("supercategory")) for row in rows if type(row) is dict]
    return {parent for name, parent in found if type(parent) is str and parent != name}


def _skeleton(pairs: Any, keypoints: int) -> tuple[tuple[int, int], ...] | None:
    """Return 0-based pairs; COCO's begin at 1, but one that has a 0 in it does not. None if they do not fit."""
    if not pairs:
        return ()
    if type(pairs) is not list or any(type(pair) is not list or len(pair) != 2 for pair in pairs):
        return None
    ends = [end for pair in pairs for end in pair]
    if set(map(type, ends)) != {int}:
        return None
    first = 0 if 0 in ends else 1
    if min(ends) < first or max(ends) >= keypoints + first:
        return None
    return tuple((a - first, b - first) for a, b in pairs)


def image_of(
    row: dict[str, Any], annotations: list[dict[str, Any]], classes: Classes, where: str
) -> LabeledImage:
    """Return an image with its annotations."""
    path, digest = row.get("file_name"), row.get("sha256") or ""
    if type(path) is not str or not path.strip():
        raise ValueError(f"its file_name is {shown(path)}")
    if type(digest) is not str or (digest and (len(digest) != 64 or not _HEXADECIMAL.issuperset(digest))):
        raise ValueError(f"its sha256 {shown(digest)} is not a digest of 64 hexadecimal digits")
    width, height = _side(row, "width"), _side(row, "height")
    size = (width, height) if width and height else None
    found = tuple([_annotation(annotation, classes, size) for annotation in annotations])
    for annotation in found:
        mask = annotation.segmentation
        if isinstance(mask, RLE) and width and height and mask.size != (height, width):
            has = f"{mask.size[1]} × {mask.size[0]}"
            raise ValueError(f"a mask of {has} pixels in an image of {width} × {height}")
    return LabeledImage(
        path,
        found,
        _item(row.get("alctl_item")),
        width=width,
        height=height,
        digest=digest.lower(),
        where=where,
        also=_original(row.get("extra")),
    )


def _original(extra: Any) -> str:
    """Return the name that an image had before Roboflow renamed it."""
    name = extra.get("name") if type(extra) is dict else None
    return name if type(name) is str else ""


def _item(value: Any) -> int | None:
    if value is None or (type(value) is int and 0 < value <= _LARGEST_ITEM):
        return value
    raise ValueError(f"its alctl_item {shown(value)} is not a number that alctl gave out")


def _side(row: dict[str, Any], key: str) -> int | None:
    value = row.get(key)
    if value is None or value == 0:  # which tools write that do not know it
        return None
    if type(value) is int and 0 < value < _LARGEST_SIDE:
        return value
    if type(value) is float and value.is_integer() and 0 < value < _LARGEST_SIDE:
        return int(value)
    raise ValueError(f"its {key} is {shown(value)}, not a number of pixels")


def _annotation(row: dict[str, Any], classes: Classes, size: tuple[int, int] | None) -> Annotation:
    try:
        return _object(row, classes, size)
    except ValueError as error:
        raise ValueError(f"annotation id {shown(row.get('id'))}: {error}") from error


def _object(row: dict[str, Any], classes: Classes, size: tuple[int, int] | None) -> Annotation:
    id_ = row.get("category_id")
    class_ = classes.by_id.get(id_) if type(id_) is int or type(id_) is str else None
    if class_ is None:
        raise ValueError(f"category id {shown(id_)} is not in the file")
    box: Any = row.get("bbox") or None
    if box is not None:
        box = _numbers(box, "bbox")
        if len(box) != 4:
            raise ValueError(f"its bbox has {len(box)} numbers instead of x, y, width, height")
    segmentation, keypoints = row.get("segmentation"), row.get("keypoints")
    if attributes := row.get("attributes"):
        _note_attributes(attributes, classes)
        degrees = attributes.get("rotation") if type(attributes) is dict else None
        if degrees and box is not None and not segmentation:
            box = _turned(box, degrees, size)
            classes.notes[shapes.TURNED] += 1
    return Annotation(
        class_.name,
        box,
        _keypoints(keypoints, class_) if keypoints else (),
        _segmentation(segmentation) if segmentation else None,
        _mark(row, "iscrowd"),
        _mark(row, "difficult"),
    )


def _mark(row: dict[str, Any], key: str) -> bool:
    value = row.get(key)
    if value not in _FALSE and value not in _TRUE:
        raise ValueError(f"its {key} is {shown(value)}, neither 0 nor 1")
    return value in _TRUE


def _turned(box: Any, degrees: Any, size: tuple[int, int] | None) -> shapes.Box:
    """Return the hull of a box that CVAT wrote unturned, with its rotation among the attributes."""
    (turn,) = _numbers([degrees], "rotation")
    return shapes.turned_in_place(box, turn, size) if turn % 360 else box


def _note_attributes(attributes: Any, classes: Classes) -> None:
    if type(attributes) is not dict:
        classes.notes["annotations have attributes, which were left out"] += 1
        return
    if any(key != "rotation" and _CVAT_DEFAULTS.get(key) is not value for key, value in attributes.items()):
        classes.notes["annotations have attributes, which were left out"] += 1


def _numbers(values: Any, what: str) -> tuple[float, ...]:
    """Return a list of numbers as floats; neither texts nor true and false are numbers."""
    if type(values) is not list:
        raise ValueError(f"its {what} is {shown(values)}, not a list of numbers")
    kinds = set(map(type, values))
    if kinds <= _NUMBER:
        if not isfinite(sum(values)):
            raise ValueError(f"its {what} holds NaN or Infinity, which is no number that an image can have")
        return tuple(values) if kinds <= _FLOAT else tuple(map(float, values))
    wrong = next(value for value in values if type(value) not in _NUMBER)
    raise ValueError(f"its {what} holds {shown(wrong)}, which is not a number")


def _keypoints(values: Any, class_: _Class) -> tuple[tuple[float, float, int], ...]:
    numbers = _numbers(values, "keypoints")
    if len(numbers) % 3:
        raise ValueError(f"its keypoints are {len(numbers)} numbers, not x, y, v for each")
    if class_.keypoints and len(numbers) != 3 * class_.keypoints:
        raise ValueError(
            f"it has {len(numbers) // 3} keypoints, but class {class_.name!r} has {class_.keypoints}"
        )
    for visibility in numbers[2::3]:
        if visibility not in (0, 1, 2):
            raise ValueError(f"a keypoint's visibility is {visibility:g}, which is none of 0, 1, 2")
    return tuple(zip(numbers[::3], numbers[1::3], map(int, numbers[2::3]), strict=True))


def _segmentation(value: Any) -> Polygons | RLE | None:
    if type(value) is dict:
        return _mask(value)
    if type(value) is not list:
        raise ValueError(f"its segmentation is {shown(value)}, neither polygons nor a mask")
    return tuple([_numbers(polygon, "polygon") for polygon in value if polygon != []]) or None


def _mask(value: dict[str, Any]) -> RLE:
    size, counts = value.get("size"), value.get("counts")
    if type(size) is not list or len(size) != 2 or set(map(type, size)) != {int} or min(size) < 1:
        raise ValueError(f"the size of its mask is {shown(size)}, not height and width")
    if max(size) >= _LARGEST_SIDE:
        raise ValueError(f"a mask of {size[1]} × {size[0]} pixels")
    if type(counts) is str:
        return RLE((size[0], size[1]), counts)
    if type(counts) is not list or not counts or set(map(type, counts)) != {int}:
        raise ValueError(f"the counts of its mask are {shown(counts)}, neither text nor whole numbers")
    if max(counts) >= rle.LARGEST:
        raise ValueError("a mask with a run that is too long")
    return rle.packed(np.array(counts, np.int64), (size[0], size[1]))
