"""`alctl demo`: the whole loop on real images in two minutes, by the same code as the real commands.

Handwritten digits (scikit-learn carries 1,797 of them, 8×8 pixels) are written out as PNG files, and a file with the
true classes stands in for the annotators. The same rounds run twice: picked by predicted loss, and at random.
"""

import csv
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from alctl.annotators import handout
from alctl.annotators.imports.import_labels import ImportOptions, import_labels
from alctl.config import Config
from alctl.dataset import index
from alctl.errors import AlctlError
from alctl.progress import Progress
from alctl.project import Project, open_project
from alctl.rounds import select, train_run
from alctl.rounds.select_options import RANDOM, SelectOptions
from alctl.rounds.train_plan import FinishedRun, plan_training

STRATEGIES = ("learning-loss", "random")
TRAINING: dict[str, Any] = {"epochs": 40, "width": 8, "batch_size": 40, "lr": 0.05, "image_size": 16}
"""A small network for small images, so that all of it fits into two minutes on two CPU cores."""
SUBSET = 150
"""As in the paper, only a random subset is scored: the top of the whole pool would be much of the same."""
CLASSES = [str(digit) for digit in range(10)]


@dataclass(frozen=True)
class Step:
    """One command of the demo: what one would type, and what came of it."""

    command: str
    result: str


@dataclass(frozen=True)
class Point:
    """One point of a learning curve."""

    strategy: str
    labeled: int
    accuracy: float


def new_folder(folder: Path | None) -> Path:
    """Return the folder to run in, a temporary one for None; AlctlError if there is something in it."""
    if folder is not None and folder.exists() and any(folder.iterdir()):
        raise AlctlError(f"{folder} is not empty; name a new folder, or none for a temporary one")
    return (folder or Path(tempfile.mkdtemp(prefix="alctl-demo-"))).absolute()


def write_digits(folder: Path) -> tuple[Path, Path]:
    """Write the digits as PNG files, and their classes to a CSV; return both."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = folder / "digits"
    images.mkdir(parents=True)
    with (folder / "answers.csv").open("w", encoding="utf-8", newline="") as stream:
        answers = csv.writer(stream)
        answers.writerow(("path", "label"))
        for i, (pixels, digit) in enumerate(zip(digits.images, digits.target, strict=True)):
            name = f"{i:04}.png"
            Image.fromarray(np.round(pixels * (255 / 16)).astype(np.uint8)).save(images / name)
            answers.writerow((name, digit))
    return images, folder / "answers.csv"


def run(folder: Path, count: int, k: int, seed: int, progress: Progress) -> Iterator[Step | Point]:
    """Run ``count`` rounds of ``k`` images for each strategy, yielding each command and each point of the curves."""
    torch.set_num_threads(1)  # the network is so small that a second thread would only wait for the first
    images, answers = write_digits(folder)
    for strategy in STRATEGIES:
        project = folder / strategy
        options = index.Options(classes=CLASSES, validation=0, test=400, seed=seed)
        report = index.create(project, index.folder_dataset(images, class_folders=False), options, progress)
        command = f"alctl init digits -p {strategy} --classes {','.join(CLASSES)} --validation 0 --test 400"
        yield Step(command, f"{report.items:,} images indexed")
        yield from _rounds(open_project(project), strategy, answers, count, k, progress)


def _rounds(
    project: Project, strategy: str, answers: Path, count: int, k: int, progress: Progress
) -> Iterator[Step | Point]:
    """Go round: select, import what the annotators say, train."""
    config = replace(Config().train, **TRAINING)
    for number in range(1, count + 1):
        wanted = RANDOM if number == 1 else strategy
        selected = select.select(project, SelectOptions(k, wanted, subset=SUBSET, guard=False), progress)
        handout.export(project, selected.round, progress)
        named = f" --strategy {wanted}" + (" --no-guard" if wanted == "learning-loss" else "")
        yield Step(
            f"alctl select -p {strategy} --k {k} --subset {SUBSET}{named}",
            f"round {number}: {k} images by {selected.strategy}",
        )
        took = import_labels(project, answers, ImportOptions(round=number))
        yield Step(f"alctl import-labels answers.csv -p {strategy} --round {number}", f"{took.added} labels")
        plan = plan_training(project, config, None)
        for event in train_run.run_training(project, plan, progress):
            if isinstance(event, FinishedRun):
                accuracy = event.run.metrics["test"].of_task["accuracy"] or 0.0
                yield Step(f"alctl train -p {strategy} {flags()}", f"test accuracy {accuracy:.3f}")
                yield Point(strategy, event.run.labeled, accuracy)
            else:
                progress("training", event.epoch, event.epochs)


def flags() -> str:
    """Return the demo's training settings as one would type them."""
    return " ".join(f"--{name.replace('_', '-')} {value}" for name, value in TRAINING.items())


def draw(points: list[Point], folder: Path) -> Path:
    """Draw the learning curves to a picture file in the folder; return it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes: Any = figure.subplots()
    for strategy in STRATEGIES:
        curve = [(p.labeled, p.accuracy) for p in points if p.strategy == strategy]
        axes.plot(*zip(*curve, strict=True), marker="o", label=strategy)
    axes.set(xlabel="labeled images", ylabel="test accuracy", title="alctl demo: handwritten digits")
    axes.grid(alpha=0.3)
    axes.legend()
    file = folder / "learning_curve.png"
    figure.savefig(file, dpi=120)
    return file
