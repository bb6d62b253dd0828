"""Distances in blocks and two greedy ways of spreading picks over points; never an N×N matrix.

Everything runs on the device and in the precision of the points. Squared distances come from
‖x‖² + ‖y‖² − 2x·y, because one matrix-vector product per pick is what memory bandwidth allows.
"""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK = 4096
"""Rows and columns of a block of distances, which is then 64 MiB in float32."""


def blocks(n: int, width: int = BLOCK) -> Iterator[slice]:
    """Yield slices that cover 0 to ``n``, the last partial one too; rows of ``width`` distances fill one block."""
    rows = max(1, BLOCK * BLOCK // width)
    return (slice(start, min(start + rows, n)) for start in range(0, n, rows))


def finite(points: Tensor) -> Tensor:
    """Return ``points`` (N, d) as they are; a row that is not finite is a bug, because argmax would pick NaN."""
    bad = ~torch.isfinite(points).all(1)
    if bool(bad.any()):
        raise FloatingPointError(f"the embedding at position {int(bad.nonzero()[0])} is not finite")
    return points


def unit(points: Tensor) -> Tensor:
    """Return the rows of (N, d) scaled to length 1; a row of zeros stays so."""
    return F.normalize(finite(points), dim=1)


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """Return the squared distances between the rows of (A, d) and (B, d), shape (A, B); one block, no more."""
    products = torch.addmm(y.square().sum(1), x, y.T, alpha=-2)
    return products.add_(x.square().sum(1, keepdim=True)).clamp_(min=0)


def nearest(x: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """Return the squared distance of each row of (N, d) to its nearest of (L, d), and which one, (N,) each."""
    closest = x.new_full((len(x),), torch.inf)
    owner = torch.zeros(len(x), dtype=torch.int64, device=x.device)
    for rows in blocks(len(x)):
        for columns in blocks(len(centres)):
            found, which = squared_distances(x[rows], centres[columns]).min(1)
            owner[rows] = torch.where(found < closest[rows], which + columns.start, owner[rows])
            closest[rows] = torch.minimum(closest[rows], found)
    return closest, owner


def k_center(points: Tensor, centres: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Return min(n, N) positions of (N, d), each farthest from ``centres`` (L, d) and the earlier picks.

    Greedy k-center (Gonzalez 1985), ties by lowest position; also the distance of each pick when it was picked,
    float64. Without centres the first pick is the point closest to the mean, with the distance to its farthest point.
    """
    n = min(n, len(points))
    if n == 0:
        return torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.float64)
    origin = finite(points)[:1]
    points, centres = points - origin, finite(centres) - origin  # a common offset would cost digits
    picks: list[int] = []
    reach: list[Tensor] = []
    if not len(centres):
        picks.append(int((points - points.mean(0)).square().sum(1).argmin()))
        centres = points[picks]
    cover = _Cover(points, centres, n)
    if picks:
        reach.append(cover.distance.max())
        cover.distance[picks] = -torch.inf
    while len(picks) < n:
        picks.append(int(cover.distance.argmax()))
        reach.append(cover.distance[picks[-1]].clone())
        cover.add(picks[-1])
    return torch.tensor(picks, dtype=torch.int64), torch.stack(reach).double().sqrt().cpu()


def spread(
    squared_to: Callable[[int], Tensor],
    start: Tensor,
    n: int,
    *,
    first: int | None = None,
    weights: Tensor | None = None,
    rng: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Return min(n, N) positions far from each other, and weight × squared distance of each when picked, float64.

    ``squared_to(i)`` gives the (N,) squared distances to point i, ``start`` those to the nearest of the centres there
    are already (infinite: none, then give ``first``). With ``rng`` it is k-means++ seeding (Arthur & Vassilvitskii
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
        torch.minimum(nearest_squared, squared_to(pick), out=nearest_squared)
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


class _Cover:
    """The squared distance of each point to its nearest centre, while centres are added one by one."""

    def __init__(self, points: Tensor, centres: Tensor, more: int) -> None:
        self.points = points
        self.norms = points.square().sum(1)
        self.distance, self.owner = nearest(points, centres)
        self.centres = torch.cat([centres, centres.new_zeros(more, centres.shape[1])])
        self.centre_norms = self.centres.square().sum(1)
        self.count = len(centres)
        self.prunes = points.device.type == "cpu"  # a GPU reads all points in the time that looking takes
        self.copied = torch.empty_like(points[: len(points) // 2 * self.prunes])
        self.rest = 0

    def add(self, pick: int) -> None:
        """Make point ``pick`` a centre; it is never farthest again, even among duplicates of itself."""
        centre, norm = self.points[pick], self.norms[pick]
        rows = self._within_reach(centre, norm)
        if rows is None:
            found = _squared_to(self.points, self.norms, centre, norm)
            self.owner.masked_fill_(found < self.distance, self.count)
            torch.minimum(self.distance, found, out=self.distance)
        else:
            some = torch.index_select(self.points, 0, rows, out=self.copied[: len(rows)])
            found = _squared_to(some, self.norms.index_select(0, rows), centre, norm)
            closer = found < self.distance.index_select(0, rows)
            rows = rows[closer]
            self.owner.index_fill_(0, rows, self.count)
            self.distance.index_copy_(0, rows, found[closer])
        self.distance[pick] = -torch.inf
        self.centres[self.count] = centre
        self.centre_norms[self.count] = norm
        self.count += 1

    def _within_reach(self, centre: Tensor, norm: Tensor) -> Tensor | None:
        """Return the rows that a new centre might be nearest to, or None where looking at all is cheaper.

        By the triangle inequality a point keeps its centre when that is twice as far from the new one as from the
        point; the factor above 4 keeps rounding from dropping a tie.
        """
        if not self.prunes or 2 * self.count > len(self.points):
            return None
        if self.rest:
            self.rest -= 1
            return None
        apart = _squared_to(self.centres[: self.count], self.centre_norms[: self.count], centre, norm)
        rows = (apart.index_select(0, self.owner) <= 4.001 * self.distance).nonzero()[:, 0]
        if 2 * len(rows) > len(self.points):
            self.rest = 8
            return None
        return rows


def _squared_to(points: Tensor, norms: Tensor, centre: Tensor, norm: Tensor) -> Tensor:
    """Return the squared distance of each row of (N, d) to one point (d,), shape (N,)."""
    return torch.addmv(norms, points, centre, alpha=-2).add_(norm).clamp_(min=0)
