"""How much faster is factored BADGE than one that builds the gradients, and what memory does a big pool take?

Command:  python benchmarks/badge.py
Hardware: 2-core x86-64, other work beside it: read the ratios, not the seconds
Date:     2026-11-21

                    milliseconds per pick             ratio              same picks
      pool    C     loop  vectorised     ours  loop/ours  vectorised/ours   loop   vectorised
    10,000   10    271.7       11.63     0.63        430             18.4      30/30    300/300
     2,000  100    459.9       20.62     0.19       2431            109.0      30/30    300/300
    peak memory of a pool of 200,000 × 512, 10 classes, 100 picks, inputs included: 1.70 GB

Both peers are written here, not anybody's package, and both build the (N, C·512) gradients. "loop" is the recipe of
the early public implementations: torch's PairwiseDistance to the last pick, then a Python loop over the pool for the
minimum, where most of its time goes. "vectorised" is the best that can be done without factoring: one matrix-vector
product per pick. Peers and ours draw by the same random numbers, so they must pick the same images, up to rounding.
CPU times are medians of interleaved runs, all that comes before the first pick included, over 30 picks for "loop" and 300
for the others.
"""

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from statistics import median

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from alctl.model.strategies.badge import Badge
from alctl.model.strategy import Prediction
from alctl.model.tensors import of_whole_images

D = 512


class Predictions:
    """Candidates (alctl/model/strategy.py) out of probabilities (N, C) and embeddings (N, 512)."""

    def __init__(self, n: int, classes: int) -> None:
        rng = torch.Generator().manual_seed(0)
        self.probabilities = (3 * torch.randn(n, classes, generator=rng)).softmax(-1)
        self.vectors = torch.randn(n, D, generator=rng).relu_()

    def __len__(self) -> int:
        return len(self.vectors)

    def map(self, fn: Callable[[Prediction], Tensor], *, dropout_passes: int = 0) -> Tensor:
        """Predict all in one batch."""
        return fn(
            Prediction(self.probabilities, self.vectors, torch.zeros(0), lambda p, _: of_whole_images(p))
        )

    def embeddings(self) -> Tensor:
        """Return the embeddings (N, 512)."""
        return self.vectors

    def images(self) -> Iterator[Tensor]:
        """Refuse: there are none."""
        raise NotImplementedError


def ours(pool: Predictions, picks: int) -> list[int]:
    selection = Badge().query(pool, pool, picks, torch.Generator().manual_seed(1))
    positions: list[int] = selection.positions.tolist()
    return positions


def gradients(pool: Predictions) -> Tensor:
    p = pool.probabilities
    residual = p - nn.functional.one_hot(p.argmax(1), p.shape[1])
    return (residual[:, :, None] * pool.vectors[:, None]).flatten(1)


def draw(squared: Tensor, rng: torch.Generator) -> int:
    cumulative = squared.double().cumsum(0)
    chance = torch.rand((), dtype=torch.float64, generator=rng)
    return int(torch.searchsorted(cumulative / cumulative[-1], chance, right=True))


def loop(pool: Predictions, picks: int) -> list[int]:
    rng = torch.Generator().manual_seed(1)
    g = gradients(pool)
    distance_to = nn.PairwiseDistance(eps=0)
    positions = [int(g.norm(dim=1).argmax())]
    closest = distance_to(g, g[positions[0]])
    while len(positions) < picks:
        positions.append(draw(closest.square(), rng))
        new = distance_to(g, g[positions[-1]])
        for i in range(len(g)):
            closest[i] = min(closest[i], new[i])
    return positions


def vectorised(pool: Predictions, picks: int) -> list[int]:
    rng = torch.Generator().manual_seed(1)
    g = gradients(pool)
    norms = g.square().sum(1)
    positions = [int(norms.argmax())]
    closest = torch.full_like(norms, torch.inf)
    while len(positions) < picks:
        last = positions[-1]
        closest = torch.minimum(closest, (norms + norms[last] - 2 * (g @ g[last])).clamp_(min=0))
        closest[last] = 0
        positions.append(draw(closest, rng))
    return positions


def compare(n: int, classes: int, repeats: int) -> None:
    pool = Predictions(n, classes)
    milliseconds: dict[str, list[float]] = {"loop": [], "vectorised": [], "ours": []}
    found: dict[str, list[int]] = {}
    for _ in range(repeats):
        for run, picks in ((loop, 30), (vectorised, 300), (ours, 300)):
            start = time.process_time()
            found[run.__name__] = run(pool, picks)
            milliseconds[run.__name__].append(1000 * (time.process_time() - start) / picks)
    slow, fair, fast = (median(milliseconds[name]) for name in ("loop", "vectorised", "ours"))
    same = [
        sum(a == b for a, b in zip(found[name], found["ours"], strict=False))
        for name in ("loop", "vectorised")
    ]
    print(
        f"{n:6,} {classes:4} {slow:8.1f} {fair:11.2f} {fast:8.2f} {slow / fast:10.0f} {fair / fast:16.1f}"
        f" {same[0]:7}/30 {same[1]:6}/300",
        flush=True,
    )


def memory(n: int, picks: int) -> None:
    command = [sys.executable, __file__, "--pool", str(n), "--picks", str(picks)]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    print(
        f"peak memory of a pool of {n:,} × {D}, 10 classes, {picks} picks, inputs included: {out.strip()} GB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Factored BADGE against two that build the gradients.")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--pool", type=int, help="only run a pool of this size and print the peak memory in GB"
    )
    parser.add_argument("--picks", type=int, default=100)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    threadpool_limits(1)
    if arguments.pool:
        ours(Predictions(arguments.pool, 10), arguments.picks)
        print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f}")
        return
    print("                milliseconds per pick             ratio              same picks")
    print("  pool    C     loop  vectorised     ours  loop/ours  vectorised/ours   loop   vectorised")
    compare(10_000, 10, arguments.repeats)
    compare(2_000, 100, arguments.repeats)
    memory(200_000, arguments.picks)


if __name__ == "__main__":
    main()
