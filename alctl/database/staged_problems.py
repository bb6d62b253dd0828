"""What is wrong with the staged answers of a file, and with which images."""

from typing import NamedTuple

from sqlalchemy import Connection

from alctl.database.bulk import mappings, run
from alctl.database.fates import PROBLEMS, ProblemFate, in_sql


class StagedProblem(NamedTuple):
    """A staged answer that is refused, with what it takes to explain it; None where file or pool does not say."""

    fate: ProblemFate
    line: int
    place: str
    item: int | None
    """The number that the file gives."""
    path: str
    """The path that the file gives."""
    also: str | None
    """The path of the image that the other name means which the file gives."""
    annotator: str
    trouble: str | None
    """What is wrong with the answer in itself, as a sentence."""
    width: int | None
    """Of the image, in pixels, as the file declares it."""
    height: int | None
    item_path: str | None
    """The path of the image in the pool."""
    item_width: int | None
    item_height: int | None
    reach_left: float | None
    """How far the objects reach, in pixels or in fractions."""
    reach_top: float | None
    reach_right: float | None
    reach_bottom: float | None
    other_line: int | None
    """Where the same annotator's other answer to the same image stands."""
    other_place: str | None


def mark_misfits(connection: Connection) -> None:
    """Mark staged answers that are wrong in themselves, or in the size of their image."""
    run(
        connection,
        f"UPDATE staged_label SET fate = {in_sql('trouble')} WHERE trouble IS NOT NULL AND fate IS NULL",
    )
    run(
        connection,
        f"""UPDATE staged_label SET fate = {in_sql("other size")} FROM item AS i
           WHERE fate IS NULL AND i.id = item_id AND staged_label.width IS NOT NULL
             AND i.width IS NOT NULL AND (staged_label.width <> i.width OR staged_label.height <> i.height)""",
    )
    run(
        connection,
        f"""UPDATE staged_label SET fate = {in_sql("no size")} FROM item AS i
           WHERE fate IS NULL AND i.id = item_id AND relative = 1 AND reach_left IS NOT NULL AND i.width IS NULL""",
    )


_ANSWER = "staged.status || ' ' || coalesce(staged.category_id, 0) || ' ' || coalesce(staged.annotations, '')"


def mark_repeats(connection: Connection) -> None:
    """Mark answers of one annotator to one image: all but the newest where each has its time, else all but the first.

    They are compared in the pixels of their images, and what is older goes into the history in them, too.
    """
    run(
        connection,
        f"""UPDATE staged_label SET fate = CASE
                WHEN g.times = g.n THEN {in_sql("older")} WHEN g.answers > 1 THEN {in_sql("contradiction")}
                ELSE {in_sql("repeated")} END
           FROM (SELECT item_id, annotator, min(position) AS first, max(made_at) AS newest, count(*) AS n,
                        count(DISTINCT {_ANSWER}) AS answers, count(DISTINCT made_at) AS times
                 FROM staged_label AS staged WHERE fate IS NULL AND (item_id, annotator) IN (
                   SELECT item_id, annotator FROM staged_label WHERE fate IS NULL
                   GROUP BY item_id, annotator HAVING count(*) > 1)
                 GROUP BY item_id, annotator) AS g
           WHERE g.item_id = staged_label.item_id AND g.annotator = staged_label.annotator
             AND staged_label.fate IS NULL
             AND CASE WHEN g.times = g.n THEN staged_label.made_at < g.newest
                      ELSE g.answers > 1 OR staged_label.position > g.first END""",
    )


def problems(connection: Connection) -> list[StagedProblem]:
    """Return the staged answers that are refused, in the file's order."""
    rows = mappings(
        connection,
        f"""SELECT s.fate, s.line, s.place, s.item, s.path, s.also, s.annotator, s.trouble, s.width, s.height,
             i.path AS item_path, i.width AS item_width, i.height AS item_height,
             s.reach_left, s.reach_top, s.reach_right, s.reach_bottom, o.line AS other_line, o.place AS other_place
           FROM staged_label AS s LEFT JOIN item AS i ON i.id = s.item_id
           LEFT JOIN staged_label AS o ON o.position = (SELECT min(p.position) FROM staged_label AS p
             WHERE p.item_id = s.item_id AND p.annotator = s.annotator AND p.position <> s.position)
           WHERE s.fate IN ({in_sql(*PROBLEMS)}) ORDER BY s.position""",
    )
    return [StagedProblem(**row) for row in rows]


def left_paths(connection: Connection) -> list[str]:
    """Return the distinct paths that are not in the pool and were left aside, in the file's order."""
    rows = run(
        connection,
        f"SELECT path FROM staged_label WHERE fate = {in_sql('left')} GROUP BY path ORDER BY min(position)",
    )
    return [row[0] for row in rows]
