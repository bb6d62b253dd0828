"""All that is recorded of one item: who said what and what became of it, and where the item was sent."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from sqlalchemy import Connection

from alctl.database import handouts, rounds_out
from alctl.database.bulk import mappings, run
from alctl.database.categories import Class, class_list, counted
from alctl.database.in_force import CONSENSUS, IN_FORCE
from alctl.database.labels import drawings_that_hold
from alctl.errors import AlctlError


@dataclass(frozen=True)
class Place:
    """Where a round's images went."""

    tool: str
    place: str
    """Folder or address."""
    created_at: str


@dataclass(frozen=True)
class Sent:
    """How a round sent the item to annotators."""

    round: int
    strategy: str
    created_at: str
    due_at: str | None
    rank: int | None
    score: float | None
    why: str
    recalled_at: str | None
    annotators: list[str]
    """Those who got the item; empty where the round was for anybody."""
    predicted: str | None
    """What was given to be corrected, in words."""
    handouts: list[Place]


@dataclass(frozen=True)
class Said:
    """One label of the item, in force or not."""

    label: int
    annotator: str
    said: str
    """In words."""
    status: str
    state: str
    """ "in force", "replaced", or "taken back" and when."""
    made_at: str | None
    imported_at: str
    import_: int
    """The number of the import that brought it."""
    file: str
    format: str
    place: str | None
    """The line or the task in the file."""
    seconds: float | None


@dataclass(frozen=True)
class ItemHistory:
    """What is recorded of an item, oldest first."""

    item: int
    path: str
    sha256: str | None
    width: int | None
    height: int | None
    split: str
    unusable: str | None
    """Why the item cannot be used."""
    duplicates: list[str]
    """Paths of files with the same bytes."""
    rounds: list[Sent]
    labels: list[Said]
    runs: list[int]
    """Training runs that learned from the item."""
    now: str
    """What holds, in words."""


def find(connection: Connection, given: str, root: str) -> int:
    """Return the item that a person means: by its path, its number, or the end of its path if only one has it.

    ``root`` is the folder that paths in the pool are relative to.
    """
    text = given.strip()
    for path in dict.fromkeys((text, PurePath(text).as_posix(), _seen_from(root, text))):
        exact = run(
            connection,
            """SELECT id FROM item WHERE path = :path UNION SELECT item_id FROM duplicate WHERE path = :path""",
            path=path,
        ).scalar()
        if exact is not None:
            return int(exact)
    if text.isdecimal() and len(text) < 10:
        number = run(connection, "SELECT id FROM item WHERE id = :id", id=int(text)).scalar()
        if number is not None:
            return int(number)
    return _by_end(connection, text)


def _seen_from(root: str, path: str) -> str:
    """Return a path on this disk as the pool would have it."""
    return Path(os.path.relpath(os.path.abspath(path), root)).as_posix()  # noqa: PTH100 - links stay as they are


def _by_end(connection: Connection, text: str) -> int:
    end = f"/{PurePath(text).as_posix().lstrip('/')}"
    rows = run(
        connection,
        """SELECT id, path FROM item WHERE substr(path, length(path) - length(:end) + 1) = :end ORDER BY id LIMIT 3""",
        end=end,
    ).all()
    if len(rows) == 1:
        return int(rows[0].id)
    if rows:
        several = " or ".join(f"{row.path!r} (item {row.id})" for row in rows[:2])
        more = ", among others" if len(rows) > 2 else ""
        raise AlctlError(f"{text!r} may be {several}{more}; give the whole path, or the number")
    raise AlctlError(f"{text!r} is no item of the pool, neither by number nor by path nor by file name")


def of_item(connection: Connection, item: int) -> ItemHistory:
    """Return what is recorded of an item."""
    known = class_list(connection)
    row = mappings(
        connection,
        """SELECT i.id, i.path, i.digest, i.width, i.height, coalesce(r.split, 'pool') AS split, u.reason
           FROM item AS i LEFT JOIN reserved AS r ON r.item_id = i.id LEFT JOIN unusable AS u ON u.item_id = i.id
           WHERE i.id = :item""",
        item=item,
    )[0]
    copies = run(connection, "SELECT path FROM duplicate WHERE item_id = :item ORDER BY path", item=item)
    learned = run(
        connection, "SELECT run_id FROM training_item WHERE item_id = :item ORDER BY run_id", item=item
    )
    return ItemHistory(
        item=row["id"],
        path=row["path"],
        sha256=row["digest"].hex() if row["digest"] else None,
        width=row["width"],
        height=row["height"],
        split=row["split"],
        unusable=row["reason"],
        duplicates=[copy[0] for copy in copies],
        rounds=[_round(connection, sent, item, known) for sent in _sent(connection, item)],
        labels=_labels(connection, item, known),
        runs=[int(number[0]) for number in learned],
        now=_now(connection, item, known, row["reason"]),
    )


def _sent(connection: Connection, item: int) -> list[Mapping[str, Any]]:
    return mappings(
        connection,
        """SELECT s.round_id, r.strategy, r.created_at, r.due_at, s.rank, s.score, s.why, s.recalled_at,
             p.item_id AS predicted_item, p.category_id, p.annotations
           FROM selection AS s JOIN round AS r ON r.id = s.round_id
           LEFT JOIN prediction AS p ON p.round_id = s.round_id AND p.item_id = s.item_id
           WHERE s.item_id = :item ORDER BY s.round_id""",
        item=item,
    )


def _round(connection: Connection, row: Mapping[str, Any], item: int, known: Sequence[Class]) -> Sent:
    """Return how a round sent the item, and where to."""
    shares = rounds_out.shares_of(connection, row["round_id"])
    return Sent(
        round=row["round_id"],
        strategy=row["strategy"],
        created_at=row["created_at"],
        due_at=row["due_at"],
        rank=row["rank"],
        score=row["score"],
        why=row["why"],
        recalled_at=row["recalled_at"],
        annotators=[name for name, items in shares.items() if item in items],
        predicted=_said(row, known) if row["predicted_item"] is not None else None,
        handouts=[
            Place(out.tool, out.place, out.created_at)
            for out in handouts.find(connection, round_id=row["round_id"])
        ],
    )


def _labels(connection: Connection, item: int, known: Sequence[Class]) -> list[Said]:
    rows = mappings(
        connection,
        f"""SELECT l.id, l.annotator, l.status, l.category_id, l.annotations, l.seconds, l.created_at, l.made_at, l.place,
              b.id AS import_id, b.file, b.format, b.undone_at,
              CASE WHEN l.id IN (SELECT f.id FROM {IN_FORCE} AS f WHERE f.item_id = :item) THEN 1 ELSE 0 END AS in_force
            FROM label AS l JOIN import_batch AS b ON b.id = l.import_id WHERE l.item_id = :item ORDER BY l.id""",
        item=item,
    )
    return [
        Said(
            label=row["id"],
            annotator=row["annotator"],
            said=_said(row, known),
            status=row["status"],
            state=_state(row),
            made_at=row["made_at"],
            imported_at=row["created_at"],
            import_=row["import_id"],
            file=row["file"],
            format=row["format"],
            place=row["place"],
            seconds=row["seconds"],
        )
        for row in rows
    ]


def _state(row: Mapping[str, Any]) -> str:
    if row["undone_at"]:
        return f"taken back {row['undone_at']}"
    return "in force" if row["in_force"] else "replaced"


def _said(row: Mapping[str, Any], known: Sequence[Class]) -> str:
    """Return an answer in words: its class, as it was given, or "3 objects: 2 car, 1 person"; or its status."""
    status = row.get("status", "labeled")
    if status != "labeled":
        return "skipped" if status == "skip" else str(status)
    if row["category_id"] is not None:
        return _named(known[row["category_id"] - 1], known)
    return _objects(row["annotations"], [_named(found, known) for found in known])


def _objects(text: str | None, names: Sequence[str]) -> str:
    found = counted(text, names)
    total = sum(found.values())
    if not total:
        return "nothing there"
    some = ", ".join(f"{count} {name}" for name, count in sorted(found.items(), key=lambda kind: -kind[1]))
    return f"{total} object{'' if total == 1 else 's'}: {some}"


def _named(found: Class, known: Sequence[Class]) -> str:
    if found.merged_into is None or found.taken_back:
        return found.name
    return f"{found.name} (counts as {known[found.merged_into - 1].name} now)"


def _now(connection: Connection, item: int, known: Sequence[Class], unusable: str | None) -> str:
    """Return what holds for the item, in words."""
    if unusable:
        return f"cannot be used: {unusable}"
    rows = mappings(
        connection,
        f"SELECT c.status, c.category_id, c.annotations FROM {CONSENSUS} AS c WHERE c.item_id = :item",
        item=item,
    )
    if rows:
        names = [known[found.effective - 1].name for found in known]
        row = rows[0]
        if row["status"] == "labeled" and row["category_id"] is None:
            drawn = drawings_that_hold(connection, item=item)
            return _objects(drawn.get(item, row["annotations"]), names)
        return _said(row, known)
    out = mappings(
        connection,
        "SELECT max(round_id) AS number FROM selection WHERE item_id = :item AND recalled_at IS NULL",
        item=item,
    )[0]["number"]
    return f"out with round {out}" if out else "unlabeled"
