"""CSV of whole-image classes: one row an answer, columns by name, in whatever dialect a spreadsheet saved it."""

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TextIO

from alctl.annotation import Annotation, Category, LabeledImage, Record, Refusal, Status
from alctl.errors import AlctlError
from alctl.format import QUOTED, LabelFormat, plain_cell, safe_cell
from alctl.plugins import unknown

_ITEM = re.compile(r"[0-9]{1,9}")
_SECONDS = re.compile(r"[0-9]{1,9}([.,][0-9]{1,20})?(e-?[0-9]{1,2})?")
_DIGEST = re.compile(r"[0-9a-fA-F]{64}")
COLUMNS = ("item", "path", "label", "annotator", "status", "seconds", "sha256")
STATUSES: dict[str, Status] = {
    "labeled": "labeled",
    "labelled": "labeled",
    "skip": "skip",
    "unusable": "unusable",
}


class Csv(LabelFormat):
    """Comma, semicolon or tab; UTF-8 with or without a byte order mark."""

    carries = frozenset({"category"})
    suffix = ".csv"

    def recognise(self, path: Path) -> str:
        """A table is one whose first line names an item or a path, and a label or a status."""
        try:
            with path.open(encoding="utf-8-sig", newline="") as stream:
                header = next(csv.reader(stream, delimiter=_delimiter(stream), strict=True), [])
            _columns(path, header)
        except (OSError, ValueError, csv.Error, AlctlError):
            return ""
        return f"a table with the columns {', '.join(header)}"

    def read(self, path: Path) -> Iterator[Record]:
        """Yield an answer for each row with a label or a status; rows that are still empty are passed over."""
        try:
            with path.open(encoding="utf-8-sig", newline="") as stream:
                rows = csv.reader(stream, delimiter=_delimiter(stream), strict=True)
                header = next(rows, [])
                columns = _columns(path, header)
                for cells in rows:
                    if len(cells) > len(header) or _cut_off(columns, cells):
                        problem = f"{len(cells)} cells under {len(header)} columns: a missing or unquoted separator?"
                        yield Refusal(rows.line_num, problem)
                    elif any(cells) and (answer := _answer(columns, cells, rows.line_num)) is not None:
                        yield answer
        except UnicodeDecodeError as error:
            raise AlctlError(
                f"{path} is not UTF-8 text ({error.reason} at byte {error.start}); save it as 'CSV UTF-8'"
            ) from error
        except OSError as error:
            raise AlctlError(f"cannot read {path}: {error.strerror}") from error
        except csv.Error as error:
            raise AlctlError(f"{path}, line {rows.line_num}: not CSV: {error}") from error

    def write(self, images: Iterable[LabeledImage], path: Path, categories: Sequence[Category]) -> None:
        """Write one row an image; a cell that a spreadsheet would take for a formula is quoted with an apostrophe."""
        with path.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(COLUMNS)
            for image in images:
                label = image.annotations[0].category if image.annotations else ""
                status = "" if image.status == "labeled" else image.status
                seconds = "" if image.seconds is None else image.seconds
                cells = (image.item or "", image.path, label, image.annotator, status, seconds, image.digest)
                writer.writerow([safe_cell(cell) for cell in cells])


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
        if name not in columns and alias in names and not (alias == "image" and "item" in columns):
            columns[name] = names.index(alias)  # beside an item, "image" is its name in an export
    if doubled := sorted({names[at] for at in columns.values() if names.count(names[at]) > 1}):
        raise AlctlError(f"{path} has the column {doubled[0]!r} twice")
    if "item" not in columns and "path" not in columns:
        raise AlctlError(
            f"{path} has neither a column 'item' nor 'path'; its columns are: {', '.join(header) or 'none'}"
        )
    if "label" not in columns and "status" not in columns:
        raise AlctlError(f"{path} has no column 'label'; its columns are: {', '.join(header)}")
    return columns


def _cut_off(columns: Mapping[str, int], cells: Sequence[str]) -> bool:
    """Tell whether a row ends before its answer and is yet more than an item that nobody has answered."""
    if min(columns[name] for name in ("label", "status") if name in columns) < len(cells):
        return False
    filled = [cell for cell in cells if cell.strip()]
    return len(filled) > 1 or any(mark in cell for cell in filled for mark in ",;\t")


def _answer(columns: dict[str, int], cells: Sequence[str], line: int) -> LabeledImage | Refusal | None:
    """Turn one row into an answer, a refusal, or None when nobody has answered it yet."""
    values = dict.fromkeys(COLUMNS, "")
    for name, at in columns.items():
        if at < len(cells) and (cell := cells[at].strip()):
            values[name] = plain_cell(cell) if cell[0] in QUOTED else cell
    item, path, label, annotator, given, seconds, digest = values.values()
    if not label and not given:
        return None
    if problem := _problem(values, label, given.lower()):
        return Refusal(line, problem)
    return LabeledImage(
        path,
        _class(label) if label else (),
        int(item) if item else None,
        annotator,
        STATUSES[given.lower()] if given else "labeled",
        line,
        float(seconds.replace(",", ".")) if seconds else None,
        digest=digest.lower(),
    )


@lru_cache(maxsize=10_000)
def _class(label: str) -> tuple[Annotation]:
    """Return the one annotation of an image with this class: a file has many rows and few classes."""
    return (Annotation(label),)


def _problem(values: Mapping[str, str], label: str, status: str) -> str:
    """Return what is wrong with a row in itself, or an empty string."""
    item, digest, seconds = values["item"], values["sha256"], values["seconds"]
    if status and status not in STATUSES:
        return unknown(status, ["labeled", "skip", "unusable"], "statuses")
    if (STATUSES[status or "labeled"] == "labeled") != bool(label):
        return f"status is {status!r} but the label is {label!r}; which is it?"
    if not item and not values["path"] and not digest:
        return "neither an item nor a path"
    if item and not _ITEM.fullmatch(item):
        return f"item {item!r} is not a number that alctl gave out"
    if digest and not _DIGEST.fullmatch(digest):
        return f"sha256 {digest!r} is not a digest of 64 hexadecimal digits"
    return "" if not seconds or _SECONDS.fullmatch(seconds) else f"seconds {seconds!r} is not a number"
