"""What training, scoring and selecting gave when it was recorded: a change of structure must not move a single bit.

`golden.json` names the machine that it is from. There numbers are equal to the last bit; elsewhere, since another
processor or another torch rounds otherwise, only the losses are, roughly. To record anew, after a change that means to
change results: `python -m tests.rounds.test_golden`.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from shutil import copyfile
from typing import Any

import pytest
import torch

from alctl.annotators import classes
from alctl.model import checkpoint
from alctl.model.train import Epoch
from alctl.project import Project
from alctl.rounds import trained_model, training_set
from alctl.rounds.model import Model
from alctl.rounds.select import select
from alctl.rounds.select_options import SelectOptions
from alctl.rounds.train_plan import FinishedRun, plan_training
from alctl.rounds.train_run import run_training
from tests.data import real_data
from tests.fakes import tiny
from tests.project_files import make_project, no_progress, small_project, take, write_csv

RECORDED = Path(__file__).with_name("golden.json")
CONFIG = tiny(image_size=32, width=8, batch_size=32, epochs=3, dropout=0.2, grad_stop=0.4)
STRATEGIES = ("entropy", "learning-loss", "badge", "bald", "core-set", "learning-loss-diverse")
Numbers = dict[str, list[float | None]]


def machine() -> list[str]:
    """Return what decides how sums are rounded: torch, the processor, and a limit on its instructions."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    processor = "\n".join(sorted({line for line in lines if line.startswith(("model", "flags"))}))
    digest = hashlib.sha256(processor.encode()).hexdigest()
    return [torch.__version__, digest, os.environ.get("ONEDNN_MAX_CPU_ISA", "")]


def cifar(folder: Path) -> Project:
    """Return a project of 130 images of CIFAR-10: 100 labeled, 20 for validation, 10 unlabeled."""
    packed = next(path.parents[1] for path in real_data("cifar10_test.tar.xz").rglob("airplane/0000.jpg"))
    names = sorted(path.name for path in packed.iterdir() if path.is_dir())
    (folder / "images").mkdir(parents=True)
    for name in names:
        for i in range(13):
            copyfile(packed / name / f"{i:04}.jpg", folder / "images" / f"{i:04}-{name}.jpg")
    project = make_project(folder / "project", folder / "images", classes=names, validation=20)
    rows = [(i + 1, names[i % 10]) for i in range(120)]
    take(project, write_csv(folder / "l.csv", rows), format="csv")
    return project


def merged(folder: Path) -> Project:
    """Return a project of noise whose class kitty was merged into cat, in the middle of the list."""
    project = small_project(folder, 40, classes=("cat", "dog", "kitty", "hen"), validation=8)
    rows = [(i, ("cat", "dog", "kitty", "hen")[i % 4]) for i in range(1, 33)]
    take(project, write_csv(folder / "l.csv", rows), format="csv")
    classes.merge(project, "cat", "kitty")
    return project


def bits(values: torch.Tensor) -> list[float | None]:
    return [float(value) for value in values.double().flatten().cpu()]


def whole(project: Project, **changes: Any) -> Numbers:
    """Train in one go, and ask and select with what came out."""
    return _numbers(
        project,
        list(run_training(project, plan_training(project, replace(CONFIG, **changes), 5), no_progress)),
    )


def in_pieces(project: Project) -> Numbers:
    """Train with micro-batches of 12 from the second epoch on, as after a pass that ran out of memory."""
    plan = plan_training(project, CONFIG, 5)
    events = run_training(project, plan, no_progress)
    first = next(events)
    events.close()
    (file,) = project.models.glob("*.checkpoint.safetensors")
    tensors, info = checkpoint.read(file)
    checkpoint.write(file, tensors, {**info, "micro_batch": 12})
    return _numbers(project, [first, *run_training(project, plan, no_progress)])


def _numbers(project: Project, events: list[Epoch | FinishedRun]) -> Numbers:
    found: Numbers = {}
    for event in events:
        if isinstance(event, FinishedRun):
            for split, measured in event.run.metrics.items():
                found |= {f"{split} {name}": [value] for name, value in measured.by_name().items()}
        else:
            found[f"epoch {event.epoch}"] = [
                event.target_loss, event.ranking_loss, event.ranking_accuracy, event.validation, event.validation_ranking,
            ]  # fmt: skip
    model = trained_model.required_model(project, "cpu")
    answers = trained_model.losses(project, model, no_progress)
    assert answers is not None
    assert answers.said.target_loss is not None
    found["true losses"] = bits(answers.said.target_loss)
    found["predicted losses"] = bits(_candidates(project, model).map(lambda said: said.predicted_loss))
    found["embeddings"] = bits(_candidates(project, model).embeddings().double().sum(1))
    for strategy in STRATEGIES:
        options = SelectOptions(5, strategy, device="cpu", guard=False, dry_run=True, seed=3)
        picks = select(project, options, no_progress).picks
        found[strategy] = [*(float(pick.item) for pick in picks), *(pick.score for pick in picks)]
    return found


def _candidates(project: Project, model: Model):
    with project.reading() as connection:
        some = training_set.labeled(connection, project.state().root, model.task, "pool")
    return model.candidates(project, some.sources, no_progress)


CASES: dict[str, Callable[[Path], Numbers]] = {
    "CIFAR-10": lambda folder: whole(cifar(folder)),
    "CIFAR-10 in micro-batches": lambda folder: in_pieces(cifar(folder)),
    "merged classes": lambda folder: whole(merged(folder), image_size=8, batch_size=16),
    "merged classes, all pairs, mse": lambda folder: whole(
        merged(folder), image_size=8, batch_size=15, pairing="all", rank_loss="mse", module="deeper"
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_results_are_what_they_were_to_the_last_bit(case, tmp_path):
    recorded = json.loads(RECORDED.read_text(encoding="utf-8"))
    found, wanted = CASES[case](tmp_path), recorded["cases"][case]
    assert found.keys() == wanted.keys()
    if recorded["machine"] == machine():
        assert {name: values for name, values in found.items() if values != wanted[name]} == {}
        assert found == wanted
    else:
        for name in ("epoch 1", "epoch 3"):
            assert found[name][0] == pytest.approx(wanted[name][0], rel=0.05), name


def record() -> None:
    """Write down what this code gives on this machine."""
    rows = []
    for name, run in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            numbers = run(Path(folder))
        lines = [
            f"{json.dumps(key)}: {json.dumps(values, allow_nan=False)}" for key, values in numbers.items()
        ]
        rows.append(f"{json.dumps(name)}: {{\n" + ",\n".join(lines) + "\n}")
    cases = ",\n".join(rows)
    RECORDED.write_text(
        f'{{"machine": {json.dumps(machine())},\n"cases": {{\n{cases}\n}}}}\n', encoding="utf-8"
    )


if __name__ == "__main__":
    record()
