"""How fast does `alctl embed` embed photographs, and how much of it is the network?

Command:  python benchmarks/embed.py ../shared/data/clothing_dev.zip
Hardware: 2-core x86-64 with AVX2, other work beside it
Date:     2026-11-27

    400 × 533 pixels, images a second of processor time: all 24, decoding and cropping 226, network 34, as usual 12 (224 px)
                                                         all 78, decoding and cropping 422, network 119, as usual 69 (112 px)

One thread each: processor time. "usual recipe" is the same network and the same images as one would write it down:
batch normalisation as it is, the default memory layout, batches of 32. Medians of interleaved runs.
"""

import argparse
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image

from alctl.images.decode import Source
from alctl.images.pixels import decode_ahead
from alctl.model import efficientnet_lite
from alctl.model.backbone import Backbone
from alctl.model.embedding import backbone

RUNS = 3


def unpack(archive: Path, folder: Path, n: int) -> list[Source]:
    """Write the first ``n`` photographs of a zip into a folder."""
    with zipfile.ZipFile(archive) as members:
        names = [name for name in members.namelist() if name.endswith(".jpg")][:n]
        for i, name in enumerate(names):
            (folder / f"{i}.jpg").write_bytes(members.read(name))
    return [Source(i, str(folder / f"{i}.jpg"), None) for i in range(len(names))]


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def usual(network: torch.nn.Module, pixels: torch.Tensor) -> None:
    with torch.inference_mode():
        for batch in pixels.split(32):
            network((batch.float() - 127) / 128)


def whole(made: Backbone, sources: list[Source]) -> None:
    for batch in decode_ahead(sources, made.encode, made.least, made.batch):
        made.embed(torch.from_numpy(batch.pixels))


def main() -> None:
    parser = argparse.ArgumentParser(description="How fast are photographs embedded?")
    parser.add_argument("archive", type=Path, help="a zip of photographs")
    parser.add_argument("--images", type=int, default=30)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        sources = unpack(given.archive, Path(folder), given.images)
        print(f"{len(sources)} photographs, the first one of {Image.open(sources[0].path).size} pixels")
        print(f"{'':24}{'224 px':>10}{'112 px':>10}   images/s")
        table: dict[str, list[float]] = {}
        for size in (224, 112):
            made = backbone("efficientnet-lite0", size, 500, "cpu")
            plain = efficientnet_lite.EfficientNetLite0().eval()
            batches = list(decode_ahead(sources, made.encode, made.least, made.batch))
            pixels = torch.from_numpy(np.concatenate([batch.pixels for batch in batches]))
            works: dict[str, Callable[[], object]] = {
                "decoding and cropping": lambda m=made: list(
                    decode_ahead(sources, m.encode, m.least, m.batch)
                ),
                "network": lambda m=made, p=pixels: [m.embed(part) for part in p.split(m.batch)],
                "network, usual recipe": lambda n=plain, p=pixels: usual(n, p),
                "all of it": lambda m=made: whole(m, sources),
            }
            times: dict[str, list[float]] = {name: [] for name in works}
            for _ in range(RUNS + 1):
                for name, work in works.items():
                    times[name].append(seconds(work))
            for name, found in times.items():
                table.setdefault(name, []).append(len(sources) / median(found[1:]))
    for name, rates in table.items():
        print(f"{name:24}" + "".join(f"{rate:10.1f}" for rate in rates))


if __name__ == "__main__":
    sys.exit(main())
