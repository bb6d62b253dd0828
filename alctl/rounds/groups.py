"""The groups that a round's shares and balance go by: columns of a manifest, folders, cameras, predicted classes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from alctl.database import counts, item_columns
from alctl.errors import AlctlError
from alctl.images.camera import cameras
from alctl.labels.annotation import one_class_each
from alctl.model.quotas import NO_GROUP, Quota, balanced, share_of
from alctl.model.strategy import Candidates
from alctl.progress import Progress
from alctl.project import Project
from alctl.rounds.duplicates import Images
from alctl.rounds.model import Model

FEWEST, KNOWN = 2, 0.8
"""So many labels in that share of the classes, before predicted classes are worth going by (SELECTION.md §3.11)."""


class Share(NamedTuple):
    """The limit that a share sets."""

    quota: Quota
    most: int
    """Images that one group may have."""
    unknown: int
    """Candidates that belong to no group, and are not limited."""


def shares(
    project: Project, images: Images, asked: Mapping[str, float], n: int, progress: Progress
) -> dict[str, Share]:
    """Return the limit for each column of ``asked``: at most ⌈share · n⌉ images of one value.

    A column of the manifest comes before ``folder``, the folder of the file, and ``camera``, that of its EXIF data.

    Raises:
        AlctlError: No candidate has a value in a column.
    """
    found = {}
    for column, share in asked.items():
        texts = _values(project, images, column, progress)
        names = {text: i for i, text in enumerate(sorted(set(texts) - {""}))}
        groups = torch.tensor([names.get(text, NO_GROUP) for text in texts], dtype=torch.int64)
        most = share_of(share, n)
        found[column] = Share(Quota(groups, [most] * len(names)), most, texts.count(""))
    return found


def _values(project: Project, images: Images, column: str, progress: Progress) -> list[str]:
    """Return the value of each candidate, empty for none."""
    ids = np.array([source.id for source in images.candidates], dtype=np.int64)
    with project.reading() as connection:
        found = item_columns.values(connection, ids, column)
        known = item_columns.names(connection)
    if found:
        return [found.get(source.id, "") for source in images.candidates]
    if column == "folder":
        return [PurePath(images.relative(source)).parent.as_posix() for source in images.candidates]
    if column == "camera":
        texts = []
        for text in cameras(images.candidates):
            texts.append(text)
            progress("reading cameras", len(texts), len(images.candidates))
        if not any(texts):
            raise AlctlError("no image to choose from says in its EXIF data which camera took it")
        return texts
    there = (
        f"; there are: {', '.join(known)}"
        if known
        else " (those of a manifest given to `init` or `add` are kept)"
    )
    raise AlctlError(f"no image to choose from has a column {column!r}{there}; or say folder or camera")


@dataclass(frozen=True)
class Classes:
    """Which outputs of a model are which classes, and how many labels these have."""

    names: Sequence[str]
    """The living classes, in their order."""
    of_output: Sequence[int]
    """The place among them of each output of the model; NO_GROUP for one that only adds to another."""
    labels: Sequence[int]
    """Labeled images of the pool."""

    def predicted(self, candidates: Candidates) -> Tensor:
        """Return the class of each candidate by what the model says, (N,) int64."""
        outputs = candidates.map(lambda said: said.distributions.likeliest()[1]).cpu()
        return torch.tensor([*self.of_output, NO_GROUP])[outputs]

    def balance(self, predicted: Tensor, fresh: Tensor, n: int) -> list[int]:
        """Return how many of n images each class is to get; ``fresh`` (K,) are the candidates to choose from."""
        there = predicted[fresh]
        candidates = [int((there == place).sum()) for place in range(len(self.names))]
        return balanced(self.labels, candidates, n)


def classes_of(project: Project, model: Model | None) -> Classes:
    """Return the classes that a model predicts.

    Raises:
        AlctlError: There is no model, it does not predict one class for an image, or labels are too few for that.
    """
    if model is None:
        raise AlctlError(
            "--balance and --per-class go by the classes that a model predicts, and none is asked: "
            "run `alctl train` first, and choose by another strategy than random"
        )
    with project.reading() as connection:
        found = {name: of_split["pool"] for name, of_split in counts.count(connection).classes.items()}
    if not one_class_each(project.state().task):
        raise AlctlError("--balance and --per-class need one class for a whole image, and this task has none")
    names, labels = list(found), list(found.values())
    enough = sum(count >= FEWEST for count in labels)
    if enough < KNOWN * len(labels):
        raise AlctlError(
            f"--balance and --per-class go by predicted classes, which are mostly wrong yet: {enough} of {len(labels)} "
            f"classes have {FEWEST} labels or more, and 80 % are needed; label a round without them first"
        )
    place = {name: i for i, name in enumerate(names)}
    pairs = zip(model.ids, model.task.names, strict=True)
    return Classes(names, [place.get(name, NO_GROUP) if id_ else NO_GROUP for id_, name in pairs], labels)
