"""Items: staging what a scan found, merging it into the pool, reserving, quarantining, re-linking."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Column, Connection, Integer, LargeBinary, MetaData, Table, Text, insert, select, text

from alctl.annotation import Split
from alctl.chance import stream
from alctl.pool.bulk import as_rows, fresh_table, insert_rows, mappings, run, scalar
from alctl.schema import item, project, reserved, unusable

if TYPE_CHECKING:
    from alctl.pool.ids import Ids

staged = Table(
    "staged_item",
    MetaData(),
    Column("position", Integer, primary_key=True),
    Column("path", Text, nullable=False),
    Column("digest", LargeBinary(32)),
    Column("width", Integer),
    Column("height", Integer),
    Column("problem", Text),
    Column("split", Text, nullable=False),
    Column("category", Text),
    Column("fate", Text),  # new, known, duplicate, broken, repaired, changed, or repeated: listed before
    prefixes=["TEMPORARY"],
)


class Item(NamedTuple):
    """One image of the pool; ``path`` is relative to the dataset root."""

    id: int
    path: str
    digest: bytes | None
    width: int | None
    height: int | None


class StagedItem(NamedTuple):
    """One file that a scan found, on its way into the pool."""

    position: int
    path: str
    digest: bytes | None
    width: int | None
    height: int | None
    problem: str | None
    split: Split
    category: str | None
    fate: str | None = None


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


def size(connection: Connection) -> int:
    """Return the number of items: the highest id, because ids have no gaps."""
    return int(scalar(connection, "SELECT coalesce(max(id), 0) FROM item"))


def stage(connection: Connection, rows: Iterable[StagedItem]) -> None:
    """Put found files into a fresh temporary table."""
    fresh_table(connection, staged)
    insert_rows(connection, staged, rows)


_TEST_FIRST = "CASE split WHEN 'test' THEN 0 WHEN 'validation' THEN 1 ELSE 2 END, position"


def decide_fates(connection: Connection) -> dict[str, int]:
    """Decide for every staged file what it is to the pool; return the count of each fate.

    Of several files with the same bytes one becomes an item: a test image before a validation image before a pool
    image, so that nothing that is trained on is ever a test image too, then the first path. A file that a manifest
    lists in several rows is decided once, by the same rule.
    """
    run(
        connection,
        f"""UPDATE staged_item SET fate = 'repeated'
           FROM (SELECT position, row_number() OVER (PARTITION BY path ORDER BY {_TEST_FIRST}) AS place
                 FROM staged_item) AS ranked
           WHERE ranked.position = staged_item.position AND ranked.place > 1""",
    )
    run(
        connection,
        """UPDATE staged_item SET fate = CASE
             WHEN i.digest = staged_item.digest THEN 'known'
             WHEN i.digest IS NULL AND staged_item.problem IS NOT NULL THEN 'known'
             WHEN i.digest IS NULL AND NOT EXISTS (SELECT 1 FROM item AS o WHERE o.digest = staged_item.digest)
               THEN 'repaired'
             ELSE 'changed' END
           FROM item AS i WHERE i.path = staged_item.path AND staged_item.fate IS NULL""",
    )
    run(
        connection,
        """UPDATE staged_item SET fate = CASE WHEN i.digest = staged_item.digest THEN 'known' ELSE 'changed' END
           FROM duplicate AS d JOIN item AS i ON i.id = d.item_id
           WHERE d.path = staged_item.path AND staged_item.fate IS NULL""",
    )
    run(connection, "UPDATE staged_item SET fate = 'broken' WHERE fate IS NULL AND problem IS NOT NULL")
    run(
        connection,
        """UPDATE staged_item SET fate = 'duplicate'
           FROM item AS i WHERE i.digest = staged_item.digest AND staged_item.fate IS NULL""",
    )
    run(
        connection,
        f"""UPDATE staged_item SET fate = CASE
             WHEN staged_item.fate IS NULL THEN CASE ranked.place WHEN 1 THEN 'new' ELSE 'duplicate' END
             WHEN ranked.place > 1 THEN 'changed' ELSE staged_item.fate END
           FROM (SELECT position, row_number() OVER (PARTITION BY digest ORDER BY
                   CASE fate WHEN 'repaired' THEN 0 ELSE 1 END, {_TEST_FIRST}) AS place
                 FROM staged_item WHERE fate IS NULL OR fate = 'repaired') AS ranked
           WHERE ranked.position = staged_item.position""",
    )
    counts = run(connection, "SELECT fate, count(*) FROM staged_item GROUP BY fate")
    return dict(counts.all())


def merge(connection: Connection) -> None:
    """Make items of the staged files whose fate is new, broken or repaired; note the duplicates."""
    run(
        connection,
        """INSERT INTO item (id, path, digest, width, height)
           SELECT :base + row_number() OVER (ORDER BY position), path, digest, width, height
           FROM staged_item WHERE fate IN ('new', 'broken')""",
        base=size(connection),
    )
    run(
        connection,
        """UPDATE item SET digest = s.digest, width = s.width, height = s.height
           FROM staged_item AS s WHERE s.path = item.path AND s.fate = 'repaired'""",
    )
    run(
        connection,
        """DELETE FROM unusable WHERE item_id IN
           (SELECT i.id FROM item AS i JOIN staged_item AS s ON s.path = i.path WHERE s.fate = 'repaired')""",
    )
    run(
        connection,
        """INSERT INTO unusable (item_id, reason)
           SELECT i.id, s.problem FROM staged_item AS s JOIN item AS i ON i.path = s.path WHERE s.fate = 'broken'""",
    )
    run(
        connection,
        """INSERT INTO duplicate (path, item_id)
           SELECT s.path, i.id FROM staged_item AS s JOIN item AS i ON i.digest = s.digest
           WHERE s.fate = 'duplicate'""",
    )
    run(
        connection,
        """INSERT INTO reserved (item_id, split)
           SELECT i.id, s.split FROM staged_item AS s JOIN item AS i ON i.path = s.path
           WHERE s.fate IN ('new', 'broken') AND s.split <> 'pool'""",
    )


def staged_files(connection: Connection, *fates: str) -> list[Mapping[str, Any]]:
    """Return path, problem and, for a duplicate, the path of its item, for the staged files of these fates."""
    return mappings(
        connection,
        f"""SELECT s.path, s.problem, s.fate, i.path AS same_as
            FROM staged_item AS s LEFT JOIN item AS i ON i.digest = s.digest AND s.fate = 'duplicate'
            WHERE s.fate IN ({", ".join(f"'{fate}'" for fate in fates)}) ORDER BY s.position""",
    )


def rename_staged(connection: Connection, names: Mapping[str, str]) -> None:
    """Give staged files of a class that was renamed or merged the present name of their class."""
    for name, present in names.items():
        run(
            connection,
            "UPDATE staged_item SET category = :present WHERE category = :name",
            name=name,
            present=present,
        )


def staged_categories(connection: Connection) -> list[str]:
    """Return the distinct classes that the staged files name, sorted."""
    rows = run(connection, "SELECT DISTINCT category FROM staged_item WHERE category IS NOT NULL")
    return sorted(row[0] for row in rows)  # here, because databases order text differently


def contradictions(connection: Connection) -> list[Mapping[str, Any]]:
    """Return path and class of staged files whose bytes are the same but whose classes are not."""
    return mappings(
        connection,
        """SELECT path, category FROM staged_item WHERE category IS NOT NULL AND digest IN
             (SELECT digest FROM staged_item WHERE category IS NOT NULL AND digest IS NOT NULL
              GROUP BY digest HAVING count(DISTINCT category) > 1)
           ORDER BY digest, position""",
    )


def reserve(connection: Connection, split: Split, n: int, seed: int) -> int:
    """Reserve ``n`` random usable items of the pool for ever; return how many there were.

    One that was selected or learned from before stays what it is: it can no longer measure anything.
    """
    from alctl.pool.ids import RandomOrder

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
    from alctl.pool.ids import chunks

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


def quarantine(connection: Connection, reasons: Mapping[int, str]) -> None:
    """Mark items as unusable, each with its reason; one that is already keeps its own."""
    rows, bound = as_rows(connection, list(reasons))
    query = f"SELECT item_id FROM unusable WHERE item_id IN (SELECT value FROM {rows} AS r)"
    known = {row[0] for row in run(connection, query, ids=bound)}
    insert_rows(connection, unusable, sorted((i, why) for i, why in reasons.items() if i not in known))


def unusable_items(connection: Connection, limit: int = 1_000) -> list[Mapping[str, Any]]:
    """Return id, path and reason of the unusable items."""
    return mappings(
        connection,
        """SELECT i.id, i.path, u.reason FROM unusable AS u JOIN item AS i ON i.id = u.item_id
           ORDER BY i.id LIMIT :limit""",
        limit=limit,
    )


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
