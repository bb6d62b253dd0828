"""The project's own row: its task, root folder and seed."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, insert, select

from alctl.database.bulk import run
from alctl.database.tables import project


def create_project(connection: Connection, *, root: str, task: str, seed: int, now: str) -> None:
    """Write the one row that makes this database a project."""
    connection.execute(insert(project).values(id=1, root=root, task=task, seed=seed, created_at=now))


def project_row(connection: Connection) -> Mapping[str, Any] | None:
    """Return the project's root, task, seed and creation time; None where `init` never finished."""
    row = connection.execute(select(project)).mappings().first()
    return dict(row) if row else None


def set_seed(connection: Connection, seed: int) -> None:
    """Give the project another seed; for a copy of a project in which nothing was drawn yet."""
    run(connection, "UPDATE project SET seed = :seed", seed=seed)
