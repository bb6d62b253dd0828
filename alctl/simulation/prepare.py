"""What a simulation is, and its folder: made ready once, and refused to any other simulation from then on."""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypedDict

from filelock import FileLock

from alctl import files
from alctl.config import TrainConfig
from alctl.database import rounds as recorded
from alctl.database.training_runs import PROBE
from alctl.dataset import index
from alctl.errors import AlctlError
from alctl.model.probe_candidates import NO_LOSSES
from alctl.progress import Progress
from alctl.project import CONFIG, Project, config_text, connect
from alctl.rounds.embed import EmbedOptions, embed, plan_embedding
from alctl.rounds.select_options import RANDOM
from alctl.rounds.strategy_choice import make_strategy
from alctl.simulation import hide_labels

LOCK = "simulate.lock"
RECORD = "simulation.json"
TRUTH = "truth.csv"
BASE = "base"
OWN = "own"
"""As the start: each strategy chooses its own first round, if it can do so without a model."""
_NO_MATTER = ("device", "checkpoint_every")
"""Training settings that may change in a folder: they say where and how safely it runs, not what."""


@dataclass(frozen=True)
class Simulation:
    """What is simulated. In a folder that was begun, only strategies, trials and rounds may be others."""

    dataset: str
    strategies: Mapping[str, Mapping[str, object]]
    """Names with parameters."""
    trials: int = 5
    rounds: int = 10
    k: int = 1000
    subset: int = 10_000
    """Random unlabeled images that are scored in every round after the first; 0: all."""
    shape: hide_labels.Shape = field(default_factory=hide_labels.Shape)
    label_noise: float = 0.0
    """Share of the pool's labels that name another class; the test's never do."""
    seed: int = 0
    start: str = RANDOM
    """The strategy of the first round, or `OWN`."""
    train: TrainConfig = field(default_factory=TrainConfig)


class Wanted(TypedDict):
    """A simulation as JSON, without what may be another in every command: device, trials, rounds."""

    dataset: str
    strategies: dict[str, dict[str, object]]
    k: int
    subset: int
    shape: dict[str, object]
    label_noise: float
    seed: int
    start: str
    train: dict[str, object]


class Facts(TypedDict):
    """What the base project was made of."""

    root: str
    classes: list[str]
    pool: int
    """Images of the pool."""
    test: int
    rare_classes: list[str]
    without_class: int


class Record(Wanted, Facts):
    """What `simulation.json` says."""


def prepare(
    folder: Path, simulation: Simulation, find: Callable[[], index.Dataset], progress: Progress
) -> Record:
    """Make the folder ready, or see that it is one of this simulation; return what is recorded of it.

    ``find`` is asked for the dataset only where the folder is new.
    """
    wanted = check(simulation)
    if folder.exists() and any(folder.iterdir()) and not (folder / LOCK).exists():
        raise AlctlError(f"{folder} is not empty and holds no simulation; choose another --project")
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / LOCK):
        file = folder / RECORD
        if not file.exists():
            facts = _make_base(folder, simulation, find(), progress)
            files.write_whole(file, json.dumps({**wanted, **facts}, indent=1, allow_nan=False))
        record: Record = json.loads(file.read_text(encoding="utf-8"))
        _refuse_other(folder, record, wanted)
        if set(wanted["strategies"]) - set(record["strategies"]):
            record["strategies"] |= wanted["strategies"]
            files.write_whole(file, json.dumps(record, indent=1, allow_nan=False))
    if simulation.k * simulation.rounds > record["pool"]:
        raise AlctlError(
            f"{simulation.rounds} rounds of {simulation.k:,} are more than the {record['pool']:,} images of the pool; "
            "choose a smaller --k or fewer --rounds"
        )
    return record


def check(simulation: Simulation) -> Wanted:
    """Return the simulation as it is recorded, without what may grow; AlctlError for what has no meaning."""
    if os.environ.get("ALCTL_DATABASE"):
        raise AlctlError("simulate keeps every arm in a SQLite file of its own; unset ALCTL_DATABASE")
    strategies = {name: make_strategy(name, params) for name, params in simulation.strategies.items()}
    readers = [name for name, strategy in strategies.items() if strategy.uses_predicted_loss]
    if simulation.start != OWN:
        make_strategy(simulation.start, {})
    if readers and simulation.train.head == PROBE:
        raise AlctlError(f"{readers[0]}: {NO_LOSSES}")
    if readers and not simulation.train.loss_weight:
        raise AlctlError(f"{readers[0]} needs the loss prediction module, which --loss-weight 0 leaves out")
    values = asdict(simulation) | {"strategies": {name: asdict(made) for name, made in strategies.items()}}
    for section, left_out in ((values, ("trials", "rounds")), (values["train"], _NO_MATTER)):
        for name in left_out:
            del section[name]
    wanted: Wanted = json.loads(json.dumps(values, allow_nan=False))
    return wanted


def _refuse_other(folder: Path, record: Record, wanted: Wanted) -> None:
    """Say what is not as the folder was begun with; a setting that it does not know had its default then."""
    known = {"start": RANDOM, **record, "train": {**asdict(TrainConfig()), **record["train"]}}
    new = set(wanted["strategies"]) - set(record["strategies"])
    old = {name: params for name, params in wanted["strategies"].items() if name not in new}
    before, now = dict(_flat(known)), dict(_flat({**wanted, "strategies": old}))
    changed = [
        f"  {name} was {before.get(name)!r} and is {value!r} now"
        for name, value in now.items()
        if value != before.get(name)
    ]
    if changed:
        raise AlctlError(f"{folder} holds another simulation; choose another --project:", *changed)


def _flat(values: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _make_base(folder: Path, simulation: Simulation, dataset: index.Dataset, progress: Progress) -> Facts:
    """Make the project that every arm is a copy of; return what it was made of."""
    shaped = hide_labels.shape(dataset, simulation.shape, simulation.seed)
    shutil.rmtree(folder / BASE, ignore_errors=True)
    options = index.Options(classes=shaped.classes, validation=0, test=0, seed=simulation.seed)
    index.create(folder / BASE, index.without_pool_labels(shaped.dataset), options, progress)
    files.write_whole(folder / BASE / CONFIG, config_text(cache="../cache"))
    with opened(folder / BASE) as project:
        with project.reading() as connection:
            pool = recorded.unlabeled(connection)
        if simulation.train.head == PROBE or simulation.start != RANDOM:
            wanted = EmbedOptions(device=simulation.train.device)
            embed(
                project, plan_embedding(project, wanted), progress
            )  # once for all arms, which share the cache
    hide_labels.write_truth(folder / TRUTH, shaped.truth)
    return {
        "root": str(dataset.root), "classes": shaped.classes, "pool": pool, "test": shaped.test,
        "rare_classes": shaped.rare, "without_class": shaped.without_class,
    }  # fmt: skip


@contextmanager
def opened(folder: Path) -> Iterator[Project]:
    """Give the project of a folder, and close its database."""
    project = connect(folder)
    try:
        yield project
    finally:
        project.engine.dispose()
