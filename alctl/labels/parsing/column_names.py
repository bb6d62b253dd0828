"""Which column of a table is which, whatever tool named them: ours, the common ones, and those that the user names.

A user names columns as ``image=id_code,label=diagnosis,box=left:top:right:bottom``.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from alctl.errors import AlctlError
from alctl.labels.annotation import IMAGE_SUFFIXES
from alctl.plugins import unknown

ROLES = {
    "image": "path", "item": "item", "label": "label", "annotator": "annotator", "status": "status",
    "seconds": "seconds", "sha256": "sha256",
}  # fmt: skip
"""What a user may name, and our column of it."""
ALIASES = (
    *((name, "label") for name in ("class", "class_name", "labelname", "label_name", "category", "diagnosis")),
    *((name, "path") for name in (
        "file", "filename", "image", "file_name", "filepath", "file_path", "image_path", "image_name", "img", "imageid",
        "image_id", "id_code",
    )),
)  # fmt: skip
"""Other names of our columns, the surest first."""
Kind = Literal["box", "xywh", "center", ""]


class BoxColumns(NamedTuple):
    """The columns of a box: four, or one with four numbers in each cell."""

    columns: tuple[str, ...]
    kind: Kind
    """Two corners (box), a corner and the size (xywh), or the middle and the size (center); empty: nobody can tell."""


OURS = ("x", "y", "width", "height")
BOXES = (
    BoxColumns(OURS, "xywh"),
    BoxColumns(("xmin", "ymin", "xmax", "ymax"), "box"),
    BoxColumns(("x_min", "y_min", "x_max", "y_max"), "box"),
    BoxColumns(("x1", "y1", "x2", "y2"), "box"),
    BoxColumns(("bbox",), "xywh"),
    BoxColumns(("x", "y", "w", "h"), ""),
)
SIDES = (("width", "height"), ("image_width", "image_height"))
"""Columns of an image's size."""
_CORNERS = ["xmin", "ymin", "xmax", "ymax"]
_NUMBER = re.compile(r"-?[0-9]{1,9}(\.[0-9]{0,20})?")


def said(path: Path, header: Sequence[str], given: str) -> dict[str, tuple[str, ...]]:
    """Return the columns that the user names, in lower case, by what they are; AlctlError for one that is not there."""
    names = [name.strip().lower() for name in header]
    found = {}
    for part in filter(None, given.split(",")):
        role, _, columns = part.strip().partition("=")
        if role not in (*ROLES, "box", "xywh", "center"):
            raise AlctlError(unknown(role, [*ROLES, "box", "xywh", "center"], "parts of --option columns"))
        found[role] = tuple(column.strip().lower() for column in columns.split(":"))
        if missing := [column for column in found[role] if column not in names]:
            raise AlctlError(
                f"{path} has no column {missing[0]!r}, which --option columns names; its columns are: {', '.join(header)}"
            )
        if len(found[role]) not in ((1,) if role in ROLES else (1, 4)):
            raise AlctlError(
                f"--option columns: {part} names {len(found[role])} columns; a box has one or four"
            )
    return found


def own_columns(path: Path, header: Sequence[str], given: str) -> dict[str, int]:
    """Return the positions of those of our columns that the user names."""
    names = [name.strip().lower() for name in header]
    named = said(path, header, given)
    return {ROLES[role]: names.index(columns[0]) for role, columns in named.items() if role in ROLES}


def box_of(names: Sequence[str], given: str) -> BoxColumns | None:
    """Return the columns of a box among names in lower case: those that the user names, or else common ones."""
    for part in given.split(","):
        role, _, columns = part.strip().partition("=")
        if role in ("box", "xywh", "center"):
            kind: Kind = "box" if role == "box" else "xywh" if role == "xywh" else "center"
            return BoxColumns(tuple(column.strip().lower() for column in columns.split(":")), kind)
    return next((box for box in BOXES if set(box.columns) <= set(names)), None)


def implied(first: Sequence[str]) -> list[str]:
    """Return the header of a table that has none, by its first row: RetinaNet's and make-sense's; else an empty list."""
    images = [at for at, cell in enumerate(first) if cell.lower().endswith(IMAGE_SUFFIXES)]
    numbers = [at for at, cell in enumerate(first) if _NUMBER.fullmatch(cell.strip())]
    if len(first) == 6 and images == [0] and numbers[:4] == [1, 2, 3, 4]:
        return ["path", *_CORNERS, "label"]
    if len(first) == 8 and images == [5] and numbers[-6:] == [1, 2, 3, 4, 6, 7]:
        return ["label", *OURS, "path", *SIDES[1]]
    return []
