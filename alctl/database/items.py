"""Items: staging what a scan found, merging it into the pool, reserving, quarantining, re-linking."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import Connection, select, text

from alctl.chance import stream
from alctl.database.bulk import as_rows, insert_rows, mappings, run, scalar
from alctl.database.tables import item, reserved, unusable
from alctl.labels.annotation import Split

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from alctl.database.random_order import Ids

GONE = "its file is gone"
"""Why an item is unusable that `alctl remove --missing` took out; one whose file is found again is usable again."""
_PART = 100_000  # rows that are objects at once


class Item(NamedTuple):
    """One image of the pool; ``path`` is relative to the dataset root."""

    id: int
    path: str
    digest: bytes | None
    width: int | None
    height: int | None


@dataclass(frozen=True)
class Unusable:
    """An item that is never selected and never trains."""

    id: int
    path: str
    reason: str


def size(connection: Connection) -> int:
    """Return the number of items: the highest id, because ids have no gaps."""
    return int(scalar(connection, "SELECT coalesce(max(id), 0) FROM item"))


def reserve(connection: Connection, split: Split, n: int, seed: int) -> int:
    """Reserve ``n`` random usable items of the pool for ever; return how many there were.

    One that was selected or learned from before stays what it is: it can no longer measure anything.
    """
    from alctl.database.random_order import RandomOrder

    total = size(connection)
    order = RandomOrder(total, stream(seed, "reserve", split))
    found: list[int] = []
    for start in range(0, total, 10_000):
        if len(found) >= n:
            break
        found += _usable_pool(connection, order.ids(start, start + 10_000))
    insert_rows(connection, reserved, [(i, split) for i in sorted(found[:n])])
    return len(found[:n])


def has_split(connection: Connection, split: str) -> bool:
    """Tell whether any item is reserved for the split."""
    return (
        run(connection, "SELECT 1 FROM reserved WHERE split = :split LIMIT 1", split=split).first()
        is not None
    )


def _usable_pool(connection: Connection, ids: "Ids") -> list[int]:
    """Return those of ``ids``, in their order, that are neither reserved, unusable, selected nor learned from."""
    rows, bound = as_rows(connection, ids)
    taken = run(
        connection,
        f"""SELECT value FROM {rows} AS r WHERE value IN (SELECT item_id FROM reserved)
              OR value IN (SELECT item_id FROM unusable) OR value IN (SELECT item_id FROM selection)
              OR value IN (SELECT item_id FROM training_item)""",
        ids=bound,
    )
    out = {row[0] for row in taken}
    return [int(i) for i in ids if int(i) not in out]


def fetch(connection: Connection, ids: "Ids") -> list[Item]:
    """Return the items with these ids, in the order of the ids."""
    from alctl.database.random_order import chunks

    found: dict[int, Item] = {}
    for part in chunks(ids):
        rows, bound = as_rows(connection, part)
        query = f"SELECT id, path, digest, width, height FROM {rows} AS r JOIN item ON id = value"
        for row in run(connection, query, ids=bound):
            found[row.id] = Item._make(row)
    return [found[int(i)] for i in ids]


def usable(connection: Connection, split: str) -> "Ids":
    """Return the ids of the usable items of a split: "pool", "validation", "test" or "all"."""
    import numpy as np

    splits = {"pool": "NOT IN (SELECT item_id FROM reserved)", "all": "IS NOT NULL"}
    condition = splits.get(split, "IN (SELECT item_id FROM reserved WHERE split = :split)")
    rows = run(
        connection,
        f"SELECT id FROM item WHERE id NOT IN (SELECT item_id FROM unusable) AND id {condition} ORDER BY id",
        **({} if split in splits else {"split": split}),
    )
    return np.fromiter((row[0] for row in rows), dtype=np.int64)


def digests(connection: Connection, *, unusable: bool = False) -> "tuple[Ids, NDArray[np.bytes_]]":
    """Return the ids of all usable items, or of all others, ascending, and the SHA-256 of each one's file, 32 bytes."""
    import numpy as np

    which = "IN" if unusable else "NOT IN"

    rows = run(
        connection,
        f"""SELECT id, digest FROM item WHERE digest IS NOT NULL AND id {which} (SELECT item_id FROM unusable)
            ORDER BY id""",
    ).cursor  # the driver's own, whose tuples take a third of the time of SQLAlchemy's rows
    ids, found = [np.empty(0, np.int64)], [b""]
    while part := rows.fetchmany(_PART):
        ids.append(np.fromiter((row[0] for row in part), np.int64, len(part)))
        found.append(b"".join(row[1] for row in part))
    return np.concatenate(ids), np.frombuffer(b"".join(found), "S32")


def count_usable(connection: Connection) -> int:
    """Return the number of usable items, of all splits."""
    return size(connection) - int(scalar(connection, "SELECT count(*) FROM unusable"))


def quarantine(connection: Connection, reasons: Mapping[int, str]) -> None:
    """Mark items as unusable, each with its reason; one that is already keeps its own."""
    rows, bound = as_rows(connection, list(reasons))
    query = f"SELECT item_id FROM unusable WHERE item_id IN (SELECT value FROM {rows} AS r)"
    known = {row[0] for row in run(connection, query, ids=bound)}
    insert_rows(connection, unusable, sorted((i, why) for i, why in reasons.items() if i not in known))


def broken(connection: Connection) -> set[str]:
    """Return the paths of the items whose files could not be read when they were indexed."""
    return {row[0] for row in run(connection, "SELECT path FROM item WHERE digest IS NULL")}


def gone(connection: Connection) -> set[int]:
    """Return the items that were taken out of the project because their files are gone."""
    return {row[0] for row in run(connection, "SELECT item_id FROM unusable WHERE reason = :gone", gone=GONE)}


def unusable_items(connection: Connection, limit: int = 1_000) -> list[Unusable]:
    """Return the first ``limit`` unusable items, by number."""
    rows = mappings(
        connection,
        """SELECT i.id, i.path, u.reason FROM unusable AS u JOIN item AS i ON i.id = u.item_id
           ORDER BY i.id LIMIT :limit""",
        limit=limit,
    )
    return [Unusable(**row) for row in rows]


def relink(connection: Connection, root: str, rebase: Callable[[str], str]) -> tuple[int, list[str]]:
    """Point items at the staged files with the same bytes, below a new root.

    An item that has no digest, because its file is broken, is found where an equally broken file has its path. The
    paths of the items that were not found go through ``rebase``, so that they still name the old place relative to
    the new root. Return how many items were found and the new paths of those that were not.
    """
    run(connection, "UPDATE project SET root = :root", root=root)
    run(connection, "DELETE FROM duplicate")
    run(connection, "CREATE INDEX ix_staged_item ON staged_item (digest)")
    rows = run(
        connection,
        """SELECT i.id, i.path, s.path IS NOT NULL AS here
           FROM item AS i LEFT JOIN staged_item AS s ON i.digest IS NULL AND s.digest IS NULL AND s.path = i.path
           WHERE NOT EXISTS (SELECT 1 FROM staged_item AS o WHERE o.digest = i.digest)""",
    ).all()
    run(connection, "UPDATE item SET path = ':relink:' || id")  # no new path may meet an old one
    run(
        connection,
        """UPDATE item SET path = s.path
           FROM (SELECT digest, min(path) AS path FROM staged_item WHERE digest IS NOT NULL GROUP BY digest) AS s
           WHERE s.digest = item.digest""",
    )
    run(
        connection,
        """INSERT INTO duplicate (path, item_id) SELECT s.path, i.id
           FROM staged_item AS s JOIN item AS i ON i.digest = s.digest WHERE i.path <> s.path""",
    )
    taken = {row[0] for row in run(connection, "SELECT path FROM staged_item")} if rows else set()
    old = {row.id: rebase(row.path) for row in rows if not row.here}
    lost = {id_: f"{path} (item {id_})" if path in taken else path for id_, path in old.items()}
    new = lost | {row.id: row.path for row in rows if row.here}
    if new:
        statement = text("UPDATE item SET path = :path WHERE id = :id")
        connection.execute(statement, [{"id": id_, "path": path} for id_, path in new.items()])
    return size(connection) - len(lost), list(lost.values())


def paths(connection: Connection) -> Iterator[tuple[int, str]]:
    """Stream the id and path of every item."""
    # The option belongs to this statement alone: on the connection it would make every later one a PostgreSQL cursor.
    query = select(item.c.id, item.c.path).execution_options(yield_per=10_000)
    for row in connection.execute(query):
        yield row.id, row.path


def sizes(connection: Connection) -> tuple[int, int]:
    """Return the largest width and height of any item, in pixels; 0, 0 for an empty pool."""
    row = run(connection, "SELECT coalesce(max(width), 0), coalesce(max(height), 0) FROM item").one()
    return int(row[0]), int(row[1])


def oblong(connection: Connection) -> int:
    """Return how many items are at least half as long again as they are wide, or the other way round, as 3 : 2 is."""
    return int(
        scalar(
            connection, "SELECT count(*) FROM item WHERE 2 * width >= 3 * height OR 2 * height >= 3 * width"
        )
    )
