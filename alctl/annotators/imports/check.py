"""The second step of an import: is each answer what the project's task asks for, with classes of the class list?

Nothing here knows the images yet; what only they can tell (does a shape fit, is the size right) comes after matching.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from sqlalchemy import Connection

from alctl.annotators.imports.class_list import ClassList, class_list
from alctl.annotators.imports.problems import Problem
from alctl.annotators.imports.recognise import LabelFile
from alctl.database import staged_labels
from alctl.database.staged_labels import StagedLabel
from alctl.errors import AlctlError
from alctl.labels import canonical_json, shapes
from alctl.labels.annotation import RLE, Annotation, LabeledImage, Note, Record, Refusal
from alctl.labels.text import as_text, is_name, name_problem
from alctl.progress import Progress

ANONYMOUS = "anonymous"
TWICE = "objects stand twice in their image and were taken once"


class Usable(NamedTuple):
    """What of an answer the task can use."""

    category: str | None = None
    annotations: tuple[Annotation, ...] = ()
    aside: int = 0
    """Annotations of another kind than the task's."""
    problem: str = ""


def usable(task: str, annotations: tuple[Annotation, ...]) -> Usable:
    """Return the class of an image for classification, and its objects for the other tasks."""
    whole = [annotation for annotation in annotations if annotation.whole_image]
    if task == "classification":
        return _class_of(whole, len(annotations) - len(whole))
    things = [annotation for annotation in annotations if not annotation.whole_image]
    if whole and not things:
        return Usable(problem=f"says what the image is, but not where; the task of this project is {task}")
    for thing in things:
        if missing := _missing(task, thing):
            return Usable(
                problem=f"a {thing.category!r} without {missing}; the task of this project is {task}"
            )
    made = map(shapes.boxed, things) if task == "detection" else things
    return Usable(annotations=tuple(made), aside=len(whole))


def _class_of(whole: Sequence[Annotation], objects_: int) -> Usable:
    names = list(dict.fromkeys(annotation.category for annotation in whole))
    if len(names) == 1:
        return Usable(names[0], aside=objects_)
    if names:
        several = " and ".join(map(repr, names[:3]))
        return Usable(problem=f"has {len(names)} classes, {several}; an image of this project has one")
    if objects_:
        return Usable(
            problem=f"holds {objects_} objects and no class; the task of this project is classification"
        )
    return Usable(problem="was submitted without a class; was it to be skipped?")


def _missing(task: str, thing: Annotation) -> str:
    """Return what the task needs of an object and it does not have."""
    if task == "detection":
        return "" if thing.bbox is not None or thing.segmentation is not None else "a box"
    if task == "pose":
        return "" if thing.keypoints else "keypoints"
    return "" if thing.segmentation is not None else "an outline or a mask"


@dataclass
class CheckedAnswers:
    """Checks a file's records, once; what it found beside the answers is in its fields afterwards."""

    task: str
    classes: ClassList
    annotator: str
    """Who gave the answers of which the file does not say it."""
    refused: list[Problem] = field(default_factory=list)
    """What never became an answer, and why."""
    notes: Counter[str] = field(default_factory=Counter)
    """What was done to the answers or left out, and how often."""
    answers: int = 0

    @property
    def ordered(self) -> bool:
        """Whether the order of an image's objects says something: regions may cover each other."""
        return self.task == "segmentation"

    def rows(self, records: Iterable[Record]) -> Iterator[StagedLabel]:
        """Yield one row an answer."""
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

    def _row(self, answer: LabeledImage) -> StagedLabel:
        found = self._usable(answer)
        category_id, trouble = None, found.problem
        if found.category is not None:
            category_id = self.classes.id_of(found.category)
            trouble = "" if category_id else self.classes.unknown(found.category)
        annotator = answer.annotator or self.annotator or ANONYMOUS
        if not is_name(annotator):
            trouble = f"annotator {as_text(annotator)[:40]!r} {name_problem(annotator)}"
            annotator = as_text(annotator)
        row = StagedLabel(
            self.answers, answer.line, as_text(answer.where), answer.item, as_text(answer.path).removeprefix("./"),
            bytes.fromhex(answer.digest) if answer.digest else None, annotator, answer.status, category_id, trouble or None,
            answer.seconds, answer.made_at or None, as_text(answer.also) or None,
        )  # fmt: skip
        return row if self.task == "classification" else self._with_objects(row, answer, found)

    def _usable(self, answer: LabeledImage) -> Usable:
        """Return what of an answer the task can use; note what is left of it."""
        if answer.status != "labeled":
            return Usable()
        whole, made = self.task == "classification", answer.annotations
        if whole and len(made) == 1 and made[0].whole_image:
            return Usable(made[0].category)  # by far the commonest
        found = usable(self.task, made)
        if found.aside:
            kind = "objects" if whole else "classes of whole images"
            self.notes[f"{kind} were left; the task of this project is {self.task}"] += found.aside
        return found

    def _with_objects(self, row: StagedLabel, answer: LabeledImage, found: Usable) -> StagedLabel:
        """Return a row with the objects of an answer, or with what is wrong with them."""
        text, trouble = None, row.trouble or ""
        width, height = answer.width or None, answer.height or None
        if answer.status == "labeled" and not trouble:
            width, height, trouble = _size(answer, found.annotations)
        if answer.status == "labeled" and not trouble:
            text, trouble = self._objects(found.annotations)
        reach = (shapes.extent(found.annotations) if text else None) or (None,) * 4
        return row._replace(
            trouble=trouble or None,
            annotations=text,
            width=width,
            height=height,
            reach_left=reach[0],
            reach_top=reach[1],
            reach_right=reach[2],
            reach_bottom=reach[3],
            relative=int(answer.relative),
        )

    def _objects(self, annotations: Sequence[Annotation]) -> tuple[str | None, str]:
        """Return an image's objects as the label table keeps them, or what is wrong with one."""
        entries = []
        once = dict.fromkeys(annotations)
        if len(once) < len(annotations):
            self.notes[TWICE] += len(annotations) - len(once)
        for annotation in once:
            id_ = self.classes.id_of(annotation.category)
            if id_ is None:
                return None, self.classes.unknown(annotation.category)
            if problem := shapes.problem(annotation) or self.classes.keypoint_problem(annotation, id_):
                return None, problem
            entries.append((annotation, id_))
        return canonical_json.dumps(entries, ordered=self.ordered), ""

    def held_instead(self) -> str:
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


def check(
    connection: Connection,
    source: LabelFile,
    task: str,
    annotator: str,
    progress: Progress,
    *,
    add_classes: bool,
) -> CheckedAnswers:
    """Read a file once and put its answers into the temporary table of staged answers.

    ``annotator`` gave those answers of which the file does not say who did. AlctlError if there is no answer at all.
    """
    checked = CheckedAnswers(task, class_list(connection, add=add_classes), annotator)
    rows = _counted(checked.rows(source.records()), progress)
    staged_labels.stage(connection, rows, objects=task != "classification")
    if not checked.answers and not checked.refused:
        held = checked.held_instead()
        raise AlctlError(f"{source.path} holds no label that could be imported{f' ({held})' if held else ''}")
    return checked


def _counted(rows: Iterable[StagedLabel], progress: Progress) -> Iterator[StagedLabel]:
    """Say after every thousandth row how far it is."""
    for n, row in enumerate(rows, start=1):
        if n % 1_000 == 0:
            progress("reading labels", n, 0)
        yield row
