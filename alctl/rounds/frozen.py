"""The embeddings of the images that a command needs: looked up, and computed where they are missing."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alctl.database import training_runs
from alctl.errors import AlctlError
from alctl.images.embeddings import Embeddings
from alctl.images.pixels import BrokenImages, Source
from alctl.model.embedding import Backbone
from alctl.model.strategy import Candidates, Prediction
from alctl.progress import Progress
from alctl.project import Project
from alctl.rounds.backbones import (
    MODEL,
    Used,
    digests_of,
    fill,
    images_per_second,
    source_of,
    used,
    used_or_default,
)
from alctl.rounds.own_vectors import OwnVectors

PATIENCE = 15 * 60
"""Seconds that computing missing embeddings may take without being asked for (SELECTION.md §4.3)."""


def vectors(
    project: Project, wanted: Used, sources: Sequence[Source], progress: Progress, device: str = "auto"
) -> Tensor:
    """Return the vectors (N, D) of images in float32, not normalised; what is missing is computed first and kept.

    They are zero where the backbone gave none that is finite.

    Raises:
        BrokenImages: Some cannot be decoded.
        AlctlError: Some have no vector and can get none, or another process is computing the same.
    """
    table = Embeddings(project.cache, wanted.key)
    missing = _missing(table, sources)
    if len(missing):
        source = source_of(project, wanted, device)
        _fill(project, table, source, [sources[i] for i in missing], progress)
    return torch.from_numpy(table.vectors(digests_of(sources)))


def stored(project: Project, groups: Sequence[Sequence[Source]]) -> list[Tensor] | None:
    """Return the vectors (N, D) of each group; None unless all are there and of a network that learned no labels here."""
    with project.reading() as connection:
        known = used(connection)
    if known is None or known.name == MODEL:
        return None
    table = Embeddings(project.cache, known.key)
    if any(len(_missing(table, group)) for group in groups):
        return None
    return [torch.from_numpy(table.vectors(digests_of(group))) for group in groups]


def _missing(table: Embeddings, sources: Sequence[Source]) -> NDArray[np.int64]:
    return np.flatnonzero(table.rows(digests_of(sources)) < 0)


def _fill(
    project: Project,
    table: Embeddings,
    source: Backbone | OwnVectors,
    missing: list[Source],
    progress: Progress,
) -> None:
    """Compute the vectors of images; BrokenImages where some cannot be decoded."""
    root, stage = project.state().root, f"embedding {len(missing):,} images"
    if isinstance(source, OwnVectors):
        absent = [one.path for one in missing if one.path.removeprefix(f"{root}/") not in source.rows]
        if absent:
            raise AlctlError(
                f"{len(absent):,} images have no row in the table of vectors, such as {absent[0]}"
            )
    else:
        rate = images_per_second(source, missing[: source.batch])
        stage += f", about {in_words(len(missing) / rate)}" if rate else ""
    broken = fill(table, source, root, [missing], lambda _, done, __: progress(stage, done, len(missing)))
    if broken:
        raise BrokenImages(dict(broken))


def in_words(seconds: float) -> str:
    """Return a duration as a person says it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


@dataclass(frozen=True)
class AtHand:
    """Whether the embeddings of some images can be had, and how that was decided; recorded with a round."""

    backbone: str
    images: int
    missing: int
    seconds: float
    """How long computing the missing ones takes on this machine, by a measurement of a few."""
    at_hand: bool
    why: str
    """In words."""


class FrozenGroups:
    """The vectors of some groups of images, all by the same backbone, decided on and computed when first needed."""

    def __init__(
        self,
        project: Project,
        groups: Sequence[Sequence[Source]],
        progress: Progress,
        *,
        device: str = "auto",
        forced: bool = False,
        by_default: bool = True,
    ) -> None:
        """Take groups of images.

        ``forced`` computes what is missing however long it takes. With ``by_default`` a project that has no embeddings
        yet gets the default ones; else its images are compared by the model's.
        """
        self.project = project
        self.groups = groups
        self.progress = progress
        self.device = device
        self.forced = forced
        self.by_default = by_default
        self.wanted: Used | None = None
        """The embeddings that were compared, once they were."""

    @cached_property
    def at_hand(self) -> AtHand:
        """Whether they are there, or can be had in reasonable time."""
        with self.project.reading() as connection:
            known = used(connection)
            network = training_runs.last_network(connection)
        every = [image for group in self.groups for image in group]
        if known and known.name == MODEL and (network is None or network.digest != known.key.weights):
            return AtHand(MODEL, len(every), len(every), 0.0, at_hand=False, why=_OLD_MODEL)
        try:
            wanted = known or used_or_default(self.project, self.device)
            table = Embeddings(self.project.cache, wanted.key)
            missing = [every[i] for i in _missing(table, every)]
            if not missing:
                return AtHand(wanted.name, len(every), 0, 0.0, at_hand=True, why=f"embedded by {wanted.name}")
            return self._estimate(wanted, len(every), missing)
        except AlctlError as error:
            name = known.name if known else ""
            return AtHand(name, len(every), len(every), 0.0, at_hand=False, why=str(error))

    def _estimate(self, wanted: Used, images: int, missing: list[Source]) -> AtHand:
        source = source_of(self.project, wanted, self.device)
        if isinstance(source, OwnVectors):
            why = f"{len(missing):,} images have no row in {wanted.name}"
            return AtHand(wanted.name, images, len(missing), 0.0, at_hand=False, why=why)
        rate = images_per_second(source, missing[: source.batch]) or 1.0
        seconds = len(missing) / rate
        told = f"{len(missing):,} images lack an embedding by {wanted.name}, about {in_words(seconds)}"
        if seconds <= PATIENCE or self.forced:
            return AtHand(wanted.name, images, len(missing), seconds, at_hand=True, why=told)
        why = f"{told}, which is more than {in_words(PATIENCE)}: `alctl embed` or --embed computes them"
        return AtHand(wanted.name, images, len(missing), seconds, at_hand=False, why=why)

    @cached_property
    def found(self) -> list[Tensor] | None:
        """The vectors (N, D) of each group; None where they are not at hand."""
        with self.project.reading() as connection:
            known = used(connection)
        if (known is None and not self.by_default) or not self.at_hand.at_hand:
            return None
        wanted = self.wanted = known or used_or_default(self.project, self.device)
        every = vectors(
            self.project,
            wanted,
            [image for group in self.groups for image in group],
            self.progress,
            self.device,
        )
        return list(every.split([len(group) for group in self.groups]))

    def group(self, number: int, candidates: Candidates) -> Candidates:
        """Return the candidates of a group, compared by these vectors where they are at hand."""
        return _WithFrozen(candidates, self, number)


class _WithFrozen:
    """Candidates whose embeddings are those of a frozen backbone, where there are any."""

    def __init__(self, candidates: Candidates, groups: FrozenGroups, number: int) -> None:
        self.candidates = candidates
        self.groups = groups
        self.number = number

    def __len__(self) -> int:
        return len(self.candidates)

    def map(self, fn: Callable[[Prediction], Tensor], *, dropout_passes: int = 0) -> Tensor:
        return self.candidates.map(fn, dropout_passes=dropout_passes)

    def embeddings(self) -> Tensor:
        found = self.groups.found
        return self.candidates.embeddings() if found is None else found[self.number]

    def images(self) -> Iterator[Tensor]:
        return self.candidates.images()


_OLD_MODEL = (
    "the embeddings are those of an older training run; `alctl embed --backbone model` computes them anew"
)
