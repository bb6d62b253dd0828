"""Labels: staging what a file says, matching it to items, finding its problems, writing it, taking it back."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from sqlalchemy import Column, Connection, Float, Integer, MetaData, Table, Text, insert

from alctl.pool.bulk import fresh_table, insert_rows, mappings, run, scalar
from alctl.schema import import_batch

_UNDONE = "(SELECT id FROM import_batch WHERE undone_at IS NOT NULL)"

IN_FORCE = f"""(SELECT id, item_id, annotator, status, category_id, annotations FROM label
  WHERE import_id NOT IN {_UNDONE} AND NOT EXISTS (SELECT 1 FROM label AS later
    WHERE later.item_id = label.item_id AND later.annotator = label.annotator AND later.id > label.id
      AND later.import_id NOT IN {_UNDONE}))"""
"""The newest label of each annotator for each item, without undone imports."""

CONSENSUS = f"""(SELECT item_id, status, category_id, annotations FROM (
    SELECT item_id, status, category_id, annotations, row_number() OVER (PARTITION BY item_id
      ORDER BY CASE status WHEN 'skip' THEN 1 ELSE 0 END, count(*) DESC, max(id) DESC) AS place
    FROM {IN_FORCE} AS f GROUP BY item_id, status, category_id, annotations) AS v
  WHERE place = 1)"""
"""What holds for each answered item: the majority of its annotators, ties to the newest; a skip abstains."""

staged = Table(
    "staged_label",
    MetaData(),
    Column("position", Integer, primary_key=True),
    Column("line", Integer, nullable=False),
    Column("item", Integer),  # the id that the file gives
    Column("path", Text, nullable=False),  # the path that the file gives, with forward slashes
    Column("annotator", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("category", Text),
    Column("annotations", Text),
    Column("seconds", Float),
    Column("item_id", Integer),  # the item it was matched to
    Column("category_id", Integer),
    Column(
        "fate", Text
    ),  # added, changed, unchanged, outside (of the round asked for), or the kind of a problem
    prefixes=["TEMPORARY"],
)

known_path = Table(
    "known_path",
    MetaData(),
    Column("path", Text, primary_key=True),
    Column("item_id", Integer),
    prefixes=["TEMPORARY"],
)


class StagedLabel(NamedTuple):
    """One answer of a file, on its way to the label table."""

    position: int
    line: int
    item: int | None
    path: str
    annotator: str
    status: str
    category: str | None
    annotations: str | None
    seconds: float | None
    item_id: int | None = None
    category_id: int | None = None
    fate: str | None = None


def stage(connection: Connection, rows: Iterable[StagedLabel]) -> None:
    """Put a file's answers into a fresh temporary table."""
    fresh_table(connection, staged)
    insert_rows(connection, staged, rows)


def match_exactly(connection: Connection) -> None:
    """Match staged answers to items by id, then by path, then by the path of a duplicate."""
    run(
        connection,
        "UPDATE staged_label SET item_id = item WHERE EXISTS (SELECT 1 FROM item AS i WHERE i.id = staged_label.item)",
    )
    for known in ("SELECT path, id FROM item", "SELECT path, item_id AS id FROM duplicate"):
        run(
            connection,
            f"""UPDATE staged_label SET item_id = known.id FROM ({known}) AS known
                WHERE known.path = staged_label.path AND staged_label.item IS NULL AND item_id IS NULL""",
        )


def unmatched_paths(connection: Connection) -> list[str]:
    """Return the distinct paths of staged answers that no item was found for."""
    rows = run(
        connection,
        "SELECT DISTINCT path FROM staged_label WHERE item_id IS NULL AND item IS NULL AND path <> ''",
    )
    return [row[0] for row in rows]


def match_paths(connection: Connection, found: Mapping[str, int]) -> None:
    """Match the staged answers with these paths to these items."""
    fresh_table(connection, known_path)
    insert_rows(connection, known_path, found.items())
    run(
        connection,
        """UPDATE staged_label SET item_id = k.item_id FROM known_path AS k
           WHERE k.path = staged_label.path AND staged_label.item IS NULL""",
    )


def ids_of_paths(connection: Connection, names: Iterable[str]) -> dict[str, int]:
    """Return the item of each of these paths that is an item's or a duplicate's."""
    fresh_table(connection, known_path)
    insert_rows(connection, known_path, ((name, None) for name in sorted(set(names))))
    found: dict[str, int] = {}
    for known in ("SELECT path, item_id AS id FROM duplicate", "SELECT path, id FROM item"):
        rows = run(
            connection, f"SELECT k.path, o.id FROM known_path AS k JOIN ({known}) AS o ON o.path = k.path"
        )
        found.update(rows.all())
    return found


def match_categories(connection: Connection) -> None:
    """Fill in the id of each staged class that is in the class list."""
    run(
        connection,
        "UPDATE staged_label SET category_id = c.id FROM category AS c WHERE c.name = staged_label.category",
    )


def find_problems(connection: Connection) -> None:
    """Mark staged answers that name no item or no class, or that repeat or contradict another of the same annotator."""
    run(connection, "CREATE INDEX ix_staged_label ON staged_label (item_id, annotator, line)")
    run(connection, "UPDATE staged_label SET fate = 'unknown item' WHERE item_id IS NULL AND fate IS NULL")
    run(
        connection,
        """UPDATE staged_label SET fate = 'other path' FROM item AS i
           WHERE staged_label.fate IS NULL AND i.id = staged_label.item_id AND staged_label.item IS NOT NULL AND staged_label.path <> ''
             AND replace(i.path, '\\', '/') <> staged_label.path
             AND substr(staged_label.path, length(staged_label.path) - length(i.path)) <> '/' || i.path
             AND substr(i.path, length(i.path) - length(staged_label.path)) <> '/' || staged_label.path
             AND NOT EXISTS (SELECT 1 FROM duplicate AS d WHERE d.item_id = i.id AND d.path = staged_label.path)""",
    )
    run(
        connection,
        """UPDATE staged_label SET fate = 'unknown class'
           WHERE category IS NOT NULL AND category_id IS NULL AND fate IS NULL""",
    )
    run(
        connection,
        """UPDATE staged_label SET fate = CASE WHEN g.answers > 1 THEN 'contradiction' ELSE 'repeated' END
           FROM (SELECT item_id, annotator, min(position) AS first, count(*) AS n,
                        count(DISTINCT status || coalesce(category, '') || coalesce(annotations, '')) AS answers
                 FROM staged_label WHERE fate IS NULL GROUP BY item_id, annotator) AS g
           WHERE g.n > 1 AND g.item_id = staged_label.item_id AND g.annotator = staged_label.annotator
             AND staged_label.fate IS NULL AND (g.answers > 1 OR staged_label.position > g.first)""",
    )


def problems(connection: Connection) -> list[Mapping[str, Any]]:
    """Return the staged answers that have a problem, in the file's order, with what it takes to explain it."""
    return mappings(
        connection,
        """SELECT s.position, s.line, s.item, s.path, s.annotator, s.category, s.status, s.fate, i.path AS item_path,
             (SELECT o.line FROM staged_label AS o WHERE o.item_id = s.item_id AND o.annotator = s.annotator
                AND o.position <> s.position ORDER BY o.line LIMIT 1) AS other_line
           FROM staged_label AS s LEFT JOIN item AS i ON i.id = s.item_id
           WHERE s.fate IS NOT NULL AND s.fate <> 'outside' ORDER BY s.position""",
    )


def keep_to_round(connection: Connection, round_id: int) -> None:
    """Set aside the staged answers whose items did not go out with the round."""
    run(
        connection,
        """UPDATE staged_label SET fate = 'outside' WHERE fate IS NULL
           AND item_id NOT IN (SELECT item_id FROM selection WHERE round_id = :round)""",
        round=round_id,
    )


def decide_fates(connection: Connection) -> dict[str, int]:
    """Compare the staged answers with the labels in force; return how many are added, changed, unchanged, outside."""
    run(
        connection,
        f"""UPDATE staged_label SET fate = CASE WHEN f.status = staged_label.status
               AND coalesce(f.category_id, 0) = coalesce(staged_label.category_id, 0)
               AND coalesce(f.annotations, '') = coalesce(staged_label.annotations, '')
             THEN 'unchanged' ELSE 'changed' END
           FROM {IN_FORCE} AS f
           WHERE f.item_id = staged_label.item_id AND f.annotator = staged_label.annotator
             AND staged_label.fate IS NULL""",
    )
    run(connection, "UPDATE staged_label SET fate = 'added' WHERE fate IS NULL")
    return dict(run(connection, "SELECT fate, count(*) FROM staged_label GROUP BY fate").all())


def write_batch(
    connection: Connection, *, file: str, digest: str, kind: str, counts: dict[str, int], now: str
) -> int:
    """Write an import batch and the staged answers that are added or changed; return the batch's number."""
    batch = int(scalar(connection, "SELECT coalesce(max(id), 0) + 1 FROM import_batch"))
    connection.execute(
        insert(import_batch).values(
            id=batch, file=file, digest=digest, format=kind, counts=counts, created_at=now
        )
    )
    run(
        connection,
        """INSERT INTO label (id, item_id, import_id, annotator, status, category_id, annotations, seconds, created_at)
           SELECT (SELECT coalesce(max(id), 0) FROM label) + row_number() OVER (ORDER BY position),
             item_id, :batch, annotator, status, category_id, annotations, seconds, :now
           FROM staged_label WHERE fate IN ('added', 'changed')""",
        batch=batch,
        now=now,
    )
    return batch


def write_initial(connection: Connection, *, source: str, now: str) -> int:
    """Write the classes that the staged files of a scan name as labels of the items that are new or repaired."""
    known = """SELECT digest, min(category) AS name FROM staged_item WHERE digest IS NOT NULL GROUP BY digest
               HAVING count(DISTINCT category) = 1
                 AND sum(CASE WHEN fate IN ('new', 'repaired') THEN 1 ELSE 0 END) > 0"""
    rows = f"""FROM ({known}) AS k JOIN item AS i ON i.digest = k.digest
               JOIN category AS c ON c.name = k.name"""
    count = int(scalar(connection, f"SELECT count(*) {rows}"))
    if not count:
        return 0
    batch = write_batch_row(connection, source=source, now=now, count=count)
    run(
        connection,
        f"""INSERT INTO label (id, item_id, import_id, annotator, status, category_id, created_at)
            SELECT (SELECT coalesce(max(id), 0) FROM label) + row_number() OVER (ORDER BY i.id),
              i.id, :batch, 'dataset', 'labeled', c.id, :now {rows}""",
        batch=batch,
        now=now,
    )
    return count


def write_batch_row(connection: Connection, *, source: str, now: str, count: int) -> int:
    """Write the import batch of a dataset's own labels; return its number."""
    batch = int(scalar(connection, "SELECT coalesce(max(id), 0) + 1 FROM import_batch"))
    connection.execute(
        insert(import_batch).values(
            id=batch, file=source, digest="", format="dataset", counts={"added": count}, created_at=now
        )
    )
    return batch


def earlier_import(connection: Connection, digest: str) -> Mapping[str, Any] | None:
    """Return the first import in force of a file with these bytes."""
    return next(
        (row for row in imports(connection) if row["digest"] == digest and not row["undone_at"]), None
    )


def imports(connection: Connection) -> list[Mapping[str, Any]]:
    """Return every import, oldest first."""
    rows = connection.execute(import_batch.select().order_by(import_batch.c.id)).mappings()
    return [dict(row) for row in rows]


def undo(connection: Connection, batch: int, now: str) -> int:
    """Take the labels of an import out of force; return how many there were. They stay in the history."""
    run(connection, "UPDATE import_batch SET undone_at = :now WHERE id = :batch", now=now, batch=batch)
    return int(scalar(connection, "SELECT count(*) FROM label WHERE import_id = :batch", batch=batch))


def labeled_items(connection: Connection, split: str) -> list[tuple[int, int | None, str | None]]:
    """Return item, class and annotations of the usable labeled items of a split, by item."""
    membership = (
        "NOT IN (SELECT item_id FROM reserved)"
        if split == "pool"
        else ("IN (SELECT item_id FROM reserved WHERE split = :split)")
    )
    rows = run(
        connection,
        f"""SELECT c.item_id, c.category_id, c.annotations FROM {CONSENSUS} AS c
            WHERE c.status = 'labeled' AND c.item_id {membership}
              AND c.item_id NOT IN (SELECT item_id FROM unusable) ORDER BY c.item_id""",
        **({} if split == "pool" else {"split": split}),
    )
    return [(int(row[0]), row[1], row[2]) for row in rows]


def staged_categories(connection: Connection) -> list[str]:
    """Return the distinct classes of the staged answers, in the order of the file."""
    rows = run(
        connection,
        """SELECT category FROM staged_label WHERE category IS NOT NULL
           GROUP BY category ORDER BY min(position)""",
    )
    return [row[0] for row in rows]


def of_unusable(connection: Connection) -> int:
    """Return how many staged answers with a class are of images that cannot be used."""
    return int(
        scalar(
            connection,
            """SELECT count(*) FROM staged_label WHERE fate IN ('added', 'changed') AND status = 'labeled'
               AND item_id IN (SELECT item_id FROM unusable)""",
        )
    )
