"""Choose images one by one so that each reference image gets a similar labeled one; the engine of the herding strategies.

The value of a set is the mean over references r of weight × highest kernel k(x, r) = exp(-‖x - r‖² / σ²) to a member x
(generalized coverage, Bae, Noh & Sutherland, ECCV 2024). It has diminishing returns, so a gain that was computed
earlier is an upper bound of today's, and most candidates need not be looked at again (lazy greedy, Minoux 1978).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from alctl.model.distances import BLOCK, ROUNDING, finite, nearest, unit
from alctl.model.strategy import Selection

SIDE = 1024
"""Rows and columns of a block of kernel values, 4 MiB in float32: what a processor's cache holds."""

TIE = 1e-9
"""Share by which two gains may differ and still be a tie, so that the order of a sum decides nothing."""

SLACK = 1e-5
"""Share by which a bound is raised: more than float32 loses in a kernel value and in a sum of them."""

FEWEST, MOST = 16, 256
"""Candidates whose bounds are computed anew at a time: few at first, more while none settles the pick."""


def drawn(n: int, most: int, rng: torch.Generator) -> Tensor:
    """Return up to ``most`` of n positions at random, ascending: the reference images; all of them if they are few."""
    return torch.arange(n) if n <= most else torch.randperm(n, generator=rng)[:most].sort().values


def cover(
    points: Tensor,
    known: Tensor,
    n: int,
    *,
    references: Tensor,
    weights: Tensor | None = None,
    sigma: float = 1.0,
    unit_length: bool = True,
    side: int = SIDE,
) -> Selection:
    """Return min(n, N) positions of ``points`` (N, d), each with the highest gain in coverage, and these gains.

    ``known`` (L, d) are labeled already; ``references`` (m,) are positions of ``points``, with ``weights`` (m,) or 1.
    A gain is a mean over the m references and the L labeled points, which add nothing. Ties go by lowest position.
    Vectors are scaled to length 1 unless ``unit_length`` is off. The picks are those of the plain greedy algorithm in
    float64, whatever the ``side`` of a block, in memory of N + m·d + blocks.
    """
    finite(points), finite(known)
    references = references.to(points.device)
    held = points[references]
    apart = nearest(unit(held), unit(known)) if unit_length else nearest(held, known)
    covered = (-apart / sigma**2).exp()
    even = torch.ones_like(covered) if weights is None else weights.to(covered)
    engine = _Coverage(points, held, covered, even / (len(held) + len(known)), sigma, unit_length=unit_length)
    picks: list[int] = []
    gains: list[float] = []
    if n and len(points):
        engine.bound_all(side)
    for _ in range(min(n, len(points))):
        pick, gain = engine.pick()
        picks.append(pick)
        gains.append(min(gain, gains[-1]) if gains else gain)  # a tie may be lower by TIE than the next gain
    return Selection(torch.tensor(picks, dtype=torch.int64), torch.tensor(gains, dtype=torch.float64))


class _Coverage:
    """How well each reference is covered, and an upper bound of what each candidate would add.

    Bounds are in float32, from lower bounds of the squared distances; what decides a pick is computed in float64.
    """

    def __init__(
        self,
        points: Tensor,
        held: Tensor,
        covered: Tensor,
        weights: Tensor,
        sigma: float,
        *,
        unit_length: bool,
    ) -> None:
        """Cover the references ``held`` (m, d), which are covered by ``covered`` (m,) so far."""
        self.points, self.held, self.covered, self.weights = points, held, covered, weights
        self.unit_length = unit_length
        self.squared_sigma = sigma**2
        self.rows = self._float32(held)
        self.offsets = -self.rows.square().sum(1) * (1 - ROUNDING) / self.squared_sigma + SLACK
        self.weights32 = weights.float()
        self.covered32 = _below(covered)
        self.bound = torch.full((len(points),), torch.inf, dtype=torch.float64, device=points.device)

    def bound_all(self, side: int) -> None:
        """Bound what each candidate adds, block by block."""
        for start in range(0, len(self.points), side):
            some = self._float32(self.points[start : start + side])
            total = torch.zeros(len(some), dtype=torch.float64, device=some.device)
            for first in range(0, len(self.held), side):
                total += self._bounds(self._kernel_above(some, slice(first, first + side)), first)
            self.bound[start : start + side] = total

    def pick(self) -> tuple[int, float]:
        """Return the candidate that adds most and what it adds, and cover what is near it."""
        values: dict[int, float] = {}
        best = owner = -1
        nearby, kernel = self.weights[:0].long(), self.weights[:0]
        width = FEWEST
        while len(some := self._contenders(values, best, width)):
            above = self._kernel_above(self._float32(self.points[some]), slice(None))
            self.bound[some] = torch.minimum(self.bound[some], self._bounds(above))
            for i in self.bound[some].argsort(descending=True, stable=True).tolist():
                position = int(some[i])
                if not self._contends(self.bound[position], some[i], values, best):
                    continue
                value, near, exact = self._gain(position, above[i])
                values[position] = value
                self.bound[position] = value
                best = _first_of_best(values)
                if best == position:
                    nearby, kernel, owner = near, exact, position
            width = min(2 * width, MOST)
        if owner != best:  # a tie, and the one before it was computed earlier
            row = self._kernel_above(self._float32(self.points[best][None]), slice(None))[0]
            _, nearby, kernel = self._gain(best, row)
        self.covered[nearby] = torch.maximum(self.covered[nearby], kernel)
        self.covered32[nearby] = _below(self.covered[nearby])
        self.bound[best] = -torch.inf
        return best, values[best]

    def _contenders(self, values: dict[int, float], best: int, most: int) -> Tensor:
        """Return up to ``most`` candidates that may yet be the pick: highest bound first, then lowest position."""
        positions = torch.arange(len(self.bound), device=self.bound.device)
        some = self._contends(self.bound, positions, values, best).nonzero()[:, 0]
        if len(some) <= most:
            return some
        bounds = self.bound[some]
        level = bounds.topk(most).values[-1]
        higher = some[bounds > level]
        return torch.cat([higher, some[bounds == level][: most - len(higher)]])

    def _contends(self, bound: Tensor, position: Tensor, values: dict[int, float], best: int) -> Tensor:
        """Tell which candidates with these bounds may be a better pick than the ``values`` known, or tie before it."""
        if not values:
            return bound > -torch.inf
        highest = max(values.values())
        ties = (bound >= highest * (1 - TIE)) & (position < best)
        return (bound > highest * (1 + TIE / 1000)) | ties

    def _gain(self, position: int, above: Tensor) -> tuple[float, Tensor, Tensor]:
        """Return what one candidate adds, in float64; which references it may cover better; its kernel there."""
        near = (above > self.covered32).nonzero()[:, 0]
        point = self._float64(self.points[position][None])
        kernel = torch.empty(len(near), dtype=torch.float64, device=near.device)
        for start in range(0, len(near), BLOCK):
            rows = slice(start, start + BLOCK)
            squared = self._float64(self.held[near[rows]]).sub_(point).square_().sum(1)
            kernel[rows] = (-squared / self.squared_sigma).exp()
        added = torch.zeros_like(
            self.covered
        )  # as long as the references, so that a sum's order never changes
        added[near] = (kernel - self.covered[near]).clamp(min=0) * self.weights[near]
        return float(added.sum()), near, kernel

    def _kernel_above(self, rows: Tensor, columns: slice) -> Tensor:
        """Return upper bounds in float32 of the kernel between (B, d) and a part of the references, (B, m)."""
        norms = rows.square().sum(1, keepdim=True) * ((1 - ROUNDING) / self.squared_sigma)
        scaled = rows * (2 / self.squared_sigma)
        return (
            torch.addmm(self.offsets[columns], scaled, self.rows[columns].T).sub_(norms).clamp_(max=0).exp_()
        )

    def _bounds(self, above: Tensor, first: int = 0) -> Tensor:
        """Return upper bounds of the gain from those of the kernel (B, m), of which reference ``first`` is column 0."""
        part = slice(first, first + above.shape[1])
        added = (above - self.covered32[part]).clamp_(min=0) @ self.weights32[part]
        return added.double() * (1 + SLACK)

    def _float32(self, rows: Tensor) -> Tensor:
        return F.normalize(rows.float(), dim=1) if self.unit_length else rows.float()

    def _float64(self, rows: Tensor) -> Tensor:
        rows = rows.to(torch.float64, copy=True)
        return F.normalize(rows, dim=1) if self.unit_length else rows


def _below(values: Tensor) -> Tensor:
    """Return float64 values in float32, rounded down."""
    rounded = values.float()
    lower = torch.nextafter(rounded, torch.full_like(rounded, -torch.inf))
    return torch.where(rounded.double() > values, lower, rounded)


def _first_of_best(values: dict[int, float]) -> int:
    """Return the lowest position among the highest values and their ties."""
    least = max(values.values()) * (1 - TIE)
    return min(position for position, value in values.items() if value >= least)
