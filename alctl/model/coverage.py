"""Choose images one by one so that each reference image gets a similar labeled one; the engine of the herding strategies.

The value of a set is the mean over references r of weight × highest kernel k(x, r) = exp(-‖x - r‖² / σ²) to a member x
(generalized coverage, Bae, Noh & Sutherland, ECCV 2024). It has diminishing returns, so a gain that was computed
earlier is an upper bound of today's, and most candidates need not be looked at again (lazy greedy, Minoux 1978).
"""

import math
from typing import NamedTuple

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
"""Share by which an upper bound of a kernel value is raised: more than float32 loses in it."""

SUM_SLACK = 1e-4
"""Share by which a sum of them is raised."""

AHEAD = 6
"""Picks that are guessed before the pass over all kernel values: after these, few candidates need another look."""

SAMPLE = 512
"""References from which a pick is guessed."""

SHORT = 0.1
"""Share of the references that a candidate may still cover better for the list of them to be kept."""

KEPT = 2**26
"""Entries of such lists that are kept at most, 512 MiB; a list itself takes as much as EACH of them."""

EACH = 200

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
    weights = weights / (len(held) + len(known))
    engine = _Coverage(points, held, covered, weights, sigma, unit_length=unit_length)
    picks: list[int] = []
    gains: list[float] = []
    if n and len(points):
        engine.bound_all(min(n, len(points)), side)
    for _ in range(min(n, len(points))):
        pick, gain = engine.pick()
        picks.append(pick)
        gains.append(min(gain, gains[-1]) if gains else gain)  # a tie may be lower by TIE than the next gain
    return Selection(torch.tensor(picks, dtype=torch.int64), torch.tensor(gains, dtype=torch.float64))


class _Reach(NamedTuple):
    """What a candidate may cover better than it is covered by now."""

    columns: Tensor
    """(R,) int32, places of references."""
    kernel: Tensor
    """(R,) float32, upper bounds of the kernel there."""


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
        self.columns = torch.arange(len(held), dtype=torch.int32, device=held.device)
        self.reach: dict[int, _Reach] = {}
        self.kept = 0
        self.bound = torch.full((len(points),), torch.inf, dtype=torch.float64, device=points.device)
        self.ahead: list[tuple[int, Tensor]] = []
        self.picked: list[int] = []

    def bound_all(self, n: int, side: int) -> None:
        """Bound what each candidate adds now and after the first of ``n`` picks, as far as they can be guessed.

        The first picks change what every candidate adds, so each would cost a pass over all kernel values. A guess is
        used only once the pick has turned out to be it; a wrong one costs time and changes nothing.
        """
        guesses = self._guesses(min(n, AHEAD), side)
        levels = [self.covered32, *(covered for _, covered in guesses)]
        totals = torch.zeros(len(levels), len(self.points), dtype=torch.float64, device=self.bound.device)
        for start in range(0, len(self.points), side):
            some = self._float32(self.points[start : start + side])
            for first in range(0, len(self.held), side):
                part = slice(first, first + side)
                above = self._kernel_above(some, part)
                for total, covered in zip(totals, levels, strict=True):
                    added = (above - covered[part]).clamp_(min=0) @ self.weights32[part]
                    total[start : start + side] += added
        self.bound, *after = totals.mul_(1 + SUM_SLACK)
        self.ahead = [(pick, bound) for (pick, _), bound in zip(guesses, after, strict=True)]

    def _guesses(self, n: int, side: int) -> list[tuple[int, Tensor]]:
        """Return what may be the first ``n`` picks, and how the references are covered after each, (m,) float32.

        A sample of the references says which candidates may be best, all references which of those is.
        """
        before = self.covered.clone(), self.covered32.clone()
        sample = torch.arange(0, len(self.held), max(1, len(self.held) // SAMPLE), device=self.bound.device)
        found: list[tuple[int, Tensor]] = []
        for _ in range(n):
            rough = torch.empty(len(self.points), device=self.bound.device)
            for start in range(0, len(self.points), side):
                above = self._kernel_above(self._float32(self.points[start : start + side]), sample)
                added = (above - self.covered32[sample]).clamp_(min=0)
                rough[start : start + side] = added @ self.weights32[sample]
            rough[[pick for pick, _ in found]] = -torch.inf
            some = rough.topk(min(MOST, len(rough) - len(found))).indices
            above = self._kernel_above(self._float32(self.points[some]), slice(None))
            best = int(((above - self.covered32).clamp_(min=0) @ self.weights32).argmax())
            _, near, kernel = self._gain(some[best : best + 1], _Reach(self.columns, above[best]))
            self._cover(near, kernel)
            found.append((int(some[best]), self.covered32.clone()))
        self.covered, self.covered32 = before
        return found

    def _cover(self, near: Tensor, kernel: Tensor) -> None:
        """Cover the references at places ``near`` (R,) by a point with this ``kernel`` to them, (R,) float64."""
        self.covered[near] = torch.maximum(self.covered[near], kernel)
        self.covered32[near] = _below(self.covered[near])

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
                value, near, kernel = self._gain(some[i : i + 1], reaches[i])
                self.bound[position] = values[position] = value
                if (best := _first_of_best(values)) == position:
                    found = best, near, kernel
            width = min(2 * width, MOST)
        if found[0] != best:  # a tie, which was computed before the one found last
            row = torch.tensor([best], device=self.bound.device)
            found = (best, *self._gain(row, self._look(row)[0])[1:])
        _, near, kernel = found
        self._cover(near, kernel)
        self._step(best)
        return best, values[best]

    def _step(self, pick: int) -> None:
        """Take a pick out of the candidates, and lower the bounds to those after it if it was guessed."""
        self.picked.append(pick)
        self.reach.pop(pick, None)
        guess, after = self.ahead.pop(0) if self.ahead else (-1, self.bound)
        if guess == pick:
            self.bound = torch.minimum(self.bound, after)
        else:
            self.ahead = []
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

    def _gain(self, row: Tensor, reach: _Reach) -> tuple[float, Tensor, Tensor]:
        """Return what one candidate adds, in float64; which references it may cover better; its kernel there."""
        columns, above = reach.columns.long(), reach.kernel
        near = columns[above > self.covered32[columns]]
        point = self._float64(self.points[row])
        kernel = torch.empty(len(near), dtype=torch.float64, device=near.device)
        for start in range(0, len(near), BLOCK):
            part = slice(start, start + BLOCK)
            squared = self._float64(self.held[near[part]]).sub_(point).square_().sum(1)
            kernel[part] = (-squared / self.squared_sigma).exp()
        # as long as the references, so that the order of the sum never changes
        added = torch.zeros_like(self.covered)
        added[near] = (kernel - self.covered[near]).clamp(min=0) * self.weights[near]
        return float(added.sum()), near, kernel

    def _look(self, some: Tensor) -> list[_Reach]:
        """Lower the bounds of these candidates to what is covered by now, and return the reach of each.

        The more is covered, the fewer references a candidate may still cover better, and none ever joins them: what
        has become short is kept, so that few candidates are compared with all references again.
        """
        positions = some.tolist()
        found = {position: self.reach[position] for position in positions if position in self.reach}
        if found:
            kept = torch.tensor(list(found), device=some.device)
            self.bound[kept] = torch.minimum(self.bound[kept], self._bounds(list(found.values())))
        new = torch.tensor([p for p in positions if p not in found], dtype=torch.int64, device=some.device)
        if len(new):
            above = self._kernel_above(self._float32(self.points[new]), slice(None))
            added = (above - self.covered32).clamp_(min=0)
            short = ((added > 0).sum(1) <= len(self.held) * SHORT).tolist()
            bounds = (added @ self.weights32).double() * (1 + SUM_SLACK)
            self.bound[new] = torch.minimum(self.bound[new], bounds)
            for i, position in enumerate(new.tolist()):
                found[position] = _Reach(self.columns, above[i])
                if short[i]:
                    where = added[i].nonzero()[:, 0]
                    found[position] = self.reach[position] = _Reach(where.int(), above[i, where])
                    self.kept += len(where) + EACH
        if self.kept > KEPT:
            self._shorten()
        return [found[position] for position in positions]

    def _shorten(self) -> None:
        """Take from the lists what is covered by now; forget them all if that frees less than half."""
        for position, (where, kernel) in self.reach.items():
            better = kernel > self.covered32[where.long()]
            self.reach[position] = _Reach(where[better], kernel[better])
        self.kept = sum(len(where) + EACH for where, _ in self.reach.values())
        if self.kept > KEPT // 2:
            self.reach, self.kept = {}, 0

    def _kernel_above(self, rows: Tensor, columns: slice | Tensor) -> Tensor:
        """Return upper bounds in float32 of the kernel between (B, d) and a part of the references, (B, m)."""
        norms = rows.square().sum(1, keepdim=True) * ((1 - ROUNDING) / self.squared_sigma)
        scaled = rows * (2 / self.squared_sigma)
        return (
            torch.addmm(self.offsets[columns], scaled, self.rows[columns].T).sub_(norms).clamp_(max=0).exp_()
        )

    def _bounds(self, reaches: list[_Reach]) -> Tensor:
        """Return an upper bound of what each candidate adds, from the references in its reach, (B,) float64."""
        columns = torch.cat([where for where, _ in reaches]).long()
        above = torch.cat([kernel for _, kernel in reaches])
        sizes = torch.tensor([len(where) for where, _ in reaches], device=columns.device)
        rows = torch.arange(len(reaches), device=columns.device).repeat_interleave(sizes)
        added = (above - self.covered32[columns]).clamp_(min=0) * self.weights32[columns]
        total = torch.zeros(len(reaches), dtype=torch.float64, device=columns.device)
        return total.index_add_(0, rows, added.double()) * (1 + SUM_SLACK)

    def _float32(self, rows: Tensor) -> Tensor:
        return F.normalize(rows.float(), dim=1) if self.unit_length else rows.float()

    def _float64(self, rows: Tensor) -> Tensor:
        rows = rows.to(torch.float64, copy=True)
        return F.normalize(rows, dim=1) if self.unit_length else rows


def _contends(bound: float, position: int, highest: float, best: int) -> bool:
    """Tell whether a candidate with this bound may be better than the best so far, or tie with it and come before."""
    return bound > highest * (1 + TIE / 1000) or (bound >= highest * (1 - TIE) and position < best)


def _below(values: Tensor) -> Tensor:
    """Return float64 values in float32, rounded down."""
    rounded = values.float()
    lower = torch.nextafter(rounded, torch.full_like(rounded, -torch.inf))
    return torch.where(rounded.double() > values, lower, rounded)


def _first_of_best(values: dict[int, float]) -> int:
    """Return the lowest position among the highest values and their ties."""
    least = max(values.values()) * (1 - TIE)
    return min(position for position, value in values.items() if value >= least)
