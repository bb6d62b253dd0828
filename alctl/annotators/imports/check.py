"""From a reader's records to rows that can be staged: is each answer what the project's task asks for?

Nothing here knows the images yet; what only they can tell (does a shape fit, is the size right) comes after matching.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from alctl.annotators.imports.class_list import ClassList
from alctl.annotators.imports.problems import Problem
from alctl.database.staged_labels import StagedLabel
from alctl.labels import canonical_json, shapes
from alctl.labels.annotation import RLE, Annotation, LabeledImage, Note, Record, Refusal
from alctl.labels.text import as_text, is_text

ANONYMOUS = "anonymous"
TROUBLE = StagedLabel._fields.index("trouble")


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
        return canonical_json.dumps(entries, ordered=self.task == "segmentation"), ""

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
