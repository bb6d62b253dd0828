"""The last step of an import: answers go into the history of labels, refused ones into a table beside the file."""

import csv
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection

from alctl.annotators.imports.problems import LeftOut, Problem, place_of
from alctl.annotators.imports.recognise import LabelFile
from alctl.database import classes_of_imports, pre_annotations, staged_labels
from alctl.database.labels import ImportCounts
from alctl.errors import AlctlError
from alctl.labels.spreadsheet_cells import safe_cell
from alctl.labels.text import as_text
from alctl.project import now


@dataclass(frozen=True)
class Stored:
    """What an import wrote."""

    batch: int | None
    """The number of the import; None if nothing was stored."""
    counts: ImportCounts
    unusable: int
    """Labels of images that cannot be used."""
    kept: list[pre_annotations.Kept]
    """The rows of `pre_annotations.kept` that this import changed."""
    rejected_file: str | None
    """The table of the refused answers, if there are any."""


def store(
    connection: Connection,
    source: LabelFile,
    left_out: LeftOut,
    new_classes: Mapping[str, int],
    *,
    dry_run: bool,
) -> Stored:
    """Write the answers that are new to the history; a dry run writes no file, and its rows are to be discarded."""
    fates = staged_labels.decide_fates(connection)
    counts = ImportCounts(
        added=fates["added"],
        changed=fates["changed"],
        unchanged=fates["unchanged"],
        outside=fates["outside"],
        outdated=fates["outdated"],
        confirmed=fates["confirmed"],
        rejected=len(left_out.refused),
        unknown=len(left_out.unknown_paths),
    )
    unusable = staged_labels.of_unusable(connection)
    batch = None
    kept: list[pre_annotations.Kept] = []
    if counts.added or counts.changed or counts.confirmed:
        before = pre_annotations.kept(connection)
        batch = staged_labels.write_batch(
            connection, file=source.name, digest=source.digest, kind=source.format, counts=counts, now=now()
        )
        classes_of_imports.record_brought(connection, new_classes, batch, now())
        kept = [row for row in pre_annotations.kept(connection) if row not in before]
    rejected_file = None
    if left_out.refused and not dry_run:
        rejected_file = as_text(str(write_rejected(source.path, source.format, left_out.refused)))
    return Stored(None if dry_run else batch, counts, unusable, kept, rejected_file)


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
