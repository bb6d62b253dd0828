"""Labels: which are in force, what their consensus is, a dataset's own ones, and taking an import back."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import Connection, insert

from alctl.database.bulk import mappings, run, scalar
from alctl.database.in_force import CONSENSUS, IN_FORCE, membership
from alctl.database.tables import import_batch


@dataclass(frozen=True)
class ImportCounts:
    """What became of the answers of an import; the first six are fates (`alctl.database.fates`)."""

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    outside: int = 0
    outdated: int = 0
    confirmed: int = 0
    rejected: int = 0
    unknown: int = 0
    """Images that are not in the pool and were left."""


@dataclass(frozen=True)
class ImportBatch:
    """One import of labels."""

    id: int
    file: str
    digest: str
    """SHA-256 of the file and of how it was read, hexadecimal; empty for the labels of a dataset."""
    format: str
    counts: Mapping[str, int]
    """As they were recorded; `counted` gives them their names."""
    created_at: str
    undone_at: str | None
    """An undone import keeps its labels, but they are no longer in force."""

    @property
    def counted(self) -> ImportCounts:
        """What became of its answers; an import of an earlier version may have counted less."""
        return ImportCounts(**{known.name: self.counts.get(known.name, 0) for known in fields(ImportCounts)})


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


def earlier_import(connection: Connection, digest: str) -> ImportBatch | None:
    """Return the newest import in force of a file with these bytes."""
    found = [batch for batch in imports(connection) if batch.digest == digest and not batch.undone_at]
    return found[-1] if found else None


def imports(connection: Connection) -> list[ImportBatch]:
    """Return every import, oldest first."""
    rows = connection.execute(import_batch.select().order_by(import_batch.c.id)).mappings()
    return [ImportBatch(**row) for row in rows]


def undo(connection: Connection, batch: int, now: str) -> int:
    """Take the labels of an import out of force; return how many there were. They stay in the history."""
    run(connection, "UPDATE import_batch SET undone_at = :now WHERE id = :batch", now=now, batch=batch)
    return int(scalar(connection, "SELECT count(*) FROM label WHERE import_id = :batch", batch=batch))


def labeled_ids(connection: Connection) -> list[int]:
    """Return the usable labeled items of the pool, by item."""
    rows = run(
        connection,
        f"""SELECT c.item_id FROM {CONSENSUS} AS c
            WHERE c.status = 'labeled' AND {membership("c.item_id", "pool")}
              AND c.item_id NOT IN (SELECT item_id FROM unusable) ORDER BY c.item_id""",
    )
    return [int(row[0]) for row in rows]


def labeled_items(connection: Connection, split: str) -> list[tuple[int, int | None, str | None]]:
    """Return item, class and annotations of the usable labeled items of a split, by item."""
    rows = run(
        connection,
        f"""SELECT c.item_id, c.category_id, c.annotations FROM {CONSENSUS} AS c
            WHERE c.status = 'labeled' AND {membership("c.item_id", split)}
              AND c.item_id NOT IN (SELECT item_id FROM unusable) ORDER BY c.item_id""",
        **({} if split == "pool" else {"split": split}),
    ).all()
    drawn = drawings_that_hold(connection, split) if any(row[2] is not None for row in rows) else {}
    return [(int(row[0]), row[1], drawn.get(row[0], row[2])) for row in rows]


def drawings_that_hold(connection: Connection, split: str = "", item: int | None = None) -> dict[int, str]:
    """Return the objects of each item, or of one, whose annotators drew different ones: those most like all others'."""
    from alctl.database.consensus import chosen  # which needs SciPy, and what is in this file

    return chosen(connection, split, item)


def with_items(connection: Connection, split: str, *, every_annotator: bool) -> list[Mapping[str, Any]]:
    """Return what holds for every answered item, or each annotator's label in force, with the item; by item.

    ``split`` is "pool", "validation", "test", or empty for all.
    """
    source, whose = (IN_FORCE, "f.annotator") if every_annotator else (CONSENSUS, "NULL")
    more = "l.seconds, l.made_at" if every_annotator else "NULL AS seconds, NULL AS made_at"
    join = "JOIN label AS l ON l.id = f.id" if every_annotator else ""
    rows = mappings(
        connection,
        f"""SELECT f.item_id, i.path, i.digest, i.width, i.height, {whose} AS annotator, f.status, f.category_id,
              f.annotations, {more}
            FROM {source} AS f JOIN item AS i ON i.id = f.item_id {join} LEFT JOIN reserved AS r ON r.item_id = f.item_id
            WHERE :split = '' OR coalesce(r.split, 'pool') = :split ORDER BY f.item_id, 6""",
        split=split,
    )
    if every_annotator or not any(row["annotations"] for row in rows):
        return rows
    drawn = drawings_that_hold(connection, split)
    return [
        {**row, "annotations": drawn.get(row["item_id"], row["annotations"])}
        if row["status"] == "labeled"
        else row
        for row in rows
    ]
