"""How well points cover references: a Gaussian kernel from above in float32, where it is cheap, and exact in float64.

k(x, r) = exp(-‖x - r‖² / σ²). A reference is covered as well as the nearest point that covers it, and what another point
adds is the weighted sum of what its kernel is higher by.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from alctl.model.distances import ROUNDING
from alctl.model.reach import Entries

ROWS = 128
"""Rows that are compared in float64 at once: what a processor's cache holds."""

SLACK = 1e-5
"""Share by which an upper bound of a kernel value is raised: more than float32 loses in it."""

SUM_SLACK = 1e-4
"""Share by which a sum of them is raised."""


class Covered:
    """How well each of m references is covered, (m,) float64, and the same rounded down to float32."""

    def __init__(self, exact: Tensor, weights: Tensor) -> None:
        """Begin with what is covered already; ``weights`` (m,) float64 say how much each reference counts."""
        self.exact, self.weights = exact, weights
        self.below, self.weights32 = rounded_down(exact), weights.float()

    def copy(self) -> "Covered":
        """Return one that goes its own way from here."""
        return Covered(self.exact.clone(), self.weights)

    def add(self, near: Tensor, kernel: Tensor) -> None:
        """Cover the references at places ``near`` (R,) by a point with this ``kernel`` to them, (R,) float64."""
        self.exact[near] = torch.maximum(self.exact[near], kernel)
        self.below[near] = rounded_down(self.exact[near])

    def gain(self, near: Tensor, kernel: Tensor) -> float:
        """Return what that point adds, in float64."""
        # as long as the references, so that the order of the sum never changes
        added = torch.zeros_like(self.exact)
        added[near] = (kernel - self.exact[near]).clamp(min=0) * self.weights[near]
        return float(added.sum())

    def lacks(self, other: "Covered") -> tuple[Tensor, float]:
        """Return where ``other`` covers more than this, as places (R,), and the weighted sum of how much."""
        less = (other.exact - self.exact).clamp_(min=0)
        return less.nonzero()[:, 0], float(less @ self.weights)

    def bounds(self, above: Tensor) -> Tensor:
        """Return what points with kernels of at most ``above`` (B, m) add at most, (B,) float64."""
        return ((above - self.below).clamp_(min=0) @ self.weights32).double() * (1 + SUM_SLACK)

    def bounds_of(self, lists: Entries, count: int) -> Tensor:
        """Return what ``count`` points that reach no further than these lists add at most, (count,) float64."""
        added = (lists.kernel - self.below[lists.columns]).clamp_(min=0) * self.weights32[lists.columns]
        total = torch.zeros(count, dtype=torch.float64, device=added.device)
        return total.index_add_(0, lists.rows, added.double()) * (1 + SUM_SLACK)


class Kernel:
    """The kernel between N points and m references."""

    def __init__(self, points: Tensor, references: Tensor, sigma: float, *, unit_length: bool) -> None:
        """Compare ``points`` (N, d) with those at ``references`` (m,), scaled to length 1 if ``unit_length``."""
        self.points, self.references, self.unit_length = points, references, unit_length
        self.squared_sigma = sigma**2
        self._rows = self._float32(points[references])
        self._offsets = -self._rows.square().sum(1) * (1 - ROUNDING) / self.squared_sigma + SLACK

    def rows(self, some: slice | Tensor) -> Tensor:
        """Return some of the points as they are compared in float32, (B, d)."""
        return self._float32(self.points[some])

    def above(self, rows: Tensor, columns: slice | Tensor) -> Tensor:
        """Return upper bounds in float32 of the kernel between ``rows`` (B, d) and some of the references, (B, R).

        Below 1e-45, where float32 ends, they are 0.
        """
        norms = rows.square().sum(1, keepdim=True) * ((1 - ROUNDING) / self.squared_sigma)
        products = torch.addmm(self._offsets[columns], rows * (2 / self.squared_sigma), self._rows[columns].T)
        return products.sub_(norms).clamp_(max=0).exp_()

    def exact(self, position: int, near: Tensor) -> Tensor:
        """Return the kernel between one point and the references at places ``near`` (R,), (R,) float64."""
        point = self._float64(self.points[position : position + 1])
        parts = self.references[near].split(ROWS)
        squared = [self._float64(self.points[some]).sub_(point).square_().sum(1) for some in parts]
        return torch.cat(squared).div_(-self.squared_sigma).exp_()

    def _float32(self, rows: Tensor) -> Tensor:
        return F.normalize(rows.float(), dim=1) if self.unit_length else rows.float()

    def _float64(self, rows: Tensor) -> Tensor:
        rows = rows.to(torch.float64, copy=True)
        return F.normalize(rows, dim=1) if self.unit_length else rows


def rounded_down(values: Tensor) -> Tensor:
    """Return float64 values in float32, rounded down."""
    rounded = values.float()
    lower = torch.nextafter(rounded, torch.full_like(rounded, -torch.inf))
    return torch.where(rounded.double() > values, lower, rounded)
