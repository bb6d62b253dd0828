"""Predictions that annotators were given to correct, and how many of them they left as they were."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from sqlalchemy import Connection

from alctl.database import rounds_out
from alctl.database.bulk import insert_rows, run
from alctl.database.in_force import IN_FORCE
from alctl.database.tables import prediction


class Said(NamedTuple):
    """What a model said of an image."""

    category_id: int | None
    annotations: str | None
    """Objects, as the label table keeps them."""
    run_id: int | None
    """The training run of the model."""
    confidence: float | None = None
    """The probability that the model gives the class; None where it is of objects, or was not recorded."""


@dataclass(frozen=True)
class Kept:
    """How many of a round's predicted classes annotators left as they were."""

    round_id: int
    predicted: int
    answers: int
    """Labels in force, since the round was made, of images with a prediction."""
    kept: int
    """Those of them that say what was predicted."""


def write(
    connection: Connection,
    round_id: int,
    rows: Iterable[tuple[int, int | None, str | None]],
    run_id: int | None = None,
    confidence: Mapping[int, float] = MappingProxyType({}),
) -> None:
    """Write (item, class, objects) for a round, replacing what was there; ``confidence`` is by item."""
    run(connection, "DELETE FROM prediction WHERE round_id = :round", round=round_id)
    insert_rows(connection, prediction, ((round_id, *row, run_id, confidence.get(row[0])) for row in rows))


def of_round(connection: Connection, round_id: int) -> dict[int, Said]:
    """Return what was predicted of each item of a round that has a prediction."""
    rows = run(
        connection,
        "SELECT item_id, category_id, annotations, run_id, confidence FROM prediction WHERE round_id = :round",
        round=round_id,
    )
    return {int(row[0]): Said(*row[1:]) for row in rows}


def kept(connection: Connection) -> list[Kept]:
    """Return for each round with predicted classes how many of them annotators kept.

    A class that was merged counts as the one that it is now. Of objects nothing is said: tools round coordinates.
    """
    predicted = run(
        connection,
        "SELECT round_id, count(*) FROM prediction WHERE category_id IS NOT NULL GROUP BY round_id ORDER BY round_id",
    ).all()
    if not predicted:
        return []
    effective = "coalesce((SELECT merged_into FROM category AS k WHERE k.id = p.category_id), p.category_id)"
    answered = run(
        connection,
        f"""SELECT p.round_id, count(*), sum(CASE WHEN f.category_id = {effective} THEN 1 ELSE 0 END)
            FROM prediction AS p JOIN {IN_FORCE} AS f ON f.item_id = p.item_id
            WHERE p.category_id IS NOT NULL AND f.status = 'labeled'
              AND f.id > {rounds_out.after(rounds_out.every_terms(connection), "p.round_id")} GROUP BY p.round_id""",
    )
    answers = {row[0]: (int(row[1]), int(row[2])) for row in answered}
    return [Kept(number, n, *answers.get(number, (0, 0))) for number, n in predicted]
