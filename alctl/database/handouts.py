"""Where the images of a round went: a folder, or a project on a server, and how far its answers have come back."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, insert, select

from alctl.database.bulk import insert_rows, mappings, run, scalar
from alctl.database.tables import handed_out, handout

_AT_ONCE = 10_000


class Handout(NamedTuple):
    """One round at one place."""

    id: int
    round_id: int
    tool: str
    """The format of the files, or the server they were pushed to."""
    place: str
    """Folder or address."""
    cursor: str | None
    """How far answers have been pulled; None: nothing was, or the place is a folder."""
    created_at: str


def add(connection: Connection, *, round_id: int, tool: str, place: str, now: str) -> int:
    """Record that a round went to a place, unless it is recorded already; return the hand-out's number."""
    for known in find(connection, round_id=round_id, tool=tool):
        if known.place == place:
            return known.id
    number = int(scalar(connection, "SELECT coalesce(max(id), 0) + 1 FROM handout"))
    connection.execute(
        insert(handout).values(id=number, round_id=round_id, tool=tool, place=place, created_at=now)
    )
    return number


def find(
    connection: Connection, *, round_id: int | None = None, tool: str | None = None
) -> Sequence[Handout]:
    """Return the hand-outs of a round, of a tool, or of both; oldest first."""
    rows = mappings(
        connection,
        """SELECT id, round_id, tool, place, cursor, created_at FROM handout
           WHERE (:every_round OR round_id = :round_id) AND (:every_tool OR tool = :tool) ORDER BY id""",
        every_round=round_id is None,
        round_id=round_id or 0,
        every_tool=tool is None,
        tool=tool or "",
    )
    return [Handout(**row) for row in rows]


def set_cursor(connection: Connection, number: int, cursor: str) -> None:
    """Record how far the answers of a hand-out have been pulled."""
    run(connection, "UPDATE handout SET cursor = :cursor WHERE id = :id", cursor=cursor, id=number)


def add_files(connection: Connection, digests: Collection[str]) -> None:
    """Record files as annotators get them, by their digests."""
    new = set(digests) - untouched(connection, digests)
    insert_rows(connection, handed_out, ((digest,) for digest in sorted(new)))


def untouched(connection: Connection, digests: Collection[str]) -> set[str]:
    """Return those digests that are of files as annotators got them."""
    wanted, column = sorted(digests), handed_out.c.digest
    found: set[str] = set()
    for start in range(0, len(wanted), _AT_ONCE):
        part = wanted[start : start + _AT_ONCE]
        found.update(connection.execute(select(column).where(column.in_(part))).scalars())
    return found


def is_address(place: str) -> bool:
    """Tell whether the place of a hand-out is a project of a server, not a folder."""
    return place.startswith(("http://", "https://"))
