"""What annotators were given to correct, and how much of it they kept."""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection

from alctl.pool.bulk import insert_rows, mappings, run
from alctl.pool.labels import IN_FORCE
from alctl.schema import prediction


def write(connection: Connection, round_id: int, rows: Iterable[tuple[int, int | None, str | None]]) -> None:
    """Write (item, class, objects) for a round, replacing what was there."""
    run(connection, "DELETE FROM prediction WHERE round_id = :round", round=round_id)
    insert_rows(connection, prediction, ((round_id, *row) for row in rows))


def of_round(connection: Connection, round_id: int) -> dict[int, tuple[int | None, str | None]]:
    """Return the predicted class and objects of each item of a round that has any."""
    rows = run(
        connection,
        "SELECT item_id, category_id, annotations FROM prediction WHERE round_id = :round",
        round=round_id,
    )
    return {int(row[0]): (row[1], row[2]) for row in rows}


def kept(connection: Connection) -> list[Mapping[str, Any]]:
    """Return for each round with predictions how many answers there are on them, and how many left them as they were."""
    return mappings(
        connection,
        f"""SELECT p.round_id, count(DISTINCT p.item_id) AS predicted, count(f.id) AS answers,
              coalesce(sum(CASE WHEN f.status = 'labeled' AND coalesce(f.category_id, 0) = coalesce(p.category_id, 0)
                AND coalesce(f.annotations, '') = coalesce(p.annotations, '') THEN 1 ELSE 0 END), 0) AS kept
            FROM prediction AS p LEFT JOIN {IN_FORCE} AS f ON f.item_id = p.item_id
            GROUP BY p.round_id ORDER BY p.round_id""",
    )
