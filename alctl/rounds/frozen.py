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
from alctl.images.decode import BrokenImages, MissingImages, Source
from alctl.images.embeddings import Embeddings
from alctl.model.embedding import LITE0
from alctl.model.strategy import Candidates, Prediction
from alctl.progress import Progress, duration
from alctl.project import Project
from alctl.rounds.backbones import (
    MODEL,
    ProjectBackbone,
    Used,
    digests_of,
    fill,
    images_per_second,
    source_of,
    used,
    used_or_default,
)
from alctl.rounds.own_vectors import OwnVectors
from alctl.rounds.pool import Incomparable

COMPARED = 2
"""Groups of a round that strategies compare: the candidates and the labeled images."""
PATIENCE = 15 * 60
"""Seconds that computing missing embeddings may take without being asked for (SELECTION.md §4.3)."""


def vectors(
    project: Project,
    wanted: Used,
    sources: Sequence[Source],
    progress: Progress,
    device: str = "auto",
    *,
    seconds: float | None = None,
) -> Tensor:
    """Return the vectors (N, D) of images in float32, not normalised; what is missing is computed first and kept.

    They are zero where the backbone gave none that is finite. ``seconds`` is about how long the missing ones take, for
    the person who waits; None: measured first.

    Raises:
        BrokenImages: Some cannot be decoded.
        MissingImages: Some are not there.
        AlctlError: Some have no vector and can get none, or another process is computing the same.
    """
    table = Embeddings(project.cache, wanted.key)
    missing = _missing(table, sources)
    if len(missing):
        source = source_of(project, wanted, device)
        _fill(project, table, source, [sources[i] for i in missing], progress, seconds)
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
    source: ProjectBackbone | OwnVectors,
    missing: list[Source],
    progress: Progress,
    seconds: float | None,
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
        if seconds is None:
            seconds = len(missing) / images_per_second(source, missing[: source.batch])
        stage += f", about {duration(seconds)}"
    total = len(missing)
    left_out = fill(table, source, root, [missing], total, lambda _, done, __: progress(stage, done, total))
    if left_out.missing:
        raise MissingImages(left_out.missing)
    if left_out.broken:
        raise BrokenImages(left_out.broken)


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
        self.needed = False
        """Whether the strategy compares images, so that what is missing is computed anyway."""
        self.wanted: Used | None = None
        """The embeddings that were compared, once they were."""

    @cached_property
    def known(self) -> Used | None:
        """The embeddings of the project; None where it has none yet, or only those of an older network."""
        with self.project.reading() as connection:
            known = used(connection)
            network = training_runs.last_network(connection)
        stale = (
            known is not None
            and known.name == MODEL
            and (network is None or network.digest != known.key.weights)
        )
        return None if stale else known

    @property
    def backbone(self) -> str:
        """Whose vectors they are, or would be."""
        return self.known.name if self.known else LITE0

    def _lacking(self, wanted: Used) -> list[Source]:
        """Images without a vector."""
        every = [image for group in self.groups for image in group]
        return [every[i] for i in _missing(Embeddings(self.project.cache, wanted.key), every)]

    @cached_property
    def at_hand(self) -> AtHand:
        """Whether they are there, or can be had in reasonable time."""
        images = sum(len(group) for group in self.groups)
        try:
            wanted = self.known or used_or_default(self.project, self.device)
            if wanted.name == MODEL and self.known is None:
                return AtHand(MODEL, images, images, 0.0, at_hand=False, why=_OLD_MODEL)
            if missing := self._lacking(wanted):
                return self._estimate(wanted, images, missing)
        except AlctlError as error:
            return AtHand(self.backbone, images, images, 0.0, at_hand=False, why=str(error))
        return AtHand(wanted.name, images, 0, 0.0, at_hand=True, why=f"embedded by {wanted.name}")

    def _estimate(self, wanted: Used, images: int, missing: list[Source]) -> AtHand:
        source = source_of(self.project, wanted, self.device)
        if isinstance(source, OwnVectors):
            why = f"{len(missing):,} images have no row in {wanted.name}"
            return AtHand(wanted.name, images, len(missing), 0.0, at_hand=False, why=why)
        seconds = len(missing) / images_per_second(source, missing[: source.batch])
        told = f"{len(missing):,} images lack an embedding by {wanted.name}, about {duration(seconds)}"
        if seconds <= PATIENCE or self.forced:
            return AtHand(wanted.name, images, len(missing), seconds, at_hand=True, why=told)
        why = f"{told}, which is more than {duration(PATIENCE)}: `alctl embed` or --embed computes them"
        return AtHand(wanted.name, images, len(missing), seconds, at_hand=False, why=why)

    @cached_property
    def found(self) -> list[Tensor] | None:
        """The vectors (N, D) of each group; None where they are not at hand."""
        if (self.known is None and not self.by_default) or not self.at_hand.at_hand:
            return None
        wanted = self.wanted = self.known or used_or_default(self.project, self.device)
        every = [image for group in self.groups for image in group]
        seconds = self.at_hand.seconds
        there = vectors(self.project, wanted, every, self.progress, self.device, seconds=seconds)
        return list(there.split([len(group) for group in self.groups]))

    @property
    def without_asking(self) -> list[Tensor] | None:
        """The same, for those who can do without: only where they are there, or computed for the strategy anyway."""
        return self.found if self.needed or (self.known and not self._lacking(self.known)) else None

    def required(self) -> list[Tensor]:
        """Return the same; AlctlError where they are not at hand."""
        self.by_default = True
        if self.found is None:
            raise AlctlError(
                f"this takes embeddings of all images of the round: {self.at_hand.why}; run `alctl embed`, or leave "
                "--duplicates out"
            )
        return self.found

    def check_comparable(self, groups: int) -> None:
        """Raise Incomparable where images of the first ``groups`` groups have a vector of zeros, which is like nothing."""
        both = zip(self.groups[:groups], self.found or (), strict=False)
        useless = [group[i].id for group, found in both for i in (~found.any(dim=1)).nonzero()[:, 0].tolist()]
        if useless:
            raise Incomparable(useless)

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
        if found is None:
            return self.candidates.embeddings()
        self.groups.check_comparable(COMPARED)
        return found[self.number]

    def images(self) -> Iterator[Tensor]:
        return self.candidates.images()


_OLD_MODEL = (
    "the embeddings are those of an older training run; `alctl embed --backbone model` computes them anew"
)
