"""Classes that an import brought: which they are, and whether anything else has come to need them since."""

from collections.abc import Mapping

from sqlalchemy import Connection, select

from alctl.database.bulk import run
from alctl.database.categories import entries_of, record, take_back
from alctl.database.tables import category_change

BROUGHT, TAKEN_BACK = "import", "undo"
"""The actions of `category_change`; the number of the import stands as ``before``."""


def record_brought(connection: Connection, ids: Mapping[str, int], batch: int, now: str) -> None:
    """Write down which classes an import brought."""
    for name, id_ in ids.items():
        record(connection, BROUGHT, id_, str(batch), name, now)


def brought(connection: Connection) -> dict[int, int]:
    """Return for each class that came with an import the number of that import, the last one if it came again."""
    columns = (category_change.c.category_id, category_change.c.before)
    rows = connection.execute(
        select(*columns).where(category_change.c.action == BROUGHT).order_by(category_change.c.id)
    )
    return {int(id_): int(batch) for id_, batch in rows}


def changed(connection: Connection) -> set[int]:
    """Return the classes that were renamed, merged or given keypoints by somebody, and those merged into."""
    rows = run(
        connection,
        """SELECT category_id FROM category_change WHERE action NOT IN (:brought, :taken_back)
           UNION SELECT merged_into FROM category WHERE merged_into IS NOT NULL AND merged_into <> id""",
        brought=BROUGHT,
        taken_back=TAKEN_BACK,
    )
    return {int(row[0]) for row in rows}


def in_labels(connection: Connection) -> set[int]:
    """Return the classes of all labels of imports that are not undone, also of those that are replaced."""
    id_, entries = entries_of(connection, "l.annotations")
    kept = "label AS l JOIN import_batch AS b ON b.id = l.import_id AND b.undone_at IS NULL"
    rows = run(
        connection,
        f"""SELECT l.category_id FROM {kept} WHERE l.category_id IS NOT NULL
            UNION SELECT {id_} FROM {kept} CROSS JOIN {entries} WHERE l.annotations IS NOT NULL""",
    )
    return {int(row[0]) for row in rows}


def withdraw(connection: Connection, id_: int, name: str, batch: int, now: str) -> None:
    """Take a class back, and write down with which import."""
    take_back(connection, id_)
    record(connection, TAKEN_BACK, id_, str(batch), name, now)
