"""Entropy sampling (Shannon 1948; Settles 2009, section 3.1)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from alctl.strategy import Candidates, Prediction, QueryStrategy, Selection, top_k


@dataclass(frozen=True)
class Entropy(QueryStrategy):
    """The images whose predicted class distribution has the highest entropy."""

    def query(self, unlabeled: Candidates, labeled: Candidates, n: int, rng: torch.Generator) -> Selection:
        """Return the top ``n`` by entropy in nats, averaged over the M distributions of an image."""
        return top_k(unlabeled.map(entropy), n)


def entropy(prediction: Prediction) -> Tensor:
    """Return the mean entropy per image, shape (B,), in nats; 0·ln 0 is 0."""
    return torch.special.entr(prediction.probabilities.double()).sum(-1).mean(-1)
