"""CSV of whole-image classes: one row an answer, columns by name, in whatever dialect a spreadsheet saved it."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

from alctl.annotation import Annotation, LabeledImage, Refusal, Status
from alctl.errors import AlctlError
from alctl.format import LabelFormat
from alctl.plugins import unknown

COLUMNS = ("item", "path", "label", "annotator", "status", "seconds")
STATUSES: dict[str, Status] = {"labeled": "labeled", "labelled": "labeled", "skip": "skip", "unusable": "unusable"}
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class Csv(LabelFormat):
    """Comma, semicolon or tab; UTF-8 with or without a byte order mark."""

    carries = frozenset({"category"})

    def read(self, path: Path) -> Iterator[LabeledImage | Refusal]:
        """Yield an answer for each row with a label or a status; rows that are still empty are passed over."""
        try:
            with path.open(encoding="utf-8-sig", newline="") as stream:
                rows = csv.reader(stream, delimiter=_delimiter(stream), strict=True)
                columns = _columns(path, next(rows, []))
                for cells in rows:
                    if any(cells) and (answer := _answer(columns, cells, rows.line_num)) is not None:
                        yield answer
        except UnicodeDecodeError as error:
            raise AlctlError(
                f"{path} is not UTF-8 text ({error.reason} at byte {error.start}); save it as 'CSV UTF-8'"
            ) from error
        except csv.Error as error:
            raise AlctlError(f"{path}, line {rows.line_num}: not CSV: {error}") from error

    def write(self, images: Iterable[LabeledImage], path: Path, categories: Sequence[str]) -> None:
        """Write one row an image; a cell that a spreadsheet would take for a formula is quoted with an apostrophe."""
        with path.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(COLUMNS)
            for image in images:
                label = image.annotations[0].category if image.annotations else ""
                status = "" if image.status == "labeled" else image.status
                seconds = "" if image.seconds is None else image.seconds
                cells = (image.item or "", image.path, label, image.annotator, status, seconds)
                writer.writerow([safe_cell(cell) for cell in cells])


def safe_cell(value: object) -> object:
    """Return a cell that no spreadsheet runs as a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def plain_cell(text: str) -> str:
    """Undo `safe_cell`."""
    return text[1:] if text[:1] == "'" and text[1:].startswith(_FORMULA) else text


def _delimiter(stream: TextIO) -> str:
    """Return the separator of the header line."""
    header = stream.readline()
    stream.seek(0)
    return max(",;\t", key=header.count)


def _columns(path: Path, header: Sequence[str]) -> dict[str, int]:
    """Return the position of each known column; the header may be in any case and order, other columns are ignored."""
    names = [name.strip().lower() for name in header]
    columns = {name: names.index(name) for name in COLUMNS if name in names}
    for alias, name in (("class", "label"), ("file", "path"), ("filename", "path"), ("image", "path")):
        if name not in columns and alias in names:
            columns[name] = names.index(alias)
    if doubled := sorted({name for name in columns if names.count(name) > 1}):
        raise AlctlError(f"{path} has the column {doubled[0]!r} twice")
    if "item" not in columns and "path" not in columns:
        raise AlctlError(f"{path} has neither a column 'item' nor 'path'; its columns are: {', '.join(header) or 'none'}")
    if "label" not in columns and "status" not in columns:
        raise AlctlError(f"{path} has no column 'label'; its columns are: {', '.join(header)}")
    return columns


def _answer(columns: dict[str, int], cells: Sequence[str], line: int) -> LabeledImage | Refusal | None:
    """Turn one row into an answer, a refusal, or None when nobody has answered it yet."""

    def cell(name: str) -> str:
        position = columns.get(name, len(cells))
        return plain_cell(cells[position].strip()) if position < len(cells) else ""

    label, status = cell("label"), cell("status").lower()
    if not label and not status:
        return None
    if status and status not in STATUSES:
        return Refusal(line, unknown(status, ["labeled", "skip", "unusable"], "statuses"))
    known = STATUSES.get(status, "labeled")
    if known == "labeled" and not label:
        return Refusal(line, "status is 'labeled' but there is no label")
    if known != "labeled" and label:
        return Refusal(line, f"status is {known!r} but there is a label, {label!r}; which is it?")
    item, path = cell("item"), cell("path")
    if not item and not path:
        return Refusal(line, "neither an item nor a path")
    if item and not (item.isascii() and item.isdigit() and len(item) < 10):
        return Refusal(line, f"item {item!r} is not a number that alctl gave out")
    try:
        seconds = float(cell("seconds")) if cell("seconds") else None
    except ValueError:
        return Refusal(line, f"seconds {cell('seconds')!r} is not a number")
    annotations = (Annotation(label),) if label else ()
    return LabeledImage(path, annotations, int(item) if item else None, cell("annotator"), known, line, seconds)
