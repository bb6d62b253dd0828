"""Adding, renaming and merging classes. No label is rewritten, ids stay what they are, and every change is recorded."""

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Literal

from sqlalchemy import Connection

from alctl.database import categories, counts, training_runs
from alctl.database.bulk import discard
from alctl.database.categories import Class
from alctl.errors import AlctlError
from alctl.labels.annotation import Category
from alctl.labels.text import name_problem
from alctl.project import Project, now, required_state


@dataclass
class Change:
    """What a change of the class list did, or would do."""

    action: Literal["add", "rename", "merge"]
    classes: list[str]
    """The classes that are there afterwards because of it: the new ones, the renamed one, the one merged into."""
    before: str | None = None
    """The name that there was."""
    labels: int = 0
    """Labels in force that it concerns; an object counts as one."""
    stale_runs: list[int] = field(default_factory=list)
    """Training runs that know another class list than the present one."""
    rounds_out: list[int] = field(default_factory=list)
    """Rounds that annotators still have, under the old names; these are understood when they come back."""
    notes: list[str] = field(default_factory=list)
    dry_run: bool = False


@dataclass(frozen=True)
class ListedClass:
    """A class as `alctl classes list` shows it."""

    id: int
    name: str
    labels: int
    """Those in force; the labels of a merged class count for its new class as well."""
    merged_into: str | None
    keypoints: list[str]
    skeleton: list[tuple[int, int]]
    """Pairs of keypoints that are joined when drawn, from 1."""


def listed(project: Project) -> list[ListedClass]:
    """Return every class with how many labels it has."""
    with project.reading() as connection:
        required_state(connection, project.folder)
        known = categories.class_list(connection)
        own = categories.labels_per_class(connection)
    total = dict.fromkeys((found.id for found in known), 0)
    for found in known:
        for id_ in {found.id, found.effective}:
            total[id_] += own.get(found.id, 0)
    return [
        ListedClass(
            id=found.id,
            name=found.name,
            labels=total[found.id],
            merged_into=known[found.merged_into - 1].name if found.merged_into else None,
            keypoints=list(found.keypoints),
            skeleton=[(first + 1, second + 1) for first, second in found.skeleton],
        )
        for found in known
        if not found.taken_back
    ]


def add(
    project: Project,
    names: Sequence[str],
    keypoints: Sequence[str] = (),
    skeleton: Sequence[tuple[int, int]] = (),
    *,
    dry_run: bool = False,
) -> Change:
    """Append classes; one that is there already may get keypoints, if it has none yet.

    ``skeleton`` holds pairs of places in ``keypoints``, from 0.
    """
    wanted = [checked(name) for name in names]
    _check_points(keypoints, skeleton)
    if doubled := sorted({name for name in wanted if wanted.count(name) > 1}):
        raise AlctlError(f"{doubled[0]!r} is named twice")
    change = Change("add", wanted, rounds_out=_out(project), dry_run=dry_run)
    with project.writing("classes add") as connection:
        change.notes = [note for name in wanted if (note := _former(connection, name))]
        known = {found.name: found for found in categories.class_list(connection)}
        for name in wanted:
            if name in known and not known[name].taken_back:
                _give_keypoints(connection, known[name], known.values(), keypoints, skeleton)
            else:
                new = Category(name, tuple(keypoints), tuple(skeleton))
                (id_,) = categories.add_classes(connection, [new]).values()
                categories.record(connection, "add", id_, None, name, now())
        return _done(connection, change)


def _give_keypoints(
    connection: Connection,
    found: Class,
    known: Iterable[Class],
    keypoints: Sequence[str],
    skeleton: Sequence[tuple[int, int]],
) -> None:
    if found.merged_into:
        raise AlctlError(_gone(found, list(known)))
    if not keypoints:
        raise AlctlError(f"{found.name!r} is a class already, number {found.id}")
    if found.keypoints:
        had = ", ".join(found.keypoints)
        raise AlctlError(f"{found.name!r} has keypoints already, and labels depend on them: {had}")
    categories.set_keypoints(connection, found.id, keypoints, skeleton)
    categories.record(connection, "keypoints", found.id, None, ", ".join(keypoints), now())


def rename(project: Project, old: str, new: str, *, dry_run: bool = False) -> Change:
    """Give a class another name; its labels and its id stay, and the old name is still understood."""
    name = checked(new)
    labels, out = _labels(project, old), _out(project)
    with project.writing("classes rename") as connection:
        known = categories.class_list(connection)
        found = _living(connection, known, old)
        if name == found.name:
            raise AlctlError(f"{name!r} is the name of class {found.id} already")
        change = Change("rename", [name], found.name, labels, rounds_out=out, dry_run=dry_run)
        if note := _former(connection, name, found.id):
            change.notes.append(note)
        holder = next((other for other in known if other.name == name), None)
        if holder is not None:
            _swap(connection, found, holder, known)
        else:
            categories.rename(connection, found.id, name)
        categories.record(connection, "rename", found.id, found.name, name, now())
        return _done(connection, change)


def _swap(connection: Connection, found: Class, holder: Class, known: Sequence[Class]) -> None:
    """Take the name of a class that was merged into this one; that one gets the old name. Both mean the same class."""
    if holder.merged_into is None:
        raise AlctlError(
            f"{holder.name!r} is a class already; to make one class of both: "
            f"`alctl classes merge {shlex.quote(found.name)} {shlex.quote(holder.name)}`"
        )
    if holder.merged_into != found.id:
        raise AlctlError(f"{_gone(holder, known)}, and files may still name it; choose another name")
    categories.rename(connection, holder.id, f"\x1a{holder.id}")  # no two classes may have one name, ever
    categories.rename(connection, found.id, holder.name)
    categories.rename(connection, holder.id, found.name)
    categories.record(connection, "rename", holder.id, holder.name, found.name, now())


def merge(project: Project, source: str, target: str, *, dry_run: bool = False) -> Change:
    """Let a class count as another one from now on. Its labels keep their own class, so nothing is lost."""
    labels, out = _labels(project, source), _out(project)
    with project.writing("classes merge") as connection:
        known = categories.class_list(connection)
        found, into = _living(connection, known, source), _living(connection, known, target)
        if found.id == into.id:
            raise AlctlError(f"{found.name!r} cannot be merged into itself")
        if found.keypoints and found.keypoints != into.keypoints:
            ours, theirs = ", ".join(found.keypoints), ", ".join(into.keypoints) or "none"
            raise AlctlError(
                f"{found.name!r} and {into.name!r} have different keypoints ({ours}; {theirs}), so their labels "
                "do not mean the same"
            )
        change = Change("merge", [into.name], found.name, labels, rounds_out=out, dry_run=dry_run)
        categories.merge(connection, found.id, into.id)
        categories.record(connection, "merge", found.id, found.name, into.name, now())
        return _done(connection, change)


def checked(name: str) -> str:
    """Return a name without the spaces around it; AlctlError for one that no file could carry."""
    plain = name.strip()
    if not plain:
        raise AlctlError("a class needs a name")
    if problem := name_problem(plain):
        raise AlctlError(f"the class name {plain[:40]!r} {problem}")
    return plain


def _check_points(keypoints: Sequence[str], skeleton: Sequence[tuple[int, int]]) -> None:
    names = [checked(name) for name in keypoints]
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise AlctlError(f"the keypoint {doubled[0]!r} is named twice")
    for first, second in skeleton:
        if first == second or not all(0 <= place < len(names) for place in (first, second)):
            raise AlctlError(
                f"the skeleton joins keypoints {first + 1} and {second + 1}, and there are {len(names)}"
            )


def _living(connection: Connection, known: Sequence[Class], name: str) -> Class:
    """Return the class of a name; AlctlError for one that is merged, is called otherwise now, or was never there."""
    found = next((one for one in known if one.name == name.strip()), None)
    if found is None:
        present = categories.former_names(connection).get(name)
        if present:
            raise AlctlError(f"{name!r} is called {present!r} now")
        near = get_close_matches(name, [one.name for one in known if one.merged_into is None], n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise AlctlError(f"{name!r} is not in the class list; {hint}`alctl classes list` shows it")
    if found.merged_into:
        raise AlctlError(_gone(found, known))
    return found


def _gone(found: Class, known: Sequence[Class]) -> str:
    if found.taken_back:
        add = f"`alctl classes add {shlex.quote(found.name)}` brings it back"
        return f"{found.name!r} went with the import that brought it, which was undone; {add}"
    return f"{found.name!r} was merged into {known[found.effective - 1].name!r}"


def _labels(project: Project, name: str) -> int:
    """Count the labels that a change of this class concerns; outside of the change, which others may wait for."""
    with project.reading() as connection:
        known = categories.class_list(connection)
        found = next((one for one in known if one.name == name.strip()), None)
        own = categories.labels_per_class(connection) if found else {}
    return sum(own.get(one.id, 0) for one in known if found and one.effective == found.id)


def _out(project: Project) -> list[int]:
    with project.reading() as connection:
        return [row.id for row in counts.per_round(connection, now()) if row.out or row.overdue]


def _former(connection: Connection, name: str, own: int | None = None) -> str:
    """Return a warning if the name was that of another class, which files that are out may still mean by it."""
    known = categories.class_list(connection)
    meant = categories.resolver(connection).get(name)
    if meant is None or meant == own or any(one.name == name for one in known):
        return ""
    return (
        f"{name!r} was the name of what is {known[meant - 1].name!r} now; "
        "files from that time that are imported from here on mean the new class by it"
    )


def _done(connection: Connection, change: Change) -> Change:
    """Fill in which models know another class list; take everything back in a dry run."""
    known = categories.numbered(connection)
    present = categories.outputs(known, len(known))
    names, merged = [one.name for one in known], [list(places) for places in present.merged]
    change.stale_runs = [
        run.id
        for run in training_runs.every_run(connection)
        if run.categories != names or run.merged != merged
    ]
    if change.dry_run:
        discard(connection)
    return change
