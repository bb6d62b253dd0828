"""What models learn from and are measured on: the labeled images of a split, their pixels and their targets."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from sqlalchemy import Connection
from torch import Tensor

from alctl.database import categories, items, labels, settings
from alctl.errors import AlctlError
from alctl.images.decode import BrokenImages, MissingImages, Source, allow_missing, gone
from alctl.images.pixels import ImageCache, Pixels
from alctl.labels import canonical_json
from alctl.labels.annotation import Annotation
from alctl.model.task import TASKS, Task
from alctl.progress import Progress
from alctl.project import Project
from alctl.rounds.learnable import check_learnable
from alctl.rounds.pool import quarantine, source_of

T = TypeVar("T")


@dataclass(frozen=True)
class Labeled:
    """Labeled items of one split, with what they take to train on."""

    sources: list[Source]
    targets: Tensor

    @property
    def plain(self) -> list[tuple[int, str, object]]:
        """Id, digest and target of each item."""
        both = zip(self.sources, self.targets, strict=True)
        return [(source.id, (source.digest or b"").hex(), target.tolist()) for source, target in both]

    def without(self, ids: Collection[int]) -> "Labeled":
        """Return the same without some items."""
        keep = [i for i, source in enumerate(self.sources) if source.id not in ids]
        return Labeled([self.sources[i] for i in keep], self.targets[keep])


def task_of(name: str, names: Sequence[str], merged: Sequence[Sequence[int]] = ()) -> Task:
    """Return the project's task for its class list; AlctlError for one whose labels are kept but not learned yet."""
    check_learnable(name)
    task = TASKS.load(name)(names)
    task.merged = merged
    return task


def labeled(
    connection: Connection, root: str, task: Task, split: str, *, known_only: bool = False
) -> Labeled:
    """Return the labeled items of a split, with targets for the task's class list.

    If that is too short, an AlctlError; with ``known_only`` items with other classes are left out instead.
    """
    rows = labels.labeled_items(connection, split)
    names = categories.effective_names(connection)
    given = [_annotations(row, names) for row in rows]
    if known_only:
        kept = [i for i, some in enumerate(given) if {a.category for a in some} <= set(task.categories)]
        rows, given = [rows[i] for i in kept], [given[i] for i in kept]
    found = items.fetch(connection, np.array([row[0] for row in rows], dtype=np.int64))
    if strange := {a.category for annotations in given for a in annotations} - set(task.categories):
        named = ", ".join(sorted(strange))
        raise AlctlError(
            f"{split} images are labeled {named}, which the model has never seen; `alctl train` first"
        )
    targets = [task.encode_target(annotations) for annotations in given]
    return Labeled(
        [source_of(root, item) for item in found],
        torch.stack(targets) if targets else torch.empty(0, dtype=torch.long),
    )


def _annotations(row: tuple[int, int | None, str | None], names: Sequence[str]) -> tuple[Annotation, ...]:
    """Return the annotations of a labeled item; ``names`` holds the name to use for each class id, from id 1."""
    _, category_id, found = row
    if category_id is not None:
        return (Annotation(names[category_id - 1]),)
    return canonical_json.named(found or "[]", names)


def cache_of(project: Project, task: Task, size: int) -> ImageCache:
    """Return the cache of images as the task's network of this input size sees them."""
    limit = project.config.storage.cache_gb
    with project.reading() as connection:
        ranges = settings.levels(connection)
    return ImageCache(project.cache, size, lambda image: task.encode_image(image, size), limit, ranges)


def without_gone(some: Labeled) -> tuple[Labeled, dict[int, str]]:
    """Leave out the images whose files are gone, and return where they should be, by item id.

    MissingImages where they are too many.
    """
    missing = gone(some.sources)
    allow_missing(missing, len(some.sources))
    return some.without(missing), missing


def without_broken(
    some: Labeled,
    ask: Callable[[Labeled], T],
    left_out: Callable[[BrokenImages], None],
    *,
    missing_too: bool = False,
) -> T:
    """Return what is found out about images, leaving out those that cannot be decoded, which ``left_out`` is told.

    ``missing_too`` leaves out a few that are not there as well; MissingImages where they are too many, or without it.
    """
    every = len(some.sources)
    while True:
        try:
            return ask(some)
        except BrokenImages as broken:
            left_out(broken)
            some = some.without(broken.reasons)
        except MissingImages as missing:
            if not missing_too:
                raise
            allow_missing(missing.reasons, every)
            some = some.without(missing.reasons)


class Loaded(NamedTuple):
    """The labeled items of a split that can be decoded."""

    labeled: Labeled
    pixels: Pixels
    """(N, 3, S, S)."""
    broken: Mapping[int, str]
    """Why the others cannot be decoded, by item id; they are quarantined."""


def load(project: Project, cache: ImageCache, some: Labeled, progress: Progress) -> Loaded:
    """Return the images that can be decoded, and their pixels; quarantine the others."""
    try:
        return Loaded(some, cache.load(some.sources, progress), {})
    except BrokenImages as broken:
        quarantine(project, broken, progress)
        rest = some.without(broken.reasons)
        return Loaded(rest, cache.load(rest.sources, progress), broken.reasons)
