"""What does the loss prediction module cost a training step, what the data pipeline, and how fast is an epoch?

Command:  python -m benchmarks.train --images 256 --rounds 15 --fp32-rounds 3
Hardware: 2-core x86-64 (AMD EPYC: bf16 vector instructions, no matrix units), no GPU, otherwise idle
Date:     2026-11-21

               joint / plain  pipeline / epoch   port / ours   img/s   (medians; quartiles)
bf16     1.027 (0.978…1.045)            0.1%         2.50×     108
fp32     1.025 (0.966…1.026)            0.1%         1.20×      52

ResNet-18 for 32×32 images, batches of 128. "joint / plain" is an epoch with the module against one without,
"pipeline" is gathering and augmenting every batch against the whole epoch, "port" the loop of benchmarks/networks.py.
All take turns epoch by epoch in one process; the ratios are medians of the ratios within a round.

On a processor without bf16 instructions bf16 is left out, and a narrow network ends within two minutes even on a busy
machine: `--images 128 --fp32-rounds 3 --width 16`, AVX2, 2026-12-01: joint / plain 0.974 (0.917…1.034), pipeline 0.1 %,
port / ours 1.35×.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median, quantiles

import torch

from alctl.model.tensors import rows
from alctl.model.train import batches, train
from benchmarks.networks import Port, add_size_options, fresh, random_images, settings


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def epochs(precision: str, loss_weight: float, n: int, width: int) -> Callable[[], object]:
    """Return a function that trains one more epoch at every call."""
    images, targets = random_images(n)
    config = settings(precision=precision, loss_weight=loss_weight, width=width)
    task, trained = fresh(config, images)
    run = train(trained, task, images, targets, list(range(n)), seed=0)
    return lambda: next(run)


def pipeline(n: int) -> Callable[[], object]:
    """Return a function that gathers and augments every batch of one epoch."""
    images, targets = random_images(n)
    task, _ = fresh(settings(precision="fp32"), images)
    rng = torch.Generator().manual_seed(0)

    def once() -> None:
        for items in batches(n, 128, rng):
            task.augment(images[items], rows(targets, items), rng)

    return once


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=384)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--fp32-rounds", type=int, default=5)
    add_size_options(parser)
    given = parser.parse_args()
    images, targets = random_images(given.images)
    port = Port(images, targets, given.width)
    print(
        f"{'':6}{'joint / plain':>22}{'pipeline / epoch':>18}{'port / ours':>14}{'img/s':>8}   (medians; quartiles)"
    )
    for precision in given.precision:
        rounds = given.rounds if precision == "bf16" else given.fp32_rounds
        work = [
            epochs(precision, 1.0, given.images, given.width),
            epochs(precision, 0.0, given.images, given.width),
            pipeline(given.images),
        ]
        for once in work:
            once()
        times = [[seconds(once) for once in work] for _ in range(rounds)]
        slow = [seconds(port.epoch) for _ in range(3)]
        ratios = [joint / plain for joint, plain, _ in times]
        low, _, high = quantiles(ratios, n=4)
        share = median(data / joint for joint, _, data in times)
        ours = median(joint for joint, _, _ in times)
        print(
            f"{precision:6}{median(ratios):>8.3f} ({low:.3f}…{high:.3f}){share:>16.1%}{median(slow) / ours:>13.2f}×"
            f"{given.images / ours:>8.0f}"
        )


if __name__ == "__main__":
    main()
