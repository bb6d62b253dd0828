"""Entropy sampling (Shannon 1948; Settles 2009, section 3.1)."""

from dataclasses import dataclass

import torch

from alctl.model.strategy import Candidates, Ranking, Selection, top_k
from alctl.model.uncertainty import entropy


@dataclass(frozen=True)
class Entropy(Ranking):
    """The images whose predicted class distribution has the highest entropy."""

    def query(self, unlabeled: Candidates, labeled: Candidates, n: int, rng: torch.Generator) -> Selection:
        """Return the top ``n`` by entropy in nats, averaged over the distributions of an image."""
        return top_k(unlabeled.map(lambda said: said.distributions.mean(entropy)), n)
