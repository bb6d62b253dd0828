"""TypiClust (Hacohen, Dekel & Weinshall, ICML 2022): the most typical image of each cluster."""

import warnings
from collections import deque
from dataclasses import dataclass

import torch
from torch import Tensor

from alctl.model.distances import blocks, squared_distances, unit
from alctl.model.strategy import Candidates, QueryStrategy, Selection


@dataclass(frozen=True)
class TypiClust(QueryStrategy):
    """Typical images of clusters that have no label yet; for the first few hundred labels.

    The defaults are those of the authors' code. Embeddings are scaled to length 1; self-supervised ones serve best.
    """

    most_clusters: int = 500
    """There are as many clusters as there will be labels, up to this."""
    smallest: int = 6
    """Images in the smallest cluster that is used; smaller ones hold outliers and wait until the others are empty."""
    neighbours: int = 20
    """Neighbours that typicality looks at; half the cluster where that is less."""

    @property
    def needs_model(self) -> bool:
        """Tell whether it reads predictions: embeddings are enough."""
        return False

    def query(self, unlabeled: Candidates, labeled: Candidates, n: int, rng: torch.Generator) -> Selection:
        """Return one image per cluster and turn, scored by typicality; first the clusters with the fewest labels."""
        points = unit(unlabeled.embeddings())
        known = unit(labeled.embeddings()) if len(labeled) else points[:0]
        n = min(n, len(points))
        count = max(1, min(len(known) + n, self.most_clusters))
        picks: list[int] = []
        scores: list[float] = []
        for turns in self._queues(k_means(torch.cat([points, known]), count, rng), len(points)):
            while turns and len(picks) < n:
                group = turns.popleft()
                found = typicality(points[group], self.neighbours)
                best = int(found.argmax())
                picks.append(int(group[best]))
                scores.append(float(found[best]))
                if len(group) > 1:
                    turns.append(torch.cat([group[:best], group[best + 1 :]]))
        return Selection(torch.tensor(picks, dtype=torch.int64), torch.tensor(scores, dtype=torch.float64))

    def _queues(self, clusters: Tensor, n: int) -> tuple[deque[Tensor], deque[Tensor]]:
        """Return the unlabeled positions of each cluster in order of turn: of clusters worth using, of the rest.

        ``clusters`` is (N + L,), unlabeled first: few labels before many, then large before small.
        """
        sizes = clusters.bincount().tolist()
        labels = clusters[n:].bincount(minlength=len(sizes)).tolist()
        order = sorted(range(len(sizes)), key=lambda c: (labels[c], -sizes[c], c))
        groups = {c: (clusters[:n] == c).nonzero()[:, 0] for c in order}
        filled = [c for c in order if len(groups[c])]
        return (
            deque(groups[c] for c in filled if sizes[c] >= self.smallest),
            deque(groups[c] for c in filled if sizes[c] < self.smallest),
        )


def typicality(points: Tensor, neighbours: int) -> Tensor:
    """Return 1 / (mean distance to the nearest neighbours + 1e-5) of (n, d), shape (n,) float64; 0 for one alone."""
    points = points.double()
    k = min(neighbours, len(points) // 2)
    if k == 0:
        return points.new_zeros(len(points))
    found = []
    for rows in blocks(len(points), len(points)):
        squared = squared_distances(points[rows], points)
        squared.diagonal(rows.start).fill_(torch.inf)  # nobody is their own neighbour
        found.append(1 / (squared.topk(k, largest=False).values.sqrt().mean(1) + 1e-5))
    return torch.cat(found)


def k_means(points: Tensor, count: int, rng: torch.Generator) -> Tensor:
    """Return the cluster of each row of (N, d), (N,) int64: k-means for up to 50 clusters, in batches for more.

    One OpenMP thread, because sums of several in any order would not repeat bit by bit; centres are seeded on three
    images each, because seeding on more takes longer than all else.
    """
    from sklearn.cluster import KMeans, MiniBatchKMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    seed = int(torch.randint(2**31 - 1, (), generator=rng))
    model = (
        KMeans(count, random_state=seed)
        if count <= 50
        else MiniBatchKMeans(count, batch_size=5000, init_size=3 * count, random_state=seed)
    )
    with warnings.catch_warnings(), threadpool_limits(1, user_api="openmp"):
        # duplicates leave clusters empty, and those get no turn
        warnings.simplefilter("ignore", ConvergenceWarning)
        clusters = model.fit_predict(points.cpu().numpy())
    return torch.from_numpy(clusters).long().to(points.device)
