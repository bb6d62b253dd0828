"""Take an import back, and with it the classes that only it brought."""

from dataclasses import dataclass, field

from sqlalchemy import Connection

from alctl.database import categories, classes_of_imports, labels, training_runs
from alctl.database.bulk import discard
from alctl.errors import AlctlError
from alctl.project import Project, now


@dataclass(frozen=True)
class Undone:
    """What is no longer in force."""

    labels: int
    classes: list[str] = field(default_factory=list)
    """Those that were taken back; an import, or `alctl classes add`, may bring them again."""
    kept: dict[str, str] = field(default_factory=dict)
    """Why other classes that the import brought stay."""


def undo_import(project: Project, batch: int, *, dry_run: bool = False) -> Undone:
    """Take one import out of force; its labels stay in the history."""
    with project.writing("undo-import") as connection:
        found = {known.id: known for known in labels.imports(connection)}
        if batch not in found:
            raise AlctlError(
                f"there is no import {batch}; the imports are: {', '.join(map(str, found)) or 'none yet'}"
            )
        if undone_at := found[batch].undone_at:
            raise AlctlError(f"import {batch} was undone already, {undone_at}")
        count = labels.undo(connection, batch, now())
        done = _without_its_classes(connection, batch, count)
        if dry_run:
            discard(connection)
    return done


def _without_its_classes(connection: Connection, batch: int, count: int) -> Undone:
    """Take back the classes that undone imports brought and nothing else has come to need."""
    undone = {found.id for found in labels.imports(connection) if found.undone_at}
    living = {found.id: found for found in categories.class_list(connection) if found.merged_into is None}
    came = classes_of_imports.brought(connection)
    doubtful = {id_: source for id_, source in came.items() if source in undone and id_ in living}
    done = Undone(count)
    if not doubtful:
        return done
    needed = _needed(connection)
    for id_, source in doubtful.items():
        name = living[id_].name
        if id_ not in needed:
            classes_of_imports.withdraw(connection, id_, name, batch, now())
            done.classes.append(name)
        elif source == batch:
            done.kept[name] = needed[id_]
    return done


def _needed(connection: Connection) -> dict[int, str]:
    """Return for each class that something needs what that is."""
    known = dict.fromkeys(classes_of_imports.changed(connection), "it was changed since")
    for run in training_runs.every_run(connection):
        known |= dict.fromkeys(range(1, len(run.categories) + 1), f"training run {run.id} has learned it")
    return known | dict.fromkeys(classes_of_imports.in_labels(connection), "other labels have it")
