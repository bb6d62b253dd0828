"""Rounds: the random subset of the pool, selections, and the training runs that scored them."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, insert

from alctl.chance import stream
from alctl.database.bulk import as_rows, insert_rows, mappings, run, scalar
from alctl.database.items import size
from alctl.database.tables import round_, selection

if TYPE_CHECKING:
    from alctl.database.random_order import Ids

_BLOCK = 8_192
_PATIENCE = 64
"""Blocks that are tried along the random order before all items are looked at, when few of them are left."""


def subset(connection: Connection, n: int, seed: int, round_id: int, *, resend: bool = False) -> "Ids":
    """Return up to ``n`` unlabeled items of the pool, ascending: the first ones of a random order of all items.

    The order depends on the seed and the round only, so every strategy sees the same subset (LL4AL, section 3.1),
    and an item that drops out is replaced by the next one. ``n`` = 0 means all. Items that are out with annotators
    or were skipped by them are left out unless ``resend``.
    """
    import numpy as np

    from alctl.database.random_order import RandomOrder

    order = RandomOrder(size(connection), stream(seed, "subset", round_id))
    found: list[Ids] = []
    for start in range(0, min(order.n, _PATIENCE * _BLOCK) if n else 0, _BLOCK):
        found.append(free_of(connection, order.ids(start, start + _BLOCK), resend=resend))
        if sum(map(len, found)) >= n:
            return np.sort(np.concatenate(found)[:n])
    free = _all_free(connection, resend=resend)
    if n and n < len(free):
        free = np.sort(free[np.argsort(order.places(free), kind="stable")[:n]])
    return free


_ANSWERED = ("label AS l CROSS JOIN import_batch AS b", "b.id = l.import_id AND b.undone_at IS NULL")
_NOT_A_SKIP = """ AND l.status <> 'skip' AND NOT EXISTS (
    SELECT 1 FROM label AS n JOIN import_batch AS m ON m.id = n.import_id
    WHERE n.item_id = l.item_id AND n.annotator = l.annotator AND n.id > l.id AND m.undone_at IS NULL)"""
"""An answer that still stands and is not a skip: no newer one of the same annotator replaced it."""


def _taken(*, resend: bool) -> list[tuple[str, str]]:
    """Return tables and condition of every reason for which an item may not be selected."""
    reasons = [("reserved", "1 = 1"), ("unusable", "1 = 1")]
    if resend:
        return [*reasons, (_ANSWERED[0], _ANSWERED[1] + _NOT_A_SKIP)]
    return [*reasons, _ANSWERED, ("selection", "recalled_at IS NULL")]


def free_of(connection: Connection, ids: "Ids", *, resend: bool) -> "Ids":
    """Return those of ``ids``, in their order, that may be selected."""
    import numpy as np

    rows, bound = as_rows(connection, ids)
    # CROSS JOIN makes SQLite go from the ids to the tables; PostgreSQL needs joins to plan well without statistics.
    taken = " UNION ".join(
        f"SELECT value FROM r CROSS JOIN {tables} WHERE item_id = value AND {condition}"
        for tables, condition in _taken(resend=resend)
    )
    found = run(connection, f"WITH r AS MATERIALIZED (SELECT value FROM {rows} AS v) {taken}", ids=bound)
    return ids[~np.isin(ids, np.fromiter((row[0] for row in found), dtype=np.int64))]


def _all_free(connection: Connection, *, resend: bool) -> "Ids":
    """Return every item that may be selected, ascending."""
    import numpy as np

    free = np.ones(size(connection), dtype=bool)
    for (item_id,) in run(connection, _all_taken(resend=resend)):
        free[item_id - 1] = False
    return np.flatnonzero(free).astype(np.int64) + 1


def _all_taken(*, resend: bool) -> str:
    return " UNION ".join(
        f"SELECT item_id FROM {tables} WHERE {condition}" for tables, condition in _taken(resend=resend)
    )


def unlabeled(connection: Connection, *, resend: bool = False) -> int:
    """Return how many items may be selected."""
    taken = scalar(connection, f"SELECT count(*) FROM ({_all_taken(resend=resend)}) AS t")
    return size(connection) - int(taken)


def next_round(connection: Connection) -> int:
    """Return the number of the round that comes next, from 1."""
    return int(scalar(connection, "SELECT coalesce(max(id), 0) + 1 FROM round"))


def write_round(connection: Connection, values: Mapping[str, Any], picks: Sequence[tuple[Any, ...]]) -> None:
    """Write a round and its selection; a pick is (round, item, rank, score, why)."""
    connection.execute(insert(round_).values(**values))
    insert_rows(connection, selection, picks)


def unsent_reserved(connection: Connection) -> list[tuple[int, str]]:
    """Return item and split of the reserved items that are neither labeled nor out."""
    rows = run(
        connection,
        """SELECT r.item_id, r.split FROM reserved AS r
           WHERE NOT EXISTS (SELECT 1 FROM selection AS s WHERE s.item_id = r.item_id AND s.recalled_at IS NULL)
             AND NOT EXISTS (SELECT 1 FROM unusable AS u WHERE u.item_id = r.item_id)
             AND NOT EXISTS (SELECT 1 FROM label AS l JOIN import_batch AS b ON b.id = l.import_id
                             WHERE l.item_id = r.item_id AND b.undone_at IS NULL)
           ORDER BY r.split DESC, r.item_id""",
    )
    return [(int(row[0]), str(row[1])) for row in rows]


def round_row(connection: Connection, number: int) -> Mapping[str, Any] | None:
    """Return what is recorded of a round, None if there is no such round."""
    row = connection.execute(round_.select().where(round_.c.id == number)).mappings().first()
    return dict(row) if row else None


def picks(connection: Connection, number: int, *, recalled: bool = True) -> list[Mapping[str, Any]]:
    """Return the items of a round with path, digest, size, rank, score and reason; best first, then the reserved.

    With ``recalled`` also those that were taken back from the annotators.
    """
    return mappings(
        connection,
        f"""SELECT s.item_id, i.path, i.digest, i.width, i.height, s.rank, s.score, s.why
            FROM selection AS s JOIN item AS i ON i.id = s.item_id
            WHERE s.round_id = :number {"" if recalled else "AND s.recalled_at IS NULL"}
            ORDER BY s.rank IS NULL, s.rank, s.why DESC, s.item_id""",
        number=number,
    )


CONTROL = "control"
"""Why an item was picked that is there to compare the strategy with."""
