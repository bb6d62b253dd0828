"""Label files in: every problem of the whole file is found first; then it is taken whole, or not at all."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection

from alctl.annotators.imports import fit_shapes, match_items
from alctl.annotators.imports.check import Intake
from alctl.annotators.imports.class_list import ClassList
from alctl.annotators.imports.problems import BadRowsError, Problem, explain, write_rejected
from alctl.annotators.imports.recognise import digest_of, reader_for, recognised, stamp_of, unchanged
from alctl.annotators.untouched_files import untouched
from alctl.database import (
    categories,
    labels,
    pre_annotations,
    rounds,
    rounds_out,
    staged_labels,
    staged_problems,
)
from alctl.database.bulk import discard
from alctl.errors import AlctlError
from alctl.labels.annotation import LabeledImage, Note, Record
from alctl.labels.text import as_text
from alctl.plugins import Plugins
from alctl.progress import Progress, silent
from alctl.project import Project, now, required_state

T = TypeVar("T")
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
        counts = staged_labels.decide_fates(connection)
        taken = {
            fate: counts.get(fate, 0) for fate in ("added", "changed", "unchanged", "outside", "outdated")
        }
        result.added, result.changed, result.unchanged, result.outside, result.outdated = taken.values()
        result.confirmed = counts.get("confirmed", 0)
        result.unusable = staged_labels.of_unusable(connection)
        if result.added or result.changed or result.confirmed:
            recorded = {
                **taken,
                "confirmed": result.confirmed,
                "rejected": len(problems),
                "unknown": result.unknown,
            }
            before = pre_annotations.kept(connection)
            result.batch = staged_labels.write_batch(
                connection, file=result.file, digest=digest, kind=result.format, counts=recorded, now=now()
            )
            result.kept = [row for row in pre_annotations.kept(connection) if row not in before]
        if options.dry_run:
            discard(connection)
            result.batch = None
        elif problems:
            result.rejected_file = as_text(str(write_rejected(file, result.format, problems)))
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
    result.trainable = task in Plugins("alctl.model.tasks", object).names()
    intake = Intake(task, classes, options.annotator)
    staged_labels.stage(connection, _counted(intake.rows(records), progress))
    if not intake.answers and not intake.refused:
        held = intake.nothing()
        raise AlctlError(f"{file} holds no label that could be imported{f' ({held})' if held else ''}")
    ambiguous = match_items.match(connection)
    if options.round is not None:
        _keep_to_round(connection, options.round)
    leave = (options.unknown_images or ("refuse" if result.format == "csv" else "leave")) == "leave"
    staged_problems.find_problems(connection, ambiguous, leave_unknown=leave)
    fit_shapes.fit(connection, intake)
    staged_problems.find_repeats(connection)
    problems = [*intake.refused, *explain(connection, ambiguous)]
    problems.sort(key=lambda problem: (problem.where, problem.line))
    if problems and not options.skip_bad:
        raise BadRowsError(file, problems)
    result.unknown_paths = staged_problems.left_paths(connection)
    result.unknown = len(result.unknown_paths)
    if result.unknown and not staged_problems.matched(connection):
        raise AlctlError(_all_unknown(file, result.unknown_paths))
    fit_shapes.settle_classes(connection, intake)
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
    if rounds_out.asked_since(connection, earlier["id"]):
        return False  # the same answers may be the answers to a later round
    leans = counts.get("unchanged") or counts.get("outdated")
    return not (leans and any(row["undone_at"] for row in labels.imports(connection)))


def _keep_to_round(connection: Connection, number: int) -> None:
    if rounds.find_round(connection, number) is None:
        raise AlctlError(f"there is no round {number}; the last one is {rounds.next_round(connection) - 1}")
    staged_labels.keep_to_round(connection, number)
