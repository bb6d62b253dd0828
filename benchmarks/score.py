"""How close does scoring come to decoding and the forward pass alone, and what does the module add?

Command:  python -m benchmarks.score --images 768 --rounds 5
Hardware: 2-core x86-64 (AMD EPYC: bf16 vector instructions, no matrix units), no GPU, otherwise idle
Date:     2026-11-21

        alone / ours   with / without module   port / ours   img/s   agree   (medians)
bf16            1.00                   1.015         2.08×     291     96%
fp32            1.01                   1.012         1.12×     158    100%

JPEG files of 32×32 pixels through ResNet-18, as `alctl select` scores them. "alone" is the same decoding and the same
network without the module, measured separately and added up. "module" compares the forward pass with and without it.
"port" is the loop of benchmarks/networks.py over images that are already in memory. "agree" is the share of the port's
top 10 % that ours picks too, with the same weights.

On a processor without bf16 instructions bf16 is left out, and a narrow network ends within two minutes even on a busy
machine: `--images 128 --rounds 3 --width 16`, AVX2, 2026-12-01: alone / ours 1.07, with / without module 1.132 (the
narrower the network, the larger the module's share), port / ours 1.25×, the same top 10 %.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from alctl.images.decode import Source
from alctl.images.pixels import ImageCache
from alctl.model.loss_prediction import Trained
from alctl.model.score import Scorer
from alctl.model.tasks.classification import Classification
from benchmarks.networks import Port, add_size_options, fresh, random_images, settings


def quiet(_stage: str, _done: int, _total: int) -> None:
    pass


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def files(folder: Path, n: int) -> list[Source]:
    """Write random JPEG files."""
    images, _ = random_images(n)
    for i, pixels in enumerate(images.permute(0, 2, 3, 1).numpy()):
        Image.fromarray(pixels).save(folder / f"{i}.jpg", quality=90)
    return [Source(i, str(folder / f"{i}.jpg"), None) for i in range(n)]


def forward(trained: Trained, pixels: np.ndarray, *, module: bool) -> Tensor:
    """Run the network over all images, with or without the module."""
    results = []
    with torch.no_grad():
        for start in range(0, len(pixels), 512):
            batch = torch.from_numpy(pixels[start : start + 512])
            kept, trained.module = trained.module, trained.module if module else None
            output, predicted = trained(batch)
            trained.module = kept
            results.append(output.raw[:, 0] if predicted is None else predicted)
    return torch.cat(results)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=9)
    add_size_options(parser)
    given = parser.parse_args()
    images, targets = random_images(given.images)
    port = Port(images, targets, given.width)
    print(
        f"{'':6}{'alone / ours':>14}{'with / without module':>24}{'port / ours':>14}{'img/s':>8}{'agree':>8}   (medians)"
    )
    with tempfile.TemporaryDirectory() as name:
        sources = files(Path(name), given.images)
        for precision in given.precision:
            task, trained = fresh(settings(precision=precision, width=given.width), images)
            trained.eval()
            row = measure(task, trained, sources, Path(name) / precision, port, given.rounds)
            print(
                f"{precision:6}{row[0]:>14.2f}{row[1]:>24.3f}{row[2]:>13.2f}×{given.images / row[3]:>8.0f}{row[4]:>8.0%}"
            )


def measure(
    task: Classification, trained: Trained, sources: list[Source], cache: Path, port: Port, rounds: int
) -> tuple[float, ...]:
    """Return alone / ours, with / without module, port / ours, our seconds, agreement of the top 10 %."""
    n = len(sources)

    def store(limit: float) -> ImageCache:
        return ImageCache(cache, task.frame, task.encode_image, limit, made_for="classification")

    def ours() -> Tensor:
        batches = store(0).batches  # nothing is stored, so every round decodes
        return Scorer(trained, task, lambda: batches(sources, quiet), n).map(lambda p: p.predicted_loss)

    pixels = store(0).load(sources, quiet)
    for source, layer in zip(trained.module.compress, port.module.layers, strict=True):  # type: ignore[union-attr]
        layer.load_state_dict(source.state_dict())
    port.module.out.load_state_dict(trained.module.predict.state_dict())  # type: ignore[union-attr]
    port.model.load_state_dict(trained.model.state_dict())
    times = []
    for _ in range(rounds):
        decode = seconds(lambda: store(0).load(sources, quiet))
        without = seconds(lambda: forward(trained, pixels, module=False))
        with_ = seconds(lambda: forward(trained, pixels, module=True))
        times.append((decode + with_, with_ / without, seconds(ours)))
    slow = median(seconds(port.score) for _ in range(3))
    mine = median(t[2] for t in times)
    top = n // 10
    normal = (torch.from_numpy(pixels).float() - trained.mean[:, None, None]) / trained.std[:, None, None]
    with torch.no_grad():
        truth = port.module(port.model(normal).features)
    agree = len(set(truth.topk(top).indices.tolist()) & set(ours().topk(top).indices.tolist())) / top
    return median(t[0] / t[2] for t in times), median(t[1] for t in times), slow / mine, mine, agree


if __name__ == "__main__":
    main()
