"""CSV of objects: one row an object, with a box, or with keypoints as NAME_x, NAME_y and NAME_visibility.

There is no standard for such tables. The columns are found by name (alctl/labels/parsing/table.py), as in a CSV of classes.
A column ``units`` says whether the coordinates of a row are pixels or fractions of the image's sides.
"""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple

from alctl.errors import AlctlError
from alctl.labels.annotation import Annotation, Assignment, Category, LabeledImage, Note, Record, Refusal
from alctl.labels.format import LabelFormat
from alctl.labels.parsing import column_names, table
from alctl.labels.parsing.column_names import BoxColumns
from alctl.labels.parsing.units import STATED, UnitsOption, settled
from alctl.labels.shapes import boxed
from alctl.labels.spreadsheet_cells import safe_cell

UNITS = "units"
_KNOWN_UNITS: dict[str, UnitsOption] = {"": "", "pixels": "pixels", "fractions": "fractions"}
_OPEN_IMAGES = {"imageid", "labelname", "xmin", "xmax", "ymin", "ymax"}
"""Columns by which tables of that data set are known; it defines its coordinates as fractions."""
_NUMBER = re.compile(r"[-+]?[0-9]{1,20}([.,][0-9]{1,20})?(e[-+]?[0-9]{1,3})?", re.ASCII | re.IGNORECASE)


class _Layout(NamedTuple):
    """Where in a row the coordinates stand."""

    box: tuple[int, ...]
    kind: column_names.Kind
    """What the numbers of the box are."""
    keypoints: dict[str, tuple[int, int, int | None]]
    """x, y and visibility of each."""
    units: int | None
    """The column that says the unit of each row."""
    assumed: UnitsOption
    """The unit of a table without such a column that is known by its other columns."""
    size: tuple[int, ...] = ()
    """The columns of the image's width and height."""


class _Row(NamedTuple):
    """What a row says, and the unit that it gives itself."""

    answer: LabeledImage | Refusal
    units: UnitsOption = ""


@dataclass(frozen=True)
class CsvObjects(LabelFormat):
    """A table with an item or path, a label and coordinates in each row."""

    units: UnitsOption = ""
    """Of the coordinates of rows that do not say it: absolute, or relative to width and height."""
    visibility: Literal["", "coco", "seen"] = ""
    """What NAME_v holds: 0 not labeled, 1 hidden, 2 visible (coco), or 1 where the point is to be seen."""
    columns: str = ""
    """Which columns are which, where their names do not say it: ``image=id_code,box=left:top:right:bottom``."""
    label: str = ""
    """The class of every object where there is no column for it."""

    carries = frozenset({"bbox", "keypoints", "status", "annotator"})
    suffix = ".csv"

    def recognise(self, path: Path) -> str:
        """A table of objects is one whose first line names an item or a path, and coordinates."""
        try:
            _, header = next(table.rows(path), (0, []))
            table.columns_of(path, header, needed=False, given=self.columns)
        except AlctlError:
            return ""
        found = table.coordinates_of(header, self.columns)
        return f"a table of objects with {', '.join(found)}" if found else ""

    def read(self, path: Path) -> Iterator[Record]:
        """Yield an answer for the rows of each image; a bad row refuses its image."""
        rows = table.rows(path)
        _, header = next(rows, (0, []))
        columns = table.columns_of(path, header, needed=False, given=self.columns)
        layout = self._layout(path, header)
        if "label" not in columns and not self.label:
            raise AlctlError(f"{path} has no column 'label'; --option label=NAME gives all objects one class")
        declared: set[str] = set()
        notes: Counter[str] = Counter()
        found = (self._row(columns, layout, header, line, cells) for line, cells in rows if any(cells))
        for group in _grouped(_answered(found, notes), together=_together(path, columns)):
            refusals = [row.answer for row in group if isinstance(row.answer, Refusal)]
            whole = [row.answer for row in group if isinstance(row.answer, LabeledImage)]
            objects = tuple(annotation for answer in whole for annotation in answer.annotations)
            new = {annotation.category for annotation in objects} - declared
            yield from (Category(name, tuple(layout.keypoints)) for name in sorted(new))
            declared |= new
            yield from refusals
            if not refusals:
                image = whole[0]._replace(annotations=objects)
                yield self._in_units(path, image, {row.units for row in group}, layout, notes)
        yield from (Note(what, count) for what, count in notes.items())

    def _in_units(
        self, path: Path, image: LabeledImage, said: set[UnitsOption], layout: _Layout, notes: Counter[str]
    ) -> LabeledImage | Refusal:
        """Return an image with its unit: as its rows say, else the user, else what kind of table it is."""
        stated = [units for units in ("pixels", "fractions") if units in said]
        if len(stated) > 1:
            return Refusal(image.line, "its rows are in pixels and in fractions")
        if stated and self.units and stated[0] != self.units:
            notes[STATED] += 1
        units = _KNOWN_UNITS[stated[0]] if stated else self.units or layout.assumed
        try:
            return settled(image, units, str(path), f"line {image.line}")
        except ValueError as error:
            return Refusal(image.line, str(error))

    def _layout(self, path: Path, header: Sequence[str]) -> _Layout:
        names = [name.strip() for name in header]
        lower = [name.lower() for name in names]
        box = column_names.box_of(lower, self.columns) or BoxColumns((), "box")
        if box.columns and not box.kind:
            raise AlctlError(
                f"{path} has the columns x, y, w, h, and does not say what x, y is: give --option columns=xywh=x:y:w:h "
                "(the top-left corner) or --option columns=center=x:y:w:h (the middle)"
            )
        keypoints = {}
        for at, name in enumerate(lower):
            stem = name[:-2]
            if name.endswith("_x") and f"{stem}_y" in lower:
                seen = next(
                    (lower.index(stem + end) for end in ("_visibility", "_v") if stem + end in lower), None
                )
                keypoints[names[at][:-2]] = (at, lower.index(f"{stem}_y"), seen)
        if not box.columns and not keypoints:
            raise AlctlError(
                f"{path} has neither the columns of a box nor of keypoints; its columns are: {', '.join(names)}"
            )
        foreign = any(seen is not None and lower[seen].endswith("_v") for _, _, seen in keypoints.values())
        if foreign and not self.visibility:
            raise AlctlError(
                f"{path} has columns for visibility, and what 1 means has to be said: --option visibility=coco "
                "(0 not labeled, 1 hidden, 2 visible) or --option visibility=seen (1: to be seen, 0: not)"
            )
        units = lower.index(UNITS) if UNITS in lower else None
        places = tuple(lower.index(name) for name in box.columns)
        sides = next(
            (s for s in column_names.SIDES if set(s) <= set(lower) and not set(s) & set(box.columns)), ()
        )
        size = tuple(lower.index(side) for side in sides)
        return _Layout(places, box.kind, keypoints, units, _assumed(lower), size)

    def _row(
        self, columns: Mapping[str, int], layout: _Layout, header: Sequence[str], line: int, cells: list[str]
    ) -> _Row | None:
        if len(cells) > len(header) or table.cut_off(columns, cells):
            return _Row(Refusal(line, table.wrong_width(cells, header)))
        cells += [""] * (len(header) - len(cells))
        if self.label and "label" not in columns and any(cells[at].strip() for at in self._places(layout)):
            columns, cells = {**columns, "label": len(cells)}, [*cells, self.label]
        answer = table.answer_of(columns, cells, line, objects=True)
        if not isinstance(answer, LabeledImage) or not answer.annotations:
            return None if answer is None else _Row(answer)
        try:
            thing = self._object(answer.annotations[0].category, layout, cells)
            size = [_side(cells[at]) for at in layout.size] or [None, None]
            units = _units_in("" if layout.units is None else cells[layout.units])
        except ValueError as error:
            return _Row(Refusal(line, str(error)))
        return _Row(answer._replace(annotations=(thing,), width=size[0], height=size[1]), units)

    def _places(self, layout: _Layout) -> list[int]:
        return [*layout.box, *(at for point in layout.keypoints.values() for at in point[:2])]

    def _object(self, label: str, layout: _Layout, cells: Sequence[str]) -> Annotation:
        """Return the object of a row; ValueError says what is wrong with it."""
        given_cells = [cells[at] for at in layout.box]
        if len(given_cells) == 1:  # four numbers in one cell
            given_cells = given_cells[0].strip().strip("[]()").replace(",", " ").split()
        box = [_number(cell) for cell in given_cells if cell.strip()]
        if len(box) not in (0, 4):
            raise ValueError("a box with an empty cell")
        if layout.kind == "box" and box:
            box = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
        if layout.kind == "center" and box:
            box = [box[0] - box[2] / 2, box[1] - box[3] / 2, box[2], box[3]]
        points = {name: self._point(point, cells) for name, point in layout.keypoints.items()}
        given = [point for point in points.values() if point is not None]
        if not box and not given:
            raise ValueError(f"a {label!r} without coordinates")
        keypoints = tuple(point or (0.0, 0.0, 0) for point in points.values()) if given else ()
        return Annotation(label, (box[0], box[1], box[2], box[3]) if box else None, keypoints)

    def _point(
        self, place: tuple[int, int, int | None], cells: Sequence[str]
    ) -> tuple[float, float, int] | None:
        x, y = cells[place[0]].strip(), cells[place[1]].strip()
        if not x and not y:
            return None
        seen = 2.0 if place[2] is None else _number(cells[place[2]])
        if seen not in (0, 1, 2) or (self.visibility == "seen" and seen == 2):
            raise ValueError(f"a visibility of {seen:g}")
        return _number(x), _number(y), int(seen) * 2 if self.visibility == "seen" else int(seen)

    def write(self, images: Iterable[LabeledImage], path: Path, categories: Sequence[Category]) -> None:
        """Write one row an object with its unit, and one without a label for an image in which there is nothing."""
        _write(((image, True) for image in images), path, categories)

    def hand_out(
        self, assignments: Iterable[Assignment], path: Path, categories: Sequence[Category], task: str
    ) -> None:
        """Write a row for each image, still without a label, or one for each predicted object."""
        given = (
            (LabeledImage(a.path, a.predictions or (), a.item, digest=a.digest), False) for a in assignments
        )
        _write(given, path, categories)


def _write(images: Iterable[tuple[LabeledImage, bool]], path: Path, categories: Sequence[Category]) -> None:
    """Write images, each with whether somebody has looked at it."""
    names = list(dict.fromkeys(name for category in categories for name in category.keypoints))
    if any(category.keypoints and list(category.keypoints) != names for category in categories):
        raise AlctlError("a table of objects needs the same keypoints for all classes; choose another format")
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        points = [f"{name}{end}" for name in names for end in ("_x", "_y", "_visibility")]
        writer.writerow([safe_cell(cell) for cell in (*table.COLUMNS, UNITS, *column_names.OURS, *points)])
        for image, answered in images:
            for row in _rows(image, 3 * len(names), answered=answered):
                writer.writerow([safe_cell(cell) for cell in row])


def _rows(image: LabeledImage, n: int, *, answered: bool) -> Iterator[list[object]]:
    """Return an image's rows; ``n`` cells are for keypoints."""
    seconds = "" if image.seconds is None else image.seconds
    status = image.status if answered and not image.annotations else ""

    units = "fractions" if image.relative else "pixels"

    def meta(label: str) -> list[object]:
        return [image.item or "", image.path, label, image.annotator, status, seconds, image.digest, units]

    for annotation in map(boxed, image.annotations):
        cells: list[object] = [number for point in annotation.keypoints for number in point]
        yield [*meta(annotation.category), *(annotation.bbox or ("",) * 4), *cells, *[""] * (n - len(cells))]
    if not image.annotations:
        yield [*meta(""), *[""] * (4 + n)]


def _assumed(names: Sequence[str]) -> UnitsOption:
    """Return the unit of a table that does not say it: OpenImages' by definition, and that of an earlier alctl's tables."""
    if set(names) >= _OPEN_IMAGES:
        return "fractions"
    own = [*table.COLUMNS, *column_names.OURS]
    return "pixels" if list(names[: len(own)]) == own else ""


def _units_in(cell: str) -> UnitsOption:
    if (units := _KNOWN_UNITS.get(cell.strip().lower())) is None:
        raise ValueError(f"units {cell[:40]!r} are none of pixels, fractions")
    return units


def _answered(rows: Iterable[_Row | None], notes: Counter[str]) -> Iterator[_Row]:
    """Pass on the rows that are answered, and count the others."""
    for row in rows:
        if row is None:
            notes[table.BLANK] += 1
        else:
            yield row


def _together(path: Path, columns: Mapping[str, int]) -> bool:
    """Tell whether the rows of each image follow each other; the file is read once more for it, which costs little."""
    places = [columns[name] for name in ("item", "path", "sha256", "annotator") if name in columns]
    seen, last = set[int](), 0
    for _, cells in islice(table.rows(path), 1, None):
        whose = hash(tuple([cells[at] for at in places if at < len(cells)]))
        if whose != last and any(cells):
            if whose in seen:
                return False
            seen.add(whose)
            last = whose
    return True


def _grouped(rows: Iterable[_Row], *, together: bool) -> Iterator[list[_Row]]:
    """Yield the rows of each image and annotator; a bad row belongs to the image before it.

    Where they do not follow each other, all are kept until the end.
    """
    groups: dict[object, list[_Row]] = {}
    whose: object = None
    for row in rows:
        if isinstance(row.answer, LabeledImage) and whose != (own := _whose(row.answer)):
            if groups and together and whose is not None:
                yield from groups.values()
                groups = {}
            if whose is None and groups:  # bad rows before the first good one are with it
                groups[own] = groups.pop(None)
            whose = own
        groups.setdefault(whose, []).append(row)
    yield from groups.values()


def _whose(answer: LabeledImage) -> object:
    return answer.item, answer.path, answer.digest, answer.annotator


def _side(cell: str) -> int | None:
    """Return the width or height of an image; tools that do not know it write 0 or nothing."""
    number = _number(cell) if cell.strip() else 0.0
    if number < 0 or number != int(number):
        raise ValueError(f"an image with a side of {number:g} pixels")
    return int(number) or None


def _number(cell: str) -> float:
    text = cell.strip()
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"{cell!r} is not a number")
    return float(text.replace(",", "."))
