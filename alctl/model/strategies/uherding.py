"""Uncertainty Herding (Bae, Sutherland & Oliveira, ICLR 2025): images that stand for many uncertain ones."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from alctl.errors import AlctlError
from alctl.model.coverage import cover, drawn
from alctl.model.distances import finite, nearest_other, unit
from alctl.model.near_duplicates import collapse
from alctl.model.strategy import Candidates, Greedy, Prediction, Room, Selection, UntrainedError, top_k
from alctl.model.uncertainty import entropy, least_confidence, margin

LOOKED_AT = 2_000
"""Candidates from which the usual distance to the nearest neighbour is estimated."""


@dataclass(frozen=True)
class UHerding(Greedy):
    """Images that leave every uncertain image with a similar labeled one; for small budgets and large.

    It is MaxHerding with each image to be covered weighted by the model's uncertainty. Without a model, or where the
    model is certain of every image, all weigh the same.
    """

    sigma: float | Literal["nearest", "least"] = 1.0
    """σ: a distance between embeddings of length 1; or "nearest", the median distance of labeled images to the nearest
    other, or "least", the smallest distance between two, as in the authors' code: two similar labeled images then make
    it so small that only uncertainty counts."""
    uncertainty: Literal["margin", "entropy", "least-confidence", "predicted-loss"] = "margin"
    """How an image is weighted; "margin" is 1 - margin, "predicted-loss" its rank."""
    temperature: float = 1.0
    """T: probabilities are taken to the power 1/T first; above 1 for a network that is too sure of itself."""
    duplicates: float = 0.92
    """For σ = "nearest": labeled images of this cosine similarity count as one; 0 counts all."""
    references: int = 20_000
    """Images that are to be covered, at most: a random part of the candidates if there are more."""

    def __post_init__(self) -> None:
        """Refuse what has no meaning."""
        if self.temperature <= 0:
            raise AlctlError(f"the temperature of uherding must be above 0, not {self.temperature}")
        if not isinstance(self.sigma, str) and self.sigma <= 0:
            raise AlctlError(f"sigma of uherding must be above 0, not {self.sigma}")

    @property
    def needs_model(self) -> bool:
        """Tell whether it reads predictions: where there are any, and without it is MaxHerding."""
        return False

    @property
    def uses_predicted_loss(self) -> bool:
        """Tell whether it reads predicted losses: only where they are the weights."""
        return self.uncertainty == "predicted-loss"

    def query_within(
        self, unlabeled: Candidates, labeled: Candidates, n: int, rng: torch.Generator, room: Room | None
    ) -> Selection:
        """Return each next image that raises the weighted coverage most, scored by how much it does."""
        weights = self._weights(unlabeled)
        points = finite(unlabeled.embeddings())
        known = finite(labeled.embeddings()) if len(labeled) else points[:0]
        references = drawn(len(points), self.references, rng)
        return cover(
            points,
            known,
            n,
            references=references,
            weights=None if weights is None else weights[references.to(weights.device)],
            sigma=self._radius(points[references.to(points.device)], known, rng),
            room=room,
        )

    def _weights(self, unlabeled: Candidates) -> Tensor | None:
        """Return the uncertainty of each image, (N,) float64; None where there is none to tell images apart by."""
        try:
            found = unlabeled.map(self._uncertainty()).double()
        except UntrainedError:
            return None
        order = top_k(found, len(found)).positions  # which refuses what is not finite
        if self.uncertainty == "predicted-loss":
            found[order] = 1 - torch.arange(len(order), dtype=torch.float64, device=found.device) / len(order)
        return found if bool((found > 0).any()) else None

    def _uncertainty(self) -> Callable[[Prediction], Tensor]:
        """Return the function from a batch of predictions to (B,) weights, none below 0 except the predicted loss."""

        def softened(p: Tensor) -> Tensor:
            p = p.double()
            return p if self.temperature == 1 else (p.log() / self.temperature).softmax(-1)

        choices: dict[str, Callable[[Prediction], Tensor]] = {
            "margin": lambda seen: 1 - seen.distributions.mean(lambda p: margin(softened(p))),
            "entropy": lambda seen: seen.distributions.mean(lambda p: entropy(softened(p))),
            "least-confidence": lambda seen: seen.distributions.mean(lambda p: least_confidence(softened(p))),
            "predicted-loss": lambda seen: seen.predicted_loss,
        }
        return choices[self.uncertainty]

    def _radius(self, points: Tensor, known: Tensor, rng: torch.Generator) -> float:
        """Return σ from the labeled ``known`` (L, d) and the references ``points`` (m, d); 1 where no two differ."""
        if not isinstance(self.sigma, str):
            return self.sigma
        known = unit(known)
        if self.sigma == "nearest" and self.duplicates:
            apart = known[collapse(known, self.duplicates).kept]
        else:
            apart = known.unique(dim=0)
        if len(apart) < 2:
            return 1.0
        distances = nearest_other(apart, torch.arange(len(apart))).sqrt()
        if self.sigma == "least":
            return float(distances.min())
        usual = nearest_other(unit(points), drawn(len(points), LOOKED_AT, rng)).sqrt()
        return float(torch.maximum(distances.median(), usual[usual.isfinite()].quantile(0.05)))
