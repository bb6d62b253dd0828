"""Monte Carlo dropout (Gal & Ghahramani 2016): the entropy of the mean over stochastic passes."""

from dataclasses import dataclass

import torch

from alctl.model.strategy import Candidates, Ranking, Selection, top_k
from alctl.model.uncertainty import dropout_entropies


@dataclass(frozen=True)
class McDropout(Ranking):
    """The images with the highest entropy of the class probabilities averaged over dropout passes."""

    passes: int = 10
    """Stochastic passes T; 10 in the comparison of Aljundi, Chumerin and Olmeda Reino (IWPS, 2020)."""

    def query(self, unlabeled: Candidates, labeled: Candidates, n: int, rng: torch.Generator) -> Selection:
        """Return the top ``n`` by H(mean p) in nats; probabilities are averaged, never logits."""
        scores = unlabeled.map(lambda said: dropout_entropies(said.dropout())[0], dropout_passes=self.passes)
        return top_k(scores, n)
