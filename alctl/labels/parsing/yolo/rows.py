"""The rows of YOLO's label files: a class index and numbers that are fractions of the image's width and height."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from math import isfinite

from alctl.errors import AlctlError
from alctl.labels import shapes
from alctl.labels.annotation import Annotation, LabeledImage, Polygons, Refusal
from alctl.labels.parsing.units import OVERSHOOT

BOX, ORIENTED = 5, 9
"""Numbers in a row with a box, and in one with the four corners of an oriented box."""
OUTLINE = 7
"""The fewest numbers of a row with an outline."""
SIXTH = {"confidence": "confidences were left out", "track": "numbers of tracks were left out"}
_CLASS = re.compile(r"([0-9]{1,9})(?:\.0{0,20}(?:e[+-]?0{1,3})?)?", re.IGNORECASE)
"""Of a class: some libraries save whole tables as floats."""


@dataclass
class RowReader:
    """Reads label files of one kind."""

    kind: str
    names: Mapping[int, str]
    shape: tuple[int, int] | None
    sixth: str
    notes: Counter[str] = field(default_factory=Counter)

    def of_file(self, text: str, where: str) -> tuple[Annotation, ...] | Refusal:
        """Return the objects of an image, or what is wrong with the first row that cannot be read."""
        seen: Counter[str] = Counter()
        objects = []
        for line, row in enumerate(text.splitlines(), 1):
            if cells := row.split():
                try:
                    objects.append(self._object(cells, seen))
                except ValueError as error:
                    return Refusal(line, str(error), where)
        self.notes.update(seen)
        return tuple(objects)

    def _object(self, cells: Sequence[str], notes: Counter[str]) -> Annotation:
        """Turn a row into an object; ValueError says why it cannot be one."""
        category = self._category(cells[0])
        numbers = [_number(cell) for cell in cells[1:]]
        if self.kind == "pose" and self.shape:
            return self._pose(category, numbers, *self.shape)
        if self.kind == "obb":
            return _oriented(category, numbers, notes)
        if self.kind == "segment" and len(cells) >= OUTLINE and len(cells) % 2:
            _require_fractions(numbers)
            return Annotation(category, segmentation=(tuple(numbers),))
        if len(cells) == BOX + 1:
            if not self.sixth:
                raise ValueError(
                    "a sixth number after the box: --option sixth=confidence or sixth=track says what it is"
                )
            notes[SIXTH[self.sixth]] += 1
        elif len(cells) != BOX:
            raise ValueError(_wrong_count(self.kind, len(cells)))
        return Annotation(category, bbox=_box(numbers[:4]))

    def _category(self, text: str) -> str:
        if not (found := _CLASS.fullmatch(text)):
            raise ValueError(f"class {text[:20]!r} is not a whole number from 0 on")
        if (index := int(found[1])) not in self.names:
            known = f"{len(self.names)} names, {min(self.names)} to {max(self.names)}"
            raise ValueError(f"class {index} has no name among the {known}")
        return self.names[index]

    def _pose(self, category: str, numbers: Sequence[float], count: int, values: int) -> Annotation:
        if len(numbers) != 4 + count * values:
            wanted = BOX + count * values
            raise ValueError(
                f"{len(numbers) + 1} numbers; with kpt_shape [{count}, {values}] a row has {wanted}"
            )
        box = _box(numbers[:4])
        points = [numbers[at : at + values] for at in range(4, len(numbers), values)]
        return Annotation(category, bbox=box, keypoints=tuple(map(_keypoint, points)))


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not isfinite(number) or "_" in text:
        raise ValueError(f"{text[:20]!r} is not a number")
    return number


def _require_fractions(numbers: Sequence[float]) -> None:
    if max(numbers) > 1 + OVERSHOOT:
        raise ValueError(f"{max(numbers):g} is not a fraction of the image; are these pixels?")


def _box(numbers: Sequence[float]) -> shapes.Box:
    """Return a box by its corner from one by its center."""
    _require_fractions(numbers)
    x, y, width, height = numbers
    if width <= 0 or height <= 0:
        raise ValueError(f"a box without an area: its width is {width:g} and its height {height:g}")
    return x - width / 2, y - height / 2, width, height


def _oriented(category: str, numbers: Sequence[float], notes: Counter[str]) -> Annotation:
    if len(numbers) != ORIENTED - 1:
        raise ValueError(_wrong_count("obb", len(numbers) + 1))
    _require_fractions(numbers)
    hull = shapes.box_around(numbers)  # along the axes, so it is the same in fractions and in pixels
    if hull[2] <= 0 or hull[3] <= 0:
        raise ValueError("an oriented box without an area")
    notes["oriented boxes became their upright hulls"] += 1
    return Annotation(category, bbox=hull)


def _keypoint(values: Sequence[float]) -> tuple[float, float, int]:
    """Return a keypoint; without a visibility it is visible, unless it lies in the very corner, where missing ones are."""
    x, y = values[:2]
    visibility = values[2] if len(values) > 2 else 2 * (x != 0 or y != 0)
    if visibility not in (0, 1, 2):
        raise ValueError(f"a keypoint with visibility {visibility:g}, which is none of 0, 1, 2")
    if visibility:
        _require_fractions(values[:2])
    return x, y, int(visibility)


def _wrong_count(kind: str, count: int) -> str:
    expected = {
        "detect": "a box has 5",
        "segment": "a box has 5, an outline an odd number from 7 on, and a pose needs kpt_shape in a data.yaml",
        "obb": "an oriented box has 9",
    }
    return f"{count} numbers in a row; {expected[kind]}"


# --- writing rows -----------------------------------------------------------------------------------------------------


@dataclass
class RowWriter:
    """Turns answers into rows of one kind, which the first object decides if it is not given."""

    ids: Mapping[str, int]
    kind: str
    keypoints: int
    drop_crowds: bool

    def __post_init__(self) -> None:
        self.chosen = bool(self.kind)

    def text_of(self, image: LabeledImage) -> str:
        """Return the label file of an image; AlctlError if a row cannot say what an object is."""
        lines = []
        for annotation in map(shapes.boxed, image.annotations):
            if annotation.crowd and self.drop_crowds:
                continue
            self.kind = self.kind or _kind_of(annotation)
            if problem := self._problem(annotation, image):
                raise AlctlError(f"{image.path}: {problem}")
            numbers = self._numbers(annotation, *_size(image))
            lines.append(" ".join((str(self.ids[annotation.category]), *map(_shortest, numbers))))
        return "".join(f"{line}\n" for line in lines)

    def _problem(self, annotation: Annotation, image: LabeledImage) -> str:
        what, kind = f"a {annotation.category!r}", _kind_of(annotation)
        if not all(_size(image)):
            return "its width and height are not known, and YOLO's numbers are fractions of them"
        if annotation.crowd:
            return f"{what} is marked as a crowd, which no row can say; --option drop_crowds=true leaves such out"
        if kind != self.kind and not self.chosen:
            return (
                f"{what} for YOLO {kind}, after objects for YOLO {self.kind}; a data set has one kind, and "
                "--option kind=detect writes the boxes of all"
            )
        return f"{what} {missing}" if (missing := self._missing(annotation)) else ""

    def _missing(self, annotation: Annotation) -> str:
        """Return what a row needs and an object does not have."""
        if self.kind == "segment" and not isinstance(annotation.segmentation, tuple):
            return "with a mask; YOLO holds outlines" if annotation.segmentation else "without an outline"
        if self.kind == "pose":
            count = len(annotation.keypoints)
            self.keypoints = self.keypoints or count
            if not count or count != self.keypoints:
                return f"with {count} keypoints; all have {self.keypoints} in YOLO"
        return "" if annotation.bbox else "without a box"

    def _numbers(self, annotation: Annotation, width: float, height: float) -> Iterator[float]:
        """Yield the numbers of a row after its class, as fractions."""
        scaled = shapes.scaled(annotation, 1 / width, 1 / height)
        if self.kind == "segment" and isinstance(scaled.segmentation, tuple):
            yield from _joined(scaled.segmentation)
        elif box := scaled.bbox:
            yield from (box[0] + box[2] / 2, box[1] + box[3] / 2, box[2], box[3])
        if self.kind == "pose":
            yield from chain.from_iterable(scaled.keypoints)


def _kind_of(annotation: Annotation) -> str:
    if annotation.keypoints:
        return "pose"
    return "segment" if annotation.segmentation is not None else "detect"


def _size(image: LabeledImage) -> tuple[float, float]:
    """Return what its coordinates are to be divided by; 0 if that is not known."""
    return (1, 1) if image.relative else (image.width or 0, image.height or 0)


def _joined(polygons: Polygons) -> tuple[float, ...]:
    """Return several polygons as one: from the first one's start to each other one and back, so nothing is added."""
    first, *others = polygons
    if not others:
        return first
    start = first[:2]
    return (*first, *start, *chain.from_iterable((*other, *other[:2], *start) for other in others))


def _shortest(number: float) -> str:
    return str(int(number)) if number in (0, 1, 2) else repr(float(number))
