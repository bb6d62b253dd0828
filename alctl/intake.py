"""From a reader's records to rows that can be staged: is each answer what the project's task asks for?

Nothing here knows the images yet; what only they can tell (does a shape fit, is the size right) comes after matching.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, NamedTuple

from alctl import objects, shapes
from alctl.annotation import RLE, Annotation, Category, LabeledImage, Note, Record, Refusal
from alctl.pool.staging import StagedLabel

ANONYMOUS = "anonymous"
TROUBLE = StagedLabel._fields.index("trouble")
_NO_TEXT = re.compile("[\0\ud800-\udfff]")
"""What files may hold and databases do not take: the null character, and bytes of names that are not UTF-8."""


def is_text(text: str) -> bool:
    """Tell whether any database can store a text."""
    return "\0" not in text and (text.isascii() or not _NO_TEXT.search(text))


def as_text(text: str) -> str:
    """Return a text with a replacement character for what cannot be stored; no path of the pool has one."""
    return text if is_text(text) else _NO_TEXT.sub("\ufffd", text)


class Problem(NamedTuple):
    """One answer that cannot be taken."""

    line: int
    problem: str
    where: str = ""


class Fitted(NamedTuple):
    """What of an answer the task can use."""

    category: str | None = None
    annotations: tuple[Annotation, ...] = ()
    aside: int = 0
    """Annotations of another kind than the task's."""
    problem: str = ""


def fitted(task: str, annotations: tuple[Annotation, ...]) -> Fitted:
    """Return the class of an image for classification, and its objects for the other tasks."""
    whole = [annotation for annotation in annotations if annotation.whole_image]
    if task == "classification":
        return _class_of(whole, len(annotations) - len(whole))
    things = [annotation for annotation in annotations if not annotation.whole_image]
    if whole and not things:
        return Fitted(problem=f"says what the image is, but not where; the task of this project is {task}")
    for thing in things:
        if missing := _missing(task, thing):
            return Fitted(
                problem=f"a {thing.category!r} without {missing}; the task of this project is {task}"
            )
    made = map(shapes.boxed, things) if task == "detection" else things
    return Fitted(annotations=tuple(made), aside=len(whole))


def _class_of(whole: Sequence[Annotation], objects_: int) -> Fitted:
    names = list(dict.fromkeys(annotation.category for annotation in whole))
    if len(names) == 1:
        return Fitted(names[0], aside=objects_)
    if names:
        several = " and ".join(map(repr, names[:3]))
        return Fitted(problem=f"has {len(names)} classes, {several}; an image of this project has one")
    if objects_:
        return Fitted(
            problem=f"holds {objects_} objects and no class; the task of this project is classification"
        )
    return Fitted(problem="was submitted without a class; was it to be skipped?")


def _missing(task: str, thing: Annotation) -> str:
    """Return what the task needs of an object and it does not have."""
    if task == "detection":
        return "" if thing.bbox is not None or thing.segmentation is not None else "a box"
    if task == "pose":
        return "" if thing.keypoints else "keypoints"
    return "" if thing.segmentation is not None else "an outline or a mask"


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


@dataclass
class Intake:
    """Reads a file's records once; what it found beside the answers is in its fields afterwards."""

    task: str
    classes: ClassList
    annotator: str
    refused: list[Problem] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)
    answers: int = 0

    def rows(self, records: Iterable[Record]) -> Iterator[tuple[Any, ...]]:
        """Yield one row an answer: the first columns of a StagedLabel, or all of them where there may be objects."""
        for record in records:
            if isinstance(record, LabeledImage):
                self.answers += 1
                yield self._row(record)
            elif isinstance(record, Refusal):
                self.refused.append(Problem(record.line, as_text(record.problem), as_text(record.where)))
            elif isinstance(record, Note):
                self.notes[record.what] += record.times
            elif problem := self.classes.declare(record):
                self.refused.append(Problem(0, problem))

    def _row(self, answer: LabeledImage) -> tuple[Any, ...]:
        whole = self.task == "classification"
        if (
            whole
            and answer.status == "labeled"
            and len(answer.annotations) == 1
            and answer.annotations[0].whole_image
        ):
            found = Fitted(answer.annotations[0].category)  # by far the commonest
        else:
            found = fitted(self.task, answer.annotations) if answer.status == "labeled" else Fitted()
        if found.aside:
            kind = "objects" if whole else "classes of whole images"
            self.notes[f"{kind} were left; the task of this project is {self.task}"] += found.aside
        category_id, trouble = None, found.problem
        if found.category is not None:
            category_id = self.classes.id_of(found.category)
            trouble = "" if category_id else self.classes.unknown(found.category)
        annotator = answer.annotator or self.annotator or ANONYMOUS
        if not is_text(annotator):
            annotator = as_text(annotator)
            trouble = f"annotator {annotator!r} has a character that no text can have"
        row = (
            self.answers, answer.line, as_text(answer.where), answer.item, as_text(answer.path).removeprefix("./"),
            bytes.fromhex(answer.digest) if answer.digest else None, annotator, answer.status, category_id, trouble or None,
            answer.seconds, answer.made_at or None,
        )  # fmt: skip
        return row if whole else self._with_objects(row, answer, found)

    def _with_objects(self, row: tuple[Any, ...], answer: LabeledImage, found: Fitted) -> tuple[Any, ...]:
        text, trouble = None, row[TROUBLE] or ""
        width, height = answer.width or None, answer.height or None
        if answer.status == "labeled" and not trouble:
            width, height, trouble = _size(answer, found.annotations)
        if answer.status == "labeled" and not trouble:
            text, trouble = self._objects(found.annotations)
        reach = (shapes.extent(found.annotations) if text else None) or (None,) * 4
        more = (text, width, height, *reach, int(answer.relative))
        return (*row[:TROUBLE], trouble or None, *row[TROUBLE + 1 :], *more)

    def _objects(self, annotations: Sequence[Annotation]) -> tuple[str | None, str]:
        """Return an image's objects as the label table keeps them, or what is wrong with one."""
        entries = []
        for annotation in annotations:
            id_ = self.classes.id_of(annotation.category)
            if id_ is None:
                return None, self.classes.unknown(annotation.category)
            if problem := shapes.problem(annotation) or self.classes.keypoint_problem(annotation, id_):
                return None, problem
            entries.append((annotation, id_))
        return objects.dumps(entries, ordered=self.task == "segmentation"), ""

    def nothing(self) -> str:
        """Return what the file holds instead of labels."""
        held = [f"{count:,} {what}" for what, count in self.notes.items()]
        if self.classes.declared:
            held.insert(0, f"{len(self.classes.declared):,} classes are declared")
        return "; ".join(held)


def _size(answer: LabeledImage, annotations: Sequence[Annotation]) -> tuple[int | None, int | None, str]:
    """Return width and height of an answer's image, and what is wrong with them: masks have the size of their image."""
    width, height = answer.width or None, answer.height or None
    for annotation in annotations:
        if isinstance(mask := annotation.segmentation, RLE):
            if (height or mask.size[0], width or mask.size[1]) != mask.size:
                has = f"{mask.size[1]} × {mask.size[0]}"
                return width, height, f"a mask of {has} pixels in an image of {width} × {height}"
            height, width = mask.size
    return width, height, ""
