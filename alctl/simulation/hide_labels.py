"""A dataset whose labels are known, made ready to be labeled again: what is hidden, what is measured on, how it is bent."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import numpy as np

from alctl.chance import stream
from alctl.dataset.index import Dataset, Entry
from alctl.errors import AlctlError
from alctl.files import write_whole

MOST_TEST = 10_000


@dataclass(frozen=True)
class Shape:
    """How the pool and the test are made of a dataset."""

    imbalance: float = 1.0
    """R: a random half of the classes keep 1/R of their pool images."""
    test: int | None = None
    """Images drawn for the test where the dataset has no test split of its own; a fifth, at most 10,000."""


class Shaped(NamedTuple):
    """A dataset ready for a simulation."""

    dataset: Dataset
    classes: list[str]
    truth: dict[str, str]
    """The class of every pool image, by path."""
    test: int
    """Images of the test."""
    rare: list[str]
    """Classes that were thinned out."""
    without_class: int
    """Images that were left out, because nothing says their class."""


def shape(dataset: Dataset, wanted: Shape, seed: int) -> Shaped:
    """Hold out a test where there is none, thin out classes, and leave out what has no known class."""
    every = sorted(dataset.entries(), key=lambda entry: entry.path)
    entries = [entry for entry in every if entry.category is not None]
    unknown = len(every) - len(entries)
    classes = sorted({str(entry.category) for entry in entries})
    if len(classes) < 2:
        raise AlctlError(
            f"{dataset.root} names {len(classes)} classes, and simulate needs the class of every image: a folder "
            "for each class, or a manifest with a column label"
        )
    entries = _hold_out(dataset, entries, wanted.test, seed)
    rare = _rare(classes, seed) if wanted.imbalance > 1 else []
    entries = _thinned(entries, rare, wanted.imbalance, seed)
    truth = {entry.path: str(entry.category) for entry in entries if entry.split == "pool"}
    test = sum(entry.split == "test" for entry in entries)
    kept = Dataset(dataset.root, lambda: iter(entries), dataset.skipped)
    return Shaped(kept, classes, truth, test, rare, unknown)


def _hold_out(dataset: Dataset, entries: list[Entry], wanted: int | None, seed: int) -> list[Entry]:
    """Move random pool images to the test, unless the dataset has a test of its own."""
    own = sum(entry.split == "test" for entry in entries)
    if own and wanted is not None:
        raise AlctlError(f"{dataset.root} has a test split of its own, {own:,} images; leave out --test")
    if own:
        return entries
    pool = [i for i, entry in enumerate(entries) if entry.split == "pool"]
    count = min(MOST_TEST, len(pool) // 5) if wanted is None else wanted
    if not 0 < count < len(pool):
        raise AlctlError(
            f"{count:,} of {len(pool):,} images cannot be held out for the test; choose another --test"
        )
    drawn = np.random.default_rng(stream(seed, "hold out")).permutation(pool)[:count]
    moved = list(entries)
    for i in drawn:
        moved[i] = moved[i]._replace(split="test")
    return moved


def _rare(classes: list[str], seed: int) -> list[str]:
    """Return a random half of the classes, rounded down."""
    order = np.random.default_rng(stream(seed, "rare classes")).permutation(len(classes))
    return sorted(classes[i] for i in order[: len(classes) // 2])


def _thinned(entries: list[Entry], rare: list[str], ratio: float, seed: int) -> list[Entry]:
    """Keep a random 1/``ratio`` of the pool images of each rare class, at least one."""
    dropped: set[int] = set()
    for name in rare:
        of_class = [i for i, e in enumerate(entries) if e.split == "pool" and e.category == name]
        order = np.random.default_rng(stream(seed, "thin out", name)).permutation(of_class)
        dropped.update(order[max(1, round(len(of_class) / ratio)) :].tolist())
    return [entry for i, entry in enumerate(entries) if i not in dropped]


def noisy(truth: Mapping[str, str], share: float, seed: int) -> dict[str, str]:
    """Return the truth with a random ``share`` of the labels naming another class, every other one as likely."""
    classes = sorted(set(truth.values()))
    paths = sorted(truth)
    rng = np.random.default_rng(stream(seed, "label noise"))
    answers = dict(truth)
    for i in rng.permutation(len(paths))[: round(share * len(paths))]:
        true = classes.index(truth[paths[i]])
        answers[paths[i]] = classes[(true + int(rng.integers(1, len(classes)))) % len(classes)]
    return answers


def write_truth(file: Path, truth: Mapping[str, str]) -> None:
    """Write path and class of every pool image to a CSV, whole or not at all."""
    table = StringIO(newline="")
    csv.writer(table, lineterminator="\n").writerows([("path", "label"), *sorted(truth.items())])
    write_whole(file, table.getvalue())


def read_truth(file: Path) -> dict[str, str]:
    """Read what `write_truth` wrote."""
    with file.open(encoding="utf-8", newline="") as table:
        return {row["path"]: row["label"] for row in csv.DictReader(table)}
