"""Choose images one by one so that each reference image gets a similar labeled one; the engine of the herding strategies.

The value of a set is the mean over references r of weight × highest kernel k(x, r) = exp(-‖x - r‖² / σ²) to a member x
(generalized coverage, Bae, Noh & Sutherland, ECCV 2024). It has diminishing returns, so a gain that was computed
earlier is an upper bound of today's, and most candidates need not be looked at again (lazy greedy, Minoux 1978).
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from alctl.model.distances import finite, nearest, unit
from alctl.model.forecast import FILLED, KEPT, SIDE, forecast
from alctl.model.kernel import Covered, Kernel
from alctl.model.reach import Entries, better, joined
from alctl.model.strategy import Room, Selection

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
    kept: int = KEPT,
    room: Room | None = None,
) -> Selection:
    """Return min(n, N) positions of ``points`` (N, d), each with the highest gain in coverage, and these gains.

    ``known`` (L, d) are labeled already; ``references`` (m,) are positions of ``points``, with ``weights`` (m,) or 1.
    A gain is a mean over the m references and the L labeled points, which add nothing. Ties go by lowest position.
    Vectors are scaled to length 1 unless ``unit_length`` is off. The picks are those of the plain greedy algorithm in
    float64, whatever the ``side`` of a block and the number of entries ``kept`` in lists, in memory of N + m·d + lists.
    Where ``room`` leaves none to pick, there are fewer.
    """
    finite(points)
    finite(known)
    references = references.to(points.device)
    covered = _covered(points[references], known, sigma, unit_length=unit_length)
    weights = torch.ones_like(covered) if weights is None else weights.to(covered)
    now = Covered(covered, weights / (len(references) + len(known)))
    n = min(n, len(points))
    engine = _Greedy(Kernel(points, references, sigma, unit_length=unit_length), now, n, side, kept)
    picks: list[int] = []
    gains: list[float] = []
    for pick, gain in engine.picks(n, room):
        picks.append(pick)
        gains.append(min(gain, gains[-1]) if gains else gain)  # a tie may be lower by TIE than the next gain
    return Selection(torch.tensor(picks, dtype=torch.int64), torch.tensor(gains, dtype=torch.float64))


def _covered(held: Tensor, known: Tensor, sigma: float, *, unit_length: bool) -> Tensor:
    """Return how well ``known`` (L, d) cover references ``held`` (m, d), (m,) float64."""
    apart = nearest(unit(held), unit(known)) if unit_length else nearest(held, known)
    return (-apart / sigma**2).exp()


class _Greedy:
    """Picks one candidate after the other, by an upper bound of what each would add.

    Bounds are in float32, from lower bounds of the squared distances; what decides a pick is computed in float64.
    """

    def __init__(self, kernel: Kernel, covered: Covered, n: int, side: int, kept: int) -> None:
        """Make ready for ``n`` picks."""
        self.kernel, self.covered = kernel, covered
        self.every = torch.arange(len(kernel.references), device=covered.exact.device)
        self.room = max(kept, int(MOST * len(self.every) / (1 - FILLED)))
        self.levels, self.reach = forecast(kernel, covered, n - 1, side=side, room=self.room)
        self.last = self.levels[-1].covered
        self.bound = self.levels.pop(0).bound
        self.free = torch.ones_like(self.bound, dtype=torch.bool)
        """Which candidates may be picked."""
        self.lack, _ = covered.lacks(self.last)
        self.ahead = (self.reach.size >= 0) & bool(len(self.lack))
        """Whose list is that of the forecast, for what is covered after its guesses."""

    def picks(self, n: int, room: Room | None) -> Iterator[tuple[int, float]]:
        """Yield up to ``n`` picks and what each adds, as long as one is free."""
        for _ in range(n):
            if room is not None:
                self.free = room.free().to(self.bound.device)
            if not bool((self.free & self.bound.isfinite()).any()):
                return
            pick, gain = self.pick()
            if room is not None:
                room.take(pick)
            yield pick, gain

    def pick(self) -> tuple[int, float]:
        """Return the candidate that adds most and what it adds, and cover what is near it."""
        values: dict[int, float] = {}
        best = -1
        width = FEWEST
        while len(some := self._contenders(values, best, width)):
            lists = self._look(some)
            bounds, order = self.bound[some].sort(descending=True, stable=True)
            for bound, i in zip(bounds.tolist(), order.tolist(), strict=True):
                position = int(some[i])
                if values and not _contends(bound, position, max(values.values()), best):
                    continue
                value, near, kernel = self._gain(position, lists, i)
                self.bound[position] = values[position] = value
                if (best := _first_of_best(values)) == position:
                    found = best, near, kernel
            width = min(2 * width, MOST)
        if found[0] != best:  # a tie, which was computed before the one found last
            found = (
                best,
                *self._gain(best, self._look(torch.tensor([best], device=self.bound.device)), 0)[1:],
            )
        _, near, kernel = found
        self.covered.add(near, kernel)
        self._step(best)
        return best, values[best]

    def _step(self, pick: int) -> None:
        """Take a pick out of the candidates, and lower the bounds of the others to what the forecast says now."""
        self.bound[pick] = -torch.inf
        left = []
        for level in self.levels:
            _, lack = self.covered.lacks(level.covered)
            torch.minimum(self.bound, level.bound + lack, out=self.bound)
            if lack > 0:
                left.append(level)
        self.levels = left
        self.lack, _ = self.covered.lacks(self.last)
        self.ahead &= bool(len(self.lack))

    def _contenders(self, values: dict[int, float], best: int, most: int) -> Tensor:
        """Return up to ``most`` candidates that may yet be the pick: highest bound first, then lowest position."""
        highest = max(values.values(), default=-math.inf)
        enough = self.bound >= highest * (1 - TIE) if values else self.bound.isfinite()
        some = (enough & self.free).nonzero()[:, 0]
        bounds = self.bound[some]
        if values:
            may = (bounds > highest * (1 + TIE / 1000)) | (some < best)
            some, bounds = some[may], bounds[may]
        if len(some) <= most:
            return some
        level = bounds.topk(most).values[-1]
        higher = some[bounds > level]
        return torch.cat([higher, some[bounds == level][: most - len(higher)]])

    def _gain(self, position: int, lists: Entries, row: int) -> tuple[float, Tensor, Tensor]:
        """Return what one candidate adds, in float64; which references it may cover better; its kernel there."""
        columns, above = lists.of(row)
        near = columns[above > self.covered.below[columns]]
        kernel = self.kernel.exact(position, near)
        return self.covered.gain(near, kernel), near, kernel

    def _look(self, some: Tensor) -> Entries:
        """Lower the bounds of these candidates to what is covered by now, and return their lists.

        The more is covered, the fewer references a candidate may still cover better, and none ever joins them. So only
        a candidate without a list is compared with all references, and one with a list of the forecast with those that
        are covered less than was guessed then.
        """
        if self.reach.used + len(some) * len(self.every) > self.room:
            self.reach.shorten(self.covered.below, self.bound, int(FILLED * self.room))
        if len(new := some[self.reach.size[some] < 0]):
            self._compare(new, self.every)
        if len(ahead := some[self.ahead[some]]):
            self._compare(ahead, self.lack)
        lists = self.reach.of(some)
        self.bound[some] = torch.minimum(self.bound[some], self.covered.bounds_of(lists, len(some)))
        return lists

    def _compare(self, some: Tensor, columns: Tensor) -> None:
        """Make the lists of candidates: what the forecast had, and what they may cover better at ``columns`` (R,)."""
        found = better(self.kernel.above(self.kernel.rows(some), columns), self.covered.below[columns])
        found = found._replace(columns=columns[found.columns])
        if len(columns) < len(self.every):
            compared = torch.zeros(len(self.every), dtype=torch.bool, device=columns.device)
            compared[columns] = True
            had = self.reach.of(some)
            rest = ~compared[had.columns]
            found = joined(Entries(had.rows[rest], had.columns[rest], had.kernel[rest]), found)
        self.reach.put(some, found)
        self.ahead[some] = False


def _contends(bound: float, position: int, highest: float, best: int) -> bool:
    """Tell whether a candidate with this bound may be better than the best so far, or tie with it and come before."""
    return bound > highest * (1 + TIE / 1000) or (bound >= highest * (1 - TIE) and position < best)


def _first_of_best(values: dict[int, float]) -> int:
    """Return the lowest position among the highest values and their ties."""
    least = max(values.values()) * (1 - TIE)
    return min(position for position, value in values.items() if value >= least)
