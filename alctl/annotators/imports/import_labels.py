"""An import of labels from its first step to its last: a file is taken whole, or not at all."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from sqlalchemy import Connection

from alctl.annotators.imports import check, class_list, fit_shapes, match_items, problems, recognise, store
from alctl.annotators.imports.check import CheckedAnswers
from alctl.annotators.imports.problems import LeftOut, Problem
from alctl.annotators.imports.recognise import AUTO, LabelFile
from alctl.annotators.imports.store import Stored
from alctl.database import settings
from alctl.database.bulk import discard
from alctl.database.labels import ImportBatch
from alctl.database.pre_annotations import Kept
from alctl.plugins import Plugins
from alctl.progress import Progress, silent
from alctl.project import Project, required_state


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
    unknown_images: Literal["", "refuse", "leave"] = ""
    """What to do with answers about images that are not in the pool; empty: refuse those of a CSV, leave others."""
    options: Mapping[str, str] = field(default_factory=dict)
    """What the format cannot know; remembered by the project."""


@dataclass(frozen=True)
class Imported:
    """What an import did."""

    file: str
    format: str = ""
    recognised: str = ""
    """What the file was taken for; empty if its format was given."""
    options: Mapping[str, str] = field(default_factory=dict)
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
    kept: list[Kept] = field(default_factory=list)
    """For each round whose predictions it answers: how many are answered by now, and how many were left as they were."""
    trainable: bool = True
    """Whether there is a model for the project's task."""
    earlier: int | None = None
    """The earlier import of a file with the same bytes."""


@dataclass(frozen=True)
class _Staged:
    """The answers of a file in temporary tables, each checked, matched to its image and fitted to it."""

    changes: int
    """`settings.changes` of the state that they were compared with."""
    checked: CheckedAnswers
    left_out: LeftOut


def import_labels(
    project: Project, file: Path, options: ImportOptions, progress: Progress = silent
) -> Imported:
    """Take the labels of a file in one transaction; BadRowsError lists every problem unless ``skip_bad``.

    Others may write while the file is read, checked and matched. If they have changed what it was compared with,
    that is done once more while they wait.
    """
    source = recognise.label_file(project, file, options.format, options.options, options.annotator)
    with project.reading() as connection:
        known = recognise.imported_before(connection, source) is not None
        staged = None if known else _stage(connection, project, source, options, progress)
        with project.completing("import-labels", connection, progress):
            if not options.dry_run:
                recognise.remember_options(connection, source)
            if (earlier := recognise.imported_before(connection, source)) is not None:
                return _nothing_new(source, earlier)
            if staged is None or staged.changes != settings.changes(connection):
                staged = _stage(connection, project, source, options, progress)
            new_classes = class_list.add_new(connection, staged.checked.classes)
            stored = store.store(connection, source, staged.left_out, new_classes, dry_run=options.dry_run)
            if options.dry_run:
                discard(connection)
    return _imported(source, staged.checked, staged.left_out, new_classes, stored)


def _stage(
    connection: Connection, project: Project, source: LabelFile, options: ImportOptions, progress: Progress
) -> _Staged:
    """Read a file and compare it with the state that the connection sees; nothing but temporary tables is written."""
    changes, task = settings.changes(connection), required_state(connection, project.folder).task
    checked = check.check(
        connection, source, task, options.annotator, progress, add_classes=options.add_classes
    )
    leave = (options.unknown_images or ("refuse" if source.format == "csv" else "leave")) == "leave"
    ambiguous = match_items.match(connection, options.round, checked.notes, leave_unknown=leave)
    fit_shapes.fit(connection, checked)
    left_out = problems.left_out(
        connection, source.path, checked.refused, ambiguous, skip_bad=options.skip_bad
    )
    class_list.settle(connection, checked.classes, ordered=checked.ordered)
    return _Staged(changes, checked, left_out)


def _nothing_new(source: LabelFile, earlier: ImportBatch) -> Imported:
    """Return the result for a file of which an earlier import took everything."""
    return Imported(
        source.name,
        source.format,
        source.recognised,
        source.options,
        unchanged=sum(earlier.counts.values()),
        earlier=earlier.id,
    )


def _imported(
    source: LabelFile, checked: CheckedAnswers, left_out: LeftOut, new_classes: Iterable[str], stored: Stored
) -> Imported:
    """Put together what the steps found and did."""
    counts = stored.counts
    return Imported(
        source.name,
        source.format,
        source.recognised,
        source.options,
        stored.batch,
        counts.added,
        counts.changed,
        counts.unchanged,
        counts.confirmed,
        counts.outdated,
        stored.unusable,
        counts.outside,
        counts.unknown,
        left_out.unknown_paths,
        dict(checked.notes),
        list(new_classes),
        left_out.refused,
        stored.rejected_file,
        stored.kept,
        trainable=checked.task in Plugins("alctl.model.tasks", object).names(),
    )
