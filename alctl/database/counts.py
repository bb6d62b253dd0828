"""How many items are in which state, per split, per class, per round; and whether the pool's rules hold."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from sqlalchemy import Connection

from alctl.database import rounds_out
from alctl.database.bulk import mappings, run, scalar
from alctl.database.categories import class_list, entries_of
from alctl.database.in_force import CONSENSUS
from alctl.database.items import size
from alctl.labels.annotation import Split

State = Literal["labeled", "out", "overdue", "unlabeled", "skipped", "unusable"]
"""Every item is in exactly one."""
SPLITS: tuple[Split, ...] = ("pool", "validation", "test")
STATES: tuple[State, ...] = ("labeled", "out", "overdue", "unlabeled", "skipped", "unusable")

_STATE = f"""SELECT item_id, coalesce(max(split), 'pool') AS split, CASE
      WHEN max(broken) = 1 OR max(answer) = 'unusable' THEN 'unusable'
      WHEN max(answer) = 'labeled' THEN 'labeled'
      WHEN max(answer) = 'skip' THEN 'skipped'
      WHEN max(sent) = 2 THEN 'out' WHEN max(sent) = 1 THEN 'overdue' ELSE 'unlabeled' END AS state, max(category_id) AS category_id
    FROM (SELECT item_id, split, NULL AS answer, CAST(NULL AS integer) AS category_id, 0 AS broken, 0 AS sent FROM reserved
          UNION ALL SELECT item_id, NULL, NULL, NULL, 1, 0 FROM unusable
          UNION ALL SELECT item_id, NULL, status, category_id, 0, 0 FROM {CONSENSUS} AS c
          UNION ALL SELECT s.item_id, NULL, NULL, NULL, 0, CASE WHEN r.due_at < :now THEN 1 ELSE 2 END
            FROM selection AS s JOIN round AS r ON r.id = s.round_id WHERE s.recalled_at IS NULL) AS known
    GROUP BY item_id"""
"""One state for every item that anything is known of; all the others are unlabeled items of the pool.

Overdue is what nobody is to answer in time any more: every round that it is out with should have come back.
"""


class Counts(NamedTuple):
    """The number of items per split and state, together the whole pool, and of labeled items per class and split."""

    states: dict[Split, dict[State, int]]
    classes: dict[str, dict[Split, int]]


@dataclass(frozen=True)
class RoundCounts:
    """How many items went out with a round, and what became of them."""

    id: int
    strategy: str
    run_id: int | None
    """The training run whose model scored the items."""
    created_at: str
    due_at: str | None
    items: int
    answered: int
    """Those with an answer since, also if it came after they were recalled."""
    quarantined: int
    """Those that cannot be used, and that nobody has answered."""
    out: int
    """Those that annotators still have, in time."""
    overdue: int
    """Those that annotators still have, after ``due_at``."""
    recalled: int
    annotators: list[str]
    """The names that the round was dealt out to; empty if it was for anybody."""


class Totals(NamedTuple):
    """The size of a project."""

    items: int
    labels: int
    """In force or not."""


def count(connection: Connection, now: str = "") -> Counts:
    """Count every item by split, state and class; the classes are in the order of the class list, without merged ones.

    Without ``now`` nothing is overdue.
    """
    names = {found.id: found.name for found in class_list(connection) if found.merged_into is None}
    result = Counts(
        {split: dict.fromkeys(STATES, 0) for split in SPLITS},
        {name: dict.fromkeys(SPLITS, 0) for name in names.values()},
    )
    touched = 0
    for split, state, category_id, n in run(
        connection,
        f"SELECT split, state, category_id, count(*) FROM ({_STATE}) AS s GROUP BY split, state, category_id",
        now=now,
    ):
        result.states[split][state] += n
        touched += n
        if state == "labeled" and category_id is not None:
            result.classes[names[category_id]][split] += n
    result.states["pool"]["unlabeled"] += size(connection) - touched
    return result


def totals(connection: Connection) -> Totals:
    """Return how many items and how many labels there are."""
    return Totals(size(connection), int(scalar(connection, "SELECT count(*) FROM label")))


def per_round(connection: Connection, now: str = "") -> list[RoundCounts]:
    """Return what became of the items of each round, oldest first. Without ``now`` nothing is overdue."""
    terms = rounds_out.every_terms(connection)
    rows = mappings(
        connection,
        f"""SELECT r.id, r.strategy, r.run_id, r.created_at, r.due_at, count(*) AS items, sum(answered) AS answered,
              sum(quarantined) AS quarantined, sum(CASE WHEN recalled_at IS NULL THEN unanswered ELSE 0 END) AS out,
              sum(CASE WHEN recalled_at IS NULL THEN 0 ELSE unanswered END) AS recalled
            FROM round AS r JOIN {rounds_out.answered(terms)} AS s ON s.round_id = r.id
            GROUP BY r.id, r.strategy, r.run_id, r.created_at, r.due_at ORDER BY r.id""",
    )
    return [_with_overdue(row, list(terms[row["id"]].annotators), now) for row in rows]


def _with_overdue(row: Mapping[str, Any], annotators: list[str], now: str) -> RoundCounts:
    late = row["due_at"] is not None and row["due_at"] < now
    out = int(row["out"])
    return RoundCounts(
        id=row["id"],
        strategy=row["strategy"],
        run_id=row["run_id"],
        created_at=row["created_at"],
        due_at=row["due_at"],
        items=int(row["items"]),
        answered=int(row["answered"]),
        quarantined=int(row["quarantined"]),
        out=0 if late else out,
        overdue=out if late else 0,
        recalled=int(row["recalled"]),
        annotators=annotators,
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
        "an item that was never labeled went out for a second look": (
            """SELECT 1 FROM selection AS s JOIN round AS r ON r.id = s.round_id AND r.strategy = 'relabel'
               WHERE NOT EXISTS (SELECT 1 FROM label AS l WHERE l.item_id = s.item_id)"""
        ),
        "the class list has gaps": "SELECT count(*) FROM category HAVING count(*) <> coalesce(max(id), 0)",
        "a class was merged into one that is merged itself": (
            "SELECT 1 FROM category AS c JOIN category AS t ON t.id = c.merged_into WHERE t.merged_into IS NOT NULL AND t.id <> c.id"
        ),
        "a prediction is of an item that is not in its round": (
            """SELECT 1 FROM prediction AS p WHERE NOT EXISTS
               (SELECT 1 FROM selection AS s WHERE s.round_id = p.round_id AND s.item_id = p.item_id)"""
        ),
        **_about_objects(connection),
    }
    return [sentence for sentence, sql in rules.items() if run(connection, sql).first() is not None]


def _about_objects(connection: Connection) -> dict[str, str]:
    """Return the rules about the objects of labels and predictions, which no foreign key can watch."""
    rules = {}
    for table in ("label", "prediction"):
        objects = "annotations"
        if connection.dialect.name == "sqlite":  # PostgreSQL would have to be asked row by row
            rules[f"the objects of a {table} are not JSON"] = (
                f"SELECT 1 FROM {table} WHERE {objects} IS NOT NULL AND NOT json_valid({objects})"
            )
            objects = f"CASE WHEN json_valid({objects}) THEN {objects} END"
        id_, entries = entries_of(connection, objects)
        rules[f"a {table} has an object of a class that is not in the class list"] = (
            f"SELECT 1 FROM {table} CROSS JOIN {entries} WHERE coalesce({id_}, 0) NOT IN (SELECT id FROM category)"
        )
    return rules
