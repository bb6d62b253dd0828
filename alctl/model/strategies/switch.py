"""One strategy while labels are few, another from then on; by default TypiClust, then margin (Doucet et al. 2024)."""

from dataclasses import dataclass

import torch

from alctl.model.strategy import STRATEGIES, Candidates, QueryStrategy, Selection, UntrainedError


@dataclass(frozen=True)
class Switch(QueryStrategy):
    """What spreads images out while labels are few, then what the model is unsure of.

    Doucet et al. call TypiClust followed by margin TCM; when it changes over is this project's choice.
    """

    first: str = "typiclust"
    """The strategy while there are few labels, and before there is a model."""
    then: str = "margin"
    """The strategy from then on."""
    per_class: int = 10
    """Labels a class, those of the round included, up to which the first strategy chooses."""

    @property
    def needs_model(self) -> bool:
        """Tell whether it reads predictions before there is a model: if its first strategy does."""
        return self._named(self.first).needs_model

    @property
    def uses_predicted_loss(self) -> bool:
        """Tell whether it reads predicted losses: if one of the two does."""
        return any(self._named(name).uses_predicted_loss for name in (self.first, self.then))

    @property
    def one_distribution(self) -> bool:
        """Tell whether it needs exactly one class distribution for an image: if one of the two does."""
        return any(self._named(name).one_distribution for name in (self.first, self.then))

    def query(self, unlabeled: Candidates, labeled: Candidates, n: int, rng: torch.Generator) -> Selection:
        """Return what the strategy whose turn it is chooses, to the bit."""
        after = len(labeled) + min(n, len(unlabeled))
        few = not len(labeled) or after <= self.per_class * self._classes(labeled)
        return self._named(self.first if few else self.then).query(unlabeled, labeled, n, rng)

    def _named(self, name: str) -> QueryStrategy:
        return STRATEGIES.load(name)()

    def _classes(self, labeled: Candidates) -> float:
        """Return how many classes the model tells apart; without a model infinitely many, so that labels are few."""
        try:
            widths = labeled.map(
                lambda seen: torch.full((len(seen.embedding),), seen.distributions.p.shape[-1])
            )
        except UntrainedError:
            return float("inf")
        return float(widths[0])
