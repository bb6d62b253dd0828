"""DropQuery (Gupte et al., TMLR 2024): images whose class changes under dropout, one from each of n clusters."""

from dataclasses import dataclass

import torch
from torch import Tensor

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

    @property
    def one_distribution(self) -> bool:
        """Tell whether it needs exactly one class distribution for an image: it asks whether its class changes."""
        return True

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
    """Return in how many dropout passes the class is not that of the pass without dropout, (N,) int64 on the CPU.

    FloatingPointError where a probability is no finite number.
    """
    found = images.map(_changes, dropout_passes=passes).cpu()
    if bool((found < 0).any()):
        raise FloatingPointError(
            f"the probabilities at position {int((found < 0).nonzero()[0, 0])} are not finite"
        )
    return found


def _changes(seen: Prediction) -> Tensor:
    """Return in how many passes the class of each image is another, (B,); -1 where a probability is not finite."""
    plain = seen.distributions.p[:, 0]
    finite, count = plain.isfinite().all(-1), torch.zeros_like(seen.distributions.place[:, 0])
    for drawn in seen.dropout():
        count += drawn.p[:, 0].argmax(-1) != plain.argmax(-1)
        finite &= drawn.p[:, 0].isfinite().all(-1)
    return count.masked_fill(~finite, -1)


def unstable(changes: Tensor, passes: int, wanted: int) -> Tensor:
    """Return the positions that changed in more than half of the passes; in fewer while they are not ``wanted`` many."""
    threshold = passes // 2
    while threshold > 0 and int((changes > threshold).sum()) < wanted:
        threshold -= 1
    return (changes > threshold).nonzero()[:, 0]
