"""What `status` shows: how many items are in which state, per split, per class, per round."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from sqlalchemy import Connection

from alctl.pool.bulk import mappings, run
from alctl.pool.items import categories, size
from alctl.pool.labels import CONSENSUS

SPLITS = ("pool", "validation", "test")
STATES = ("labeled", "out", "unlabeled", "skipped", "unusable")

_STATE = f"""SELECT item_id, coalesce(max(split), 'pool') AS split, CASE
      WHEN max(broken) = 1 OR max(answer) = 'unusable' THEN 'unusable'
      WHEN max(answer) = 'labeled' THEN 'labeled'
      WHEN max(answer) = 'skip' THEN 'skipped'
      WHEN max(sent) = 1 THEN 'out' ELSE 'unlabeled' END AS state, max(category_id) AS category_id
    FROM (SELECT item_id, split, NULL AS answer, CAST(NULL AS integer) AS category_id, 0 AS broken, 0 AS sent FROM reserved
          UNION ALL SELECT item_id, NULL, NULL, NULL, 1, 0 FROM unusable
          UNION ALL SELECT item_id, NULL, status, category_id, 0, 0 FROM {CONSENSUS} AS c
          UNION ALL SELECT item_id, NULL, NULL, NULL, 0, 1 FROM selection) AS known
    GROUP BY item_id"""
"""One state for every item that anything is known of; all the others are unlabeled items of the pool."""


class Counts(NamedTuple):
    """The number of items per split and state, together the whole pool, and of labeled items per class and split."""

    states: dict[str, dict[str, int]]
    classes: dict[str, dict[str, int]]


def count(connection: Connection) -> Counts:
    """Count every item by split, state and class; the classes are in the order of the class list."""
    names = categories(connection)
    result = Counts(
        {split: dict.fromkeys(STATES, 0) for split in SPLITS},
        {name: dict.fromkeys(SPLITS, 0) for name in names},
    )
    touched = 0
    for split, state, category_id, n in run(
        connection,
        f"SELECT split, state, category_id, count(*) FROM ({_STATE}) AS s GROUP BY split, state, category_id",
    ):
        result.states[split][state] += n
        touched += n
        if state == "labeled" and category_id is not None:
            result.classes[names[category_id - 1]][split] += n
    result.states["pool"]["unlabeled"] += size(connection) - touched
    return result


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
