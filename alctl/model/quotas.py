"""Choosing under limits: shares of groups, balance of classes, no near-duplicates, on top of any strategy.

First the images that stand for themselves, as far as their groups have room; then, only where images are missing at the
end, those without room; then near-duplicates. What a strategy picks is taken in its order.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from alctl.model.near_duplicates import Collapsed
from alctl.model.parts import Joined, Part, Remembered
from alctl.model.strategy import Candidates, QueryStrategy, Ranking, Selection

NO_GROUP = -1
ASKED = 32
"""Times that a strategy is asked anew as soon as a group is full; after that only once its picks are used up."""


def balanced(labels: Sequence[int], candidates: Sequence[int], n: int) -> list[int]:
    """Return how many of n images each class gets, so that labels and picks together are as even as can be.

    n times, the class with the fewest labels and picks so far gets one more if it has candidates left; ties go to the
    first class (SELECTION.md §3.11).
    """
    target = [0] * len(labels)
    for _ in range(n):
        left = [i for i, some in enumerate(candidates) if target[i] < some]
        if not left:
            break
        target[min(left, key=lambda i: labels[i] + target[i])] += 1
    return target


def share_of(share: float, n: int) -> int:
    """Return ⌈share · n⌉, the most images of n that a group with this share may have."""
    return math.ceil(share * n - 1e-9)


@dataclass(frozen=True)
class Quota:
    """How many images of each group may be picked."""

    groups: Tensor
    """(N,) int64, the group of each candidate; NO_GROUP: none, so that there is no limit."""
    room: Sequence[int]
    """(G,) most images of each group."""


class Choice(NamedTuple):
    """What was chosen under limits, in the order of the strategy."""

    positions: Tensor
    """(n,) int64."""
    scores: Tensor
    """(n,) float64."""
    beyond: int = 0
    """Of them, picks whose group had no room left."""
    repeated: int = 0
    """Of them, near-duplicates of another image."""
    collapsed: Collapsed | None = None


def choose(
    strategy: QueryStrategy,
    unlabeled: Candidates,
    labeled: Candidates,
    n: int,
    rng: torch.Generator,
    *,
    quotas: Callable[[Candidates, Tensor], Sequence[Quota]] | None = None,
    collapse: Callable[[Tensor], Collapsed] | None = None,
) -> Choice:
    """Return min(n, N) picks of a strategy within limits as far as possible.

    ``collapse`` says for an order of the candidates which are near-duplicates: that of a `Ranking`, else by position.
    ``quotas`` are then made of the candidates and the positions (K,) that stand for themselves. A strategy that is no
    `Ranking` is asked again without the images of a full group, knowing what is taken, so that it covers what it can.
    """
    if quotas is None and collapse is None:
        return Choice(*strategy.query(unlabeled, labeled, n, rng))
    unlabeled, labeled = Remembered(unlabeled), Remembered(labeled)
    every = torch.arange(len(unlabeled))
    ranked = strategy.query(unlabeled, labeled, len(every), rng) if isinstance(strategy, Ranking) else None
    found = collapse(ranked.positions.cpu() if ranked else every) if collapse else None
    fresh = every if found is None else found.kept
    picker = _Picker(strategy, unlabeled, labeled, rng, ranked)
    picker.take(fresh, n, quotas(unlabeled, fresh) if quotas else ())
    within = len(picker.taken)
    picker.take(fresh, n)
    beyond = len(picker.taken) - within
    if found is not None:
        picker.take(((found.known < 0) & (found.by != every)).nonzero()[:, 0], n)
        picker.take((found.known >= 0).nonzero()[:, 0], n)
    scores = torch.tensor(picker.scores, dtype=torch.float64)
    taken = torch.tensor(picker.taken, dtype=torch.int64)
    return Choice(taken, scores, beyond, len(taken) - within - beyond, found)


class _Picker:
    """Takes picks from one part of the candidates after the other."""

    def __init__(
        self,
        strategy: QueryStrategy,
        unlabeled: Candidates,
        labeled: Candidates,
        rng: torch.Generator,
        ranked: Selection | None,
    ) -> None:
        """Ask ``strategy``, or go by its whole ranking where there is one."""
        self.strategy, self.unlabeled, self.labeled, self.rng = strategy, unlabeled, labeled, rng
        self.ranked = ranked
        self.taken: list[int] = []
        self.scores: list[float] = []

    def take(self, positions: Tensor, n: int, quotas: Sequence[Quota] = ()) -> None:
        """Take from the candidates at ``positions`` until there are n picks, or no candidate with room is left."""
        room = [list(quota.room) for quota in quotas]
        asked = 0
        while len(self.taken) < n and len(left := self._left(positions, quotas, room)):
            picks = self._ask(left, n - len(self.taken))
            asked += 1
            for position, score in zip(picks.positions.tolist(), picks.scores.tolist(), strict=True):
                if self._take(position, quotas, room):
                    self.scores.append(score)
                elif asked < ASKED:
                    break
                if len(self.taken) == n:
                    break

    def _take(self, position: int, quotas: Sequence[Quota], room: Sequence[list[int]]) -> bool:
        """Take a candidate if all of its groups have room; tell whether they had."""
        groups = [(some, int(quota.groups[position])) for quota, some in zip(quotas, room, strict=True)]
        limited = [(some, group) for some, group in groups if group != NO_GROUP]
        if any(some[group] <= 0 for some, group in limited):
            return False
        for some, group in limited:
            some[group] -= 1
        self.taken.append(position)
        return True

    def _left(self, positions: Tensor, quotas: Sequence[Quota], room: Sequence[Sequence[int]]) -> Tensor:
        """Return the positions that are not taken and whose groups have room."""
        free = torch.ones(len(self.unlabeled), dtype=torch.bool)
        free[self.taken] = False
        for quota, some in zip(quotas, room, strict=True):
            full = torch.tensor([count <= 0 for count in [*some, 1]])  # NO_GROUP, the last, is never full
            free &= ~full[quota.groups]
        return positions[free[positions]]

    def _ask(self, left: Tensor, n: int) -> Selection:
        """Return n picks of the candidates at ``left``, or all of them in the order of the ranking."""
        if self.ranked is not None:
            among = torch.zeros(len(self.unlabeled), dtype=torch.bool)
            among[left] = True
            mine = among[self.ranked.positions.cpu()]
            return Selection(self.ranked.positions.cpu()[mine], self.ranked.scores.cpu()[mine])
        some = self.unlabeled if len(left) == len(self.unlabeled) else Part(self.unlabeled, left)
        taken = Part(self.unlabeled, torch.tensor(self.taken, dtype=torch.int64))
        known = Joined([self.labeled, taken]) if self.taken else self.labeled
        answer = self.strategy.query(some, known, n, self.rng)
        return Selection(left[answer.positions.cpu()], answer.scores)
