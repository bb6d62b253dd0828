"""BALD (Houlsby et al. 2011) with dropout passes as the posterior (Gal, Islam & Ghahramani 2017)."""

from dataclasses import dataclass

import torch

from alctl.errors import AlctlError
from alctl.model.strategy import Candidates, Ranking, Selection, top_k
from alctl.model.uncertainty import dropout_entropies


@dataclass(frozen=True)
class Bald(Ranking):
    """The images on which dropout passes are sure, each of something else."""

    passes: int = 25
    """Stochastic passes T; 25 in eval-al (Ji et al., WACV 2023)."""

    def query(self, unlabeled: Candidates, labeled: Candidates, n: int, rng: torch.Generator) -> Selection:
        """Return the top ``n`` by mutual information H(mean p) - mean H(p) in nats."""
        entropies = unlabeled.map(
            lambda said: torch.stack(dropout_entropies(said.dropout()), dim=1), dropout_passes=self.passes
        )
        of_mean, mean = entropies.unbind(1)
        scores = of_mean - mean
        if bool((scores == 0).all()) and bool((mean > 0).any()):
            raise AlctlError(
                f"all {self.passes} dropout passes agree on every image, so bald has nothing to rank; "
                "train a model with dropout, such as `alctl train --dropout 0.2`, or use another strategy such as entropy"
            )
        return top_k(scores, n)
