"""Which item each staged answer is about: matching by what the file says of the image."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from sqlalchemy import Column, Connection, Integer, MetaData, Table, Text

from alctl.database.bulk import fresh_table, insert_rows, run, scalar
from alctl.database.fates import in_sql

known_path = Table(
    "known_path",
    MetaData(),
    Column("path", Text, primary_key=True),
    Column("item_id", Integer),
    prefixes=["TEMPORARY"],
)


def match_exactly(connection: Connection) -> None:
    """Match staged answers to items by id, then by the image's digest, then by path, then by a duplicate's path.

    A backslash may stand in a file's name; only in a path that no image has does it divide folders, as on Windows.
    So may a space at either end, which else is untidiness.
    """
    run(
        connection,
        "UPDATE staged_label SET item_id = item WHERE EXISTS (SELECT 1 FROM item AS i WHERE i.id = staged_label.item)",
    )
    run(
        connection,
        """UPDATE staged_label SET item_id = i.id FROM item AS i
           WHERE i.digest = staged_label.digest AND staged_label.item IS NULL AND item_id IS NULL""",
    )
    _match_whole_paths(connection)
    turned = run(
        connection,
        """UPDATE staged_label SET path = replace(CASE WHEN substr(path, 1, 2) = '.\\' THEN substr(path, 3) ELSE path END,
             '\\', '/') WHERE (item IS NOT NULL OR item_id IS NULL) AND replace(path, '\\', '/') <> path""",
    )
    tidied = run(
        connection,
        """UPDATE staged_label SET path = trim(path) WHERE trim(path) <> path AND item_id IS NULL
           OR trim(path) <> path AND NOT EXISTS
             (SELECT 1 FROM item AS i WHERE i.id = staged_label.item_id AND i.path = staged_label.path)
           AND item IS NOT NULL""",
    )
    if turned.rowcount or tidied.rowcount:
        _match_whole_paths(connection)


def _match_whole_paths(connection: Connection) -> None:
    for known in ("SELECT path, id FROM item", "SELECT path, item_id AS id FROM duplicate"):
        run(
            connection,
            f"""UPDATE staged_label SET item_id = known.id FROM ({known}) AS known
                WHERE known.path = staged_label.path AND staged_label.item IS NULL AND item_id IS NULL""",
        )


def unmatched_paths(connection: Connection) -> list[str]:
    """Return the distinct paths of staged answers that no item was found for."""
    rows = run(
        connection,
        "SELECT DISTINCT path FROM staged_label WHERE item_id IS NULL AND item IS NULL AND path <> ''",
    )
    return [row[0] for row in rows]


def match_paths(connection: Connection, found: Mapping[str, int]) -> None:
    """Match the staged answers with these paths to these items."""
    fresh_table(connection, known_path)
    insert_rows(connection, known_path, found.items())
    run(
        connection,
        """UPDATE staged_label SET item_id = k.item_id FROM known_path AS k
           WHERE k.path = staged_label.path AND staged_label.item IS NULL AND staged_label.item_id IS NULL""",
    )


class OtherName(NamedTuple):
    """The other name that a file gives an image, and the item that the first one means."""

    position: int
    also: str
    item_id: int | None


def other_names(connection: Connection) -> list[OtherName]:
    """Return the staged answers that have another name and no id of ours."""
    rows = run(
        connection,
        "SELECT position, also, item_id FROM staged_label WHERE also IS NOT NULL AND item IS NULL AND digest IS NULL",
    )
    return [OtherName._make(row) for row in rows]


def match_positions(connection: Connection, found: Mapping[int, int]) -> None:
    """Match the staged answers at these positions to these items."""
    _of_positions(connection, "item_id = :item", found)


def mark_two_names(connection: Connection, found: Mapping[int, int]) -> None:
    """Mark the staged answers at these positions, whose other name is that of another item."""
    told = f"fate = {in_sql('two names')}, also = (SELECT path FROM item WHERE id = :item)"
    _of_positions(connection, told, found)


def _of_positions(connection: Connection, change: str, found: Mapping[int, int]) -> None:
    for position, item in found.items():
        run(connection, f"UPDATE staged_label SET {change} WHERE position = :at", at=position, item=item)


def ids_of_paths(connection: Connection, names: Iterable[str]) -> dict[str, int]:
    """Return the item of each of these paths that is an item's or a duplicate's."""
    fresh_table(connection, known_path)
    insert_rows(connection, known_path, ((name, None) for name in sorted(set(names))))
    found: dict[str, int] = {}
    for known in ("SELECT path, item_id AS id FROM duplicate", "SELECT path, id FROM item"):
        rows = run(
            connection, f"SELECT k.path, o.id FROM known_path AS k JOIN ({known}) AS o ON o.path = k.path"
        )
        found.update(rows.all())
    return found


def matched(connection: Connection) -> int:
    """Return how many staged answers are about an image of the pool."""
    return int(scalar(connection, "SELECT count(*) FROM staged_label WHERE item_id IS NOT NULL"))


def mark_unknown(
    connection: Connection, ambiguous: Iterable[str] = (), *, leave_unknown: bool = False
) -> None:
    """Mark staged answers that name no item, or another one than they mean; nothing is matched after this.

    With ``leave_unknown``, answers about images that are not in the pool are left aside and are no problem;
    ``ambiguous`` paths always are.
    """
    run(connection, "CREATE INDEX ix_staged_label ON staged_label (item_id, annotator, line)")
    fresh_table(connection, known_path)
    insert_rows(connection, known_path, ((path, None) for path in ambiguous))
    run(
        connection,
        f"""UPDATE staged_label SET fate = CASE
             WHEN :leave AND item IS NULL AND path NOT IN (SELECT path FROM known_path) THEN {in_sql("left")}
             ELSE {in_sql("unknown item")} END WHERE item_id IS NULL AND fate IS NULL""",
        leave=leave_unknown,
    )
    _mark_other_images(connection)


def _mark_other_images(connection: Connection) -> None:
    """Mark answers whose item has another path or other bytes than the file says."""
    run(
        connection,
        f"""UPDATE staged_label SET fate = {in_sql("other image")} FROM item AS i
           WHERE staged_label.fate IS NULL AND i.id = staged_label.item_id AND staged_label.item IS NOT NULL
             AND staged_label.digest IS NOT NULL AND i.digest IS NOT NULL AND i.digest <> staged_label.digest""",
    )
    run(
        connection,
        f"""UPDATE staged_label SET fate = {in_sql("other path")} FROM item AS i
           WHERE staged_label.fate IS NULL AND i.id = staged_label.item_id AND staged_label.item IS NOT NULL
             AND staged_label.path <> '' AND staged_label.digest IS NULL AND replace(i.path, '\\', '/') <> staged_label.path
             AND substr(staged_label.path, length(staged_label.path) - length(i.path)) <> '/' || i.path
             AND substr(i.path, length(i.path) - length(staged_label.path)) <> '/' || staged_label.path
             AND NOT EXISTS (SELECT 1 FROM duplicate AS d WHERE d.item_id = i.id AND d.path = staged_label.path)""",
    )


def keep_to_round(connection: Connection, round_id: int) -> None:
    """Set aside the staged answers whose items did not go out with the round."""
    run(
        connection,
        f"""UPDATE staged_label SET fate = {in_sql("outside")} WHERE fate IS NULL
           AND item_id NOT IN (SELECT item_id FROM selection WHERE round_id = :round)""",
        round=round_id,
    )
