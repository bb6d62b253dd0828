"""Label files in: every problem of the whole file is found first; then it is taken whole, or not at all."""

import csv
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection

from alctl import fitting, matching
from alctl.annotation import LabeledImage, Note, Record
from alctl.errors import AlctlError
from alctl.format import safe_cell
from alctl.incoming import digest_of, reader_for, recognised, stamp_of, unchanged
from alctl.intake import ClassList, Intake, Problem, as_text
from alctl.plugins import Plugins
from alctl.pool import categories, findings, labels, ledger, predictions, rounds, staging
from alctl.pool.bulk import discard
from alctl.progress import Progress, silent
from alctl.project import Project, now, required_state
from alctl.untouched import untouched

T = TypeVar("T")
SHOWN = 20
"""Problems in an error message; --json and the rejected file hold all of them."""
AUTO = "auto"
UNTOUCHED = "files are as they were handed out and were left: nobody has worked in them yet"


@dataclass(frozen=True)
class ImportOptions:
    """How a file of labels is taken."""

    format: str = AUTO
    annotator: str = ""
    """Whose labels they are where the file does not say."""
    round: int | None = None
    """Take only items of this round; others are counted and left."""
    add_classes: bool = False
    skip_bad: bool = False
    dry_run: bool = False
    unknown_images: str = ""
    """"refuse" or "leave" answers about images that are not in the pool; empty: refuse for a CSV, else leave."""
    options: Mapping[str, str] = field(default_factory=dict)
    """What the format cannot know; remembered by the project."""


@dataclass
class Imported:
    """What an import did."""

    file: str
    format: str = ""
    recognised: str = ""
    """What the file was taken for; empty if its format was given."""
    options: dict[str, Any] = field(default_factory=dict)
    """The format's options, given now or remembered."""
    batch: int | None = None
    """The number that `undo-import` takes; None if nothing changed."""
    added: int = 0
    changed: int = 0
    unchanged: int = 0
    confirmed: int = 0
    """Answers that their annotators were asked for once more, and gave again."""
    outdated: int = 0
    """Answers that their annotators have replaced since; the newer ones stay."""
    unusable: int = 0
    """Labels of images that cannot be used: they are kept, but nothing learns from them."""
    outside: int = 0
    """Rows of items that are not in the round asked for."""
    unknown: int = 0
    """Images that are not in the pool and were left."""
    unknown_paths: list[str] = field(default_factory=list)
    notes: dict[str, int] = field(default_factory=dict)
    """What was done to the labels or left out, and how often."""
    new_classes: list[str] = field(default_factory=list)
    rejected: list[Problem] = field(default_factory=list)
    rejected_file: str | None = None
    kept: list[dict[str, int]] = field(default_factory=list)
    """For each round whose predictions it answers: how many are answered by now, and how many were left as they were."""
    trainable: bool = True
    """Whether there is a model for the project's task."""
    earlier: int | None = None
    """The earlier import of a file with the same bytes."""


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


def import_labels(
    project: Project, file: Path, options: ImportOptions, progress: Progress = silent
) -> Imported:
    """Take the labels of a file, all or nothing; BadRowsError lists every problem unless ``skip_bad``."""
    result = Imported(as_text(str(file)), options.format)
    if file.exists() and not (file.is_file() or file.is_dir()):
        raise AlctlError(f"{file} is neither a file nor a folder; save what it gives to a file first")
    with project.reading() as connection:
        left = untouched(connection, file)
    if options.format == AUTO:
        result.format, result.recognised = recognised(file, options.options)
    with project.writing("import-labels") as connection:
        reader, result.options = reader_for(connection, result.format, options.options)
        stamp = stamp_of(file)
        digest = digest_of(file, {"annotator": options.annotator, "format": result.format, **result.options})
        if (earlier := labels.earlier_import(connection, digest)) and _holds(connection, earlier):
            result.earlier = earlier["id"]
            result.unchanged = sum(earlier["counts"].values())
            return result
        records = unchanged(_worked_on(reader.read(file), left), file, stamp)
        problems = _take(connection, project, file, records, options, result, progress)
        counts = staging.decide_fates(connection)
        taken = {
            fate: counts.get(fate, 0) for fate in ("added", "changed", "unchanged", "outside", "outdated")
        }
        result.added, result.changed, result.unchanged, result.outside, result.outdated = taken.values()
        result.confirmed = counts.get("confirmed", 0)
        result.unusable = staging.of_unusable(connection)
        if result.added or result.changed or result.confirmed:
            recorded = {
                **taken,
                "confirmed": result.confirmed,
                "rejected": len(problems),
                "unknown": result.unknown,
            }
            before = predictions.kept(connection)
            result.batch = staging.write_batch(
                connection, file=result.file, digest=digest, kind=result.format, counts=recorded, now=now()
            )
            result.kept = [row for row in predictions.kept(connection) if row not in before]
        if options.dry_run:
            discard(connection)
            result.batch = None
        elif problems:
            result.rejected_file = as_text(str(_write_rejected(file, result.format, problems)))
    return result


def _take(
    connection: Connection,
    project: Project,
    file: Path,
    records: Iterable[Record],
    options: ImportOptions,
    result: Imported,
    progress: Progress,
) -> list[Problem]:
    """Stage the file, match it, find its problems, fit its shapes; return the problems if they are to be skipped."""
    classes = class_list(connection, add=options.add_classes)
    task = required_state(connection, project.folder)["task"]
    result.trainable = task in Plugins("alctl.tasks", object).names()
    intake = Intake(task, classes, options.annotator)
    staging.stage(connection, _counted(intake.rows(records), progress))
    if not intake.answers and not intake.refused:
        held = intake.nothing()
        raise AlctlError(f"{file} holds no label that could be imported{f' ({held})' if held else ''}")
    ambiguous = matching.match(connection)
    if options.round is not None:
        _keep_to_round(connection, options.round)
    leave = (options.unknown_images or ("refuse" if result.format == "csv" else "leave")) == "leave"
    findings.find_problems(connection, ambiguous, leave_unknown=leave)
    fitting.fit(connection, intake)
    findings.find_repeats(connection)
    problems = [*intake.refused, *_explain(connection, ambiguous)]
    problems.sort(key=lambda problem: (problem.where, problem.line))
    if problems and not options.skip_bad:
        raise BadRowsError(file, problems)
    result.unknown_paths = findings.left_paths(connection)
    result.unknown = len(result.unknown_paths)
    if result.unknown and not findings.matched(connection):
        raise AlctlError(_all_unknown(file, result.unknown_paths))
    fitting.settle_classes(connection, intake)
    result.new_classes = categories.add_classes(connection, classes.new)
    categories.learn_keypoints(connection, classes.keypoints)
    result.rejected, result.notes = problems, dict(intake.notes)
    return problems


def _worked_on(records: Iterable[Record], alone: Collection[str]) -> Iterator[Record]:
    """Leave out the answers in files that are still as annotators got them: what the model said is no answer."""
    left = 0
    for record in records:
        if isinstance(record, LabeledImage) and record.where in alone:
            left += 1
        else:
            yield record
    if left:
        yield Note(UNTOUCHED, left)


def _counted(rows: Iterable[T], progress: Progress) -> Iterator[T]:
    for n, row in enumerate(rows, start=1):
        if n % 1_000 == 0:
            progress("reading labels", n, 0)
        yield row


def class_list(connection: Connection, *, add: bool) -> ClassList:
    """Return the project's classes as a file's names are compared with them."""
    ids, keypoints = categories.resolver(connection), categories.keypoints_of_classes(connection)
    return ClassList(ids, keypoints, len(categories.categories(connection)), add)


def _all_unknown(file: Path, paths: Sequence[str]) -> str:
    first = ", ".join(map(repr, paths[:3]))
    return (
        f"none of the {len(paths):,} images of {file} is in the pool (the first are {first}): "
        "is it the file of another project, or does `alctl add` have to come first?"
    )


def _holds(connection: Connection, earlier: Mapping[str, Any]) -> bool:
    """Tell whether an earlier import of the same bytes left nothing over, and leaned on no import that was undone."""
    counts = earlier["counts"]
    if any(counts.get(left) for left in ("rejected", "outside", "unknown")):
        return False
    if ledger.asked_since(connection, earlier["id"]):
        return False  # the same answers may be the answers to a later round
    leans = counts.get("unchanged") or counts.get("outdated")
    return not (leans and any(row["undone_at"] for row in labels.imports(connection)))


def _keep_to_round(connection: Connection, number: int) -> None:
    if rounds.round_row(connection, number) is None:
        raise AlctlError(f"there is no round {number}; the last one is {rounds.next_round(connection) - 1}")
    staging.keep_to_round(connection, number)


def _explain(connection: Connection, ambiguous: Mapping[str, Sequence[str]]) -> Iterator[Problem]:
    """Turn each staged problem into a sentence."""
    for row in findings.problems(connection):
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


def _write_rejected(file: Path, kind: str, problems: Sequence[Problem]) -> Path:
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
