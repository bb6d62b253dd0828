"""Margin sampling (Scheffer et al. 2001; Settles 2009, section 3.1)."""

from dataclasses import dataclass

import torch

from alctl.model.strategy import Candidates, Ranking, Selection, top_k
from alctl.model.uncertainty import margin


@dataclass(frozen=True)
class Margin(Ranking):
    """The images whose two most probable classes are the closest."""

    def query(self, unlabeled: Candidates, labeled: Candidates, n: int, rng: torch.Generator) -> Selection:
        """Return the top ``n`` by the negative margin, averaged over the M distributions of an image."""
        return top_k(unlabeled.map(lambda said: -said.distributions.mean(margin)), n)
