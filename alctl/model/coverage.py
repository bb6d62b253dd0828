"""Choose images one by one so that each reference image gets a similar labeled one; the engine of the herding strategies.

The value of a set is the mean over references r of weight × highest kernel k(x, r) = exp(-‖x - r‖² / σ²) to a member x
(generalized coverage, Bae, Noh & Sutherland, ECCV 2024). It has diminishing returns, so a gain that was computed
earlier is an upper bound of today's, and most candidates need not be looked at again (lazy greedy, Minoux 1978).
"""

import math

import torch
from torch import Tensor

from alctl.model.distances import finite, nearest, unit
from alctl.model.forecast import EACH, KEPT, SHORT, SIDE, forecast
from alctl.model.kernel import Covered, Kernel, Reach
from alctl.model.strategy import Selection

TIE = 1e-9
"""Share by which two gains may differ and still be a tie, so that the order of a sum decides nothing."""

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
    finite(points)
    finite(known)
    held = points[references.to(points.device)]
    apart = nearest(unit(held), unit(known)) if unit_length else nearest(held, known)
    covered = (-apart / sigma**2).exp()
    weights = torch.ones_like(covered) if weights is None else weights.to(covered)
    now = Covered(covered, weights / (len(held) + len(known)))
    n = min(n, len(points))
    engine = _Greedy(Kernel(points, held, sigma, unit_length=unit_length), now, n, side)
    picks: list[int] = []
    gains: list[float] = []
    for _ in range(n):
        pick, gain = engine.pick()
        picks.append(pick)
        gains.append(min(gain, gains[-1]) if gains else gain)  # a tie may be lower by TIE than the next gain
    return Selection(torch.tensor(picks, dtype=torch.int64), torch.tensor(gains, dtype=torch.float64))


class _Greedy:
    """Picks one candidate after the other, by an upper bound of what each would add.

    Bounds are in float32, from lower bounds of the squared distances; what decides a pick is computed in float64.
    """

    def __init__(self, kernel: Kernel, covered: Covered, n: int, side: int) -> None:
        """Make ready for ``n`` picks."""
        self.kernel, self.covered = kernel, covered
        self.columns = torch.arange(len(kernel.held), device=covered.exact.device)
        self.levels, self.ahead = forecast(kernel, covered, n - 1, side)
        self.last = self.levels[-1].covered
        self.lack, _ = covered.lacks(self.last)
        self.reach: dict[int, Reach] = {}
        self.kept = 0
        self.bound = self.levels.pop(0).bound
        self.picked: list[int] = []

    def pick(self) -> tuple[int, float]:
        """Return the candidate that adds most and what it adds, and cover what is near it."""
        values: dict[int, float] = {}
        best = -1
        width = FEWEST
        while len(some := self._contenders(values, best, width)):
            reaches = self._look(some)
            bounds, order = self.bound[some].sort(descending=True, stable=True)
            for bound, i in zip(bounds.tolist(), order.tolist(), strict=True):
                position = int(some[i])
                if values and not _contends(bound, position, max(values.values()), best):
                    continue
                value, near, kernel = self._gain(position, reaches[i])
                self.bound[position] = values[position] = value
                if (best := _first_of_best(values)) == position:
                    found = best, near, kernel
            width = min(2 * width, MOST)
        if found[0] != best:  # a tie, which was computed before the one found last
            reach = self._look(torch.tensor([best], device=self.bound.device))[0]
            found = (best, *self._gain(best, reach)[1:])
        _, near, kernel = found
        self.covered.add(near, kernel)
        self._step(best)
        return best, values[best]

    def _step(self, pick: int) -> None:
        """Take a pick out of the candidates, and lower the bounds of the others to what the forecast says now."""
        self.picked.append(pick)
        self.reach.pop(pick, None)
        self.ahead.pop(pick, None)
        left = []
        for level in self.levels:
            _, lack = self.covered.lacks(level.covered)
            torch.minimum(self.bound, level.bound + lack, out=self.bound)
            if lack > 0:
                left.append(level)
        self.levels = left
        self.lack, _ = self.covered.lacks(self.last)
        self.bound[self.picked] = -torch.inf

    def _contenders(self, values: dict[int, float], best: int, most: int) -> Tensor:
        """Return up to ``most`` candidates that may yet be the pick: highest bound first, then lowest position."""
        highest = max(values.values(), default=-math.inf)
        some = (
            (self.bound >= highest * (1 - TIE)).nonzero()[:, 0]
            if values
            else self.bound.isfinite().nonzero()[:, 0]
        )
        bounds = self.bound[some]
        if values:
            may = (bounds > highest * (1 + TIE / 1000)) | (some < best)
            some, bounds = some[may], bounds[may]
        if len(some) <= most:
            return some
        level = bounds.topk(most).values[-1]
        higher = some[bounds > level]
        return torch.cat([higher, some[bounds == level][: most - len(higher)]])

    def _gain(self, position: int, reach: Reach) -> tuple[float, Tensor, Tensor]:
        """Return what one candidate adds, in float64; which references it may cover better; its kernel there."""
        columns = reach.columns.long()
        near = columns[reach.kernel > self.covered.below[columns]]
        kernel = self.kernel.exact(position, near)
        return self.covered.gain(near, kernel), near, kernel

    def _look(self, some: Tensor) -> list[Reach]:
        """Lower the bounds of these candidates to what is covered by now, and return the reach of each.

        The more is covered, the fewer references a candidate may still cover better, and none ever joins them: what
        has become short is kept, so that few candidates are compared with all references again.
        """
        positions = some.tolist()
        found = {position: self.reach[position] for position in positions if position in self.reach}
        ahead = [position for position in positions if position not in found and position in self.ahead]
        new = [position for position in positions if position not in found and position not in self.ahead]
        for others, columns in ((ahead, self.lack), (new, self.columns)):
            if others:
                found |= self._compare(others, columns)
        reaches = [found[position] for position in positions]
        self.bound[some] = torch.minimum(self.bound[some], self.covered.bounds_of(reaches))
        if self.kept > KEPT:
            self._shorten()
        return reaches

    def _compare(self, positions: list[int], columns: Tensor) -> dict[int, Reach]:
        """Return the reach of candidates: what was found ahead, and what they may cover better at ``columns`` (R,)."""
        above = self.kernel.above(self.kernel.rows(torch.tensor(positions, device=columns.device)), columns)
        better = above > self.covered.below[columns]
        compared = torch.zeros(len(self.columns), dtype=torch.bool, device=columns.device)
        compared[columns] = True
        found = {}
        for i, position in enumerate(positions):
            reach = Reach(columns[better[i]].int(), above[i, better[i]])
            if position in self.ahead:
                where, kernel = self.ahead[position]
                rest = ~compared[where.long()]
                reach = Reach(torch.cat([where[rest], reach.columns]), torch.cat([kernel[rest], reach.kernel]))
            found[position] = reach
            if len(reach.columns) <= SHORT * len(self.columns):
                self.ahead.pop(position, None)
                self.reach[position] = reach
                self.kept += len(reach.columns) + EACH
        return found

    def _shorten(self) -> None:
        """Take from the lists what is covered by now; forget them all if that frees less than half."""
        for position, (where, kernel) in self.reach.items():
            better = kernel > self.covered.below[where.long()]
            self.reach[position] = Reach(where[better], kernel[better])
        self.kept = sum(len(where) + EACH for where, _ in self.reach.values())
        if self.kept > KEPT // 2:
            self.reach, self.kept = {}, 0


def _contends(bound: float, position: int, highest: float, best: int) -> bool:
    """Tell whether a candidate with this bound may be better than the best so far, or tie with it and come before."""
    return bound > highest * (1 + TIE / 1000) or (bound >= highest * (1 - TIE) and position < best)


def _first_of_best(values: dict[int, float]) -> int:
    """Return the lowest position among the highest values and their ties."""
    least = max(values.values()) * (1 - TIE)
    return min(position for position, value in values.items() if value >= least)
