"""Learning Loss for Active Learning (Yoo & Kweon, CVPR 2019), section 3.1."""

from dataclasses import dataclass

import torch

from alctl.model.strategy import Candidates, Ranking, Selection, top_k


@dataclass(frozen=True)
class LearningLoss(Ranking):
    """The images whose loss the loss prediction module expects to be highest."""

    @property
    def uses_predicted_loss(self) -> bool:
        """Tell whether it reads predicted losses: that is all it reads."""
        return True

    def query(self, unlabeled: Candidates, labeled: Candidates, n: int, rng: torch.Generator) -> Selection:
        """Return the top ``n`` by predicted loss."""
        return top_k(unlabeled.map(lambda prediction: prediction.predicted_loss), n)
