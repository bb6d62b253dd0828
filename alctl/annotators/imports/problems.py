"""What is wrong with a file of labels, as a sentence for each answer that is refused."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from sqlalchemy import Connection

from alctl.database import staged_matches, staged_problems
from alctl.database.fates import ProblemFate
from alctl.database.project_row import project_row
from alctl.database.staged_problems import StagedProblem
from alctl.errors import AlctlError
from alctl.images.orientation import is_sideways

SENTENCES: Final[dict[ProblemFate, str]] = {
    "unknown item": "{which} is not in the pool",
    "two names": "it says that it is of {path!r}, and its own name that it is of {also!r}: which of the two is it?",
    "other path": "item {item} is {item_path!r}, not {path!r}: is the file of another project?",
    "other image": "item {item}, {item_path!r}, has other bytes than the file says: another project?",
    "trouble": "{trouble}",
    "other size": "{name!r} is {size} pixels, and its labels are for {declared}{why}",
    "no size": "{name!r} cannot be read, so its labels, which are fractions of its size, mean nothing",
    "over the edge": "an object of {name!r} reaches over its edge: {reach} in {size} pixels (left, top, right, bottom)",
    "contradiction": "{name!r} by {annotator} has another label in {other}",
    "repeated": "{name!r} by {annotator} stands in {other} already",
}
"""Why an answer is refused; `_sentence` fills in the names."""
SHOWN = 20
"""Problems in an error message; --json and the rejected file hold all of them."""


class Problem(NamedTuple):
    """One answer that cannot be taken."""

    line: int
    problem: str
    where: str = ""


class LeftOut(NamedTuple):
    """What of a file is not taken, though it is about this project."""

    refused: list[Problem]
    unknown_paths: list[str]
    """Images that are not in the pool and were left."""


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
        super().__init__(f"{file} has {count}; nothing was imported", *shown, advice)


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


def left_out(
    connection: Connection,
    file: Path,
    unreadable: Sequence[Problem],
    ambiguous: Mapping[str, Sequence[str]],
    *,
    skip_bad: bool,
) -> LeftOut:
    """Return what is not taken; BadRowsError if something is refused, unless ``skip_bad``.

    ``unreadable`` are the problems of what never became an answer; ``ambiguous`` holds for each path that may be
    several images the paths of those. AlctlError if no answer is about an image of the pool.
    """
    refused = [*unreadable, *_explained(connection, ambiguous)]
    refused.sort(key=lambda problem: (problem.where, problem.line))
    if refused and not skip_bad:
        raise BadRowsError(file, refused)
    unknown = staged_problems.left_paths(connection)
    if unknown and not staged_matches.matched(connection):
        first = ", ".join(map(repr, unknown[:3]))
        raise AlctlError(
            f"none of the {len(unknown):,} images of {file} is in the pool (the first are {first}): "
            "is it the file of another project, or does `alctl add` have to come first?"
        )
    return LeftOut(refused, unknown)


def _explained(connection: Connection, ambiguous: Mapping[str, Sequence[str]]) -> Iterator[Problem]:
    """Yield a sentence for each staged answer that is refused."""
    own = project_row(connection)
    root = Path(own.root if own else "")
    for row in staged_problems.problems(connection):
        if row.fate == "unknown item" and row.item is None and row.path in ambiguous:
            first, second, *_ = ambiguous[row.path]
            several = f"{row.path!r} may be {first!r} or {second!r}; give the folder too, or the item id"
            yield Problem(row.line, several, row.place)
        else:
            yield Problem(row.line, _sentence(row, root), row.place)


def _why_turned(root: Path, row: StagedProblem) -> str:
    if is_sideways(root / (row.item_path or "")):
        return "; the tool did not turn it as its EXIF data say"
    return "; its width and height are swapped"


def _sentence(row: StagedProblem, root: Path) -> str:
    name = row.path or row.item_path
    turned = (row.width, row.height) == (row.item_height, row.item_width)
    reach = (row.reach_left, row.reach_top, row.reach_right, row.reach_bottom)
    return SENTENCES[row.fate].format(
        which=f"item {row.item}" if row.item else repr(name),
        item=row.item,
        item_path=row.item_path,
        path=row.path,
        also=row.also,
        name=name,
        trouble=row.trouble or "",
        size=f"{row.item_width} × {row.item_height}",
        declared=f"{row.width} × {row.height}",
        why=_why_turned(root, row) if turned and row.width != row.height else "",
        reach=", ".join(f"{side or 0:.6g}" for side in reach),
        annotator=row.annotator,
        other=place_of(Problem(row.other_line or 0, "", row.other_place or "")),
    )
