"""Predicted loss with diversity: the future work that Learning Loss for Active Learning (section 5) names.

The combination is this project's own; two stages as in PPAL (Yang et al., CVPR 2024), k-means++ as in BADGE.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from alctl.model.distances import nearest, spread, unit
from alctl.model.strategy import Candidates, QueryStrategy, Selection, top_k


@dataclass(frozen=True)
class LearningLossDiverse(QueryStrategy):
    """Images of high predicted loss that differ: the top β·n, then k-means++ weighted by r^α.

    r in (0, 1] is the rank of the predicted loss; distances are between embeddings of length 1. β = 1 chooses what
    learning loss chooses; α = 0, β = ∞ without ``sample`` and with ``cover_labeled`` is core-set.
    """

    alpha: float = 1.0
    """α: how much the predicted loss weighs against distance; ours."""
    beta: float = 4.0
    """β: candidates per pick; 4 in PPAL for VOC, infinite keeps all."""
    cover_labeled: bool = False
    """Keep away from the labeled images too; the first pick then follows the same rule as the others."""
    sample: bool = True
    """Draw by r^α·D² as k-means++ does; False takes the highest."""
    rank: Literal["within", "whole"] = "within"
    """Rank the predicted loss within the β·n kept, so that r goes down to 1/(β·n); "whole" ranks among all candidates,
    where r stays near 1 unless most are kept, and repeats rounds chosen before there was a choice."""

    @property
    def uses_predicted_loss(self) -> bool:
        """Tell whether it reads predicted losses: they weigh the distances."""
        return True

    def query(self, unlabeled: Candidates, labeled: Candidates, n: int, rng: torch.Generator) -> Selection:
        """Return the highest predicted loss, then images by r^α·D², with that as score."""
        losses = unlabeled.map(lambda seen: seen.predicted_loss)
        kept = int(min(self.beta * max(n, 1), len(losses)))
        order = top_k(losses, max(n, kept)).positions
        embeddings = unlabeled.embeddings()
        points = unit(embeddings[order.to(embeddings.device)])
        of = len(order) if self.rank == "within" else len(losses)
        rank = 1 - torch.arange(len(order), dtype=torch.float64, device=points.device) / of

        def squared_to(pick: int, _: Tensor) -> Tensor:
            return (2 - 2 * (points @ points[pick])).clamp_(min=0).double()

        first: int | None = 0
        start = torch.full_like(rank, torch.inf)
        if self.cover_labeled and len(labeled):
            first = None
            start = nearest(points, unit(labeled.embeddings()))
        chosen, scores = spread(
            squared_to, start, n, first=first, weights=rank**self.alpha, rng=rng if self.sample else None
        )
        if first is not None:
            scores[:1] = 1.0  # highest rank, and the squared length of a unit vector
        return Selection(order.cpu()[chosen], scores)
