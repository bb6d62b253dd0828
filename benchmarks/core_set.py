"""How much faster is core-set than the obvious k-center, on one CPU thread, and what memory does a big pool take?

Command:  python benchmarks/core_set.py
Hardware: 2-core x86-64, other work beside it: read the ratios, not the seconds
Date:     2026-11-21

    features          pool  picks  obvious s   ours s   ratio   same picks
    feature-like    20,000  1,000     11.91     0.67    17.9   1,000/1,000
    feature-like    50,000  1,000     29.19     1.63    17.9   1,000/1,000
    isotropic       20,000    200      2.78     1.20     2.3     200/200
    peak memory of a pool of 200,000 × 512, 100 picks, features included: 1.39 GB

"obvious" is written here after the usual recipe, not anybody's package: sklearn's pairwise_distances from all images
to the labeled ones at once, then from all images to each pick. Both get the same float32 features and must pick the
same images. "feature-like" is 10 classes with 16 degrees of freedom behind a random rectified layer, like the last
layer of a trained network; "isotropic" is Gaussian noise in 512 dimensions, where nothing can be pruned. CPU
seconds are medians of interleaved runs (one run for 50,000), the distances to the labeled images included.
"""

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from statistics import median

import numpy as np
import torch
from sklearn.metrics import pairwise_distances
from threadpoolctl import threadpool_limits
from torch import Tensor

from alctl.model.strategies.core_set import CoreSet
from alctl.model.strategy import Prediction
from alctl.model.tensors import of_whole_images

D = 512
LABELED = 1000


class Embeddings:
    """Candidates (alctl/model/strategy.py) that are nothing but embeddings (N, 512)."""

    def __init__(self, embeddings: Tensor) -> None:
        self.vectors = embeddings

    def __len__(self) -> int:
        return len(self.vectors)

    def map(self, fn: Callable[[Prediction], Tensor], *, dropout_passes: int = 0) -> Tensor:
        """Predict all in one batch."""
        empty = torch.zeros(0)
        return fn(Prediction(empty, self.vectors, empty, lambda p, _: of_whole_images(p)))

    def embeddings(self) -> Tensor:
        """Return the embeddings (N, 512)."""
        return self.vectors

    def images(self) -> Iterator[Tensor]:
        """Refuse: there are none."""
        raise NotImplementedError


def features(kind: str, n: int) -> Tensor:
    rng = torch.Generator().manual_seed(0)
    if kind == "isotropic":
        return torch.randn(n, D, generator=rng)
    classes = torch.randn(10, 16, generator=rng)[torch.randint(10, (n,), generator=rng)]
    latent = classes + 0.5 * torch.randn(n, 16, generator=rng)
    return (latent @ torch.randn(16, D, generator=rng) / 4).relu_()


def ours(pool: Tensor, labeled: Tensor, picks: int) -> list[int]:
    selection = CoreSet().query(Embeddings(pool), Embeddings(labeled), picks, torch.Generator())
    positions: list[int] = selection.positions.tolist()
    return positions


def obvious(pool: Tensor, labeled: Tensor, picks: int) -> list[int]:
    x = pool.numpy()
    closest = pairwise_distances(x, labeled.numpy()).min(axis=1)
    positions = []
    for _ in range(picks):
        positions.append(int(np.argmax(closest)))
        closest = np.minimum(closest, pairwise_distances(x, x[positions[-1] :][:1])[:, 0])
    return positions


def timed(run: Callable[[], list[int]]) -> tuple[float, list[int]]:
    start = time.process_time()
    picks = run()
    return time.process_time() - start, picks


def compare(kind: str, n: int, picks: int, repeats: int) -> None:
    data = features(kind, LABELED + n)
    labeled, pool = data[:LABELED], data[LABELED:]
    seconds: dict[str, list[float]] = {"ours": [], "obvious": []}
    same = 0
    for _ in range(repeats):
        a, first = timed(lambda: ours(pool, labeled, picks))
        b, second = timed(lambda: obvious(pool, labeled, picks))
        seconds["ours"].append(a)
        seconds["obvious"].append(b)
        same = sum(x == y for x, y in zip(first, second, strict=True))
    fast, slow = median(seconds["ours"]), median(seconds["obvious"])
    print(
        f"{kind:13} {n:8,} {picks:6,} {slow:9.2f} {fast:8.2f} {slow / fast:7.1f} {same:7,}/{picks:,}",
        flush=True,
    )


def memory(n: int, picks: int) -> None:
    command = [sys.executable, __file__, "--pool", str(n), "--picks", str(picks)]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    print(f"peak memory of a pool of {n:,} × {D}, {picks} picks, features included: {out.strip()} GB")


def main() -> None:
    parser = argparse.ArgumentParser(description="Core-set against the obvious k-center.")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--pool", type=int, help="only run a pool of this size and print the peak memory in GB"
    )
    parser.add_argument("--picks", type=int, default=100)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    threadpool_limits(1)
    if arguments.pool:
        data = features("feature-like", LABELED + arguments.pool)
        ours(data[LABELED:], data[:LABELED], arguments.picks)
        print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f}")
        return
    print("features          pool  picks  obvious s   ours s   ratio   same picks")
    compare("feature-like", 20_000, 1000, arguments.repeats)
    compare("feature-like", 50_000, 1000, 1)
    compare("isotropic", 20_000, 200, arguments.repeats)
    memory(200_000, arguments.picks)


if __name__ == "__main__":
    main()
