"""Items that several annotators labeled, what holds where they drew differently, and the annotators' weights."""

from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any, NamedTuple

from sqlalchemy import Connection, text

from alctl.agreement.measures import Answer, Judge, Shared, holds
from alctl.database.bulk import as_rows, insert_rows, run, scalar
from alctl.database.categories import keypoints_of_classes, merges
from alctl.database.in_force import IN_FORCE, membership
from alctl.database.tables import annotator as annotator_table
from alctl.labels import canonical_json
from alctl.labels.annotation import one_class_each


class Answered(NamedTuple):
    """How much an annotator has answered, and how fast."""

    answers: int
    """In force."""
    median_seconds: float | None
    """None where no answer says how long it took."""


def judge(connection: Connection) -> Judge:
    """Return how answers of this project are compared."""
    task = str(scalar(connection, "SELECT task FROM project"))
    return Judge(task, keypoints_of_classes(connection), weights(connection))


def shared(
    connection: Connection,
    judged: Judge,
    number: int | None = None,
    *,
    split: str = "",
    item: int | None = None,
    different: bool = False,
) -> Iterator[Shared]:
    """Stream the items that several annotators labeled, with their answers in force; of a round, or all.

    With ``split`` only usable items of "pool", "validation" or "test"; with ``item`` only this one; with ``different``
    only those whose objects are not the same in all answers.
    """
    conditions = ["f.status = 'labeled'"]
    values: dict[str, Any] = {}
    if number is not None:
        conditions.append("f.item_id IN (SELECT item_id FROM selection WHERE round_id = :number)")
        values["number"] = number
    if item is not None:
        conditions.append("f.item_id = :item")
        values["item"] = item
    if split:
        conditions += ["f.item_id NOT IN (SELECT item_id FROM unusable)", membership("f.item_id", split)]
        values |= {} if split == "pool" else {"split": split}
    alike = (
        "min(f.annotations) OVER (PARTITION BY f.item_id) = max(f.annotations) OVER (PARTITION BY f.item_id)"
    )
    query = f"""SELECT v.id, v.item_id, i.path, i.height, i.width, v.annotator, v.category_id, v.annotations FROM (
          SELECT f.*, count(*) OVER (PARTITION BY f.item_id) AS several, CASE WHEN {alike} THEN 1 ELSE 0 END AS alike
          FROM {IN_FORCE} AS f WHERE {" AND ".join(conditions)}) AS v
        JOIN item AS i ON i.id = v.item_id
        WHERE v.several > 1 {"AND v.alike = 0" if different else ""} ORDER BY v.item_id, v.id"""
    rows = connection.execute(text(query).execution_options(yield_per=1_000), values)
    merged = merges(connection)
    for _, group in groupby(rows, key=lambda row: row.item_id):
        found = list(group)
        first = found[0]
        answers = tuple(_answer(row, merged) for row in found)
        yield Shared(int(first.item_id), first.path, (first.height or 1, first.width or 1), answers)


def _answer(row: Any, merged: Mapping[int, int]) -> Answer:
    things = canonical_json.loads(row.annotations) if row.annotations else []
    counted = [(thing, merged.get(id_, id_)) for thing, id_ in things]
    return Answer(row.annotator, row.category_id, counted, int(row.id))


def chosen(connection: Connection, split: str = "", item: int | None = None) -> dict[int, str]:
    """Return the objects that hold, as they are stored, for each item whose annotators drew different ones."""
    judged = judge(connection)
    if one_class_each(judged.task):
        return {}
    those = [
        found.answers[holds(judged, found)].label
        for found in shared(connection, judged, split=split, item=item, different=True)
    ]
    rows, bound = as_rows(connection, those)
    query = f"SELECT item_id, annotations FROM label WHERE id IN (SELECT value FROM {rows} AS v)"
    return {int(row[0]): str(row[1]) for row in run(connection, query, ids=bound)}


def weights(connection: Connection) -> dict[str, float]:
    """Return the weight of each annotator who has one."""
    rows = connection.execute(annotator_table.select().order_by(annotator_table.c.name))
    return {str(row.name): float(row.weight) for row in rows}


def set_weights(connection: Connection, new: Mapping[str, float]) -> None:
    """Give annotators these weights and take all others away."""
    run(connection, "DELETE FROM annotator")
    insert_rows(connection, annotator_table, sorted(new.items()))


def answered(connection: Connection, number: int | None = None) -> dict[str, Answered]:
    """Return for each annotator how much they have answered, of a round or in all."""
    of_round = (
        ""
        if number is None
        else "WHERE f.item_id IN (SELECT item_id FROM selection WHERE round_id = :number)"
    )
    rows = run(
        connection,
        f"""SELECT annotator, max(answers) AS answers, avg(CASE WHEN place IN ((timed + 1) / 2, (timed + 2) / 2)
                THEN seconds END) AS middle
            FROM (SELECT f.annotator, l.seconds, count(*) OVER (PARTITION BY f.annotator) AS answers,
                    count(l.seconds) OVER (PARTITION BY f.annotator) AS timed,
                    row_number() OVER (PARTITION BY f.annotator ORDER BY l.seconds IS NULL, l.seconds) AS place
                  FROM {IN_FORCE} AS f JOIN label AS l ON l.id = f.id {of_round}) AS t
            GROUP BY annotator ORDER BY annotator""",
        **({} if number is None else {"number": number}),
    )
    return {str(row[0]): Answered(int(row[1]), None if row[2] is None else float(row[2])) for row in rows}
