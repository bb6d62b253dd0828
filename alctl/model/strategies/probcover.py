"""ProbCover (Yehuda et al., NeurIPS 2022): cover as many images as possible with balls around the labeled ones."""

from dataclasses import dataclass

import torch
from torch import Tensor

from alctl.model.distances import blocks, k_center, squared_distances, unit
from alctl.model.strategy import Candidates, QueryStrategy, Selection


@dataclass(frozen=True)
class ProbCover(QueryStrategy):
    """Images with the most uncovered neighbours within δ; for the first few hundred labels.

    Only a count per image is kept, never the graph, so that memory does not depend on δ. Time is that of two passes
    over all pairs: seconds for 10,000 images, and quadratic from there. Embeddings are scaled to length 1.
    """

    delta: float = 0.75
    """δ: radius of a ball; the authors' value for CIFAR-10 on SimCLR embeddings."""

    @property
    def needs_model(self) -> bool:
        """Tell whether it reads predictions: embeddings are enough."""
        return False

    def query(self, unlabeled: Candidates, labeled: Candidates, n: int, rng: torch.Generator) -> Selection:
        """Return each next best ball, scored by the images it newly covers; when all are, k-center with score 0."""
        points = unit(unlabeled.embeddings())
        known = unit(labeled.embeddings()) if len(labeled) else points[:0]
        covered = self._reached(points, known) > 0
        gain = self._reached(points, points[~covered])
        picks: list[int] = []
        scores: list[int] = []
        while len(picks) < min(n, len(points)) and bool((gain > 0).any()):
            pick = int(gain.argmax())
            picks.append(pick)
            scores.append(int(gain[pick]))
            fresh = (self._reached(points, points[pick : pick + 1]) > 0) & ~covered
            covered |= fresh
            gain -= self._reached(points, points[fresh])
            gain[picks] = 0
        rest = torch.ones(len(points), dtype=torch.bool)
        rest[picks] = False
        left = rest.nonzero()[:, 0]
        spread, _ = k_center(points[left], torch.cat([known, points[picks]]), n - len(picks))
        return Selection(
            torch.cat([torch.tensor(picks, dtype=torch.int64), left[spread]]),
            torch.tensor(scores + [0] * len(spread), dtype=torch.float64),
        )

    def _reached(self, points: Tensor, centres: Tensor) -> Tensor:
        """Return how many of (L, d) lie closer than δ to each of (N, d), shape (N,) int64."""
        count = torch.zeros(len(points), dtype=torch.int64, device=points.device)
        for rows in blocks(len(points)):
            for columns in blocks(len(centres)):
                near = squared_distances(points[rows], centres[columns]) < self.delta**2
                count[rows] += near.sum(1)
        return count
