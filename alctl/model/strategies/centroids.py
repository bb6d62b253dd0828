"""Centroids: the image in the middle of each cluster, as DropQuery begins (Gupte et al., TMLR 2024)."""

from dataclasses import dataclass

import torch

from alctl.model.clusters import central, k_means, principal
from alctl.model.distances import k_center, unit
from alctl.model.strategy import Candidates, QueryStrategy, Selection


@dataclass(frozen=True)
class Centroids(QueryStrategy):
    """One image from the middle of each of n clusters; for the first round, because it does not look at labels."""

    components: int = 64
    """Principal components in which clusters are sought, for speed; 0 takes the embeddings whole."""

    @property
    def needs_model(self) -> bool:
        """Tell whether it reads predictions: embeddings are enough."""
        return False

    def query(self, unlabeled: Candidates, labeled: Candidates, n: int, rng: torch.Generator) -> Selection:
        """Return the middle of each cluster, the largest first, scored by its share of the images.

        Duplicates leave clusters empty; in their place come the images farthest from the others chosen, with score 0.
        """
        points = unit(unlabeled.embeddings())
        n = min(n, len(points))
        if n == 0:
            return Selection(torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.float64))
        picks, sizes = central(points, k_means(principal(points, self.components), n, rng))
        free = torch.ones(len(points), dtype=torch.bool)
        free[picks] = False
        rest = free.nonzero()[:, 0]
        more, _ = k_center(points[rest.to(points.device)], points[picks.to(points.device)], n - len(picks))
        scores = torch.cat([sizes.double() / len(points), torch.zeros(len(more), dtype=torch.float64)])
        return Selection(torch.cat([picks, rest[more]]), scores)
