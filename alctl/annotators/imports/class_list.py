"""The classes of the project and of a file that is imported: known names, former names, and new ones."""

import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches

from sqlalchemy import Connection

from alctl.database import categories, settings, staged_classes, staged_labels
from alctl.database.staged_labels import Objects
from alctl.labels.annotation import Annotation, Category
from alctl.labels.text import as_text, is_name, look_alikes, name_problem


@dataclass
class ClassList:
    """The project's classes while a file is read; new ones get the ids that they will have."""

    ids: dict[str, int]
    """By every name that is understood, also the former ones of renamed and merged classes."""
    keypoints: dict[int, tuple[str, ...]]
    size: int
    taken_back: Mapping[str, int]
    """The ids of classes that went with an undone import, by name; no name is understood as one of them."""
    add: bool
    new: list[Category] = field(default_factory=list)
    again: dict[int, Category] = field(default_factory=dict)
    """Of those that went, the ones that this file brings again, by id."""
    declared: dict[str, Category] = field(default_factory=dict)
    """What the file says of its classes."""
    clashes: dict[str, str] = field(default_factory=dict)
    """Why keypoints of a class mean something else in the file than in the project."""
    _likes: dict[str, str] = field(default_factory=dict)

    def declare(self, category: Category) -> str:
        """Note what the file says of a class; return what is wrong with it, or an empty string."""
        name, theirs = category.name, tuple(map(as_text, category.keypoints))
        if bad := next((point for point in theirs if not is_name(point)), None):
            return f"the keypoint {bad[:40]!r} of class {name!r} {name_problem(bad)}"
        before = self.declared.get(name, category).keypoints
        if theirs or not before:
            self.declared[name] = category._replace(keypoints=theirs)
        known = self.keypoints.get(self.ids.get(name, 0), ())
        if theirs and before and theirs != before:
            self.clashes[name] = (
                f"class {name!r} has the keypoints {', '.join(before)} in one part of the file, and "
                f"{', '.join(theirs)} in another"
            )
        elif theirs and known and theirs != known:
            self.clashes[name] = (
                f"class {name!r} has the keypoints {', '.join(theirs)} in the file, and {', '.join(known)} in this "
                "project"
            )
        return self.clashes.get(name, "")

    def id_of(self, name: str) -> int | None:
        """Return the id of a class, None for an unknown one."""
        found = self.ids.get(name)
        if found is None and self.add and is_name(name) and not self.like(name):
            category = self.declared.get(name, Category(name))
            if name in self.taken_back:
                found = self.taken_back[name]
                self.again[found] = category
            else:
                self.new.append(category)
                found = self.size + len(self.new)
            self.ids[name] = found
            self.keypoints[found] = category.keypoints
        return found

    def like(self, name: str) -> str:
        """Return the class that an unknown one may be meant to be, because it is written nearly the same."""
        if name not in self._likes:
            self._likes[name] = look_alikes([name], self.ids).get(name, "")
        return self._likes[name]

    def keypoint_problem(self, annotation: Annotation, id_: int) -> str:
        """Return what is wrong with the number of an object's keypoints."""
        if not annotation.keypoints:
            return ""
        if clash := self.clashes.get(annotation.category):
            return clash
        if self.add and not self.keypoints.get(id_):
            self.keypoints[id_] = self.declared.get(annotation.category, Category("")).keypoints
        known, count = self.keypoints.get(id_, ()), len(annotation.keypoints)
        if not known:
            return f"class {annotation.category!r} has no keypoints in this project; `alctl classes add` names them"
        if count != len(known):
            return f"a {annotation.category!r} with {count} keypoints; the class has {len(known)}: {', '.join(known)}"
        return ""

    def unknown(self, name: str) -> str:
        """Return the sentence for a class that is not in the class list, with the nearest one."""
        if problem := name_problem(name):
            return f"class {as_text(name)[:40]!r} {problem}"
        if self.add:
            return (
                f"class {name!r} differs from {self.like(name)!r} only in case or punctuation; write it as that, or "
                f"`alctl classes add {shlex.quote(name)}` if both are meant"
            )
        if not self.ids:
            return f"class {name!r}: the project has no classes yet; --add-classes takes them from this file"
        near = get_close_matches(name.lower(), [c.lower() for c in self.ids], n=1)
        hint = next((c for c in self.ids if near and c.lower() == near[0]), None)
        meant = f"did you mean {hint!r}? " if hint else ""
        return f"class {name!r} is not in the class list; {meant}(--add-classes makes it one)"


def class_list(connection: Connection, *, add: bool) -> ClassList:
    """Return the project's classes as a file's names are compared with them; ``add``: unknown names become classes."""
    ids, keypoints = categories.resolver(connection), categories.keypoints_of_classes(connection)
    taken_back = categories.taken_back(connection)
    return ClassList(ids, keypoints, len(categories.categories(connection)), taken_back, add)


def settle(connection: Connection, classes: ClassList, *, ordered: bool) -> None:
    """Forget classes and keypoints that only refused answers have: a typo is no class.

    ``ordered``: the order of an image's objects says something.
    """
    if classes.add and staged_classes.any_left(connection):
        _forget_unused(connection, classes, ordered=ordered)


def add_new(connection: Connection, classes: ClassList) -> dict[str, int]:
    """Add the new classes to the project; return their ids by name."""
    new = categories.add_classes(connection, [*classes.again.values(), *classes.new])
    categories.learn_keypoints(connection, classes.keypoints)
    if classes.add:
        settings.note_change(connection)
    return new


def _forget_unused(connection: Connection, classes: ClassList, *, ordered: bool) -> None:
    """Leave out the new classes that no answer without a problem has; the others move up to their ids."""
    used = staged_classes.used(connection)
    classes.again = {id_: category for id_, category in classes.again.items() if id_ in used}
    first = classes.size + 1
    kept = [id_ for id_ in range(first, first + len(classes.new)) if id_ in used]
    ids = {before: after for after, before in enumerate(kept, first) if before != after}
    classes.keypoints = {ids.get(id_, id_): names for id_, names in classes.keypoints.items() if id_ in used}
    classes.new = [classes.new[id_ - first] for id_ in kept]
    if ids:
        staged_classes.renumber(connection, ids)
        renumbered = _renumbered(staged_classes.objects(connection), ids)
        staged_labels.replace_objects(connection, renumbered, ordered=ordered)


def _renumbered(rows: Iterable[tuple[int, Objects]], ids: Mapping[int, int]) -> Iterator[tuple[int, Objects]]:
    for position, objects in rows:
        yield position, [(annotation, ids.get(id_, id_)) for annotation, id_ in objects]
