"""Core-set (Sener & Savarese, ICLR 2018), the greedy k-center form."""

from dataclasses import dataclass

import torch

from alctl.model.distances import k_center, unit
from alctl.model.strategy import Candidates, QueryStrategy, Selection


@dataclass(frozen=True)
class CoreSet(QueryStrategy):
    """The images that leave no image far from a labeled one, in Euclidean distance between embeddings."""

    normalise: bool = False
    """Scale embeddings to length 1 first; the paper does not."""

    @property
    def needs_model(self) -> bool:
        """Tell whether it reads predictions: embeddings are enough."""
        return False

    def query(self, unlabeled: Candidates, labeled: Candidates, n: int, rng: torch.Generator) -> Selection:
        """Return each next farthest image, with its distance; with no label, begin at the one nearest the mean."""
        points = unlabeled.embeddings()
        centres = labeled.embeddings() if len(labeled) else points[:0]
        if self.normalise:
            points, centres = unit(points), unit(centres)
        return Selection(*k_center(points, centres, n))
