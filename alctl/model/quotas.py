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
from alctl.model.strategy import Candidates, Greedy, QueryStrategy, Ranking, Selection

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
    ``quotas`` are then made of the candidates and the positions (K,) that stand for themselves. A `Greedy`
    strategy passes over the images of a full group (SELECTION.md §3.11). One that is neither this nor a `Ranking` is
    asked again without them, knowing what is taken.
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


class _Room:
    """How much room the groups have left."""

    def __init__(self, quotas: Sequence[Quota]) -> None:
        """Begin with nothing taken."""
        self.quotas = quotas
        self.left = [torch.tensor([*quota.room, 1]) for quota in quotas]  # NO_GROUP, the last, is never full

    def free(self, positions: Tensor) -> Tensor:
        """Return which of the candidates at ``positions`` (K,) have room in all of their groups, (K,) bool."""
        free = torch.ones(len(positions), dtype=torch.bool)
        for quota, left in zip(self.quotas, self.left, strict=True):
            free &= left[quota.groups[positions]] > 0
        return free

    def take(self, position: int) -> bool:
        """Take a candidate if all of its groups have room; tell whether they had."""
        if not bool(self.free(torch.tensor([position]))[0]):
            return False
        for quota, left in zip(self.quotas, self.left, strict=True):
            if int(quota.groups[position]) != NO_GROUP:
                left[quota.groups[position]] -= 1
        return True


class _Part:
    """The room for some of the candidates, by their places among these."""

    def __init__(self, room: _Room, positions: Tensor) -> None:
        """Take the candidates at ``positions`` (K,)."""
        self.room, self.positions = room, positions

    def free(self) -> Tensor:
        """Return which may be picked, (K,) bool."""
        return self.room.free(self.positions)

    def take(self, place: int) -> None:
        """Take note of a pick."""
        self.room.take(int(self.positions[place]))


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
        room = _Room(quotas)
        asked = 0
        while len(self.taken) < n and len(left := self._left(positions, room)):
            within = None
            if quotas and isinstance(self.strategy, Greedy):
                left = self._left(positions, _Room(()))
                within = _Part(room, left)
            picks = self._ask(left, n - len(self.taken), within)
            asked += 1
            for position, score in zip(picks.positions.tolist(), picks.scores.tolist(), strict=True):
                if within or room.take(position):
                    self.taken.append(position)
                    self.scores.append(score)
                elif asked < ASKED:
                    break
                if len(self.taken) == n:
                    break

    def _left(self, positions: Tensor, room: "_Room") -> Tensor:
        """Return the positions that are not taken and whose groups have room."""
        free = torch.ones(len(self.unlabeled), dtype=torch.bool)
        free[self.taken] = False
        left = positions[free[positions]]
        return left[room.free(left)]

    def _ask(self, left: Tensor, n: int, within: "_Part | None") -> Selection:
        """Return n picks of the candidates at ``left``, or all of them in the order of the ranking."""
        if self.ranked is not None:
            among = torch.zeros(len(self.unlabeled), dtype=torch.bool)
            among[left] = True
            mine = among[self.ranked.positions.cpu()]
            return Selection(self.ranked.positions.cpu()[mine], self.ranked.scores.cpu()[mine])
        some = self.unlabeled if len(left) == len(self.unlabeled) else Part(self.unlabeled, left)
        taken = Part(self.unlabeled, torch.tensor(self.taken, dtype=torch.int64))
        known = Joined([self.labeled, taken]) if self.taken else self.labeled
        if within is not None and isinstance(self.strategy, Greedy):
            answer = self.strategy.query_within(some, known, n, self.rng, within)
        else:
            answer = self.strategy.query(some, known, n, self.rng)
        return Selection(left[answer.positions.cpu()], answer.scores)
