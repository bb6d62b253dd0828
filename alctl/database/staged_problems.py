"""What is wrong with the staged answers of a file, and with which images."""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection

from alctl.database.bulk import fresh_table, insert_rows, mappings, run, scalar
from alctl.database.staged_labels import known_path

_FINE = ("added", "changed", "confirmed", "unchanged", "older", "outdated", "outside", "left")


def find_problems(
    connection: Connection, ambiguous: Iterable[str] = (), *, leave_unknown: bool = False
) -> None:
    """Mark staged answers that name no item, or are wrong in themselves or for their image.

    With ``leave_unknown``, answers about images that are not in the pool are left aside and are no problem;
    ``ambiguous`` paths always are.
    """
    run(connection, "CREATE INDEX ix_staged_label ON staged_label (item_id, annotator, line)")
    fresh_table(connection, known_path)
    insert_rows(connection, known_path, ((path, None) for path in ambiguous))
    run(
        connection,
        """UPDATE staged_label SET fate = CASE
             WHEN :leave AND item IS NULL AND path NOT IN (SELECT path FROM known_path) THEN 'left'
             ELSE 'unknown item' END WHERE item_id IS NULL AND fate IS NULL""",
        leave=leave_unknown,
    )
    _find_strangers(connection)
    run(connection, "UPDATE staged_label SET fate = 'trouble' WHERE trouble IS NOT NULL AND fate IS NULL")
    run(
        connection,
        """UPDATE staged_label SET fate = 'other size' FROM item AS i
           WHERE fate IS NULL AND i.id = item_id AND reach_left IS NOT NULL AND staged_label.width IS NOT NULL
             AND i.width IS NOT NULL AND (staged_label.width <> i.width OR staged_label.height <> i.height)""",
    )
    run(
        connection,
        """UPDATE staged_label SET fate = 'no size' FROM item AS i
           WHERE fate IS NULL AND i.id = item_id AND relative = 1 AND reach_left IS NOT NULL AND i.width IS NULL""",
    )


def _find_strangers(connection: Connection) -> None:
    """Mark answers whose item has another path or other bytes than the file says."""
    run(
        connection,
        """UPDATE staged_label SET fate = 'other image' FROM item AS i
           WHERE staged_label.fate IS NULL AND i.id = staged_label.item_id AND staged_label.item IS NOT NULL
             AND staged_label.digest IS NOT NULL AND i.digest IS NOT NULL AND i.digest <> staged_label.digest""",
    )
    run(
        connection,
        """UPDATE staged_label SET fate = 'other path' FROM item AS i
           WHERE staged_label.fate IS NULL AND i.id = staged_label.item_id AND staged_label.item IS NOT NULL AND staged_label.path <> ''
             AND staged_label.digest IS NULL AND replace(i.path, '\\', '/') <> staged_label.path
             AND substr(staged_label.path, length(staged_label.path) - length(i.path)) <> '/' || i.path
             AND substr(i.path, length(i.path) - length(staged_label.path)) <> '/' || staged_label.path
             AND NOT EXISTS (SELECT 1 FROM duplicate AS d WHERE d.item_id = i.id AND d.path = staged_label.path)""",
    )


_ANSWER = "staged.status || ' ' || coalesce(staged.category_id, 0) || ' ' || coalesce(staged.annotations, '')"


def find_repeats(connection: Connection) -> None:
    """Mark answers of one annotator to one image: all but the newest where each has its time, else all but the first.

    They are compared in the pixels of their images, and what is older goes into the history in them, too.
    """
    run(
        connection,
        f"""UPDATE staged_label SET fate = CASE
                WHEN g.times = g.n THEN 'older' WHEN g.answers > 1 THEN 'contradiction' ELSE 'repeated' END
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


def problems(connection: Connection) -> list[Mapping[str, Any]]:
    """Return the staged answers that have a problem, in the file's order, with what it takes to explain it."""
    return mappings(
        connection,
        f"""SELECT s.position, s.line, s.place, s.item, s.path, s.annotator, s.status, s.fate, s.trouble, i.path AS item_path,
             s.width, s.height, i.width AS item_width, i.height AS item_height,
             s.reach_left, s.reach_top, s.reach_right, s.reach_bottom, o.line AS other_line, o.place AS other_place
           FROM staged_label AS s LEFT JOIN item AS i ON i.id = s.item_id
           LEFT JOIN staged_label AS o ON o.position = (SELECT min(p.position) FROM staged_label AS p
             WHERE p.item_id = s.item_id AND p.annotator = s.annotator AND p.position <> s.position)
           WHERE s.fate IS NOT NULL AND s.fate NOT IN {_FINE} ORDER BY s.position""",
    )


def left_paths(connection: Connection) -> list[str]:
    """Return the distinct paths that are not in the pool and were left aside, in the file's order."""
    rows = run(
        connection, "SELECT path FROM staged_label WHERE fate = 'left' GROUP BY path ORDER BY min(position)"
    )
    return [row[0] for row in rows]


def matched(connection: Connection) -> int:
    """Return how many staged answers are about an image of the pool."""
    return int(scalar(connection, "SELECT count(*) FROM staged_label WHERE item_id IS NOT NULL"))
