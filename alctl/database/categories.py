"""The class list: ids are frozen, labels keep the class they were given, and renames and merges are recorded here.

A rename changes one name. A merge says what class another one counts as from now on; whoever reads labels looks that
up (`labels.IN_FORCE` does for classes of whole images, `effective_names` serves for objects).
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, insert, null, select, update

from alctl.database.bulk import insert_rows, run, scalar
from alctl.database.in_force import IN_FORCE
from alctl.database.tables import category, category_change
from alctl.labels.annotation import Category


class Class(NamedTuple):
    """One class of the list."""

    id: int
    name: str
    merged_into: int | None
    """The class that it counts as since a merge; that one is never merged itself. Its own id: it was taken back."""
    keypoints: tuple[str, ...]
    skeleton: tuple[tuple[int, int], ...]

    @property
    def effective(self) -> int:
        """The id of the class that its labels count as."""
        return self.merged_into or self.id

    @property
    def taken_back(self) -> bool:
        """Whether it went with an import that was undone: it holds its id, and nothing means it."""
        return self.merged_into == self.id


class Outputs(NamedTuple):
    """What the outputs of a model stand for by now: it has one for each class that there was when it was trained."""

    names: list[str]
    ids: list[int]
    """The class that each output stands for; 0 where it only adds to another one."""
    merged: list[tuple[int, ...]]
    """Outputs, from 0, whose probabilities belong to one class; the one that stands for it comes first."""


def outputs(known: Sequence[Class], size: int) -> Outputs:
    """Return what the first ``size`` classes of the list are as the outputs of a model."""
    groups: dict[int, list[int]] = {}
    for found in known[:size]:
        groups.setdefault(found.effective, []).append(found.id - 1)
    names, ids, merged = [found.name for found in known[:size]], [0] * len(known[:size]), []
    for id_, places in groups.items():
        places.sort(
            key=lambda place: place != id_ - 1
        )  # else an output that outlived its class stands for it
        names[places[0]], ids[places[0]] = known[id_ - 1].name, id_
        if len(places) > 1:
            merged.append(tuple(places))
    return Outputs(names, ids, merged)


def class_list(connection: Connection) -> list[Class]:
    """Return every class in the order of the ids, with those that were merged or taken back."""
    rows = connection.execute(select(category).order_by(category.c.id)).mappings()
    return [
        Class(
            row["id"],
            row["name"],
            row["merged_into"],
            tuple(row["keypoints"] or ()),
            tuple((int(first), int(second)) for first, second in row["skeleton"] or ()),
        )
        for row in rows
    ]


def numbered(connection: Connection) -> list[Class]:
    """Return the classes without those at the end that were taken back: where a place is an id, the others hold theirs."""
    known = class_list(connection)
    return known[: max((found.id for found in known if not found.taken_back), default=0)]


def categories(connection: Connection) -> list[str]:
    """Return the names in the order of the ids, of every class there was: its place is its id - 1, for ever."""
    return list(connection.execute(select(category.c.name).order_by(category.c.id)).scalars())


def effective_names(connection: Connection) -> list[str]:
    """Return for each class, in the order of the ids, the name of the class that its labels count as."""
    known = class_list(connection)
    return [known[found.effective - 1].name for found in known]


def as_categories(connection: Connection, *, living: bool = False) -> list[Category]:
    """Return the class list for writers of files, in the order of the ids.

    Merged classes hold their places in it, so that no index shifts; ``living`` leaves them out, for annotators.
    """
    return [
        Category(found.name, found.keypoints, found.skeleton)
        for found in numbered(connection)
        if not living or found.merged_into is None
    ]


def merges(connection: Connection) -> dict[int, int]:
    """Return for each merged class the class that it counts as, by id."""
    return {found.id: found.merged_into for found in class_list(connection) if found.merged_into}


def resolver(connection: Connection) -> dict[str, int]:
    """Return the id of the class that each name stands for, also a merged class's and a former one.

    A former name that a class of the list has by now means that class; one that two classes once had means none.
    """
    known = class_list(connection)
    ids = {found.name: found.effective for found in known if not found.taken_back}
    former: dict[str, set[int]] = {}
    renames = select(category_change.c.before, category_change.c.category_id)
    for name, id_ in connection.execute(renames.where(category_change.c.action == "rename")):
        former.setdefault(name, set()).add(known[id_ - 1].effective)
    return {name: min(meant) for name, meant in former.items() if len(meant) == 1} | ids


def former_names(connection: Connection) -> dict[str, str]:
    """Return the present name of the class for each name that is understood but is no living class's."""
    names = categories(connection)
    return {name: names[id_ - 1] for name, id_ in resolver(connection).items() if names[id_ - 1] != name}


def add_categories(connection: Connection, names: Iterable[str]) -> list[str]:
    """Append the names that are not understood yet, in the given order, and return them."""
    known, first, back = resolver(connection), _next(connection, "category"), taken_back(connection)
    new = [name for name in dict.fromkeys(names) if name not in known]
    add_classes(connection, [Category(name) for name in new if name in back])
    insert_rows(connection, category, list(enumerate((n for n in new if n not in back), start=first)))
    return new


def add_classes(connection: Connection, classes: Iterable[Category]) -> dict[str, int]:
    """Append new classes with their keypoints, or bring back what was taken back; return their ids by name."""
    back, following, added = taken_back(connection), _next(connection, "category"), dict[str, int]()
    for found in classes:
        id_ = added[found.name] = back.get(found.name, following)
        if id_ == following:
            connection.execute(insert(category).values(id=id_, name=found.name))
            following += 1
        else:
            connection.execute(update(category).where(category.c.id == id_).values(merged_into=None))
        set_keypoints(connection, id_, found.keypoints, found.skeleton)
    return added


def taken_back(connection: Connection) -> dict[str, int]:
    """Return the ids of the classes that went with an import that was undone, by name."""
    return {found.name: found.id for found in class_list(connection) if found.taken_back}


def take_back(connection: Connection, id_: int) -> None:
    """Let nothing mean a class any more; undone labels, and its id, keep it."""
    connection.execute(update(category).where(category.c.id == id_).values(merged_into=id_))


def keypoints_of_classes(connection: Connection) -> dict[int, tuple[str, ...]]:
    """Return the names of the keypoints of each class that has any."""
    return {found.id: found.keypoints for found in class_list(connection) if found.keypoints}


def learn_keypoints(connection: Connection, known: Mapping[int, tuple[str, ...]]) -> None:
    """Give classes that have no keypoints yet those of ``known``."""
    recorded = keypoints_of_classes(connection)
    for id_, names in known.items():
        if names and id_ not in recorded:
            set_keypoints(connection, id_, names, ())


def set_keypoints(
    connection: Connection, id_: int, keypoints: Sequence[str], skeleton: Sequence[tuple[int, int]]
) -> None:
    """Write the keypoints of a class and how they are joined; none at all is no value, not an empty list."""
    values: dict[str, Any] = {
        "keypoints": list(keypoints) or null(),
        "skeleton": [list(pair) for pair in skeleton] or null(),
    }
    connection.execute(update(category).where(category.c.id == id_).values(**values))


def rename(connection: Connection, id_: int, name: str) -> None:
    """Give a class another name, which no other class may have."""
    connection.execute(update(category).where(category.c.id == id_).values(name=name))


def merge(connection: Connection, source: int, target: int) -> None:
    """Let a class, and every class merged into it before, count as another one from now on."""
    run(
        connection,
        "UPDATE category SET merged_into = :target WHERE id = :source OR merged_into = :source",
        source=source,
        target=target,
    )


def record(
    connection: Connection, action: str, id_: int, before: str | None, after: str | None, now: str
) -> None:
    """Write down a change of the class list."""
    number = _next(connection, "category_change")
    connection.execute(
        insert(category_change).values(
            id=number, action=action, category_id=id_, before=before, after=after, created_at=now
        )
    )


def labels_per_class(connection: Connection) -> dict[int, int]:
    """Return how many labels in force have each class, by the class that their annotator gave.

    A whole image's class counts once, and so does every object.
    """
    in_force = f"label AS l JOIN {IN_FORCE} AS f ON f.id = l.id"
    whole = f"SELECT l.category_id, count(*) FROM {in_force} WHERE l.category_id IS NOT NULL GROUP BY l.category_id"
    found = {int(row[0]): int(row[1]) for row in run(connection, whole)}
    id_, entries = entries_of(connection, "l.annotations")
    objects = f"SELECT {id_}, count(*) FROM {in_force} CROSS JOIN {entries} WHERE l.annotations IS NOT NULL GROUP BY 1"
    for number, count in run(connection, objects):
        found[int(number)] = found.get(int(number), 0) + int(count)
    return found


def entries_of(connection: Connection, column: str) -> tuple[str, str]:
    """Return SQL for the class id of one object, and for the table of all objects in a column of annotations."""
    if connection.dialect.name == "sqlite":
        return "CAST(json_extract(entry.value, '$.category') AS integer)", f"json_each({column}) AS entry"
    return (
        "CAST(entry.value ->> 'category' AS integer)",
        f"LATERAL jsonb_array_elements(CAST({column} AS jsonb)) AS entry(value)",
    )


def counted(text: str | None, names: Sequence[str]) -> dict[str, int]:
    """Return how many objects of each class annotations as JSON hold; ``names`` are in the order of the ids."""
    found: dict[str, int] = {}
    for entry in json.loads(text or "[]"):
        name = names[entry["category"] - 1]
        found[name] = found.get(name, 0) + 1
    return found


def _next(connection: Connection, table: str) -> int:
    return int(scalar(connection, f"SELECT coalesce(max(id), 0) + 1 FROM {table}"))
