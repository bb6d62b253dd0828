"""TypiClust (Hacohen, Dekel & Weinshall, ICML 2022): the most typical image of each cluster."""

from collections import deque
from dataclasses import dataclass

import torch
from torch import Tensor

from alctl.model.clusters import k_means, principal, typicality
from alctl.model.distances import unit
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
    components: int = 128
    """Principal components in which clusters are sought, for speed; 0 takes the embeddings whole, as the authors do."""

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
        clusters = k_means(principal(torch.cat([points, known]), self.components), count, rng)
        for turns in self._queues(clusters, len(points)):
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
