"""What was asked once and holds from then on."""

from typing import Any

from sqlalchemy import Connection, insert

from alctl.database.bulk import run
from alctl.database.tables import setting

EMBEDDING = "embedding"
"""The backbone of the project's embeddings: ``name`` as one types it, and the ``key`` of the table of its vectors."""

MEAN = "embedding mean"
"""Followed by the key of a table: the mean of the pool's unit vectors, which probes are fitted with."""


def read(connection: Connection, name: str) -> Any:
    """Return a setting, None if it was never made."""
    row = connection.execute(setting.select().where(setting.c.name == name)).mappings().first()
    return row["value"] if row else None


def write(connection: Connection, name: str, value: Any) -> None:
    """Make a setting, replacing the earlier one."""
    run(connection, "DELETE FROM setting WHERE name = :name", name=name)
    connection.execute(insert(setting).values(name=name, value=value))
