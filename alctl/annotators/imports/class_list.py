"""The class list while a file is read: known names, former names, and new ones."""

from dataclasses import dataclass, field
from difflib import get_close_matches

from alctl.labels.annotation import Annotation, Category
from alctl.labels.text import as_text, is_text


@dataclass
class ClassList:
    """The project's classes while a file is read; new ones get the ids that they will have."""

    ids: dict[str, int]
    """By every name that is understood, also the former ones of renamed and merged classes."""
    keypoints: dict[int, tuple[str, ...]]
    size: int
    add: bool
    new: list[Category] = field(default_factory=list)
    declared: dict[str, Category] = field(default_factory=dict)
    """What the file says of its classes."""
    clashes: dict[str, str] = field(default_factory=dict)
    """Why keypoints of a class mean something else in the file than in the project."""

    def declare(self, category: Category) -> str:
        """Note what the file says of a class; return what is wrong with it, or an empty string."""
        name, theirs = category.name, tuple(map(as_text, category.keypoints))
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
        if found is None and self.add and is_text(name):
            found = self.ids[name] = self.size + len(self.new) + 1
            self.new.append(self.declared.get(name, Category(name)))
            self.keypoints[found] = self.new[-1].keypoints
        return found

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
        if not is_text(name):
            return f"class {as_text(name)!r} has a character that no text can have"
        if not self.ids:
            return f"class {name!r}: the project has no classes yet; --add-classes takes them from this file"
        near = get_close_matches(name.lower(), [c.lower() for c in self.ids], n=1)
        hint = next((c for c in self.ids if near and c.lower() == near[0]), None)
        meant = f"did you mean {hint!r}? " if hint else ""
        return f"class {name!r} is not in the class list; {meant}(--add-classes makes it one)"
