"""Random sampling: the baseline that every other strategy has to beat."""

from dataclasses import dataclass

import torch

from alctl.model.strategy import Candidates, Ranking, Selection


@dataclass(frozen=True)
class Random(Ranking):
    """Uniform without replacement; needs no trained model, so it is also the first round."""

    @property
    def needs_model(self) -> bool:
        """Tell whether it reads predictions: it looks at nothing."""
        return False

    def query(self, unlabeled: Candidates, labeled: Candidates, n: int, rng: torch.Generator) -> Selection:
        """Return the first ``n`` of a random permutation; the scores are all 0, because no pick is better."""
        positions = torch.randperm(len(unlabeled), generator=rng)[:n]
        return Selection(positions, torch.zeros(len(positions), dtype=torch.float64))
