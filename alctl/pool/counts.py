"""What `status` shows: how many items are in which state, per split, per class, per round."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from alctl.pool.bulk import mappings, run
from alctl.pool.items import size
from alctl.pool.labels import CONSENSUS

STATES = ("labeled", "out", "unlabeled", "skipped", "unusable")

_STATE = f"""SELECT item_id, coalesce(max(split), 'pool') AS split, CASE
      WHEN max(broken) = 1 OR max(answer) = 'unusable' THEN 'unusable'
      WHEN max(answer) = 'labeled' THEN 'labeled'
      WHEN max(answer) = 'skip' THEN 'skipped'
      WHEN max(sent) = 1 THEN 'out' ELSE 'unlabeled' END AS state
    FROM (SELECT item_id, split, NULL AS answer, 0 AS broken, 0 AS sent FROM reserved
          UNION ALL SELECT item_id, NULL, NULL, 1, 0 FROM unusable
          UNION ALL SELECT item_id, NULL, status, 0, 0 FROM {CONSENSUS} AS c
          UNION ALL SELECT item_id, NULL, NULL, 0, 1 FROM selection) AS known
    GROUP BY item_id"""
"""One state for every item that anything is known of; all the others are unlabeled items of the pool."""


def states(connection: Connection) -> dict[str, dict[str, int]]:
    """Return the number of items per split and state; together they are the whole pool."""
    table = {split: dict.fromkeys(STATES, 0) for split in ("pool", "validation", "test")}
    touched = 0
    for split, state, count in run(
        connection,
        f"SELECT split, state, count(*) FROM ({_STATE}) AS s GROUP BY split, state",
    ):
        table[split][state] = count
        touched += count
    table["pool"]["unlabeled"] += size(connection) - touched
    return table


def per_class(connection: Connection) -> dict[str, dict[str, int]]:
    """Return the number of labeled items per class and split, in the order of the class list."""
    rows = mappings(
        connection,
        f"""SELECT g.name AS name, sum(CASE WHEN s.split = 'pool' THEN 1 ELSE 0 END) AS pool,
              sum(CASE WHEN s.split = 'validation' THEN 1 ELSE 0 END) AS validation,
              sum(CASE WHEN s.split = 'test' THEN 1 ELSE 0 END) AS test
            FROM category AS g LEFT JOIN (SELECT c.category_id, coalesce(r.split, 'pool') AS split
              FROM {CONSENSUS} AS c LEFT JOIN reserved AS r ON r.item_id = c.item_id
              WHERE c.status = 'labeled' AND c.item_id NOT IN (SELECT item_id FROM unusable)) AS s
              ON s.category_id = g.id
            GROUP BY g.id, g.name ORDER BY g.id""",
    )
    return {
        row["name"]: {split: int(row[split] or 0) for split in ("pool", "validation", "test")} for row in rows
    }


def per_round(connection: Connection) -> list[Mapping[str, Any]]:
    """Return for each round how many items went out and how many were answered since."""
    return mappings(
        connection,
        """SELECT r.id, r.strategy, r.run_id, r.created_at, count(*) AS items, count(a.item_id) AS answered,
             count(*) - count(a.item_id) AS out
           FROM round AS r JOIN selection AS s ON s.round_id = r.id
           LEFT JOIN (SELECT item_id FROM label JOIN import_batch AS b ON b.id = import_id WHERE undone_at IS NULL
                      UNION SELECT item_id FROM unusable) AS a ON a.item_id = s.item_id
           GROUP BY r.id, r.strategy, r.run_id, r.created_at ORDER BY r.id""",
    )


def broken_invariants(connection: Connection) -> list[str]:
    """Return what contradicts the rules of the pool; an empty list is a clean bill of health."""
    rules = {
        "item ids have gaps": "SELECT count(*) FROM item HAVING count(*) <> coalesce(max(id), 0)",
        "an item without a digest is not marked unusable": (
            "SELECT 1 FROM item WHERE digest IS NULL AND id NOT IN (SELECT item_id FROM unusable)"
        ),
        "a reserved item was picked as a training candidate": (
            "SELECT 1 FROM selection AS s JOIN reserved AS r ON r.item_id = s.item_id WHERE s.rank IS NOT NULL"
        ),
        "a training run learned from a reserved item": (
            "SELECT 1 FROM training_item AS t JOIN reserved AS r ON r.item_id = t.item_id"
        ),
        "a round's ranks have gaps": (
            "SELECT 1 FROM selection WHERE rank IS NOT NULL GROUP BY round_id HAVING max(rank) <> count(*)"
        ),
        "a label has neither a class, nor annotations, nor a status that needs none": (
            "SELECT 1 FROM label WHERE status = 'labeled' AND category_id IS NULL AND annotations IS NULL"
        ),
        "the class list has gaps": "SELECT count(*) FROM category HAVING count(*) <> coalesce(max(id), 0)",
    }
    return [sentence for sentence, sql in rules.items() if run(connection, sql).first() is not None]
