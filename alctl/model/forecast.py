"""What candidates can add to coverage, now and after picks that are only guessed, from one pass over all kernel values.

The first picks change what every candidate adds, so each would cost a pass. Guessing them costs little, and a guess never
decides anything: what a candidate adds where c is covered is at most what it adds where c' is, and what c lacks of c'.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from alctl.model.kernel import SUM_SLACK, Covered, Kernel
from alctl.model.reach import Reach, better, that_fit

SIDE = 1024
"""Rows and columns of a block of kernel values, 4 MiB in float32: what a processor's cache holds."""

AHEAD = 24
"""Picks that are guessed at most. After them a candidate covers few references better than they are, so that these can
be kept as a list."""

SAMPLE = 1024
"""References from which a pick is guessed; fewer where the kernel to them would take more than SAMPLED numbers."""

SAMPLED = 2**27
"""Kernel values that guessing keeps at most, 256 MiB in float16."""

SHORTLIST = 256
"""Candidates that are best by the sample, and compared by all references."""

KEPT = 2**25
"""Entries of lists that are kept at most, 256 MiB."""

FILLED = 0.75
"""Share of that which is filled at most before more are looked at."""


class Level(NamedTuple):
    """What candidates add where so much is covered."""

    covered: Covered
    bound: Tensor
    """(N,) float64, at most that."""


class Forecast(NamedTuple):
    """What candidates can add, by what is covered."""

    levels: list[Level]
    """First what is covered now, then after each guess."""
    reach: Reach
    """What a candidate may cover better than the last level; only of those that add most, if they are many."""


def forecast(kernel: Kernel, now: Covered, n: int, *, side: int, room: int) -> Forecast:
    """Bound what each candidate adds ``now``, and after each of up to ``n`` picks as they can be guessed.

    ``side`` is that of a block of kernel values, ``room`` the number of entries that lists may take.
    """
    levels = [now.copy(), *_guesses(kernel, now, min(n, AHEAD), side)]
    count, m = len(kernel.points), len(kernel.references)
    bounds = torch.zeros(len(levels), count, dtype=torch.float64, device=now.exact.device)
    reach = Reach(count, room, now.exact.device)
    for start in range(0, count, side):
        rows = kernel.rows(slice(start, start + side))
        part = slice(start, start + len(rows))
        above = rows.new_empty(len(rows), m)
        _add_up(kernel, rows, levels, above, bounds[:, part], side)
        sizes = (above > levels[-1].below).sum(1)
        chosen = that_fit(bounds[-1, part], sizes, int(FILLED * room * len(rows) / count))
        reach.put(start + chosen, better(above[chosen], levels[-1].below))
    bounds *= 1 + SUM_SLACK
    return Forecast([Level(*level) for level in zip(levels, bounds, strict=True)], reach)


def _add_up(
    kernel: Kernel, rows: Tensor, levels: list[Covered], above: Tensor, bounds: Tensor, side: int
) -> None:
    """Write upper bounds of the kernel of ``rows`` (B, d) to ``above`` (B, m), and add what they add to ``bounds``."""
    spare = above.new_empty(len(above), min(side, above.shape[1]))
    for first in range(0, above.shape[1], side):
        part = slice(first, first + side)
        block = kernel.above(rows, part)
        above[:, part] = block
        added = spare[:, : block.shape[1]]
        for i, level in enumerate(levels):
            torch.sub(block, level.below[part], out=added).clamp_(min=0)
            bounds[i] += added @ level.weights32[part]


def _guesses(kernel: Kernel, now: Covered, n: int, side: int) -> list[Covered]:
    """Return how the references are covered after each of what may be the next ``n`` picks.

    A sample of the references says which candidates may be best, all references which of those is.
    """
    covered, found = now.copy(), []
    count, m = len(kernel.points), len(kernel.references)
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
