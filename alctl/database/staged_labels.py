"""The answers of a file in a temporary table: put there, given other objects, compared with the labels, stored."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import NamedTuple

from sqlalchemy import Column, Connection, Float, Integer, LargeBinary, MetaData, Table, Text, insert

from alctl.database import rounds_out
from alctl.database.bulk import as_rows, fresh_table, insert_rows, run, scalar
from alctl.database.fates import FATES, STORED, Fate, in_sql
from alctl.database.in_force import IN_FORCE
from alctl.database.labels import ImportCounts
from alctl.database.tables import import_batch
from alctl.labels import canonical_json, shapes
from alctl.labels.annotation import Annotation, Status

staged = Table(
    "staged_label",
    MetaData(),
    Column("position", Integer, primary_key=True),
    Column("line", Integer, nullable=False),
    Column("place", Text, nullable=False),
    Column("item", Integer),  # the id that the file gives
    # The path that the file gives; once it is matched, with forward slashes.
    Column("path", Text, nullable=False),
    Column("digest", LargeBinary(32)),  # of the image, where the file gives it
    Column("annotator", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("category_id", Integer),
    Column("trouble", Text),  # what is wrong with the answer in itself
    Column("seconds", Float),
    Column("made_at", Text),
    Column(
        "also", Text
    ),  # another name that the file gives the image; once it is found, the path of that image
    Column("annotations", Text),
    Column("width", Integer),  # of the image, as the file declares it
    Column("height", Integer),
    Column("reach_left", Float),  # how far the objects reach, in pixels or in fractions
    Column("reach_top", Float),
    Column("reach_right", Float),
    Column("reach_bottom", Float),
    Column("relative", Integer),  # 1: coordinates are fractions of width and height
    Column("item_id", Integer),  # the item it was matched to
    Column("fate", Text),  # a Fate; NULL: none yet
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
    status: Status
    category_id: int | None
    trouble: str | None = None
    seconds: float | None = None
    made_at: str | None = None
    also: str | None = None
    annotations: str | None = None
    width: int | None = None
    height: int | None = None
    reach_left: float | None = None
    reach_top: float | None = None
    reach_right: float | None = None
    reach_bottom: float | None = None
    relative: int = 0


Objects = Sequence[tuple[Annotation, int]]
"""The objects of an image, each with the id of its class."""


class StagedObjects(NamedTuple):
    """The objects of one staged answer, the size of its image in the pool, and how far they reach in it."""

    position: int
    objects: Objects
    width: int
    height: int
    left: float
    top: float
    right: float
    bottom: float


_WITHOUT_OBJECTS = StagedLabel._fields.index("annotations")
"""How many columns an answer fills that has no objects."""


def stage(connection: Connection, rows: Iterable[StagedLabel], *, objects: bool = True) -> None:
    """Put a file's answers into a fresh temporary table; without ``objects``, what only those have stays NULL.

    That saves the time to bind nine values for every row of a table of classes.
    """
    fresh_table(connection, staged)
    insert_rows(connection, staged, rows if objects else (row[:_WITHOUT_OBJECTS] for row in rows))


def relative_objects(connection: Connection) -> Iterator[StagedObjects]:
    """Yield the objects that are in fractions of their image's width and height."""
    return _objects(connection, "s.relative = 1")


def objects_over_an_edge(connection: Connection) -> Iterator[StagedObjects]:
    """Yield the objects of answers of which something reaches over an edge of the image."""
    over = "(s.reach_left < 0 OR s.reach_top < 0 OR s.reach_right > i.width OR s.reach_bottom > i.height)"
    return _objects(connection, f"i.width IS NOT NULL AND {over}")


def _objects(connection: Connection, which: str) -> Iterator[StagedObjects]:
    rows = run(
        connection,
        f"""SELECT s.position, s.annotations, i.width, i.height, s.reach_left, s.reach_top, s.reach_right, s.reach_bottom
            FROM staged_label AS s JOIN item AS i ON i.id = s.item_id
            WHERE s.fate IS NULL AND s.reach_left IS NOT NULL AND {which}""",
    )
    for position, text, *size_and_reach in rows:
        yield StagedObjects(position, canonical_json.loads(text), *size_and_reach)


def replace_objects(connection: Connection, rows: Iterable[tuple[int, Objects]], *, ordered: bool) -> None:
    """Give staged answers, named by their positions, other objects; ``ordered``: their order says something."""
    fresh_table(connection, reshaped)
    insert_rows(connection, reshaped, (_reshaped(*row, ordered=ordered) for row in rows))
    run(
        connection,
        """UPDATE staged_label SET annotations = r.annotations, reach_left = r.reach_left, reach_top = r.reach_top,
             reach_right = r.reach_right, reach_bottom = r.reach_bottom
           FROM reshaped_label AS r WHERE r.position = staged_label.position""",
    )


def _reshaped(position: int, objects: Objects, *, ordered: bool) -> tuple[int | str | float | None, ...]:
    """Return a row of the table ``reshaped``."""
    reach = shapes.extent(annotation for annotation, _ in objects) or (None,) * 4
    return (position, canonical_json.dumps(objects, ordered=ordered), *reach)


def mark(connection: Connection, fate: Fate, positions: Iterable[int]) -> None:
    """Give these staged answers a fate."""
    rows, bound = as_rows(connection, positions)
    run(
        connection,
        f"UPDATE staged_label SET fate = :fate WHERE position IN (SELECT value FROM {rows} AS v)",
        fate=fate,
        ids=bound,
    )


def decide_fates(connection: Connection) -> dict[Fate, int]:
    """Compare the staged answers with the labels in force; return how many have which fate.

    An answer that the annotator gave before the one in force is old news, whatever file it comes in.
    """
    run(
        connection,
        f"""UPDATE staged_label SET fate = CASE WHEN f.status = staged_label.status
               AND coalesce(f.category_id, 0) = coalesce(staged_label.category_id, 0)
               AND coalesce(f.annotations, '') = coalesce(staged_label.annotations, '')
             THEN {in_sql("unchanged")} WHEN staged_label.made_at < l.made_at THEN {in_sql("outdated")}
             ELSE {in_sql("changed")} END
           FROM {IN_FORCE} AS f JOIN label AS l ON l.id = f.id
           WHERE f.item_id = staged_label.item_id AND f.annotator = staged_label.annotator
             AND staged_label.fate IS NULL""",
    )
    run(connection, f"UPDATE staged_label SET fate = {in_sql('added')} WHERE fate IS NULL")
    _confirm(connection)
    run(
        connection,
        f"""UPDATE staged_label SET fate = {in_sql("unchanged")} WHERE fate = {in_sql("older")} AND NOT EXISTS (
             SELECT 1 FROM staged_label AS n WHERE n.item_id = staged_label.item_id
               AND n.annotator = staged_label.annotator AND n.fate IN ({in_sql("added", "changed")}))""",
    )
    found = run(connection, "SELECT fate, count(*) FROM staged_label GROUP BY fate").all()
    return {**dict.fromkeys(FATES, 0), **dict(found)}


def _confirm(connection: Connection) -> None:
    """Mark those unchanged answers as confirmed that a later round asked for again.

    Given after the round that asks again was made; where the file tells no times, by a file about that round alone.
    """
    of_round = {
        number: terms for number, terms in rounds_out.every_terms(connection).items() if terms.after_label
    }
    for number, terms in of_round.items():
        run(
            connection,
            f"""UPDATE staged_label SET fate = {in_sql("confirmed")} FROM {IN_FORCE} AS f
                WHERE staged_label.fate = {in_sql("unchanged")} AND f.item_id = staged_label.item_id
                  AND f.annotator = staged_label.annotator AND f.id <= {terms.after_label}
                  AND staged_label.item_id IN
                    (SELECT item_id FROM selection WHERE round_id = :number AND recalled_at IS NULL)
                  AND CASE WHEN staged_label.made_at IS NOT NULL
                    THEN staged_label.made_at > (SELECT created_at FROM round WHERE id = :number)
                    ELSE NOT EXISTS (SELECT 1 FROM staged_label AS o WHERE o.item_id IS NOT NULL
                      AND o.fate <> {in_sql("outside")}
                      AND o.item_id NOT IN (SELECT item_id FROM selection WHERE round_id = :number)) END""",
            number=number,
        )


def write_batch(
    connection: Connection, *, file: str, digest: str, kind: str, counts: ImportCounts, now: str
) -> int:
    """Write an import batch and the staged answers that are new to the history; return the batch's number."""
    batch = int(scalar(connection, "SELECT coalesce(max(id), 0) + 1 FROM import_batch"))
    connection.execute(
        insert(import_batch).values(
            id=batch, file=file, digest=digest, format=kind, counts=asdict(counts), created_at=now
        )
    )
    run(
        connection,
        f"""INSERT INTO label (id, item_id, import_id, annotator, status, category_id, annotations, seconds, created_at,
             made_at, place)
           SELECT (SELECT coalesce(max(id), 0) FROM label)
               + row_number() OVER (ORDER BY CASE fate WHEN {in_sql("older")} THEN 0 ELSE 1 END, made_at, position),
             item_id, :batch, annotator, status, category_id, annotations, seconds, :now, made_at,
             CASE WHEN line = 0 THEN place WHEN place = '' THEN 'line ' || line ELSE place || ', line ' || line END
           FROM staged_label WHERE fate IN ({in_sql(*STORED)})""",
        batch=batch,
        now=now,
    )
    return batch


def of_unusable(connection: Connection) -> int:
    """Return how many new labels are of images that cannot be used."""
    return int(
        scalar(
            connection,
            f"""SELECT count(*) FROM staged_label WHERE fate IN ({in_sql("added", "changed")}) AND status = 'labeled'
               AND item_id IN (SELECT item_id FROM unusable)""",
        )
    )
