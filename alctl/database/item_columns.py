"""What a manifest says of images beside label and split, such as where they come from: a value for each named column."""

import json

from sqlalchemy import Connection

from alctl.database.bulk import as_rows, run
from alctl.database.random_order import Ids, chunks

_LOOKED_AT = 1_000


def values(connection: Connection, ids: Ids, column: str) -> dict[int, str]:
    """Return the value of a column for each of the items that has one."""
    found: dict[int, str] = {}
    for part in chunks(ids):
        rows, bound = as_rows(connection, part)
        query = f"SELECT item_id, columns FROM {rows} AS r JOIN item_columns ON item_id = value"
        for item, text in run(connection, query, ids=bound):
            value = json.loads(text).get(column)
            if value is not None:
                found[int(item)] = value
    return found


def names(connection: Connection) -> list[str]:
    """Return the names of the columns that the first items with any have, sorted."""
    rows = run(connection, "SELECT columns FROM item_columns ORDER BY item_id LIMIT :most", most=_LOOKED_AT)
    return sorted({name for (text,) in rows for name in json.loads(text)})
