"""MaxHerding (Bae, Noh & Sutherland, ECCV 2024): the images that stand for as many others as possible."""

from dataclasses import dataclass

import torch

from alctl.model.coverage import cover, drawn
from alctl.model.strategy import Candidates, Greedy, Room, Selection


@dataclass(frozen=True)
class MaxHerding(Greedy):
    """Images that leave every image with a similar labeled one; needs no model, and serves while labels are few.

    Similarity is a Gaussian kernel of the distance between embeddings of length 1.
    """

    sigma: float = 1.0
    """σ: the distance at which an image hardly stands for another any more; 1 in the authors' code."""
    references: int = 20_000
    """Images that are to be covered, at most: a random part of the candidates if there are more."""

    @property
    def needs_model(self) -> bool:
        """Tell whether it reads predictions: embeddings are enough."""
        return False

    def query_within(
        self, unlabeled: Candidates, labeled: Candidates, n: int, rng: torch.Generator, room: Room | None
    ) -> Selection:
        """Return each next image that raises the mean coverage most, scored by how much it does."""
        points = unlabeled.embeddings()
        known = labeled.embeddings() if len(labeled) else points[:0]
        references = drawn(len(points), self.references, rng)
        return cover(points, known, n, references=references, sigma=self.sigma, room=room)
