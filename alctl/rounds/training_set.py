"""What models learn from and are measured on: the labeled images of a split, their pixels and their targets."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import torch
from sqlalchemy import Connection

from alctl.database import categories, items, labels, settings
from alctl.database.categories import Class
from alctl.errors import AlctlError
from alctl.images.decode import BrokenImages, Source, allow_missing, gone
from alctl.images.pixels import ImageCache, Pixels
from alctl.labels import canonical_json
from alctl.labels.annotation import Annotation, Category
from alctl.model.task import TASKS, Task
from alctl.model.tensors import Frame, Targets, rows
from alctl.progress import Progress
from alctl.project import Project
from alctl.rounds.learnable import check_learnable
from alctl.rounds.pool import quarantine, source_of


@dataclass(frozen=True)
class Labeled:
    """Labeled items of one split, with what they take to train on."""

    sources: list[Source]
    targets: Targets
    answers: Sequence[object]
    """The label of each item as plain data: the place of its class, or its objects as canonical JSON."""
    idle: Mapping[int, str] = field(default_factory=dict)
    """Why the labels of further items teach nothing, by item id."""

    @property
    def plain(self) -> list[tuple[int, str, object]]:
        """Id, digest and label of each item."""
        both = zip(self.sources, self.answers, strict=True)
        return [(source.id, (source.digest or b"").hex(), answer) for source, answer in both]

    def at(self, positions: Sequence[int]) -> "Labeled":
        """Return the same for the items at some positions."""
        return replace(
            self,
            sources=[self.sources[i] for i in positions],
            targets=rows(self.targets, torch.tensor(positions, dtype=torch.int64)),
            answers=[self.answers[i] for i in positions],
        )

    def without(self, ids: Collection[int]) -> "Labeled":
        """Return the same without some items."""
        return self.at([i for i, source in enumerate(self.sources) if source.id not in ids])


def classes_named(known: Sequence[Class], names: Sequence[str]) -> list[Category]:
    """Return the first classes of the list as the outputs of a model, which are called ``names`` by now."""
    return [
        Category(name, found.keypoints, found.skeleton) for found, name in zip(known, names, strict=False)
    ]


def task_of(
    name: str, classes: Sequence[Category], frame: Frame, merged: Sequence[Sequence[int]] = ()
) -> Task:
    """Return a task for its class list; AlctlError for labels that are kept but not learned yet."""
    return kind_of(name)(tuple(classes), frame, tuple(tuple(places) for places in merged))


def kind_of(name: str) -> type[Task]:
    """Return the kind of task of this name; AlctlError for labels that are kept but not learned yet."""
    check_learnable(name)
    return TASKS.load(name)


def headline(connection: Connection, kind: str) -> str:
    """Return the name of the number that models of a kind of labels are compared by; "" where none learns them."""
    if kind not in TASKS.names():
        return ""
    return task_of(kind, categories.as_categories(connection), (0, 0)).metric


def labeled(
    connection: Connection, root: str, task: Task, split: str, *, known_only: bool = False
) -> Labeled:
    """Return the labeled items of a split, with targets for the task's class list.

    If that is too short, an AlctlError; with ``known_only`` items with other classes are left out instead.
    """
    found = labels.labeled_items(connection, split)
    names = categories.effective_names(connection)
    given = [_annotations(row, names) for row in found]
    if known_only:
        kept = [i for i, some in enumerate(given) if {a.category for a in some} <= set(task.names)]
        found, given = [found[i] for i in kept], [given[i] for i in kept]
    if strange := {a.category for annotations in given for a in annotations} - set(task.names):
        named = ", ".join(sorted(strange))
        raise AlctlError(
            f"{split} images are labeled {named}, which the model has never seen; `alctl train` first"
        )
    images = items.fetch(connection, np.array([row[0] for row in found], dtype=np.int64))
    taught = [
        task.encode_target(some, (image.width or 0, image.height or 0))
        for some, image in zip(given, images, strict=True)
    ]
    useful = [i for i, target in enumerate(taught) if not isinstance(target, str)]
    return Labeled(
        [source_of(root, images[i]) for i in useful],
        task.stack([target for target in taught if not isinstance(target, str)]),
        [_plain(found[i], task, given[i]) for i in useful],
        {image.id: why for image, why in zip(images, taught, strict=True) if isinstance(why, str)},
    )


def _annotations(row: tuple[int, int | None, str | None], names: Sequence[str]) -> tuple[Annotation, ...]:
    """Return the annotations of a labeled item; ``names`` holds the name to use for each class id, from id 1."""
    _, category_id, found = row
    if category_id is not None:
        return (Annotation(names[category_id - 1]),)
    return canonical_json.named(found or "[]", names)


def _plain(row: tuple[int, int | None, str | None], task: Task, given: Sequence[Annotation]) -> object:
    _, category_id, found = row
    return found or "[]" if category_id is None else task.names.index(given[0].category)


def cache_of(project: Project, task: Task) -> ImageCache:
    """Return the cache of images as the task encodes them."""
    limit = project.config.storage.cache_gb
    with project.reading() as connection:
        ranges = settings.levels(connection)
    return ImageCache(
        project.cache, task.frame, task.encode_image, limit, ranges, made_for=TASKS.name_of(type(task))
    )


def without_gone(some: Labeled) -> tuple[Labeled, dict[int, str]]:
    """Leave out the images whose files are gone, and return where they should be, by item id.

    MissingImages where they are too many.
    """
    missing = gone(some.sources)
    allow_missing(missing, len(some.sources))
    return some.without(missing), missing


class Loaded(NamedTuple):
    """The labeled items of a split that can be decoded."""

    labeled: Labeled
    pixels: Pixels
    """(N, 3, H, W)."""
    broken: Mapping[int, str]
    """Why the others cannot be decoded, by item id; they are quarantined."""

    @property
    def told(self) -> tuple[Pixels, Targets] | None:
        """The pixels and what they teach, if there are any."""
        return (self.pixels, self.labeled.targets) if self.labeled.sources else None


def load(project: Project, cache: ImageCache, some: Labeled, progress: Progress) -> Loaded:
    """Return the images that can be decoded, and their pixels; quarantine the others."""
    try:
        return Loaded(some, cache.load(some.sources, progress), {})
    except BrokenImages as broken:
        quarantine(project, broken, progress)
        rest = some.without(broken.reasons)
        return Loaded(rest, cache.load(rest.sources, progress), broken.reasons)
