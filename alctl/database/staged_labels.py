"""An import on its way in: staging what a file says, matching it to items, finding its problems, writing it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Column, Connection, Float, Integer, LargeBinary, MetaData, Table, Text, insert

from alctl.database import rounds_out
from alctl.database.bulk import as_rows, fresh_table, insert_rows, run, scalar
from alctl.database.in_force import IN_FORCE
from alctl.database.tables import import_batch

staged = Table(
    "staged_label",
    MetaData(),
    Column("position", Integer, primary_key=True),
    Column("line", Integer, nullable=False),
    Column("place", Text, nullable=False),
    Column("item", Integer),  # the id that the file gives
    Column(
        "path", Text, nullable=False
    ),  # the path that the file gives; once it is matched, with forward slashes
    Column("digest", LargeBinary(32)),  # of the image, where the file gives it
    Column("annotator", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("category_id", Integer),
    Column("trouble", Text),  # what is wrong with the answer in itself
    Column("seconds", Float),
    Column("made_at", Text),
    Column("annotations", Text),
    Column("width", Integer),  # of the image, as the file declares it
    Column("height", Integer),
    Column("reach_left", Float),  # how far the objects reach, in pixels or in fractions
    Column("reach_top", Float),
    Column("reach_right", Float),
    Column("reach_bottom", Float),
    Column("relative", Integer),  # 1: coordinates are fractions of width and height
    Column("item_id", Integer),  # the item it was matched to
    Column(
        "fate", Text
    ),  # added, changed, unchanged, older, outside (the round asked for), left, or a problem's kind
    prefixes=["TEMPORARY"],
)

known_path = Table(
    "known_path",
    MetaData(),
    Column("path", Text, primary_key=True),
    Column("item_id", Integer),
    prefixes=["TEMPORARY"],
)

reshaped = Table(
    "reshaped_label",
    MetaData(),
    Column("position", Integer, primary_key=True),
    Column("annotations", Text, nullable=False),
    Column("reach_left", Float),
    Column("reach_top", Float),
    Column("reach_right", Float),
    Column("reach_bottom", Float),
    prefixes=["TEMPORARY"],
)


class StagedLabel(NamedTuple):
    """One answer of a file, on its way to the label table."""

    position: int
    line: int
    place: str
    item: int | None
    path: str
    digest: bytes | None
    annotator: str
    status: str
    category_id: int | None
    trouble: str | None = None
    seconds: float | None = None
    made_at: str | None = None
    annotations: str | None = None
    width: int | None = None
    height: int | None = None
    reach_left: float | None = None
    reach_top: float | None = None
    reach_right: float | None = None
    reach_bottom: float | None = None
    relative: int = 0


def stage(connection: Connection, rows: Iterable[Sequence[Any]]) -> None:
    """Put a file's answers into a fresh temporary table: StagedLabels, or the first columns of some."""
    fresh_table(connection, staged)
    insert_rows(connection, staged, rows)


def match_exactly(connection: Connection) -> None:
    """Match staged answers to items by id, then by the image's digest, then by path, then by a duplicate's path.

    A backslash may stand in a file's name; only in a path that no image has does it divide folders, as on Windows.
    """
    run(
        connection,
        "UPDATE staged_label SET item_id = item WHERE EXISTS (SELECT 1 FROM item AS i WHERE i.id = staged_label.item)",
    )
    run(
        connection,
        """UPDATE staged_label SET item_id = i.id FROM item AS i
           WHERE i.digest = staged_label.digest AND staged_label.item IS NULL AND item_id IS NULL""",
    )
    _match_whole_paths(connection)
    turned = run(
        connection,
        """UPDATE staged_label SET path = replace(CASE WHEN substr(path, 1, 2) = '.\\' THEN substr(path, 3) ELSE path END,
             '\\', '/') WHERE (item IS NOT NULL OR item_id IS NULL) AND replace(path, '\\', '/') <> path""",
    )
    if turned.rowcount:
        _match_whole_paths(connection)


def _match_whole_paths(connection: Connection) -> None:
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
           WHERE k.path = staged_label.path AND staged_label.item IS NULL AND staged_label.item_id IS NULL""",
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


def keep_to_round(connection: Connection, round_id: int) -> None:
    """Set aside the staged answers whose items did not go out with the round."""
    run(
        connection,
        """UPDATE staged_label SET fate = 'outside' WHERE fate IS NULL
           AND item_id NOT IN (SELECT item_id FROM selection WHERE round_id = :round)""",
        round=round_id,
    )


def relative_rows(connection: Connection) -> Iterator[Any]:
    """Yield position, objects, and the image's width and height of the answers that are in fractions."""
    yield from run(
        connection,
        """SELECT s.position, s.annotations, i.width, i.height FROM staged_label AS s JOIN item AS i ON i.id = s.item_id
           WHERE s.relative = 1 AND s.fate IS NULL AND s.reach_left IS NOT NULL""",
    )


def reaching_over(connection: Connection) -> Iterator[Any]:
    """Yield position, objects, the image's width and height, and left, top, right, bottom of what reaches over an edge."""
    yield from run(
        connection,
        """SELECT s.position, s.annotations, i.width, i.height, s.reach_left, s.reach_top, s.reach_right, s.reach_bottom
           FROM staged_label AS s JOIN item AS i ON i.id = s.item_id
           WHERE s.fate IS NULL AND s.reach_left IS NOT NULL AND i.width IS NOT NULL
             AND (s.reach_left < 0 OR s.reach_top < 0 OR s.reach_right > i.width OR s.reach_bottom > i.height)""",
    )


def reshape(connection: Connection, rows: Iterable[tuple[int, str, float, float, float, float]]) -> None:
    """Give staged answers other objects: position, objects, and how far they reach."""
    fresh_table(connection, reshaped)
    insert_rows(connection, reshaped, rows)
    run(
        connection,
        """UPDATE staged_label SET annotations = r.annotations, reach_left = r.reach_left, reach_top = r.reach_top,
             reach_right = r.reach_right, reach_bottom = r.reach_bottom
           FROM reshaped_label AS r WHERE r.position = staged_label.position""",
    )


def mark(connection: Connection, fate: str, positions: Iterable[int]) -> None:
    """Give these staged answers a fate."""
    rows, bound = as_rows(connection, positions)
    run(
        connection,
        f"UPDATE staged_label SET fate = :fate WHERE position IN (SELECT value FROM {rows} AS v)",
        fate=fate,
        ids=bound,
    )


def decide_fates(connection: Connection) -> dict[str, int]:
    """Compare the staged answers with the labels in force; return how many have which fate.

    An answer that the annotator gave before the one in force is old news, whatever file it comes in.
    """
    run(
        connection,
        f"""UPDATE staged_label SET fate = CASE WHEN f.status = staged_label.status
               AND coalesce(f.category_id, 0) = coalesce(staged_label.category_id, 0)
               AND coalesce(f.annotations, '') = coalesce(staged_label.annotations, '')
             THEN 'unchanged' WHEN staged_label.made_at < l.made_at THEN 'outdated' ELSE 'changed' END
           FROM {IN_FORCE} AS f JOIN label AS l ON l.id = f.id
           WHERE f.item_id = staged_label.item_id AND f.annotator = staged_label.annotator
             AND staged_label.fate IS NULL""",
    )
    run(connection, "UPDATE staged_label SET fate = 'added' WHERE fate IS NULL")
    rounds_out.confirm(connection)
    run(
        connection,
        """UPDATE staged_label SET fate = 'unchanged' WHERE fate = 'older' AND NOT EXISTS (
             SELECT 1 FROM staged_label AS n WHERE n.item_id = staged_label.item_id
               AND n.annotator = staged_label.annotator AND n.fate IN ('added', 'changed'))""",
    )
    return dict(run(connection, "SELECT fate, count(*) FROM staged_label GROUP BY fate").all())


def write_batch(
    connection: Connection, *, file: str, digest: str, kind: str, counts: dict[str, int], now: str
) -> int:
    """Write an import batch and the staged answers that are new to the history; return the batch's number."""
    batch = int(scalar(connection, "SELECT coalesce(max(id), 0) + 1 FROM import_batch"))
    connection.execute(
        insert(import_batch).values(
            id=batch, file=file, digest=digest, format=kind, counts=counts, created_at=now
        )
    )
    run(
        connection,
        """INSERT INTO label (id, item_id, import_id, annotator, status, category_id, annotations, seconds, created_at,
             made_at, place)
           SELECT (SELECT coalesce(max(id), 0) FROM label)
               + row_number() OVER (ORDER BY CASE fate WHEN 'older' THEN 0 ELSE 1 END, made_at, position),
             item_id, :batch, annotator, status, category_id, annotations, seconds, :now, made_at,
             CASE WHEN line = 0 THEN place WHEN place = '' THEN 'line ' || line ELSE place || ', line ' || line END
           FROM staged_label WHERE fate IN ('added', 'changed', 'confirmed', 'older')""",
        batch=batch,
        now=now,
    )
    return batch


def of_unusable(connection: Connection) -> int:
    """Return how many staged answers with a label are of images that cannot be used."""
    return int(
        scalar(
            connection,
            """SELECT count(*) FROM staged_label WHERE fate IN ('added', 'changed') AND status = 'labeled'
               AND item_id IN (SELECT item_id FROM unusable)""",
        )
    )
