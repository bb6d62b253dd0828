"""What was asked once and holds from then on."""

from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, insert

from alctl.database.bulk import run
from alctl.database.tables import setting

if TYPE_CHECKING:
    from alctl.images.levels import Levels

EMBEDDING = "embedding"
"""The backbone of the project's embeddings: ``name`` as one types it, and the ``key`` of the table of its vectors."""
LEVELS = "levels"
"""What black and white are in images of more than 8 bits, by kind."""

CHANGES = "changes"
"""How often commands have written to what imports match answers with: images, classes, rounds."""
NEAR_DUPLICATES = "near-duplicates"
"""Followed by the key of a table: the cosine from which two of its vectors are of near-duplicates."""
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


def changes(connection: Connection) -> int:
    """Return a number that is another one once images, classes or rounds may have changed."""
    return int(read(connection, CHANGES) or 0)


def note_change(connection: Connection) -> None:
    """Let whoever has read images, classes or rounds before see that they may have changed."""
    write(connection, CHANGES, changes(connection) + 1)


def levels(connection: Connection) -> "Levels":
    """Return what black and white are in each kind of image of more than 8 bits that the project has met."""
    from alctl.images.levels import KINDS, Range  # Pillow, which few commands need

    found = read(connection, LEVELS) or {}
    return {kind: Range(*found[kind]) for kind in KINDS if kind in found}


def write_levels(connection: Connection, found: "Levels") -> None:
    """Write down what black and white are."""
    write(connection, LEVELS, {kind: list(range_) for kind, range_ in found.items()})
