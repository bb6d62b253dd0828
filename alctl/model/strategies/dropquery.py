"""DropQuery (Gupte et al., TMLR 2024): images whose class changes under dropout, one from each of n clusters."""

from dataclasses import dataclass

import torch
from torch import Tensor

from alctl.errors import AlctlError
from alctl.model.clusters import central, k_means, principal
from alctl.model.distances import unit
from alctl.model.strategy import Candidates, Prediction, QueryStrategy, Selection


@dataclass(frozen=True)
class DropQuery(QueryStrategy):
    """Images that a model with dropout takes for another class, spread out by clustering."""

    passes: int = 3
    """Passes with dropout; 3 in the authors' code."""
    enough: int = 25
    """Candidates per pick that are looked for before less doubtful images are left out; 25 in the authors' code."""
    components: int = 128
    """Principal components in which clusters are sought, for speed; 0 takes the embeddings whole."""

    def query(self, unlabeled: Candidates, labeled: Candidates, n: int, rng: torch.Generator) -> Selection:
        """Return the middles of n clusters of doubtful images, scored by the share of passes that disagree.

        Where there are too few doubtful images, others follow at random.
        """
        n = min(n, len(unlabeled))
        points = unit(unlabeled.embeddings())
        changes = mismatches(unlabeled, self.passes)
        doubtful = unstable(changes, self.passes, self.enough * n)
        if len(doubtful) <= n:
            others = torch.randperm(len(changes), generator=rng)
            others = others[~torch.isin(others, doubtful)]
            picks = torch.cat([doubtful, others[: n - len(doubtful)]])
        else:
            some = points[doubtful.to(points.device)]
            clusters = k_means(principal(some, self.components), max(n, 1), rng)
            picks = doubtful[central(some, clusters)[0]][:n]
            rest = doubtful[~torch.isin(doubtful, picks)]  # of clusters that duplicates left empty
            rest = rest[changes[rest].argsort(descending=True, stable=True)]
            picks = torch.cat([picks, rest[: n - len(picks)]])
        picks = picks[changes[picks].argsort(descending=True, stable=True)]
        return Selection(picks, changes[picks].double() / self.passes)


def mismatches(images: Candidates, passes: int) -> Tensor:
    """Return in how many dropout passes the class is not that of the pass without dropout, (N,) int64 on the CPU."""
    plain = _finite(images.map(_classes).cpu())
    if plain.shape[1] != 1:
        raise AlctlError(
            f"dropquery needs one class distribution per image, and this task predicts {plain.shape[1]}; "
            "choose another strategy, such as mc-dropout or uherding"
        )
    return (_finite(images.map(_classes, dropout_passes=passes).cpu()) != plain).sum(1)


def unstable(changes: Tensor, passes: int, wanted: int) -> Tensor:
    """Return the positions that changed in more than half of the passes; in fewer while they are not ``wanted`` many."""
    threshold = passes // 2
    while threshold > 0 and int((changes > threshold).sum()) < wanted:
        threshold -= 1
    return (changes > threshold).nonzero()[:, 0]


def _classes(seen: Prediction) -> Tensor:
    """Return the class of each pass, (B, T) for probabilities (B, T, C); -1 where one is not a number."""
    classes = seen.probabilities.argmax(-1)
    return classes.masked_fill(~seen.probabilities.isfinite().all(-1), -1)


def _finite(classes: Tensor) -> Tensor:
    """Return the classes as they are; one that follows from no number is a bug."""
    if bool((classes < 0).any()):
        raise FloatingPointError(
            f"the probabilities at position {int((classes < 0).nonzero()[0, 0])} are not finite"
        )
    return classes
