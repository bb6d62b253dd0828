"""Distances in blocks and two greedy ways of spreading picks over points, on their device; never an N×N matrix.

Squared distances come from ‖x‖² + ‖y‖² − 2x·y, because a matrix product is what memory bandwidth allows.
"""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK = 4096
"""Rows and columns of a block of distances, which is then 64 MiB in float32."""

ROUNDING = 1e-5
"""Share of ‖x‖² + ‖y‖² by which ‖x‖² + ‖y‖² − 2x·y may be wrong in float32; in practice it is under 1e-6."""

DIRECTIONS = 64
"""Directions of the quick look at distances: an eighth of the usual 512 dimensions, so that it costs an eighth."""


def blocks(n: int, width: int = BLOCK) -> Iterator[slice]:
    """Yield slices that cover 0 to ``n``, the last partial one too; rows of ``width`` distances fill one block."""
    rows = max(1, BLOCK * BLOCK // width)
    return (slice(start, min(start + rows, n)) for start in range(0, n, rows))


def finite(points: Tensor) -> Tensor:
    """Return ``points`` (N, d) as they are; a row that is not finite is a bug, because argmax would pick NaN."""
    for rows in blocks(len(points)):
        bad = ~torch.isfinite(points[rows]).all(1)
        if bool(bad.any()):
            position = rows.start + int(bad.nonzero()[0])
            raise FloatingPointError(f"the embedding at position {position} is not finite")
    return points


def squared_norms(points: Tensor) -> Tensor:
    """Return the squared length of each row of (N, d), shape (N,)."""
    norms = points.new_empty(len(points))
    for rows in blocks(len(points)):
        torch.sum(points[rows].square(), 1, out=norms[rows])
    return norms


def unit(points: Tensor) -> Tensor:
    """Return the rows of (N, d) scaled to length 1; a row of zeros stays so."""
    return F.normalize(finite(points), dim=1)


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """Return the squared distances between the rows of (A, d) and (B, d), shape (A, B); one block, no more."""
    products = torch.addmm(y.square().sum(1), x, y.T, alpha=-2)
    return products.add_(x.square().sum(1, keepdim=True)).clamp_(min=0)


def nearest(points: Tensor, centres: Tensor) -> Tensor:
    """Return the squared distance of each row of (N, d) to its nearest of (L, d), (N,) float64; infinite for L = 0."""
    squared = torch.full((len(points),), torch.inf, dtype=torch.float64, device=points.device)
    origin = centres[:1]  # what all points have in common would cost the digits in which they differ
    shifted = centres - origin
    for rows in blocks(len(points) if len(centres) else 0):
        closest = points.new_full((len(points[rows]),), torch.inf)
        owner = torch.zeros_like(closest, dtype=torch.int64)
        for columns in blocks(len(centres)):
            found, which = squared_distances(points[rows] - origin, shifted[columns]).min(1)
            owner = torch.where(found < closest, which + columns.start, owner)
            closest = torch.minimum(closest, found)
        squared[rows] = _exact(points[rows], centres[owner])
    return squared


def nearest_other(points: Tensor, some: Tensor) -> Tensor:
    """Return the squared distance of the points at positions ``some`` (S,) to the nearest other of (N, d), (S,) float64.

    Infinite where there is no other.
    """
    squared = torch.full((len(some),), torch.inf, dtype=torch.float64, device=points.device)
    some = some.to(points.device)
    for rows in blocks(len(some) if len(points) > 1 else 0, len(points)):
        apart = squared_distances(points[some[rows]], points)
        apart.scatter_(1, some[rows, None], torch.inf)
        squared[rows] = _exact(points[some[rows]], points[apart.argmin(1)])
    return squared


def k_center(points: Tensor, centres: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Return min(n, N) positions of (N, d), each farthest from ``centres`` (L, d) and the earlier picks.

    Greedy k-center (Gonzalez 1985), ties by lowest position; also the distance of each pick when it was picked,
    float64. Without centres the first pick is the point closest to the mean, with the distance to its farthest point.
    """
    n = min(n, len(points))
    if n == 0:
        return torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.float64)
    finite(points)
    picks: list[int] = []
    reach: list[Tensor] = []
    if not len(centres):
        picks.append(int(nearest(points, points.mean(0, keepdim=True)).argmin()))
        centres = points[picks]
    cover = _Cover(points, finite(centres))
    if picks:
        reach.append(cover.squared.max())
        cover.squared[picks] = -torch.inf
    while len(picks) < n:
        picks.append(int(cover.squared.argmax()))
        reach.append(cover.squared[picks[-1]].clone())
        cover.add(picks[-1])
    return torch.tensor(picks, dtype=torch.int64), torch.stack(reach).sqrt().cpu()


def spread(
    squared_to: Callable[[int, Tensor], Tensor],
    start: Tensor,
    n: int,
    *,
    first: int | None = None,
    weights: Tensor | None = None,
    rng: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Return min(n, N) positions far from each other, and weight × squared distance of each when picked, float64.

    ``squared_to(i, nearest)`` gives the (N,) squared distances to point i; infinity will do where they are no less
    than ``nearest``. ``start`` are those to the centres there are already (infinite: none, then give ``first``). With ``rng`` it is k-means++ seeding (Arthur & Vassilvitskii
    2007), once no distance is left at random; without, the highest product is picked, ties by lowest position.
    """
    nearest_squared = start.clone()
    free = torch.ones_like(start, dtype=torch.bool)
    picks: list[int] = []
    utility: list[Tensor] = []
    for _ in range(min(n, len(start))):
        product = nearest_squared if weights is None else weights * nearest_squared
        if first is not None and not picks:
            pick = first
        elif rng is None:
            pick = int(product.masked_fill(~free, -1).argmax())
        elif bool((product > 0).any()):
            pick = draw(product, rng)
        else:
            pick = draw(free, rng)
        picks.append(pick)
        utility.append(product[pick].clone())
        free[pick] = False
        torch.minimum(nearest_squared, squared_to(pick, nearest_squared), out=nearest_squared)
        nearest_squared[pick] = 0
    scores = torch.stack(utility).double().cpu() if picks else torch.zeros(0, dtype=torch.float64)
    return torch.tensor(picks, dtype=torch.int64), scores


def draw(weights: Tensor, rng: torch.Generator) -> int:
    """Draw one position with probability proportional to ``weights`` (N,), not all 0.

    Summed in float64 on the CPU: torch.multinomial ends at 2^24 categories, and CUDA's cumsum is not repeatable.
    """
    cumulative = weights.double().cpu().cumsum(0)
    chance = torch.rand((), dtype=torch.float64, generator=rng)
    return int(torch.searchsorted(cumulative / cumulative[-1], chance, right=True))


def directions(points: Tensor) -> Tensor:
    """Return DIRECTIONS orthonormal columns (d, ≤ 64) that hold most of a sample of (N, d), by subspace iteration."""
    sample = points[:: max(1, len(points) // 2048)][:2048]
    basis: Tensor = torch.linalg.qr(sample[:DIRECTIONS].T).Q
    for _ in range(3):
        basis = torch.linalg.qr(sample.T @ (sample @ basis)).Q
    return basis


class _Cover:
    """The squared distance of each point to its nearest centre, while points become centres one by one.

    Few points are nearer to a new centre than to an old one, and most can be told from a lower bound: first of the
    distance within the DIRECTIONS in which the points differ most, then of the whole distance in float32. Only the
    rest is computed in float64, so that the picks are those of the plain algorithm in float64.
    """

    def __init__(self, points: Tensor, centres: Tensor) -> None:
        self.points = points
        self.squared = nearest(points, centres)
        norms = squared_norms(points)
        basis = directions(points)
        short = points @ basis
        left = (norms - squared_norms(short)).clamp_(min=0).sqrt_()
        # the length of what the basis leaves out is one more coordinate: ‖x‖² stays, and x·y only grows
        self.short = torch.cat([short, left[:, None]], dim=1)
        self.norms = norms * (1 - ROUNDING)
        self.wait = 0

    def add(self, pick: int) -> None:
        """Make point ``pick`` a centre; it is never farthest again, even among duplicates of itself."""
        for rows in self._maybe_nearer(pick).split(BLOCK):
            found = _exact(self.points.index_select(0, rows), self.points[pick])
            self.squared[rows] = torch.minimum(self.squared.index_select(0, rows), found)
        self.squared[pick] = -torch.inf

    def _maybe_nearer(self, pick: int) -> Tensor:
        """Return the rows that may be nearer to ``pick`` than to the centres so far, and few that are not."""
        whole, short, norm = self.points[pick], self.short[pick], self.norms[pick]
        if self.wait == 0:
            rows = (_at_least(self.short, self.norms, short, norm) < self.squared).nonzero()[:, 0]
            if 4 * len(rows) <= len(self.points):
                some, norms = self.points.index_select(0, rows), self.norms.index_select(0, rows)
                return rows[_at_least(some, norms, whole, norm) < self.squared.index_select(0, rows)]
            self.wait = (
                16  # that told too little, and may again until the balls around the centres are smaller
            )
        self.wait -= 1
        return (_at_least(self.points, self.norms, whole, norm) < self.squared).nonzero()[:, 0]


def _at_least(points: Tensor, norms: Tensor, centre: Tensor, norm: Tensor) -> Tensor:
    """Return a lower bound, whatever the rounding, of the squared distances of (N, d) to (d,), shape (N,).

    ``norms`` and ``norm`` are squared lengths less the share ROUNDING.
    """
    return torch.addmv(norms, points, centre, alpha=-2).add_(norm)


def _exact(x: Tensor, y: Tensor) -> Tensor:
    """Return the squared distance of each row of (N, d) to its own of (N, d), or to one (d,), in float64."""
    return x.to(torch.float64, copy=True).sub_(y).square_().sum(1)
