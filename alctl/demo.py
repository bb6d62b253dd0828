"""`alctl demo`: the whole loop on real images in two minutes, by the same code as the real commands.

Handwritten digits (scikit-learn carries them, 8×8 pixels) are written out as PNG files, and a file with the
true classes stands in for the annotators. Rounds run once with a probe on frozen embeddings and once with the jointly
trained network; on the labels rounds are replayed with the probe in five paired trials against random choice.
"""

import csv
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from alctl.annotators import handout
from alctl.annotators.imports.import_labels import ImportOptions, import_labels
from alctl.config import Config
from alctl.database import items, rounds
from alctl.dataset import index
from alctl.errors import AlctlError
from alctl.progress import Progress
from alctl.project import Project, open_project
from alctl.rounds import select, train_run
from alctl.rounds.embed import EmbedOptions, embed, plan_embedding
from alctl.rounds.own_simulation import OwnSimulation
from alctl.rounds.select_options import RANDOM, SelectOptions
from alctl.rounds.strategy_choice import HERDING
from alctl.rounds.train_plan import FinishedRun, plan_training
from alctl.simulation import mine

STRATEGIES = (HERDING, "learning-loss")
"""Who chooses for the probe, and for the network."""
MODELS = {HERDING: "probe, chosen by uherding", "learning-loss": "network, chosen by learning-loss"}
PROBE: dict[str, Any] = {"head": "probe"}
TRAINING: dict[str, Any] = {"epochs": 40, "width": 8, "batch_size": 40, "lr": 0.05, "image_size": 16}
"""A small network for small images, so that all of it fits into two minutes on two CPU cores."""
SUBSET = 150
"""As in the paper, only a random subset is scored: the top of the whole pool would be much of the same."""
DIGITS = 1_000
"""Of the 1,797, for time."""
TEST = 300
MORE = 300
"""Digits that are labeled at the end, so that trials have something to measure on."""
TRIALS = 5
BUDGETS = (20, 40, 80, 160)
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
        for i, (pixels, digit) in enumerate(zip(digits.images[:DIGITS], digits.target, strict=False)):
            name = f"{i:04}.png"
            Image.fromarray(np.round(pixels * (255 / 16)).astype(np.uint8)).save(images / name)
            answers.writerow((name, digit))
    return images, folder / "answers.csv"


def run(
    folder: Path, count: int, k: int, seed: int, progress: Progress
) -> Iterator[Step | Point | OwnSimulation]:
    """Run ``count`` rounds of ``k`` images with a probe and with a network, and trials on labels with the probe.

    Yields each command, each point of the curves, and in between what the trials say.
    """
    images, answers = write_digits(folder)
    for strategy in STRATEGIES:
        project = folder / strategy
        options = index.Options(classes=CLASSES, validation=0, test=TEST, seed=seed)
        report = index.create(project, index.folder_dataset(images, class_folders=False), options, progress)
        command = (
            f"alctl init digits -p {strategy} --classes {','.join(CLASSES)} --validation 0 --test {TEST}"
        )
        yield Step(command, f"{report.items:,} images indexed")
        opened = open_project(project)
        if strategy == HERDING:
            embedded = embed(opened, plan_embedding(opened, EmbedOptions()), progress)
            yield Step(
                f"alctl embed -p {strategy}", f"{embedded.embedded:,} embeddings by {embedded.backbone}"
            )
        else:
            torch.set_num_threads(
                1
            )  # the network is so small that a second thread would only wait for the first
        yield from _rounds(opened, strategy, answers, count, k, progress)
        if strategy == HERDING:
            yield from _replays(opened, folder, answers, progress)


def _rounds(
    project: Project, strategy: str, answers: Path, count: int, k: int, progress: Progress
) -> Iterator[Step | Point]:
    """Go round: select, import what the annotators say, train."""
    training = PROBE if strategy == HERDING else TRAINING
    config = replace(Config().train, **training)
    for number in range(1, count + 1):
        wanted = RANDOM if number == 1 and strategy != HERDING else strategy
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
                yield Step(f"alctl train -p {strategy} {flags(training)}", f"test accuracy {accuracy:.3f}")
                yield Point(strategy, event.run.labeled, accuracy)
            else:
                progress("training", event.epoch, event.epochs)


def _replays(
    project: Project, folder: Path, answers: Path, progress: Progress
) -> Iterator[Step | OwnSimulation]:
    """Label some more digits, and replay rounds on all that are labeled, in trials that tell chance from merit."""
    more = folder / "more.csv"
    with answers.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.reader(stream))
    with project.reading() as connection:
        free = {
            path
            for item, path in items.paths(connection)
            if item in set(rounds.subset(connection, MORE, 0, 1))
        }
    with more.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows(row for row in rows if row[0] in free or row == rows[0])
    took = import_labels(project, more, ImportOptions())
    yield Step(f"alctl import-labels more.csv -p {HERDING}", f"{took.added} labels more, of random images")
    plan = mine.plan(project, mine.MineOptions({HERDING: {}}, TRIALS, BUDGETS), progress)
    for _ in mine.run(project, plan, progress):
        pass
    found = mine.judge(project, plan)
    budgets = ",".join(map(str, BUDGETS))
    yield Step(
        f"alctl simulate --mine -p {HERDING} --strategy {HERDING} --trials {TRIALS} --budgets {budgets}",
        f"{found.trials} paired trials on {found.images} labeled images",
    )
    yield found


def flags(training: Mapping[str, Any]) -> str:
    """Return training settings as one would type them."""
    return " ".join(f"--{name.replace('_', '-')} {value}" for name, value in training.items())


def draw(points: list[Point], folder: Path) -> Path:
    """Draw the learning curves to a picture file in the folder; return it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes: Any = figure.subplots()
    for strategy in STRATEGIES:
        curve = [(p.labeled, p.accuracy) for p in points if p.strategy == strategy]
        axes.plot(*zip(*curve, strict=True), marker="o", label=f"{MODELS[strategy]}, one run")
    axes.set(xlabel="labeled images", ylabel="test accuracy", title="alctl demo: handwritten digits")
    axes.grid(alpha=0.3)
    axes.legend()
    file = folder / "learning_curve.png"
    figure.savefig(file, dpi=120)
    return file
