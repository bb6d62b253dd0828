"""Cluster-Margin (Citovsky et al., NeurIPS 2021): unsure images, in turns from clusters, small clusters first."""

from dataclasses import dataclass
from itertools import zip_longest

import torch
from torch import Tensor

from alctl.model.clusters import k_means, principal
from alctl.model.distances import unit
from alctl.model.strategy import Candidates, Prediction, QueryStrategy, Selection, top_k
from alctl.model.uncertainty import margin


@dataclass(frozen=True)
class ClusterMargin(QueryStrategy):
    """Images whose two most probable classes are close, from as many clusters as possible; for large rounds."""

    beta: float = 10.0
    """β: candidates per pick, those of the smallest margin; 10 in the paper."""
    clusters: int = 0
    """How many clusters all images are put into; 0 is 10 a class, 1,250 at most."""
    components: int = 128
    """Principal components in which clusters are sought, for speed; 0 takes the embeddings whole."""

    def query(self, unlabeled: Candidates, labeled: Candidates, n: int, rng: torch.Generator) -> Selection:
        """Return the smallest margins of the clusters in turn, scored by the negative margin."""
        classes = 0

        def doubt(prediction: Prediction) -> Tensor:
            nonlocal classes
            classes = prediction.distributions.p.shape[-1]
            return -prediction.distributions.mean(margin)

        doubts = unlabeled.map(doubt)
        kept = int(min(self.beta * max(n, 1), len(doubts)))
        order, scores = top_k(doubts, max(n, kept))
        points = principal(unit(unlabeled.embeddings()), self.components)
        count = min(self.clusters or min(10 * classes, 1250), len(points))
        clusters = k_means(points, count, rng).cpu()
        turn = in_turns(clusters[order.cpu()], n)
        return Selection(order.cpu()[turn], scores.cpu()[turn])


def in_turns(clusters: Tensor, n: int) -> Tensor:
    """Return the first ``n`` positions of (K,), one from each cluster in turn: small clusters first, each in order.

    Of clusters of the same size the one whose first member comes first is first.
    """
    groups: dict[int, list[int]] = {}
    for position, cluster in enumerate(clusters.tolist()):
        groups.setdefault(cluster, []).append(position)
    small_first = sorted(groups.values(), key=lambda group: (len(group), group[0]))
    turns = [position for turn in zip_longest(*small_first) for position in turn if position is not None]
    return torch.tensor(turns[:n], dtype=torch.int64)
