"""Least-confidence sampling (Lewis & Gale 1994; Settles 2009, section 3.1)."""

from dataclasses import dataclass

import torch

from alctl.model.strategy import Candidates, Ranking, Selection, top_k
from alctl.model.uncertainty import least_confidence


@dataclass(frozen=True)
class LeastConfidence(Ranking):
    """The images whose most probable class is the least probable."""

    def query(self, unlabeled: Candidates, labeled: Candidates, n: int, rng: torch.Generator) -> Selection:
        """Return the top ``n`` by 1 - max p, averaged over the M distributions of an image."""
        return top_k(unlabeled.map(lambda said: said.distributions.mean(least_confidence)), n)
