"""What the past holds, for `report` and `show`: who said what, how long it took, what each round brought."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from sqlalchemy import Connection

from alctl.agreement.measures import Row
from alctl.chance import stream
from alctl.database.bulk import as_rows, mappings, run
from alctl.database.in_force import CONSENSUS, IN_FORCE
from alctl.database.items import size
from alctl.database.random_order import Ids, RandomOrder
from alctl.database.rounds import Round
from alctl.database.rounds_out import ITS_OWN, RELABEL
from alctl.database.tables import round_

_BLOCK = 8_192


class ClassOfRound(NamedTuple):
    """How many training candidates of a round have a class by now."""

    round_id: int
    name: str
    n: int


class RoundAnswer(NamedTuple):
    """What holds for an answered item of a round."""

    item_id: int
    status: str
    category_id: int | None
    name: str | None
    """The name of the class, if it has one for the whole image."""
    annotators: int
    """How many people's answers are in force."""

    @property
    def words(self) -> str:
        """Say it in words: the class, "skipped", "unusable", or "labeled" for objects."""
        if self.status != "labeled":
            return "skipped" if self.status == "skip" else self.status
        return "labeled" if self.name is None else self.name


@dataclass(frozen=True)
class AnnotatorTime:
    """How long an annotator took."""

    annotator: str
    answers: int
    timed: int
    """Answers that say how long they took."""
    seconds: float | None
    """Their sum."""


@dataclass(frozen=True)
class RoundTime:
    """How long a round took; the fields of `AnnotatorTime`."""

    round_id: int
    answers: int
    timed: int
    seconds: float | None


def every_round(connection: Connection) -> list[Round]:
    """Return every round, oldest first."""
    rows = connection.execute(round_.select().order_by(round_.c.id)).mappings()
    return [Round(**row) for row in rows]


def rounds_learned(connection: Connection) -> dict[int, int]:
    """Return for each training run the newest round that it learned from, if any."""
    rows = run(
        connection,
        """SELECT t.run_id, max(s.round_id) FROM training_item AS t
           JOIN selection AS s ON s.item_id = t.item_id JOIN round AS r ON r.id = s.round_id
           WHERE r.strategy <> :relabel GROUP BY t.run_id""",
        relabel=RELABEL,
    )
    return {int(row[0]): int(row[1]) for row in rows}


def labels_per_class(connection: Connection) -> list[ClassOfRound]:
    """Return for each round and class how many of the round's training candidates have it by now."""
    rows = mappings(
        connection,
        f"""SELECT s.round_id, g.name, count(*) AS n FROM selection AS s
            JOIN {CONSENSUS} AS c ON c.item_id = s.item_id JOIN category AS g ON g.id = c.category_id
            WHERE c.status = 'labeled' AND s.item_id NOT IN (SELECT item_id FROM reserved)
              AND s.item_id NOT IN (SELECT item_id FROM unusable)
              AND s.round_id NOT IN (SELECT id FROM round WHERE strategy = :relabel) AND {ITS_OWN}
            GROUP BY s.round_id, g.id, g.name ORDER BY s.round_id, g.id""",
        relabel=RELABEL,
    )
    return [ClassOfRound(**row) for row in rows]


def answers_of_round(connection: Connection, number: int) -> list[RoundAnswer]:
    """Return what holds for each answered item of a round, by item."""
    rows = mappings(
        connection,
        f"""SELECT c.item_id, c.status, c.category_id, g.name,
              (SELECT count(*) FROM {IN_FORCE} AS f WHERE f.item_id = c.item_id) AS annotators
            FROM {CONSENSUS} AS c JOIN selection AS s ON s.item_id = c.item_id AND s.round_id = :number
            LEFT JOIN category AS g ON g.id = c.category_id ORDER BY c.item_id""",
        number=number,
    )
    return [RoundAnswer(**row) for row in rows]


def agreement(connection: Connection) -> list[Row]:
    """Return how often two annotators gave an item these two classes; each pair of annotators once."""
    given = f"""(SELECT item_id, annotator, category_id, count(*) OVER (PARTITION BY item_id) AS answers
                 FROM {IN_FORCE} AS f WHERE status = 'labeled' AND category_id IS NOT NULL)"""
    rows = mappings(
        connection,
        f"""SELECT a.annotator AS one, b.annotator AS other, a.category_id AS one_says, b.category_id AS other_says,
              a.answers, count(*) AS n
            FROM {given} AS a JOIN {given} AS b ON b.item_id = a.item_id AND a.annotator < b.annotator
            GROUP BY a.annotator, b.annotator, a.category_id, b.category_id, a.answers
            ORDER BY a.annotator, b.annotator, a.category_id, b.category_id, a.answers""",
    )
    return [Row(**row) for row in rows]


def time_per_annotator(connection: Connection) -> list[AnnotatorTime]:
    """Return how long each annotator took, by name.

    An answer that its annotator replaced later took time too; one of an undone import does not count.
    """
    rows = mappings(
        connection,
        """SELECT l.annotator, count(*) AS answers, count(l.seconds) AS timed, sum(l.seconds) AS seconds
           FROM label AS l JOIN import_batch AS b ON b.id = l.import_id
           WHERE b.undone_at IS NULL AND b.format <> 'dataset' GROUP BY l.annotator ORDER BY l.annotator""",
    )
    return [AnnotatorTime(**row) for row in rows]


def time_per_round(connection: Connection) -> list[RoundTime]:
    """Return how long each round took: an answer is of the last round that sent its item before it."""
    rows = mappings(
        connection,
        """SELECT t.round_id, count(*) AS answers, count(t.seconds) AS timed, sum(t.seconds) AS seconds
           FROM (SELECT l.id, l.seconds, max(r.id) AS round_id FROM label AS l
                 JOIN import_batch AS b ON b.id = l.import_id
                 JOIN selection AS s ON s.item_id = l.item_id
                 JOIN round AS r ON r.id = s.round_id AND r.created_at <= l.created_at
                 WHERE b.undone_at IS NULL AND b.format <> 'dataset' GROUP BY l.id, l.seconds) AS t
           GROUP BY t.round_id ORDER BY t.round_id""",
    )
    return [RoundTime(**row) for row in rows]


def learned_before(connection: Connection, number: int) -> Ids:
    """Return the labeled items of the pool that no round from ``number`` on sent out, ascending."""
    rows = run(
        connection,
        f"""SELECT c.item_id FROM {CONSENSUS} AS c WHERE c.status = 'labeled'
              AND c.item_id NOT IN (SELECT item_id FROM reserved)
              AND c.item_id NOT IN (SELECT item_id FROM unusable)
              AND c.item_id NOT IN (SELECT s.item_id FROM selection AS s JOIN round AS r ON r.id = s.round_id
                WHERE s.round_id >= :number AND (r.strategy <> :relabel OR r.id = :number))
            ORDER BY c.item_id""",
        number=number,
        relabel=RELABEL,
    )
    return np.fromiter((row[0] for row in rows), dtype=np.int64)


def rest(connection: Connection, taken: Collection[int], n: int, seed: int, number: int) -> Ids:
    """Return up to ``n`` usable items of the pool that are not ``taken``: the first ones of a random order."""
    order = RandomOrder(size(connection), stream(seed, "show", number))
    out = set(taken)
    found: list[int] = []
    for start in range(0, order.n, _BLOCK):
        if len(found) >= n:
            break
        ids = order.ids(start, start + _BLOCK)
        rows, bound = as_rows(connection, ids)
        unfit = run(
            connection,
            f"""SELECT value FROM {rows} AS r WHERE value IN (SELECT item_id FROM reserved)
                  OR value IN (SELECT item_id FROM unusable)""",
            ids=bound,
        )
        never = out | {row[0] for row in unfit}
        found += [int(i) for i in ids if int(i) not in never]
    return np.sort(np.array(found[:n], dtype=np.int64))
