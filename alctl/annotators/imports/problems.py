"""What is wrong with a file of labels, as sentences and as a table of the refused rows."""

import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection

from alctl.database import (
    staged_problems,
)
from alctl.errors import AlctlError
from alctl.labels.spreadsheet_cells import safe_cell

SHOWN = 20
"""Problems in an error message; --json and the rejected file hold all of them."""


class Problem(NamedTuple):
    """One answer that cannot be taken."""

    line: int
    problem: str
    where: str = ""


class BadRowsError(AlctlError):
    """The file has problems and nothing was taken; ``problems`` holds all of them."""

    def __init__(self, file: Path, problems: Sequence[Problem]) -> None:
        self.problems = list(problems)
        places: dict[str, list[Problem]] = {}
        for problem in self.problems:
            places.setdefault(problem.problem, []).append(problem)
        shown = [f"  {_places(where)}: {problem}" for problem, where in list(places.items())[:SHOWN]]
        if len(places) > SHOWN:
            shown.append(f"  … and {len(places) - SHOWN:,} more (--json lists all)")
        count = f"{len(self.problems):,} problem{'s' if len(self.problems) > 1 else ''}"
        advice = "mend them, or take the good rows with --skip-bad"
        super().__init__("\n".join([f"{file} has {count}; nothing was imported", *shown, advice]))


def place_of(problem: Problem) -> str:
    """Return "line 7", "labels/a.txt, line 2" or "task 12"."""
    line = f"line {problem.line}" if problem.line else ""
    return ", ".join(filter(None, (problem.where, line))) or "the file"


def _places(problems: Sequence[Problem]) -> str:
    """Return "line 7", or "lines 7, 8, 9 and 40 more"."""
    if len(problems) == 1:
        return place_of(problems[0])
    rest = f" and {len(problems) - 3:,} more" if len(problems) > 3 else ""
    if any(problem.where for problem in problems):
        return f"{'; '.join(place_of(problem) for problem in problems[:3])}{rest}"
    return f"lines {', '.join(str(problem.line) for problem in problems[:3])}{rest}"


def explain(connection: Connection, ambiguous: Mapping[str, Sequence[str]]) -> Iterator[Problem]:
    """Turn each staged problem into a sentence."""
    for row in staged_problems.problems(connection):
        if row["fate"] == "unknown item" and row["item"] is None and row["path"] in ambiguous:
            first, second, *_ = ambiguous[row["path"]]
            several = f"{row['path']!r} may be {first!r} or {second!r}; give the folder too, or the item id"
            yield Problem(row["line"], several, row["place"])
        else:
            yield Problem(row["line"], _sentence(row), row["place"])


def _sentence(row: Mapping[str, Any]) -> str:
    name = row["path"] or row["item_path"]
    other = place_of(Problem(row["other_line"] or 0, "", row["other_place"] or ""))
    size, declared = f"{row['item_width']} × {row['item_height']}", f"{row['width']} × {row['height']}"
    turned = (row["width"], row["height"]) == (row["item_height"], row["item_width"])
    why = "; the tool did not turn it as its EXIF data say" if turned else ""
    reach = ", ".join(f"{row[f'reach_{side}'] or 0:.6g}" for side in ("left", "top", "right", "bottom"))
    return {
        "unknown item": f"item {row['item']} is not in the pool"
        if row["item"]
        else f"{name!r} is not in the pool",
        "other path": f"item {row['item']} is {row['item_path']!r}, not {row['path']!r}: is the file of another project?",
        "other image": f"item {row['item']}, {row['item_path']!r}, has other bytes than the file says: another project?",
        "trouble": row["trouble"] or "",
        "other size": f"{name!r} is {size} pixels, and its labels are for {declared}{why}",
        "no size": f"{name!r} cannot be read, so its labels, which are fractions of its size, mean nothing",
        "over the edge": f"an object of {name!r} reaches over its edge: {reach} in {size} pixels (left, top, right, bottom)",
        "contradiction": f"{name!r} by {row['annotator']} has another label in {other}",
        "repeated": f"{name!r} by {row['annotator']} stands in {other} already",
    }[row["fate"]]


def write_rejected(file: Path, kind: str, problems: Sequence[Problem]) -> Path:
    """Write the rejected rows of a CSV, each with its problem, ready to be mended and imported; else a list of them.

    An import whose rejected rows nobody could find again does not happen.
    """
    target = _free_name(file.resolve() if file.name in ("", "..") else file)
    try:
        _write_rows(file, target, kind, problems)
    except OSError as error:
        raise AlctlError(
            f"cannot write the rejected rows to {target}: {error.strerror}; nothing was imported: move {file} to a "
            "folder where you may write, and give it a shorter name if that is what it takes"
        ) from error
    return target


def _write_rows(file: Path, target: Path, kind: str, problems: Sequence[Problem]) -> None:
    if kind != "csv":
        with target.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(("where", "problem"))
            writer.writerows((safe_cell(place_of(p)), safe_cell(p.problem)) for p in problems)
        return
    wanted = {problem.line for problem in problems}
    with file.open(encoding="utf-8-sig", newline="") as stream:
        first = stream.readline()
        stream.seek(0)
        reader = csv.reader(stream, delimiter=max(",;\t", key=first.count))
        header = next(reader, [])
        numbered = ((reader.line_num, cells) for cells in reader)
        rows = {line: cells for line, cells in numbered if line in wanted}
    with target.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow([*header, "line", "problem"])
        for line, problem, _ in problems:
            cells = rows.get(line, [])
            writer.writerow([*cells, *[""] * (len(header) - len(cells)), line, safe_cell(problem)])


def _free_name(file: Path) -> Path:
    """Return where the rejected rows go: never over a file that somebody may be mending."""
    names = [f"{file.name}.rejected.csv", *(f"{file.name}.rejected.{n}.csv" for n in range(2, 1_000))]
    return next(path for path in map(file.with_name, names) if not os.path.lexists(path))
