"""Choosing a round under limits: no near-duplicates, shares of groups, classes in balance.

What is asked for is read here, with the groups of the candidates; `alctl.model.quotas` chooses.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import PurePath

import numpy as np
import torch
from torch import Tensor

from alctl.database import counts, item_columns, settings
from alctl.errors import AlctlError
from alctl.images.camera import cameras
from alctl.images.pixels import Source
from alctl.model import near_duplicates, quotas
from alctl.model.embedding import LITE0
from alctl.model.near_duplicates import Collapsed
from alctl.model.quotas import NO_GROUP, Choice, Quota
from alctl.model.strategy import Candidates, QueryStrategy
from alctl.progress import Progress
from alctl.project import Project
from alctl.rounds import embed
from alctl.rounds.trained_model import Model

THRESHOLD = 0.92
"""Cosine from which two vectors of efficientnet-lite0 are of near-duplicates (SELECTION.md §1.6)."""
MOST = 100_000
"""Candidates that are compared with each other without being asked for: the time grows with their square."""
CLOSEST = 10
"""Pairs that the report shows."""
LISTED = 100
"""Images that are listed because they are probably labeled already."""
FEWEST, KNOWN = 2, 0.8
"""Labels in that share of the classes, before predicted classes say anything."""


@dataclass(frozen=True)
class Limits:
    """What a round is to keep within."""

    duplicates: float | None = None
    """Cosine from which two images are near-duplicates; 0: none are; None: the project's setting."""
    balance: bool = False
    """Whether labels and picks together are to be even among the classes, as far as they are predicted."""
    per_class: Mapping[str, int] = field(default_factory=dict)
    """Most images predicted to be of a class; that of "" holds for all other classes."""
    max_share: Mapping[str, float] = field(default_factory=dict)
    """Largest share of one value of a manifest's column, of one ``folder`` or of one ``camera``."""

    @property
    def by_class(self) -> bool:
        """Tell whether predicted classes are needed."""
        return self.balance or bool(self.per_class)

    @property
    def given(self) -> bool:
        """Tell whether anything was asked for."""
        return self != Limits()


@dataclass(frozen=True)
class Pair:
    """Two images that are nearly the same."""

    item: int
    """The one that was left out."""
    like: int
    """The one that stands for it."""
    cosine: float
    labeled: bool
    """Whether that one is labeled already."""


@dataclass(frozen=True)
class Duplicates:
    """The near-duplicates among the candidates of a round."""

    cosine: float
    """From which two images are."""
    groups: int
    """Candidates, or control images, that stand for others."""
    left_out: int
    """Candidates that others stand for."""
    labeled: int
    """Candidates that are probably labeled already: a labeled image is nearly the same."""
    closest: Sequence[Pair]
    """The pairs that are most alike, the closest first."""
    probably_labeled: Sequence[Pair]
    """Candidates that are probably labeled already, the closest first; the first hundred."""
    repeated: int = 0
    """Near-duplicates that were taken all the same, because nothing else was left."""


@dataclass(frozen=True)
class Kept:
    """How far the limits of a round were kept."""

    beyond: int
    """Picks of a group that was full, because nothing else was left."""
    balance: Mapping[str, int] = field(default_factory=dict)
    """Images that each class was to get."""
    per_class: Mapping[str, int] = field(default_factory=dict)
    max_share: Mapping[str, float] = field(default_factory=dict)
    most: Mapping[str, int] = field(default_factory=dict)
    """For each column the images that one value of it could have."""
    unknown: Mapping[str, int] = field(default_factory=dict)
    """For each column the candidates without a value, which it does not limit."""


@dataclass(frozen=True)
class Limited:
    """What the limits did to a round."""

    duplicates: Duplicates | None = None
    """None where nobody looked for near-duplicates."""
    kept: Kept | None = None
    """None where nothing else was limited."""

    def params(self) -> dict[str, object]:
        """Return what is recorded with the round."""
        found: dict[str, object] = {}
        if self.duplicates is not None:
            found["duplicates"] = asdict(self.duplicates)
        if self.kept is not None:
            found["limits"] = asdict(self.kept)
        return found


@dataclass(frozen=True)
class Round:
    """The images of a round before anything is chosen."""

    root: str
    candidates: Sequence[Source]
    labeled: Sequence[Source]
    control: Sequence[Source]
    """Drawn before anything else, so it stays random; picks are compared with it and never the other way round."""


@dataclass(frozen=True)
class Answer:
    """What was chosen, best first, and what the limits did."""

    positions: Tensor
    """(n,) int64."""
    scores: Tensor
    """(n,) float64."""
    limited: Limited = Limited()


def choose(
    project: Project,
    strategy: QueryStrategy,
    around: Round,
    unlabeled: Candidates,
    labeled: Candidates,
    n: int,
    rng: torch.Generator,
    *,
    limits: Limits,
    frozen: Sequence[Tensor] | None,
    model: Model | None,
    progress: Progress,
) -> Answer:
    """Let ``strategy`` choose n of the candidates within the limits, as far as there are enough.

    ``frozen`` are the vectors of candidates and labeled images, if there are some.

    Raises:
        AlctlError: A limit cannot be kept: there are no embeddings, no model, no such column or class.
    """
    compare = _collapse(project, around, frozen, limits.duplicates, ranks=strategy.needs_model)
    groups = _shares(project, around, limits.max_share, n, progress)
    classes = _Classes.of(project, model, limits) if limits.by_class else None
    made: list[dict[str, int]] = []

    def all_quotas(candidates: Candidates, fresh: Tensor) -> list[Quota]:
        if classes is None:
            return groups.quotas
        own, targets = classes.quotas(candidates, fresh, n, limits)
        made.append(targets)
        return [*groups.quotas, *own]

    choice = quotas.choose(
        strategy, unlabeled, labeled, n, rng,
        quotas=all_quotas if limits.by_class or limits.max_share else None, collapse=compare,
    )  # fmt: skip
    kept = None
    if limits.by_class or limits.max_share:
        targets = made[-1] if limits.balance else {}
        kept = Kept(choice.beyond, targets, limits.per_class, limits.max_share, groups.most, groups.unknown)
    return Answer(choice.positions, choice.scores, Limited(_duplicates(around, choice, limits), kept))
