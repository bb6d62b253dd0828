"""Label files in: every problem of the whole file is found first; then it is taken whole, or not at all."""

import csv
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import Connection

from alctl.annotation import Annotation, LabeledImage, Refusal
from alctl.errors import AlctlError
from alctl.format import FORMATS
from alctl.pool import items, labels, rounds
from alctl.pool.bulk import discard
from alctl.pool.labels import StagedLabel
from alctl.project import Project, now

ANONYMOUS = "anonymous"
_EXPORTED = re.compile(r"(\d{7,9})_(.+)")
"""The name that an export gives an image: item and file name."""
SHOWN = 20
"""Problems in an error message; --json and the rejected file hold all of them."""


class Problem(NamedTuple):
    """One row that cannot be taken."""

    line: int
    problem: str


@dataclass(frozen=True)
class ImportOptions:
    """How a file of labels is taken."""

    format: str = "csv"
    annotator: str = ""
    """Whose labels they are where the file does not say."""
    round: int | None = None
    """Take only items of this round; others are counted and left."""
    add_classes: bool = False
    skip_bad: bool = False
    dry_run: bool = False


@dataclass
class Imported:
    """What an import did."""

    file: str
    batch: int | None = None
    """The number that `undo-import` takes; None if nothing changed."""
    added: int = 0
    changed: int = 0
    unchanged: int = 0
    unusable: int = 0
    """Labels of images that cannot be used: they are kept, but nothing learns from them."""
    outside: int = 0
    """Rows of items that are not in the round asked for."""
    new_classes: list[str] = field(default_factory=list)
    rejected: list[Problem] = field(default_factory=list)
    rejected_file: str | None = None
    earlier: int | None = None
    """The earlier import of a file with the same bytes."""


class BadRowsError(AlctlError):
    """The file has problems and nothing was taken; ``problems`` holds all of them."""

    def __init__(self, file: Path, problems: Sequence[Problem]) -> None:
        self.problems = list(problems)
        lines: dict[str, list[int]] = {}
        for line, problem in self.problems:
            lines.setdefault(problem, []).append(line)
        shown = [f"  {_lines(where)}: {problem}" for problem, where in list(lines.items())[:SHOWN]]
        if len(lines) > SHOWN:
            shown.append(f"  … and {len(lines) - SHOWN:,} more (--json lists all)")
        count = f"{len(self.problems):,} problem{'s' if len(self.problems) > 1 else ''}"
        advice = "mend them, or take the good rows with --skip-bad"
        super().__init__("\n".join([f"{file} has {count}; nothing was imported", *shown, advice]))


def _lines(where: Sequence[int]) -> str:
    """Return "line 7", or "lines 7, 8, 9 and 40 more"."""
    if len(where) == 1:
        return f"line {where[0]}"
    rest = f" and {len(where) - 3:,} more" if len(where) > 3 else ""
    return f"lines {', '.join(map(str, where[:3]))}{rest}"


def import_labels(project: Project, file: Path, options: ImportOptions) -> Imported:
    """Take the labels of a file, all or nothing; BadRowsError lists every problem unless ``skip_bad``."""
    digest = _digest(file, options.annotator)
    result = Imported(str(file))
    with project.writing("import-labels") as connection:
        if (earlier := labels.earlier_import(connection, digest)) and _took_all(earlier):
            result.earlier = earlier["id"]
            result.unchanged = sum(earlier["counts"].values())
            return result
        refusals = _stage(connection, file, options)
        ambiguous = _match(connection)
        result.new_classes = _match_classes(connection, add=options.add_classes)
        if options.round is not None:
            _keep_to_round(connection, options.round)
        labels.find_problems(connection)
        problems = sorted([*refusals, *_explain(connection, ambiguous)])
        if problems and not options.skip_bad:
            raise BadRowsError(file, problems)
        result.rejected = problems
        counts = labels.decide_fates(connection)
        taken = {fate: counts.get(fate, 0) for fate in ("added", "changed", "unchanged", "outside")}
        result.added, result.changed, result.unchanged, result.outside = taken.values()
        result.unusable = labels.of_unusable(connection)
        if result.added or result.changed:
            recorded = {**taken, "rejected": len(problems)}
            result.batch = labels.write_batch(
                connection, file=str(file), digest=digest, kind=options.format, counts=recorded, now=now()
            )
        if options.dry_run:
            discard(connection)
            result.batch = None
    if problems and not options.dry_run:
        result.rejected_file = str(_write_rejected(file, problems))
    return result


def _digest(file: Path, annotator: str) -> str:
    """Return the digest of a file as the work of ``annotator``: the same answers of two people are two imports."""
    try:
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256")
        if annotator:
            digest.update(b"\0" + annotator.encode())
        return digest.hexdigest()
    except OSError as error:
        raise AlctlError(f"cannot read {file}: {error.strerror}") from error


def _took_all(earlier: Mapping[str, Any]) -> bool:
    """Tell whether an earlier import of the same bytes left nothing over."""
    return not earlier["counts"].get("rejected") and not earlier["counts"].get("outside")


def _stage(connection: Connection, file: Path, options: ImportOptions) -> list[Problem]:
    """Read the file into a temporary table; return the rows that could not even be read."""
    refusals: list[Problem] = []

    def rows() -> Iterator[StagedLabel]:
        reader = FORMATS.load(options.format)()
        for position, answer in enumerate(reader.read(file)):
            if isinstance(answer, Refusal):
                refusals.append(Problem(*answer))
            else:
                yield _staged(position, answer, options.annotator)

    labels.stage(connection, rows())
    return refusals


def _staged(position: int, answer: LabeledImage, annotator: str) -> StagedLabel:
    category, annotations = _stored(answer)
    path = answer.path.replace("\\", "/") if "\\" in answer.path else answer.path
    return StagedLabel(
        position,
        answer.line,
        answer.item,
        path.removeprefix("./"),
        answer.annotator or annotator or ANONYMOUS,
        answer.status,
        category,
        annotations,
        answer.seconds,
    )


def _stored(answer: LabeledImage) -> tuple[str | None, str | None]:
    """Return the whole-image class, or else the objects as canonical JSON."""
    if answer.status != "labeled":
        return None, None
    if len(answer.annotations) == 1 and answer.annotations[0].bbox is None:
        return answer.annotations[0].category, None
    return None, json.dumps(
        [annotation_json(a) for a in answer.annotations], separators=(",", ":"), sort_keys=True
    )


def annotation_json(annotation: Annotation) -> dict[str, Any]:
    """Return an annotation as the label table keeps it: only what it has."""
    return {key: value for key, value in asdict(annotation).items() if value}


def _match(connection: Connection) -> dict[str, list[str]]:
    """Find the item of every staged answer: by id, exact path, end of the path, exported name, then unique name.

    Return the paths that may be several items, with those items' paths.
    """
    labels.match_exactly(connection)
    unmatched = labels.unmatched_paths(connection)
    if not unmatched:
        return {}
    ends = {path: list(_ends(path)) for path in unmatched}
    known = labels.ids_of_paths(connection, {end for some in ends.values() for end in some})
    found = {path: next((known[end] for end in some if end in known), None) for path, some in ends.items()}
    labels.match_paths(connection, {path: id_ for path, id_ in found.items() if id_ is not None})
    rest = [path for path, id_ in found.items() if id_ is None]
    exported = _by_exported_name(connection, rest)
    labels.match_paths(connection, exported)
    named = _by_name(connection, [path for path in rest if path not in exported])
    labels.match_paths(connection, {path: hits[0][0] for path, hits in named.items() if len(hits) == 1})
    return {path: [hit for _, hit in hits] for path, hits in named.items() if len(hits) > 1}


def _ends(path: str) -> Iterator[str]:
    """Yield the ends of a path at its folders, longest first: a file may name its images from another root."""
    parts = PurePosixPath(path).parts
    for start in range(1 if path.startswith("/") else 0, len(parts)):
        yield "/".join(parts[start:])


def _by_exported_name(connection: Connection, rest: Sequence[str]) -> dict[str, int]:
    """Return the items of paths such as ``images/0000023_cat.jpg``, where number and name are those of one item."""
    parts = {path: _EXPORTED.fullmatch(PurePosixPath(path).name) for path in rest}
    numbers = {path: int(match[1]) for path, match in parts.items() if match}
    last = items.size(connection)
    wanted = sorted({n for n in numbers.values() if 0 < n <= last})
    known = {item.id: item for item in items.fetch(connection, np.array(wanted, dtype=np.int64))}
    return {
        path: number
        for path, number in numbers.items()
        if number in known and path.endswith(f"_{PurePosixPath(known[number].path).name}")
    }


def _by_name(connection: Connection, rest: Sequence[str]) -> dict[str, list[tuple[int, str]]]:
    """Return for each path the items whose path ends with it, or else those with the same file name."""
    if not rest:
        return {}
    wanted = {PurePosixPath(path).name for path in rest}
    by_name: dict[str, list[tuple[int, str]]] = {}
    for id_, path in items.paths(connection):
        if (name := PurePosixPath(path).name) in wanted:
            by_name.setdefault(name, []).append((id_, path))
    named = {path: by_name.get(PurePosixPath(path).name, []) for path in rest}
    return {
        path: [hit for hit in hits if hit[1].endswith(f"/{path}")] or hits for path, hits in named.items()
    }


def _match_classes(connection: Connection, *, add: bool) -> list[str]:
    """Find the class of every staged answer; with ``add`` make the ones that are new."""
    new = items.add_categories(connection, labels.staged_categories(connection)) if add else []
    labels.match_categories(connection)
    return new


def _keep_to_round(connection: Connection, number: int) -> None:
    if rounds.round_row(connection, number) is None:
        raise AlctlError(f"there is no round {number}; the last one is {rounds.next_round(connection) - 1}")
    labels.keep_to_round(connection, number)


def _explain(connection: Connection, ambiguous: Mapping[str, Sequence[str]]) -> Iterator[Problem]:
    """Turn each staged problem into a sentence."""
    rows = labels.problems(connection)
    classes = items.categories(connection) if rows else []
    for row in rows:
        if row["fate"] == "unknown item" and row["path"] in ambiguous:
            first, second, *_ = ambiguous[row["path"]]
            several = f"{row['path']!r} may be {first!r} or {second!r}; give the folder too, or the item id"
            yield Problem(row["line"], several)
        else:
            yield Problem(row["line"], _sentence(row, classes))


def _sentence(row: Mapping[str, Any], classes: Sequence[str]) -> str:
    fate, name = row["fate"], row["path"] or row["item_path"]
    if fate == "unknown item":
        return (
            f"item {row['item']} is not in the pool"
            if row["item"] is not None
            else f"{name!r} is not in the pool"
        )
    if fate == "other path":
        return f"item {row['item']} is {row['item_path']!r}, not {row['path']!r}: is the file of another project?"
    if fate == "unknown class":
        return unknown_class(row["category"], classes)
    whose = f"{name!r} by {row['annotator']}"
    if fate == "contradiction":
        return f"{whose} has another label in line {row['other_line']}"
    return f"{whose} stands in line {row['other_line']} already"


def unknown_class(name: str, classes: Sequence[str]) -> str:
    """Return the sentence for a class that is not in the class list, with the nearest one."""
    if not classes:
        return f"class {name!r}: the project has no classes yet; --add-classes takes them from this file"
    near = get_close_matches(name.lower(), [c.lower() for c in classes], n=1)
    hint = next((c for c in classes if near and c.lower() == near[0]), None)
    meant = f"did you mean {hint!r}? " if hint else ""
    return f"class {name!r} is not in the class list; {meant}(--add-classes makes it one)"


def _write_rejected(file: Path, problems: Sequence[Problem]) -> Path:
    """Write the rejected rows of a text file, each with its problem, ready to be mended and imported."""
    target = _free_name(file)
    wanted = {line for line, _ in problems}
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
        for line, problem in problems:
            cells = rows.get(line, [])
            writer.writerow([*cells, *[""] * (len(header) - len(cells)), line, problem])
    return target


def _free_name(file: Path) -> Path:
    """Return where the rejected rows go: never over a file that somebody may be mending."""
    names = [f"{file.name}.rejected.csv", *(f"{file.name}.rejected.{n}.csv" for n in range(2, 1_000))]
    return next(path for path in map(file.with_name, names) if not path.exists())


def undo_import(project: Project, batch: int, *, dry_run: bool = False) -> int:
    """Take one import out of force; its labels stay in the history. Return how many there were."""
    with project.writing("undo-import") as connection:
        found = {row["id"]: row for row in labels.imports(connection)}
        if batch not in found:
            raise AlctlError(
                f"there is no import {batch}; the imports are: {', '.join(map(str, found)) or 'none yet'}"
            )
        if found[batch]["undone_at"]:
            raise AlctlError(f"import {batch} was undone already, {found[batch]['undone_at']}")
        count = labels.undo(connection, batch, now())
        if dry_run:
            discard(connection)
    return count
