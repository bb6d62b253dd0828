"""A training run before it starts and after it has ended: what it learns from, and how it is recorded."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from sqlalchemy import Connection

from alctl.config import TrainConfig
from alctl.database import categories, items, training_runs
from alctl.database.training_runs import PROBE, TrainingRun
from alctl.errors import AlctlError
from alctl.files import file_digest
from alctl.metrics import Metrics
from alctl.model.device import check_device, environment, resolve
from alctl.model.schedule import enough_epochs
from alctl.model.task import TASKS, WHOLE_IMAGES, Task
from alctl.progress import Progress
from alctl.project import Project, now, required_state
from alctl.rounds.backbones import Used, used_or_default
from alctl.rounds.fingerprint import (
    fingerprint_after,
    fingerprint_of,
    fingerprint_of_probe,
    run_to_start_from,
)
from alctl.rounds.learnable import check_learnable
from alctl.rounds.model import has_weights
from alctl.rounds.training_set import Labeled, classes_named, kind_of, labeled, without_gone


@dataclass(frozen=True)
class Plan:
    """A training run before it starts: what it learns from, and what follows from that."""

    task: Task
    config: TrainConfig
    seed: int
    splits: Mapping[str, Labeled]
    fingerprint: str
    finished: TrainingRun | None
    """The recorded run of the same fingerprint, if there is one: training again would give the same weights."""
    before: TrainingRun | None = None
    """The training run whose weights a warm start begins with."""
    used: Used | None = None
    """The embeddings that a probe is fitted to; None for a network."""
    missing: Mapping[int, str] = field(default_factory=dict)
    """Where labeled images should be that are not there, by item id: the run goes on without them."""

    oblong: int = 0
    """Images of the project of which the central square, which a network sees, is two thirds or less."""
    why: str = ""
    """Why the network is what it is, where somebody would wonder."""

    @property
    def models(self) -> list[TrainConfig]:
        """How the networks are trained, one after the other: the joint one, and the one to report."""
        alone = replace(self.config, loss_weight=0.0, start="cold")
        return [self.config, alone] if self.config.report_model else [self.config]

    @property
    def idle(self) -> dict[int, str]:
        """Why the labels of some images teach nothing, by item id: the run goes on without them, too."""
        return {id_: why for some in self.splits.values() for id_, why in some.idle.items()}

    @property
    def epochs(self) -> int:
        """How many epochs all networks together take."""
        return self.config.epochs * len(self.models)


@dataclass(frozen=True)
class FinishedRun:
    """The last event of `run_training`: the run as it is recorded."""

    run: TrainingRun
    resumed: int
    """Epochs that were done before, by a run that was killed."""
    quarantined: Mapping[int, str]
    """Images that could not be decoded and were left out, by item id, and why."""
    missing: Mapping[int, str] = field(default_factory=dict)
    """Labeled images that are not there and were left out, by item id, and where they should be."""
    idle: Mapping[int, str] = field(default_factory=dict)
    """Labeled images that teach nothing and were left out, by item id, and why."""


def training_settings(project: Project, given: Mapping[str, object]) -> TrainConfig:
    """Return whole settings: the task's own defaults, over them those of `alctl.toml`, over these the ``given`` ones.

    AlctlError where the task that they name learns from other labels than the project's.
    """
    labels = project.state().task
    name = str(given.get("task") or project.config.train.task or labels)
    check_learnable(name)
    kind = TASKS.load(name)
    if kind.labels != labels:
        raise AlctlError(f"{name} learns from labels for {kind.labels}, and this project's are for {labels}")
    return project.config.train_for(kind.defaults, given)


def plan_training(project: Project, config: TrainConfig, seed: int | None) -> Plan:
    """Read what there is to learn from; AlctlError where it is too little."""
    used = used_or_default(project, config.device) if config.head == PROBE else None
    with project.reading() as connection:
        state = required_state(connection, project.folder)
        known = categories.numbered(connection)
        names, _, merged = categories.outputs(known, len(known))
        kind = kind_of(config.task or state.task)
        config, why = kind.choose(resolve(config), items.sizes(connection))
        oblong = items.oblong(connection) if kind.cuts else 0
        config = replace(config, flip=flips(config, names))
        task = kind(tuple(classes_named(known, names)), config.frame, tuple(merged), bool(config.flip))
        splits, missing = _labeled(connection, state.root, task)
        check_device(config.device)
        pool = splits["pool"]
        _check_enough(pool, task)
        fine_tuned = used is None and task.fine_tunes(config)
        enough = enough_epochs(len(pool.sources), config, fine_tuned=fine_tuned)
        config = replace(config, epochs=config.epochs or enough)
        seed = state.seed if seed is None else seed
        classes = [*names, *map(str, merged)]
        before = None
        if used is not None:
            _check_one_class_each(task)
            config = replace(config, model=f"probe on {used.name}", start="cold", report_model=False)
            fingerprint = fingerprint_of_probe(classes, config, used.key.digest, pool.plain)
        else:
            own = fingerprint_of(classes, config, seed, pool.plain, fine_tuned=fine_tuned)
            if config.start == "warm":
                networks = [run for run in training_runs.every_run(connection) if run.head != PROBE]
                before = run_to_start_from(own, networks)
            fingerprint = fingerprint_after(own, before)
        finished = _done(project, connection, fingerprint)
    return Plan(task, config, seed, splits, fingerprint, finished, before, used, missing, oblong, why)


def _labeled(connection: Connection, root: str, task: Task) -> tuple[dict[str, Labeled], dict[int, str]]:
    """Return what is labeled of each split, and where images of them should be that are not there."""
    found = {
        split: without_gone(labeled(connection, root, task, split))
        for split in ("pool", "validation", "test")
    }
    missing = {id_: why for _, gone in found.values() for id_, why in gone.items()}
    return {split: some for split, (some, _) in found.items()}, missing


def _done(project: Project, connection: Connection, fingerprint: str) -> TrainingRun | None:
    """Return the recorded run of a fingerprint; None without its weights: the error about those advises to train again."""
    finished = training_runs.last_run(connection, fingerprint)
    return None if finished is None or not has_weights(project, finished) else finished


def flips(config: TrainConfig, classes: Sequence[str]) -> bool:
    """Tell whether mirror images are trained on: by itself not where classes are letters or digits, which they turn."""
    if config.flip == "auto":
        return not all(len(name) == 1 and name.isalnum() for name in classes)
    return config.flip


def _check_enough(pool: Labeled, task: Task) -> None:
    if len(pool.sources) < 2:
        nothing = (
            f"; {len(pool.idle)} more teach nothing: {next(iter(pool.idle.values()))}" if pool.idle else ""
        )
        raise AlctlError(
            f"{len(pool.sources)} labeled images are too few to train on{nothing}; label a round first; "
            "`alctl status` names the command"
        )
    if why := task.check(pool.targets):
        raise AlctlError(why)


def _check_one_class_each(task: Task) -> None:
    if task.units != WHOLE_IMAGES:
        raise AlctlError(
            f"a probe answers with one class for an image, which is not what {task.labels} is; "
            "train the network: `alctl train --head network`"
        )


@dataclass(frozen=True)
class Trained:
    """What came out of a training run, before it is recorded."""

    config: TrainConfig
    """With what was found out on the way, such as the learning rate."""
    save: Callable[[Path], None]
    """Writes the model."""
    weights: str
    """What it started from."""
    learned: Sequence[int]
    """The items that it learned from."""
    metrics: Mapping[str, Metrics]
    report: Mapping[str, Metrics]
    """Of the model to report; empty if there is none."""
    seconds: float


def record(project: Project, plan: Plan, trained: Trained, progress: Progress) -> TrainingRun:
    """Write the model, then the run that names it, whole or not at all."""
    known = environment(plan.config.device) | {"weights": trained.weights}
    if plan.before is not None:
        known["started_from"] = plan.before.id
    if plan.task.merged:
        known["merged"] = [list(places) for places in plan.task.merged]
    with project.recording("train", progress) as connection:
        number = training_runs.next_run(connection)
        file = project.models / f"run-{number:04}.safetensors"
        trained.save(file)
        run = TrainingRun(
            id=number,
            fingerprint=plan.fingerprint,
            seed=plan.seed,
            config=asdict(trained.config),
            categories=list(plan.task.names),
            labeled=len(trained.learned),
            metrics=trained.metrics,
            report=trained.report,
            environment=known,
            file=file.relative_to(project.folder).as_posix(),
            digest=file_digest(file),
            seconds=trained.seconds,
            created_at=now(),
        )
        training_runs.write_run(connection, run, trained.learned)
    return run
