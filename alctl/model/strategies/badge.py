"""BADGE (Ash et al., ICLR 2020): k-means++ seeding on gradients of the last layer."""

from dataclasses import dataclass

import torch
from torch import Tensor

from alctl.model.distances import ROUNDING, finite, spread, squared_norms
from alctl.model.strategy import Candidates, Prediction, QueryStrategy, Selection


@dataclass(frozen=True)
class Badge(QueryStrategy):
    """Images with large gradients that point in different directions.

    The gradient of image i is g = (p - e_ŷ) ⊗ h, C·d numbers. It is never formed: ⟨g_i, g_j⟩ = (a_i·a_j)(h_i·h_j)
    with a = p - e_ŷ, so memory is N·(C + d) and a pick costs at most two matrix-vector products.
    """

    bias: bool = False
    """Take the gradient of the last layer's bias too; the authors' code does not."""

    @property
    def one_distribution(self) -> bool:
        """Tell whether it needs exactly one class distribution for an image: its gradient is that of one answer."""
        return True

    def query(self, unlabeled: Candidates, labeled: Candidates, n: int, rng: torch.Generator) -> Selection:
        """Return the largest gradient, then draws by squared distance to the nearest pick, with that as score."""
        classes = 0

        def factors(prediction: Prediction) -> Tensor:
            nonlocal classes
            residual = _residual(prediction.distributions.p[:, 0])
            classes = residual.shape[1]
            return torch.cat([residual, prediction.embedding], dim=1)

        both = finite(unlabeled.map(factors))
        residual, embedding = both[:, :classes], both[:, classes:]
        lengths = (squared_norms(embedding) + self.bias).sqrt()
        norms = squared_norms(residual) * lengths.square()

        def squared_to(pick: int, nearest: Tensor) -> Tensor:
            aligned = residual @ residual[pick]
            least = (norms + norms[pick]) * (1 - ROUNDING) - 2 * aligned.abs() * lengths * lengths[pick]
            rows = (least < nearest).nonzero()[:, 0]  # by |h·h'| ≤ ‖h‖‖h'‖ no other can be nearer
            products = aligned[rows] * (embedding.index_select(0, rows) @ embedding[pick] + self.bias)
            squared = torch.full_like(norms, torch.inf)
            squared[rows] = (norms[rows] + norms[pick] - 2 * products).clamp_(min=0)
            return squared

        first = int(norms.argmax())
        positions, scores = spread(squared_to, torch.full_like(norms, torch.inf), n, first=first, rng=rng)
        scores[:1] = norms[first].double()
        return Selection(positions, scores)


def _residual(p: Tensor) -> Tensor:
    """Return p - e_ŷ for (B, C), shape (B, C)."""
    return p.scatter_add(1, p.argmax(1, keepdim=True), -torch.ones_like(p[:, :1]))
