"""Training runs: recorded whole, and read back."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, insert

from alctl.database.bulk import insert_rows, run, scalar
from alctl.database.tables import training_item, training_run


def next_run(connection: Connection) -> int:
    """Return the number of the training run that comes next, from 1."""
    return int(scalar(connection, "SELECT coalesce(max(id), 0) + 1 FROM training_run"))


def write_run(connection: Connection, number: int, values: Mapping[str, Any], items: Sequence[int]) -> None:
    """Write a finished training run and the items it learned from."""
    connection.execute(insert(training_run).values(id=number, **values))
    insert_rows(connection, training_item, [(number, item_id) for item_id in items])


def every_run(connection: Connection) -> list[Mapping[str, Any]]:
    """Return every training run, oldest first."""
    rows = connection.execute(training_run.select().order_by(training_run.c.id)).mappings()
    return [dict(row) for row in rows]


def last_run(connection: Connection, fingerprint: str | None = None) -> Mapping[str, Any] | None:
    """Return the newest training run, or the newest with this fingerprint; None if there is none."""
    number = run(
        connection,
        "SELECT max(id) FROM training_run WHERE :any OR fingerprint = :fingerprint",
        any=fingerprint is None,
        fingerprint=fingerprint or "",
    ).scalar()
    if number is None:
        return None
    return dict(connection.execute(training_run.select().where(training_run.c.id == number)).mappings().one())
