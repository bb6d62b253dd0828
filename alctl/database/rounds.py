"""Rounds: what they may choose from (`subset` draws the random subset of the pool), and how they are recorded.

The order that the subset is drawn in is made in `random_order`; `alctl.rounds.select` asks for it, once a round.
"""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING

from sqlalchemy import Connection, insert

from alctl.chance import stream
from alctl.database.bulk import as_rows, insert_rows, mappings, run, scalar
from alctl.database.items import GONE, size
from alctl.database.rounds_out import Terms, terms_of
from alctl.database.tables import round_, selection

if TYPE_CHECKING:
    from alctl.database.random_order import Ids

CONTROL = "control"
"""Why an item was picked that is there to compare the strategy with."""
_BLOCK = 8_192
_PATIENCE = 64
"""Blocks that are tried along the random order before all items are looked at, when few of them are left."""


@dataclass(frozen=True)
class Round:
    """A recorded round."""

    id: int
    strategy: str
    params: Mapping[str, object]
    """The strategy's parameters, the terms for annotators, and what the guard said of the predicted losses."""
    seed: int
    requested: int
    candidates: int
    """Unlabeled items that were in the subset."""
    run_id: int | None
    """The training run whose model scored the items."""
    created_at: str
    due_at: str | None = None

    @property
    def terms(self) -> Terms:
        """How the round is shared among annotators."""
        return terms_of(self.params)


@dataclass(frozen=True)
class Chosen:
    """An item that a round chooses."""

    item: int
    rank: int | None
    """1 is best; None for a reserved item that goes out with the first round."""
    score: float | None
    why: str


@dataclass(frozen=True)
class Pick:
    """An item that a recorded round chose, with what is known of its image."""

    item_id: int
    path: str
    """Relative to the folder of images."""
    digest: bytes
    """SHA-256 of the file."""
    width: int | None
    """Pixels, upright."""
    height: int | None
    rank: int | None
    score: float | None
    why: str


def subset(connection: Connection, n: int, seed: int, round_id: int, *, resend: bool = False) -> "Ids":
    """Draw the random subset: up to ``n`` unlabeled items of the pool, the first ones of a random order of all items.

    The order depends on the seed and the round only, so every strategy sees the same subset (LL4AL, section 3.1),
    and an item that drops out is replaced by the next one. ``n`` = 0 means all. Items that are out with annotators
    or were skipped by them are left out unless ``resend``. The ids are ascending.

    To draw it otherwise, such as evenly from each source folder, change which of the free items are taken here;
    `alctl.rounds.select` takes whatever ids this returns.
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


def write_round(connection: Connection, made: Round, chosen: Sequence[Chosen]) -> None:
    """Write a round and the items that it chooses."""
    connection.execute(insert(round_).values(**vars(made)))
    insert_rows(connection, selection, ((made.id, *astuple(one)) for one in chosen))


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


def find_round(connection: Connection, number: int) -> Round | None:
    """Return what is recorded of a round, None if there is no such round."""
    row = connection.execute(round_.select().where(round_.c.id == number)).mappings().first()
    return None if row is None else Round(**dict(row))


def picks(connection: Connection, number: int, *, recalled: bool = True) -> list[Pick]:
    """Return the items that a round chose; best first, then the reserved.

    With ``recalled`` also those that were taken back from the annotators, or are gone.
    """
    out = """AND s.recalled_at IS NULL
             AND s.item_id NOT IN (SELECT item_id FROM unusable WHERE reason = :gone)"""
    found = mappings(
        connection,
        f"""SELECT s.item_id, i.path, i.digest, i.width, i.height, s.rank, s.score, s.why
            FROM selection AS s JOIN item AS i ON i.id = s.item_id
            WHERE s.round_id = :number {"" if recalled else out}
            ORDER BY s.rank IS NULL, s.rank, s.why DESC, s.item_id""",
        number=number,
        **({} if recalled else {"gone": GONE}),
    )
    return [Pick(**row) for row in found]


def picked_by_strategies(connection: Connection) -> list[int]:
    """Return the items that a strategy other than random chose in some round, ascending."""
    rows = run(
        connection,
        """SELECT DISTINCT s.item_id FROM selection AS s JOIN round AS r ON r.id = s.round_id
           WHERE s.why = 'picked' AND r.strategy <> 'random' ORDER BY s.item_id""",
    )
    return [int(row[0]) for row in rows]
