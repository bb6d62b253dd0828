"""The classes of a staged file: which of them answers that are taken have, and other numbers for those."""

from collections.abc import Iterator, Mapping

from sqlalchemy import Connection

from alctl.database.bulk import run, scalar
from alctl.database.categories import entries_of
from alctl.database.fates import in_sql
from alctl.database.staged_labels import Objects
from alctl.labels import canonical_json

_TAKEN = f"(fate IS NULL OR fate = {in_sql('older')})"


def any_left(connection: Connection) -> bool:
    """Tell whether there are staged answers that are not taken."""
    return bool(scalar(connection, f"SELECT EXISTS (SELECT 1 FROM staged_label WHERE NOT {_TAKEN})"))


def used(connection: Connection) -> set[int]:
    """Return the ids of the classes of all staged answers that are taken."""
    id_, entries = entries_of(connection, "annotations")
    rows = run(
        connection,
        f"""SELECT category_id FROM staged_label WHERE {_TAKEN} AND category_id IS NOT NULL
            UNION SELECT {id_} FROM staged_label CROSS JOIN {entries} WHERE {_TAKEN} AND annotations IS NOT NULL""",
    )
    return {int(row[0]) for row in rows}


def renumber(connection: Connection, ids: Mapping[int, int]) -> None:
    """Give classes of whole images other ids, each a smaller one than it had."""
    for before, after in sorted(ids.items()):
        run(
            connection,
            "UPDATE staged_label SET category_id = :after WHERE category_id = :before",
            before=before,
            after=after,
        )


def objects(connection: Connection) -> Iterator[tuple[int, Objects]]:
    """Yield position and objects of the staged answers that are taken and have any."""
    rows = run(
        connection,
        f"SELECT position, annotations FROM staged_label WHERE {_TAKEN} AND annotations IS NOT NULL",
    )
    for position, text in rows:
        yield position, canonical_json.loads(text)
