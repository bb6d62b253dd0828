"""How long does it take to collapse near-duplicates and to find the ten closest pairs, and in how much memory?

Command:  python -m benchmarks.near_duplicates --pool 10000 --threads 1
Hardware: 2-core x86-64, other work beside it: read the processor time, not the clock
Date:     2026-11-30

    collapse: 9,500 of 10,000 × 1280: 5.5 s on the clock, 3.2 s of processor time, 0.78 GB with the embeddings
    closest: 10 of 10,000 × 1280: 5.7 s on the clock, 3.5 s of processor time, 0.80 GB with the embeddings
    collapse: 28,496 of 30,000 × 1280: 58.0 s on the clock, 25.1 s of processor time, 0.89 GB with the embeddings
    closest: 10 of 30,000 × 1280: 56.8 s on the clock, 23.9 s of processor time, 0.89 GB with the embeddings

Embeddings are made up, as in herding.py; a twentieth of them are copies with a little noise. They are there before the
clock starts.
"""

import argparse
import resource
import time

import torch

from alctl.model.near_duplicates import closest, collapse
from benchmarks.herding import features


def main() -> None:
    parser = argparse.ArgumentParser(description="The time and memory of collapsing near-duplicates.")
    parser.add_argument("--pool", type=int, default=10_000)
    parser.add_argument("--dimensions", type=int, default=1_280)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    points = features(arguments.pool, arguments.dimensions)
    copies = arguments.pool // 20
    noise = torch.randn(copies, arguments.dimensions, generator=torch.Generator().manual_seed(2))
    points[-copies:] = points[:copies] + 0.2 * noise
    for name, work in (
        ("collapse", lambda: len(collapse(points, 0.92).kept)),
        ("closest", lambda: len(closest(points, 10))),
    ):
        wall, processor = time.perf_counter(), time.process_time()
        found = work()
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
        print(
            f"{name}: {found:,} of {len(points):,} × {arguments.dimensions}: {wall:.1f} s on the clock, "
            f"{processor:.1f} s of processor time, {peak:.2f} GB with the embeddings"
        )


if __name__ == "__main__":
    main()
