"""The project's own row: its task, root folder and seed."""

from dataclasses import dataclass

from sqlalchemy import Connection, insert, select

from alctl.database.bulk import run
from alctl.database.tables import project


@dataclass(frozen=True)
class ProjectRow:
    """What was settled when the project was made."""

    root: str
    """The folder that the paths of the images are relative to; `alctl relink` changes it."""
    task: str
    seed: int
    created_at: str


def create_project(connection: Connection, *, root: str, task: str, seed: int, now: str) -> None:
    """Write the one row that makes this database a project."""
    connection.execute(insert(project).values(id=1, root=root, task=task, seed=seed, created_at=now))


def project_row(connection: Connection) -> ProjectRow | None:
    """Return the project's own row; None where `init` never finished."""
    row = connection.execute(select(project)).first()
    return None if row is None else ProjectRow(row.root, row.task, row.seed, row.created_at)


def set_seed(connection: Connection, seed: int) -> None:
    """Give the project another seed; for a copy of a project in which nothing was drawn yet."""
    run(connection, "UPDATE project SET seed = :seed", seed=seed)
