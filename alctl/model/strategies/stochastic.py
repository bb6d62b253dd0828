"""Stochastic batch acquisition (Kirsch et al., TMLR 2023): draw by score instead of taking the top."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from alctl.errors import AlctlError
from alctl.model.strategy import Candidates, Prediction, Ranking, Selection, top_k
from alctl.model.uncertainty import dropout_entropies, entropy, least_confidence, margin


@dataclass(frozen=True)
class Stochastic(Ranking):
    """Images drawn without replacement, the more likely the higher their score.

    The cheapest way to a mixed batch: one pass and one sort, for pools of any size.
    """

    score: Literal["predicted-loss", "entropy", "least-confidence", "margin", "bald"] = "predicted-loss"
    """What is high for a wanted image; "margin" is 1 - margin."""
    weight: Literal["rank", "power"] = "rank"
    """Draw by (1/rank)^(1/T), or by score^(1/T); predicted loss has an order only, so it needs rank."""
    temperature: float = 1.0
    """T: near 0 is the top-K, large is uniform; 1 in the paper."""
    passes: int = 25
    """Dropout passes of the score "bald"; 25 in eval-al (Ji et al., WACV 2023)."""

    def __post_init__(self) -> None:
        """Refuse what has no meaning."""
        if self.weight == "power" and self.score == "predicted-loss":
            raise AlctlError("the predicted loss has an order but no scale: use weight = rank with it")
        if self.temperature <= 0:
            raise AlctlError(f"the temperature of stochastic must be above 0, not {self.temperature}")

    @property
    def uses_predicted_loss(self) -> bool:
        """Tell whether it reads predicted losses: only where they are the score."""
        return self.score == "predicted-loss"

    def query(self, unlabeled: Candidates, labeled: Candidates, n: int, rng: torch.Generator) -> Selection:
        """Return the top ``n`` by ln(weight) + Gumbel noise, which is drawing by weight without replacement."""
        passes = self.passes if self.score == "bald" else 0
        scores = unlabeled.map(_scores(self.score), dropout_passes=passes).double().cpu()
        noise = -torch.empty(len(scores), dtype=torch.float64).exponential_(generator=rng).log()
        return top_k(log_weights(scores, self.weight) / self.temperature + noise, n)


def log_weights(scores: Tensor, weight: Literal["rank", "power"]) -> Tensor:
    """Return the logarithm of 1/rank or of the score for (N,) float64 scores; a score of 0 is drawn last."""
    if weight == "power":
        return scores.clamp(min=torch.finfo(torch.float64).tiny).log()
    order = top_k(scores, len(scores)).positions
    ranks = torch.empty_like(scores)
    ranks[order] = torch.arange(1, len(scores) + 1, dtype=torch.float64)
    return -ranks.log()


def _scores(name: str) -> Callable[[Prediction], Tensor]:
    """Return the function from a batch of predictions to (B,) scores, none below 0 except the predicted loss."""
    choices: dict[str, Callable[[Prediction], Tensor]] = {
        "predicted-loss": lambda said: said.predicted_loss,
        "entropy": lambda said: said.distributions.mean(entropy),
        "least-confidence": lambda said: said.distributions.mean(least_confidence),
        "margin": lambda said: 1 - said.distributions.mean(margin),
        "bald": lambda said: torch.sub(*dropout_entropies(said.dropout())),
    }
    return choices[name]
