"""Read tables of answers, however a spreadsheet saved them: columns by name, one row an answer.

The standard library's csv does the reading: comma, semicolon or tab; UTF-8 with or without a byte order mark.
"""

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TextIO

from alctl.errors import AlctlError
from alctl.labels.annotation import Annotation, LabeledImage, Refusal, Status
from alctl.labels.parsing import column_names
from alctl.labels.parsing.encodings import encoding_of
from alctl.labels.spreadsheet_cells import QUOTED, plain_cell
from alctl.plugins import unknown

_ITEM = re.compile(r"[0-9]{1,9}")
_SECONDS = re.compile(r"[0-9]{1,9}([.,][0-9]{1,20})?(e-?[0-9]{1,2})?")
_DIGEST = re.compile(r"[0-9a-fA-F]{64}")
LABEL_STUDIO = {"annotation_id", "annotator", "lead_time"}
"""Columns by which its flattened exports are known."""
COLUMNS = ("item", "path", "label", "annotator", "status", "seconds", "sha256")
STATUSES: dict[str, Status] = {
    "labeled": "labeled",
    "labelled": "labeled",
    "skip": "skip",
    "unusable": "unusable",
}


BLANK = "rows are blank: they have neither a label nor a status yet"


def rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the line where it ends and the cells of each row, the header first; AlctlError if it is no table."""
    line = 0
    try:
        with path.open("rb") as start:
            encoding = encoding_of(start.read(2))
        with path.open(encoding=encoding, newline="") as stream:
            said = _said_delimiter(stream)
            reader = csv.reader(stream, delimiter=said or _delimiter(stream), strict=True)
            for cells in reader:
                if not line and (header := column_names.implied(cells)):
                    yield 0, header
                line = reader.line_num + bool(said)
                yield line, cells
    except UnicodeDecodeError as error:
        raise AlctlError(
            f"{path} is not UTF-8 text ({error.reason} at byte {error.start}); save it as 'CSV UTF-8'"
        ) from error
    except OSError as error:
        raise AlctlError(f"cannot read {path}: {error.strerror}") from error
    except csv.Error as error:
        raise AlctlError(f"{path}, line {line + 1}: not CSV: {error}") from error


def _said_delimiter(stream: TextIO) -> str:
    """Return the separator that a first line such as ``sep=;`` gives to spreadsheets, and pass over the line."""
    found = re.fullmatch(r"sep=([,;\t])\s*", stream.readline(), re.IGNORECASE)
    if found is None:
        stream.seek(0)
    return found[1] if found else ""


def _delimiter(stream: TextIO) -> str:
    """Return the separator of the header line."""
    header = stream.readline()
    stream.seek(0)
    return max(",;\t", key=header.count)


def columns_of(path: Path, header: Sequence[str], *, needed: bool = True, given: str = "") -> dict[str, int]:
    """Return the position of each known column; the header may be in any case and order, other columns are ignored.

    ``given`` are the names that the user says. AlctlError where nothing names the images, or, if ``needed``, nothing says
    what they are.
    """
    names = [name.strip().lower() for name in header]
    if set(names) >= LABEL_STUDIO:
        raise AlctlError(
            f"{path} is Label Studio's CSV or TSV export, which leaves out skipped tasks and sizes; export the project "
            "again as 'JSON'"
        )
    columns = {name: names.index(name) for name in COLUMNS if name in names}
    columns |= column_names.own_columns(path, header, given)
    for alias, name in column_names.ALIASES:
        if name not in columns and alias in names and not (alias == "image" and "item" in columns):
            columns[name] = names.index(alias)  # beside an item, "image" is its name in an export
    if doubled := sorted({names[at] for at in columns.values() if names.count(names[at]) > 1}):
        raise AlctlError(f"{path} has the column {doubled[0]!r} twice")
    if "item" not in columns and "path" not in columns:
        raise AlctlError(
            f"{path} has neither a column 'item' nor 'path'; its columns are: {', '.join(header) or 'none'}; "
            "--option columns=image=NAME,label=NAME says which they are"
        )
    if needed and "label" not in columns and "status" not in columns:
        raise AlctlError(f"{path} has no column 'label'; its columns are: {', '.join(header)}")
    return columns


def cut_off(columns: Mapping[str, int], cells: Sequence[str]) -> bool:
    """Tell whether a row ends before its answer and is yet more than an item that nobody has answered."""
    if min((columns[name] for name in ("label", "status") if name in columns), default=-1) < len(cells):
        return False
    filled = [cell for cell in cells if cell.strip()]
    return len(filled) > 1 or any(mark in cell for cell in filled for mark in ",;\t")


def answer_of(
    columns: Mapping[str, int], cells: Sequence[str], line: int, *, objects: bool = False
) -> LabeledImage | Refusal | None:
    """Turn one row into an answer, a refusal, or None when nobody has answered it yet.

    In a table of ``objects``, "labeled" without a label says that there is nothing in the image.
    """
    values = dict.fromkeys(COLUMNS, "")
    for name, at in columns.items():
        if at < len(cells) and (cell := cells[at].strip()):
            values[name] = plain_cell(cell) if cell[0] in QUOTED else cell
            if name == "path" and cells[at].strip(" ") == values[name]:
                values[name] = cells[at]  # spaces may belong to the name; which, only the pool knows
    item, path, label, annotator, given, seconds, digest = values.values()
    if not label and not given:
        return None
    if problem := _no_class(label) or _problem(values, label, given.lower(), objects=objects):
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


def _no_class(label: str) -> str:
    """Return what is wrong with a label that a tool has packed several values into."""
    if label[:1] in ("[", "{") and label[-1:] in ("]", "}"):
        return f"the label is {label[:40]!r}, which is JSON and no class; export the tool's own JSON instead"
    return ""


def _problem(values: Mapping[str, str], label: str, status: str, *, objects: bool) -> str:
    """Return what is wrong with a row in itself, or an empty string."""
    item, digest, seconds = values["item"], values["sha256"], values["seconds"]
    if status and status not in STATUSES:
        return unknown(status, ["labeled", "skip", "unusable"], "statuses")
    labeled = STATUSES[status or "labeled"] == "labeled"
    if labeled != bool(label) and not (labeled and objects):
        return f"status is {status!r} but the label is {label!r}; which is it?"
    if not item and not values["path"] and not digest:
        return "neither an item nor a path"
    if item and not _ITEM.fullmatch(item):
        return f"item {item!r} is not a number that alctl gave out"
    if digest and not _DIGEST.fullmatch(digest):
        return f"sha256 {digest!r} is not a digest of 64 hexadecimal digits"
    return "" if not seconds or _SECONDS.fullmatch(seconds) else f"seconds {seconds!r} is not a number"


def coordinates_of(header: Sequence[str], given: str = "") -> list[str]:
    """Return the columns that place objects in an image: those of a box, and NAME_x with NAME_y of keypoints."""
    names = [name.strip().lower() for name in header]
    box = column_names.box_of(names, given)
    points = [name for name in names if name.endswith("_x") and f"{name[:-2]}_y" in names]
    return [*(box.columns if box else ()), *points]


def wrong_width(cells: Sequence[str], header: Sequence[str]) -> str:
    """Return the sentence for a row that has not the header's number of cells."""
    return f"{len(cells)} cells under {len(header)} columns: a missing or unquoted separator?"
