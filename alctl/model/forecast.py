"""What candidates can add to coverage, now and after picks that are only guessed, from one pass over all kernel values.

The first picks change what every candidate adds, so each would cost a pass. Guessing them costs little, and a guess never
decides anything: what a candidate adds where c is covered is at most what it adds where c' is, and what c lacks of c'.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from alctl.model.kernel import SUM_SLACK, Covered, Kernel, Reach

SIDE = 1024
"""Rows and columns of a block of kernel values, 4 MiB in float32: what a processor's cache holds."""

AHEAD = 16
"""Picks that are guessed at most. After them a candidate covers few references better than they are, so that these can
be kept as a list."""

SAMPLE = 1024
"""References from which a pick is guessed; fewer where the kernel to them would take more than SAMPLED numbers."""

SAMPLED = 2**27
"""Kernel values that guessing keeps at most, 256 MiB in float16."""

SHORTLIST = 512
"""Candidates that are best by the sample, and compared by all references."""

KEPT = 2**26
"""Entries of lists that are kept at most, 512 MiB; a list itself takes as much as EACH of them."""

EACH = 200

SHORT = 0.1
"""Share of the references that a list holds at most."""


class Level(NamedTuple):
    """What candidates add where so much is covered."""

    covered: Covered
    bound: Tensor
    """(N,) float64, at most that."""


class Forecast(NamedTuple):
    """What candidates can add, by what is covered."""

    levels: list[Level]
    """First what is covered now, then after each guess."""
    reach: dict[int, Reach]
    """What a candidate may cover better than the last level; only of those that add most, if they are many."""


def forecast(kernel: Kernel, now: Covered, n: int, side: int = SIDE) -> Forecast:
    """Bound what each candidate adds ``now``, and after each of up to ``n`` picks as they can be guessed."""
    levels = [now.copy(), *_guesses(kernel, now, min(n, AHEAD), side)]
    count, m = len(kernel.points), len(kernel.held)
    bounds = torch.zeros(len(levels), count, dtype=torch.float64, device=now.exact.device)
    reach: dict[int, Reach] = {}
    for start in range(0, count, side):
        rows = kernel.rows(slice(start, start + side))
        above = rows.new_empty(len(rows), m)
        spare = rows.new_empty(len(rows), min(side, m))
        for first in range(0, m, side):
            part = slice(first, first + side)
            block = kernel.above(rows, part)
            above[:, part] = block
            added = spare[:, : block.shape[1]]
            for bound, level in zip(bounds, levels, strict=True):
                torch.sub(block, level.below[part], out=added).clamp_(min=0)
                bound[start : start + len(rows)] += added @ level.weights32[part]
        last = bounds[-1, start : start + len(rows)]
        reach |= _reach(above, levels[-1].below, last, start, KEPT * len(rows) // count)
    bounds *= 1 + SUM_SLACK
    return Forecast([Level(*level) for level in zip(levels, bounds, strict=True)], reach)


def _reach(above: Tensor, below: Tensor, bound: Tensor, start: int, room: int) -> dict[int, Reach]:
    """Return where each row of ``above`` (B, m) is more than what is covered, of the best rows that have room."""
    better = above > below
    sizes = better.sum(1)
    order = bound.argsort(descending=True, stable=True)
    order = order[sizes[order] <= SHORT * len(below)]
    chosen = order[(sizes[order] + EACH).cumsum(0) <= room].sort().values
    rows, columns = better[chosen].nonzero(as_tuple=True)
    lengths = sizes[chosen].tolist()
    parts = zip(columns.int().split(lengths), above[chosen[rows], columns].split(lengths), strict=True)
    return {start + row: Reach(*some) for row, some in zip(chosen.tolist(), parts, strict=True)}


def _guesses(kernel: Kernel, now: Covered, n: int, side: int) -> list[Covered]:
    """Return how the references are covered after each of what may be the next ``n`` picks.

    A sample of the references says which candidates may be best, all references which of those is.
    """
    covered, found = now.copy(), []
    count, m = len(kernel.points), len(kernel.held)
    most = max(1, min(SAMPLE, SAMPLED // count))
    sample = torch.arange(0, m, -(-m // most), device=now.exact.device)
    near = torch.empty(count if n else 0, len(sample), dtype=torch.float16, device=sample.device)
    for start in range(0, len(near), side):
        near[start : start + side] = kernel.above(kernel.rows(slice(start, start + side)), sample)
    taken: list[int] = []
    for _ in range(n):
        weights, below = covered.weights32[sample], covered.below[sample]
        rough = torch.cat([(some.float() - below).clamp_(min=0) @ weights for some in near.split(side)])
        rough[taken] = -torch.inf
        some = rough.topk(min(SHORTLIST, count - len(taken))).indices
        above = kernel.above(kernel.rows(some), slice(None))
        best = int(covered.bounds(above).argmax())
        places = (above[best] > covered.below).nonzero()[:, 0]
        taken.append(int(some[best]))
        covered.add(places, kernel.exact(taken[-1], places))
        found.append(covered.copy())
    return found
