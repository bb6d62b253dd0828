"""Images that are nearly the same: which of many vectors stand for which others.

Leader clustering: one pass in a given order, in which a vector either lies within the threshold of one that was kept
before and is represented by it, or is kept. So no chain of similar images is followed from end to end.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from alctl.model.distances import directions, finite, unit

ROWS, COLUMNS = 1024, 8192
"""Of a block of upper bounds, 32 MiB in float32."""
FEW = 2048
"""The quick look has to leave less than one pair of so many, else the whole vectors are compared in float32."""
PAIRS = 4096
"""Cosines that are computed in float64 at once."""
SLACK = 1e-5
"""More than an upper bound of a cosine can be too low by in float32."""
ROUNDING = 1e-9
"""By which a cosine in float64 may fall short, so that two equal vectors have one of 1."""
LEFT = 1e-6
"""Added to the squared length of what the quick look leaves out, so that rounding never makes it too short."""


class Collapsed(NamedTuple):
    """Who stands for whom among N vectors, beside L that were there before."""

    by: Tensor
    """(N,) int64, the position of the vector that stands for each: its own if it is kept, -1 if a known one does."""
    known: Tensor
    """(N,) int64, the position of the known vector that each is within the threshold of; -1: none."""
    cosine: Tensor
    """(N,) float64, to the vector that stands for each; 1 for one that is kept."""

    @property
    def kept(self) -> Tensor:
        """(K,) int64, the positions that stand for themselves, ascending."""
        return (self.by == torch.arange(len(self.by))).nonzero()[:, 0]


class Close(NamedTuple):
    """Two of L known vectors and N others that are alike."""

    one: int
    """Position of one of the N."""
    other: int
    """Position of another one, -1 if it is a known one."""
    known: int
    """Position of the known one; -1: none."""
    cosine: float


def collapse(
    points: Tensor,
    cosine: float,
    *,
    known: Tensor | None = None,
    order: Tensor | None = None,
    rows: int = ROWS,
) -> Collapsed:
    """Find which of ``points`` (N, d) have a cosine of at least ``cosine`` to one before them in ``order``.

    ``known`` (L, d), such as labeled images, lead first. Of several leaders within the threshold the first one counts.
    A row of zeros is like nothing. Cosines are those of float64, whatever the size of a block, in memory of
    (N + L)·64 and some blocks. FloatingPointError for a row that is not finite.
    """
    vectors = _Vectors(points, points[:0] if known is None else known)
    order = torch.arange(len(points)) if order is None else order.cpu()
    found = _Leaders(vectors, cosine)
    for some in order.split(rows):
        found.settle(some + vectors.known)
    by = found.by[vectors.known :]
    return Collapsed(
        torch.where(by >= vectors.known, by - vectors.known, -1),
        torch.where(by < vectors.known, by, -1),
        found.cosine[vectors.known :],
    )


def closest(points: Tensor, n: int, *, known: Tensor | None = None, rows: int = ROWS) -> list[Close]:
    """Return the n pairs of ``points`` (N, d), or of one and a ``known`` one (L, d), with the highest cosines.

    The closest comes first; ties go by position. Known vectors are not compared with each other.
    """
    vectors = _Vectors(points, points[:0] if known is None else known)
    best: list[tuple[float, int, int]] = []
    for x in torch.arange(vectors.known, len(vectors)).split(rows) if len(points) else ():
        for y in torch.arange(int(x[-1]) + 1).split(COLUMNS):
            bound = -best[n - 1][0] if len(best) >= n else -1.0
            near = vectors.maybe(x, y, bound) & (y < x[:, None])
            some, others = x[near.any(1)], y[near.any(0)]
            values = (vectors.whole(some) @ vectors.whole(others).T).cpu()
            values[others >= some[:, None]] = -torch.inf
            top = values.flatten().topk(min(2 * n, values.numel()))  # rounding may exchange some
            at = top.indices[top.values > -torch.inf]
            pairs = some[at // max(1, len(others))], others[at % max(1, len(others))]
            best += zip((-vectors.exact(*pairs)).tolist(), *(pair.tolist() for pair in pairs), strict=True)
            best = sorted(best)[:n]
    first = vectors.known
    return [Close(i - first, max(j - first, -1), j if j < first else -1, -value) for value, i, j in best]


class _Vectors:
    """Two sets of vectors by one index: first the known ones, then the points.

    Two unit vectors are first compared within the directions in which the points differ most. What these leave out is
    one more coordinate, the length of the rest, so that the product is an upper bound of the cosine.
    """

    def __init__(self, points: Tensor, known: Tensor) -> None:
        self.points, self.given, self.known = finite(points), finite(known), len(known)
        basis = directions(unit(points[:: max(1, len(points) // 2048)])) if len(points) else points.T
        self.short = torch.cat([_short(known, basis), _short(points, basis)])

    def __len__(self) -> int:
        return len(self.given) + len(self.points)

    def maybe(self, x: Tensor, y: Tensor, cosine: float) -> Tensor:
        """Return which pairs of two lists of indices may have such a cosine, (A, B) bool."""
        near: Tensor = self.short[x] @ self.short[y].T >= cosine - SLACK
        if FEW * int(near.count_nonzero()) > near.numel():
            near = (self.whole(x) @ self.whole(y).T).cpu() >= cosine - SLACK
        return near

    def exact(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the cosine of each pair of indices in float64, (P,); 0 for a row of zeros."""
        found = [torch.empty(0, dtype=torch.float64)]
        for some, others in zip(x.split(PAIRS), y.split(PAIRS), strict=True):
            a, b = self._rows(some, torch.float64), self._rows(others, torch.float64)
            lengths = a.norm(dim=1) * b.norm(dim=1)
            found.append(((a * b).sum(1) / lengths).nan_to_num(0.0).clamp(max=1.0).cpu())
        return torch.cat(found)

    def whole(self, index: Tensor) -> Tensor:
        """Return the vectors at some indices, scaled to length 1, in float32."""
        return unit(self._rows(index, torch.float32))

    def _rows(self, index: Tensor, dtype: torch.dtype) -> Tensor:
        rows = torch.empty(len(index), self.points.shape[1], dtype=dtype, device=self.points.device)
        old = index < self.known
        rows[old] = self.given[index[old]].to(dtype)
        rows[~old] = self.points[index[~old] - self.known].to(dtype)
        return rows


class _Leaders:
    """The vectors kept so far, by index."""

    def __init__(self, vectors: _Vectors, cosine: float) -> None:
        """Let the known ones lead."""
        self.vectors, self.threshold = vectors, cosine
        self.by = torch.arange(len(vectors))
        self.cosine = torch.ones(len(vectors), dtype=torch.float64)
        self.kept = torch.arange(vectors.known)

    def settle(self, some: Tensor) -> None:
        """Decide for the points at ``some`` indices, in their order, whether they are kept."""
        for columns in self.kept.split(COLUMNS) if len(self.kept) else ():
            free = some[self.by[some] == some]
            at, where = self.vectors.maybe(free, columns, self.threshold).nonzero(as_tuple=True)
            self._represent(free[at], columns[where])
        self._settle_among(some[self.by[some] == some])
        self.kept = torch.cat([self.kept, some[self.by[some] == some]])

    def _settle_among(self, some: Tensor) -> None:
        """Decide for points of which none is near to an earlier leader."""
        near = self.vectors.maybe(some, some, self.threshold).triu(1)
        for i in near.any(1).nonzero()[:, 0].tolist():
            if self.by[some[i]] == some[i]:
                others = some[near[i]]
                others = others[self.by[others] == others]
                self._represent(others, some[i].expand(len(others)))

    def _represent(self, some: Tensor, leaders: Tensor) -> None:
        """Let the first leader whose cosine is high enough stand for each; both (P,), ``some`` in groups."""
        found = self.vectors.exact(some, leaders)
        close = found >= self.threshold - ROUNDING
        some, leaders, found = some[close], leaders[close], found[close]
        first = torch.ones_like(some, dtype=torch.bool)
        first[1:] = some[1:] != some[:-1]
        self.by[some[first]], self.cosine[some[first]] = leaders[first], found[first]


def _short(vectors: Tensor, basis: Tensor) -> Tensor:
    """Return (N, D + 1): each vector, scaled to length 1, in the basis (d, D), and the length of what that leaves out."""
    found = torch.empty(len(vectors), basis.shape[1] + 1)
    for start in range(0, len(vectors), COLUMNS):
        some = unit(vectors[start : start + COLUMNS].float())
        inside = some @ basis.to(some)
        outside = (some.square().sum(1) - inside.square().sum(1)).clamp(min=0).add(LEFT).sqrt()
        found[start : start + COLUMNS] = torch.cat([inside, outside[:, None]], dim=1).cpu()
    return found
