"""The images of the experiments as frozen embeddings: computed once, kept in a folder.

    python -m benchmarks.selection.data clothing cifar10 mnist --data ../shared/data --cache ~/.cache/alctl-selection

`experiments` asks for what it needs itself; this command only computes it beforehand. One thread embeds about 24
photographs a second at 224 pixels, and 80 small images at 112.
"""

import argparse
import gzip
import io
import random
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps

from alctl.files import whole_file
from alctl.model.embedding import LITE0, backbone
from alctl.simulation.replay import Known

Labeled = tuple[Image.Image, str]
CIFAR_TRAIN, CIFAR_TEST = 1_000, 200
"""Images of each class that are taken of the 5,000 and the 1,000 there are."""


class Pack(NamedTuple):
    """Where a data set is, and the input of the network in pixels."""

    file: str
    size: int


PACKS = {
    "clothing": Pack("clothing_dev.zip", 224),
    "cifar10-train": Pack("cifar10_train.tar.xz", 112),
    "cifar10-test": Pack("cifar10_test.tar.xz", 112),
    "mnist": Pack("mnist_t10k.zip", 112),
}


def known(name: str, data: Path, cache: Path) -> Known:
    """Return the embeddings and classes of a data set, computed where they are not in ``cache`` yet."""
    file = cache / f"{name}.npz"
    if not file.exists():
        cache.mkdir(parents=True, exist_ok=True)
        pack = PACKS[name]
        vectors, classes = embedded(list(read(name, data / pack.file)), pack.size)
        with whole_file(file) as partial:
            np.savez(partial, vectors=vectors, classes=classes)
    with np.load(file) as kept:
        names = sorted(set(kept["classes"].tolist()))
        classes = np.array([names.index(one) for one in kept["classes"].tolist()])
        return Known(torch.from_numpy(kept["vectors"]).float(), classes, tuple(names))


def joined(parts: Sequence[Known]) -> Known:
    """Return several parts of one data set as one."""
    assert len({one.names for one in parts}) == 1
    vectors = torch.cat([one.vectors for one in parts])
    return Known(vectors, np.concatenate([one.classes for one in parts]), parts[0].names)


def embedded(images: Sequence[Labeled], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the vectors (N, D) in float16, as `alctl embed` keeps them, and the class names (N,)."""
    made = backbone(LITE0, size, size, "cpu")
    found = []
    for start in range(0, len(images), made.batch):
        part = images[start : start + made.batch]
        pixels = np.stack([made.encode(image) for image, _ in part])
        found.append(made.embed(torch.from_numpy(pixels)).numpy().astype(np.float16))
    return np.concatenate(found), np.array([name for _, name in images])


def read(name: str, file: Path) -> Iterator[Labeled]:
    """Yield the images of a data set with their classes, always in the same order."""
    if name == "clothing":
        yield from _photos(file)
    elif name == "mnist":
        yield from _digits(file)
    else:
        yield from _cifar(file, CIFAR_TRAIN if name == "cifar10-train" else CIFAR_TEST)


def _photos(file: Path) -> Iterator[Labeled]:
    with zipfile.ZipFile(file) as members:
        for path in sorted(one for one in members.namelist() if one.endswith(".jpg")):
            image = Image.open(io.BytesIO(members.read(path)))
            yield ImageOps.exif_transpose(image).convert("RGB"), path.split("/")[-2]


def _digits(file: Path) -> Iterator[Labeled]:
    with zipfile.ZipFile(file) as members:
        pixels, labels = (
            np.frombuffer(gzip.decompress(members.read(f"mnist_t10k/t10k-{one}-ubyte.gz")), np.uint8)
            for one in ("images-idx3", "labels-idx1")
        )
    for image, label in zip(pixels[16:].reshape(-1, 28, 28), labels[8:], strict=True):
        yield Image.fromarray(image).convert("RGB"), str(label)


def _cifar(file: Path, per_class: int) -> Iterator[Labeled]:
    """Yield a random part of each class; the files are small, so all are read."""
    found: dict[str, list[tuple[str, bytes]]] = {}
    with tarfile.open(file, "r:xz") as members:
        for member in members:
            content = members.extractfile(member) if member.name.endswith(".jpg") else None
            if content is not None:
                found.setdefault(member.name.split("/")[-2], []).append((member.name, content.read()))
    for name in sorted(found):
        for _, file_bytes in random.Random(0).sample(sorted(found[name]), per_class):
            yield Image.open(io.BytesIO(file_bytes)).convert("RGB"), name


def main() -> None:
    parser = argparse.ArgumentParser(description="Embed the images of the experiments.")
    parser.add_argument("names", nargs="+", choices=sorted(PACKS))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--cache", type=Path, required=True)
    given = parser.parse_args()
    torch.set_num_threads(1)
    for name in given.names:
        found = known(name, given.data, given.cache)
        print(f"{name}: {len(found.classes):,} images, {len(found.names)} classes", flush=True)


if __name__ == "__main__":
    main()
