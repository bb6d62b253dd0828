"""ProbCover (Yehuda et al., NeurIPS 2022): cover as many images as possible with balls around the labeled ones."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from alctl.errors import AlctlError
from alctl.model.coverage import drawn
from alctl.model.distances import blocks, k_center, squared_distances, unit
from alctl.model.strategy import Candidates, QueryStrategy, Selection

LOOKED_AT = 2_000
"""Images from which the radius, or how many others a ball holds, is estimated."""

NEIGHBOURS = 5
"""Neighbours whose mean distance decides between balls that cover equally many images."""

TIE = 1e-9
"""Share by which two mean distances may differ and still be equal."""


@dataclass(frozen=True)
class ProbCover(QueryStrategy):
    """Images with the most uncovered neighbours within δ; for the first few hundred labels.

    Only a count per image is kept, never the graph, so that memory does not depend on δ. Time is that of two passes
    over all pairs: seconds for 10,000 images, and quadratic from there. Embeddings are scaled to length 1.
    """

    delta: float | Literal["auto"] = "auto"
    """δ: radius of a ball; 0.75 is the authors' value for CIFAR-10 on SimCLR embeddings, and holds next to nothing on
    others. "auto" takes the radius at which a ball usually holds the share of the images that one label has to stand
    for: the median distance to the q-th nearest image, q = images / (labeled images + picks); ours."""

    @property
    def needs_model(self) -> bool:
        """Tell whether it reads predictions: embeddings are enough."""
        return False

    def query(self, unlabeled: Candidates, labeled: Candidates, n: int, rng: torch.Generator) -> Selection:
        """Return each next best ball, scored by the images it newly covers; when all are, k-center with score 0.

        Of equal balls the one with the nearest neighbours comes first. AlctlError if a given δ is so small that most
        balls hold nothing: the picks would be the first files of the folder.
        """
        points = unit(unlabeled.embeddings())
        known = unit(labeled.embeddings()) if len(labeled) else points[:0]
        delta = self._radius(points, len(known) + n, rng)
        covered = _reached(points, known, delta) > 0
        gain = _reached(points, points[~covered], delta)
        balls = _Balls(points)
        picks: list[int] = []
        scores: list[int] = []
        while len(picks) < min(n, len(points)) and bool((gain > 0).any()):
            pick = balls.densest((gain == gain.max()).nonzero()[:, 0])
            picks.append(pick)
            scores.append(int(gain[pick]))
            fresh = (_reached(points, points[pick : pick + 1], delta) > 0) & ~covered
            covered |= fresh
            gain -= _reached(points, points[fresh], delta)
            gain[picks] = 0
        rest = torch.ones(len(points), dtype=torch.bool)
        rest[picks] = False
        left = rest.nonzero()[:, 0]
        spread, _ = k_center(points[left], torch.cat([known, points[picks]]), n - len(picks))
        return Selection(
            torch.cat([torch.tensor(picks, dtype=torch.int64), left[spread]]),
            torch.tensor(scores + [0] * len(spread), dtype=torch.float64),
        )

    def _radius(self, points: Tensor, labels: int, rng: torch.Generator) -> float:
        """Return δ for (N, d) when there will be so many ``labels``; AlctlError if the given one covers nothing."""
        if len(points) < 2:
            return 0.0
        some = drawn(len(points), LOOKED_AT, rng).to(points.device)
        if self.delta == "auto":
            return float(_apart(points, some, max(2, round(len(points) / max(labels, 1)))).median())
        parts = blocks(len(some), len(points))
        others = sum(int((_other(points, some[rows]) < self.delta**2).sum()) for rows in parts) / len(some)
        if others < 1:
            raise AlctlError(
                f"a ball of delta {self.delta} holds {others:.2f} images beside its own on average, so probcover could "
                "not tell images apart; leave delta out, or set it to auto"
            )
        return self.delta


class _Balls:
    """How near the neighbours of images are, computed once for each that is asked for."""

    def __init__(self, points: Tensor) -> None:
        self.points = points
        self.neighbours = min(NEIGHBOURS, len(points) // 2)
        self.apart = torch.full((len(points),), torch.nan, dtype=torch.float64, device=points.device)

    def densest(self, tied: Tensor) -> int:
        """Return which of these positions has the smallest mean distance to its neighbours, then the lowest."""
        if len(tied) > 1 and self.neighbours:
            new = tied[self.apart[tied].isnan()]
            for rows in blocks(len(new), len(self.points)):
                near = _other(self.points, new[rows]).topk(self.neighbours, largest=False).indices
                apart = self.points[new[rows]][:, None].double() - self.points[near]
                self.apart[new[rows]] = apart.square_().sum(-1).sqrt().mean(1)
            apart = self.apart[tied]
            tied = tied[apart <= apart.min() * (1 + TIE)]
        return int(tied[0])


def _reached(points: Tensor, centres: Tensor, delta: float) -> Tensor:
    """Return how many of (L, d) lie closer than δ to each of (N, d), shape (N,) int64."""
    count = torch.zeros(len(points), dtype=torch.int64, device=points.device)
    for rows in blocks(len(points)):
        for columns in blocks(len(centres)):
            near = squared_distances(points[rows], centres[columns]) < delta**2
            count[rows] += near.sum(1)
    return count


def _other(points: Tensor, some: Tensor) -> Tensor:
    """Return the squared distances of the points at positions ``some`` (S,) to all (N, d), infinite to themselves."""
    return squared_distances(points[some], points).scatter_(1, some[:, None], torch.inf)


def _apart(points: Tensor, some: Tensor, q: int) -> Tensor:
    """Return the distance of the points at positions ``some`` (S,) to the q-th nearest other of (N, d), (S,)."""
    q = min(q, len(points) - 1)
    parts = [_other(points, some[rows]).kthvalue(q, dim=1).values for rows in blocks(len(some), len(points))]
    return torch.cat(parts).sqrt()
