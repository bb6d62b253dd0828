"""Images on their way in: staged, told apart from those that are known, and merged into the pool."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from sqlalchemy import Column, Connection, Integer, LargeBinary, MetaData, Table, Text

from alctl.database.bulk import fresh_table, insert_rows, mappings, run
from alctl.database.items import GONE, size
from alctl.labels.annotation import Split

ImageFate = Literal["new", "known", "duplicate", "broken", "repaired", "changed", "repeated", "found again"]
"""What a found file is to the pool: an item to be made; an item already; other bytes than the item of its path has;
or a file that a manifest has listed before. A duplicate has the bytes of an item, a broken one cannot be read, and a
repaired one could not be read before. One that is found again has the bytes of an item whose own file is gone."""

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
    Column("columns", Text),  # a JSON object, as in item_columns
    Column("fate", Text),  # an ImageFate; NULL: none yet
    prefixes=["TEMPORARY"],
)


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
    columns: str | None = None
    """What a manifest says of it beside label and split, a JSON object."""
    fate: ImageFate | None = None


@dataclass(frozen=True)
class StagedFile:
    """What became of a staged file."""

    path: str
    problem: str | None
    """What is wrong with a broken one."""
    fate: str
    same_as: str | None
    """Of a duplicate, the path of its item."""


@dataclass(frozen=True)
class Contradiction:
    """A staged file whose bytes another one has, under another class."""

    path: str
    category: str


def stage(connection: Connection, rows: Iterable[StagedItem]) -> None:
    """Put found files into a fresh temporary table."""
    fresh_table(connection, staged)
    insert_rows(connection, staged, rows)


_TEST_FIRST = "CASE split WHEN 'test' THEN 0 WHEN 'validation' THEN 1 ELSE 2 END, position"


def decide_fates(connection: Connection, is_there: Callable[[str], bool]) -> dict[str, int]:
    """Decide for every staged file what it is to the pool; return the count of each fate.

    Of several files with the same bytes one becomes an item: a test image before a validation image before a pool
    image, so that nothing that is trained on is ever a test image too, then the first path. A file that a manifest
    lists in several rows is decided once, by the same rule. ``is_there`` tells whether an item's path is a file.
    """
    run(
        connection,
        f"""UPDATE staged_item SET fate = 'repeated'
           FROM (SELECT position, row_number() OVER (PARTITION BY path ORDER BY {_TEST_FIRST}) AS place
                 FROM staged_item) AS ranked
           WHERE ranked.position = staged_item.position AND ranked.place > 1""",
    )
    _find_known(connection)
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
    _find_again(connection, is_there)
    counts = run(connection, "SELECT fate, count(*) FROM staged_item GROUP BY fate")
    return dict(counts.all())


def _find_again(connection: Connection, is_there: Callable[[str], bool]) -> None:
    """Decide which files take the place of an item's own: it is gone, or was taken out of the project as gone."""
    rows = run(
        connection,
        """SELECT i.id, i.path, s.position, s.path AS found
           FROM staged_item AS s JOIN item AS i ON i.digest = s.digest
           LEFT JOIN unusable AS u ON u.item_id = i.id AND u.reason = :gone
           WHERE s.fate IN ('known', 'duplicate') AND (s.path <> i.path OR u.item_id IS NOT NULL)
           ORDER BY i.id, CASE WHEN s.path = i.path THEN 0 ELSE 1 END, s.position""",
        gone=GONE,
    ).all()
    first = {row.id: row for row in reversed(rows)}
    again = [row.position for row in first.values() if row.found == row.path or not is_there(row.path)]
    for position in again:
        run(
            connection,
            "UPDATE staged_item SET fate = 'found again' WHERE position = :position",
            position=position,
        )


def _find_known(connection: Connection) -> None:
    """Decide about the staged files with the path of an item, or of a duplicate of one."""
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


def merge(connection: Connection) -> None:
    """Make items of the staged files whose fate is new, broken or repaired; note duplicates and further columns."""
    run(
        connection,
        """INSERT INTO item (id, path, digest, width, height)
           SELECT :base + row_number() OVER (ORDER BY position), path, digest, width, height
           FROM staged_item WHERE fate IN ('new', 'broken')""",
        base=size(connection),
    )
    _repair(connection)
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
    _describe(connection)


def _describe(connection: Connection) -> None:
    """Keep what a manifest says of its images; of one that is known already it replaces what was said before."""
    described = """staged_item AS s JOIN item AS i ON i.path = s.path
        WHERE s.columns IS NOT NULL AND s.fate IN ('new', 'broken', 'known', 'repaired')"""
    run(connection, f"DELETE FROM item_columns WHERE item_id IN (SELECT i.id FROM {described})")
    run(connection, f"INSERT INTO item_columns (item_id, columns) SELECT i.id, s.columns FROM {described}")


def _repair(connection: Connection) -> None:
    """Give items the files that are whole now, or were found again."""
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
        "DELETE FROM duplicate WHERE path IN (SELECT path FROM staged_item WHERE fate = 'found again')",
    )
    run(
        connection,
        """UPDATE item SET path = s.path FROM staged_item AS s WHERE s.digest = item.digest AND s.fate = 'found again'""",
    )
    no_longer_gone(connection, "s.fate = 'found again'")


def no_longer_gone(connection: Connection, condition: str = "1 = 1") -> None:
    """Take back the items that were taken out as gone and have the bytes of a staged file ``s`` that the SQL is true of."""
    run(
        connection,
        f"""DELETE FROM unusable WHERE reason = :gone AND item_id IN
            (SELECT i.id FROM item AS i JOIN staged_item AS s ON s.digest = i.digest WHERE {condition})""",
        gone=GONE,
    )


def staged_files(connection: Connection, *fates: str) -> list[StagedFile]:
    """Return the staged files of these fates, in the order in which they were found."""
    rows = mappings(
        connection,
        f"""SELECT s.path, s.problem, s.fate, i.path AS same_as
            FROM staged_item AS s LEFT JOIN item AS i ON i.digest = s.digest AND s.fate = 'duplicate'
            WHERE s.fate IN ({", ".join(f"'{fate}'" for fate in fates)}) ORDER BY s.position""",
    )
    return [StagedFile(**row) for row in rows]


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


def contradictions(connection: Connection) -> list[Contradiction]:
    """Return the staged files whose bytes are the same but whose classes are not."""
    rows = mappings(
        connection,
        """SELECT path, category FROM staged_item WHERE category IS NOT NULL AND digest IN
             (SELECT digest FROM staged_item WHERE category IS NOT NULL AND digest IS NOT NULL
              GROUP BY digest HAVING count(DISTINCT category) > 1)
           ORDER BY digest, position""",
    )
    return [Contradiction(**row) for row in rows]
