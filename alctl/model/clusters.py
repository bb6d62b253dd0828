"""Clusters of embeddings, and which image stands for each; what strategies that cluster share."""

import warnings

import torch
from torch import Tensor

from alctl.model.distances import blocks, squared_distances


def principal(points: Tensor, count: int) -> Tensor:
    """Return (N, d) in its first ``count`` principal components, in which most of the distances are; 0 leaves it whole.

    Vectors that have no more dimensions than that stay as they are.
    """
    if not 0 < count < points.shape[1]:
        return points
    mean = points.mean(0)
    if (
        len(points) <= points.shape[1]
    ):  # then what they vary in is found among their own products, which are fewer
        centred = (points - mean).double()
        products = torch.linalg.eigh(centred @ centred.T)
        lengths = products.eigenvalues[-count:].clamp(min=0).sqrt()
        found: Tensor = products.eigenvectors[:, -count:] * lengths
        return found.to(points.dtype)
    scatter = torch.zeros(points.shape[1], points.shape[1], dtype=torch.float64, device=points.device)
    for rows in blocks(len(points), points.shape[1]):
        centred = (points[rows] - mean).double()
        scatter += centred.T @ centred
    basis = torch.linalg.eigh(scatter).eigenvectors[:, -count:].to(points.dtype)
    return torch.cat([(points[rows] - mean) @ basis for rows in blocks(len(points), points.shape[1])])


def central(points: Tensor, clusters: Tensor) -> tuple[Tensor, Tensor]:
    """Return of each cluster the member of (N, d) nearest to its mean, and its size; the largest cluster first.

    ``clusters`` (N,) says whose member each point is. Ties go by lowest position. Both results are int64 on the CPU.
    """
    points, clusters = points.cpu(), clusters.cpu()  # where sums repeat to the bit
    sizes = clusters.bincount()
    means = torch.zeros(len(sizes), points.shape[1], dtype=torch.float64)
    for rows in blocks(len(points), points.shape[1]):
        means.index_add_(0, clusters[rows], points[rows].double())
    means /= sizes.clamp(min=1)[:, None]
    squared = torch.empty(len(points), dtype=torch.float64)
    for rows in blocks(len(points), points.shape[1]):
        squared[rows] = (points[rows].double() - means[clusters[rows]]).square_().sum(1)
    order = squared.argsort(stable=True)
    order = order[clusters[order].argsort(stable=True)]
    filled = sizes[sizes > 0]
    middle = order[filled.cumsum(0) - filled].sort()  # the first of each cluster, by position
    found = filled[middle.indices].argsort(descending=True, stable=True)
    return middle.values[found], filled[middle.indices][found]


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
