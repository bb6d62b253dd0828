"""Training runs of the real project: what there is to learn from, training, recording, and the model afterwards."""

import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from alctl.config import TrainConfig
from alctl.database import categories, items, training_runs
from alctl.errors import AlctlError
from alctl.files import file_digest
from alctl.model import checkpoint, score
from alctl.model.device import check_device, environment, resolve
from alctl.model.loss_prediction import Trained
from alctl.model.task import Task
from alctl.model.train import Epoch, new_model, train
from alctl.progress import Progress
from alctl.project import Project, now, required_state
from alctl.rounds import fingerprint as lineage
from alctl.rounds.trained_model import has_weights, weights_of
from alctl.rounds.training_set import Labeled, Loaded, cache_of, labeled, load, task_of


@dataclass(frozen=True)
class Plan:
    """A training run before it starts: what it learns from, and what follows from that."""

    task: Task
    config: TrainConfig
    seed: int
    splits: Mapping[str, Labeled]
    fingerprint: str
    finished: Mapping[str, Any] | None
    """The recorded run of the same fingerprint, if there is one: training again would give the same weights."""
    before: Mapping[str, Any] | None = None
    """The training run that a warm start goes on from."""

    @property
    def models(self) -> list[TrainConfig]:
        """How the models are trained, one after the other: the joint one, and the one to report."""
        alone = replace(self.config, loss_weight=0.0, start="cold")
        return [self.config, alone] if self.config.report_model else [self.config]

    @property
    def epochs(self) -> int:
        """Of all models together."""
        return self.config.epochs * len(self.models)


@dataclass
class Progressed:
    """What a training run has come to; filled in as it goes."""

    resumed: int = 0
    quarantined: dict[int, str] = field(default_factory=dict)
    run: Mapping[str, Any] | None = None


def plan_training(project: Project, config: TrainConfig, seed: int | None) -> Plan:
    """Read what there is to learn from; AlctlError where it is too little."""
    with project.reading() as connection:
        state = required_state(connection, project.folder)
        known = categories.class_list(connection)
        names, _, merged = categories.outputs(known, len(known))
        task = task_of(state.task, names, merged)
        splits = {
            split: labeled(connection, state.root, task, split) for split in ("pool", "validation", "test")
        }
        config = resolve(config, items.sizes(connection))
        check_device(config.device)
        _check_enough(splits["pool"], names)
        seed = state.seed if seed is None else seed
        own = lineage.fingerprint([*names, *map(str, merged)], config, seed, splits["pool"].plain)
        warm = config.start == "warm"
        before = lineage.run_before(own, training_runs.every_run(connection)) if warm else None
        fingerprint = lineage.gone_on(own, before)
        finished = training_runs.last_run(connection, fingerprint)
    if finished is not None and not has_weights(project, finished):
        finished = None  # training again is what the error about such weights advises
    return Plan(task, config, seed, splits, fingerprint, finished, before)


def _check_enough(pool: Labeled, names: Sequence[str]) -> None:
    if len(pool.sources) < 2:
        raise AlctlError(
            f"{len(pool.sources)} labeled images are too few to train on; label a round first: "
            "`alctl select --k 100`, then `alctl import-labels FILE`"
        )
    if pool.targets.dim() == 1 and len(classes := pool.targets.unique()) < 2:
        only = names[int(classes[0])]
        raise AlctlError(
            f"all {len(pool.sources)} labeled images are {only!r}; training needs at least two classes"
        )


def run_training(
    project: Project, plan: Plan, state: Progressed, progress: Progress
) -> Generator[Epoch, None, None]:
    """Train as planned and record the run, whole or not at all; a killed run goes on from its last checkpoint.

    An image that cannot be decoded is quarantined, named in ``state``, and left out. Epochs count on from the joint
    model to the one to report.
    """
    with project.held("train", "train.lock"):
        cache = cache_of(project, plan.task, plan.config.image_size)
        learned, images, broken = load(project, cache, plan.splits["pool"], progress)
        held = {split: load(project, cache, plan.splits[split], progress) for split in ("validation", "test")}
        for reasons in (broken, *(loaded.broken for loaded in held.values())):
            state.quarantined |= reasons
        started, done = time.perf_counter(), 0
        finished: list[Trained] = []
        files = [project.models / f"{plan.fingerprint[:12]}.{n}.checkpoint.safetensors" for n in range(2)]
        validation = (
            (held["validation"].pixels, held["validation"].labeled.targets)
            if held["validation"].labeled.sources
            else None
        )
        ids = [source.id for source in learned.sources]
        for config, file in zip(plan.models, files, strict=False):
            trained = _untrained(project, plan, config, images)
            epochs = train(
                trained, plan.task, images, learned.targets, ids, seed=plan.seed, validation=validation,
                checkpoint=file, fingerprint=plan.fingerprint,
            )  # fmt: skip
            for epoch in epochs:
                done += 1
                number = len(finished) * config.epochs + epoch.epoch
                state.resumed = number - done
                yield epoch._replace(epoch=number, epochs=plan.epochs)
            finished.append(trained)
        metrics = [_measure(plan, trained, held) for trained in finished]
        state.run = _record(project, plan, finished[0], ids, metrics, time.perf_counter() - started)
        for file in files:
            file.unlink(missing_ok=True)


def _untrained(project: Project, plan: Plan, config: TrainConfig, images: Any) -> Trained:
    """Return a model to be trained; a warm one has the weights of the run before."""
    if config.start == "cold" or plan.before is None:
        return new_model(plan.task, images, config, seed=plan.seed)
    trained = new_model(plan.task, images, replace(config, weights="none"), seed=plan.seed)
    trained.config = config
    checkpoint.carry_over(weights_of(project, plan.before), trained)
    trained.model.weights = f"training run {plan.before['id']}"
    return trained


def _measure(plan: Plan, trained: Trained, held: Mapping[str, Loaded]) -> dict[str, Any]:
    """Return the metrics of a model on each reserved split that has labels."""
    return {
        split: score.measure(
            score.predict(trained, plan.task, pixels, some.targets), plan.task, some.targets,
            interval=split == "validation",
        )
        for split, (some, pixels, _) in held.items()
        if some.sources
    }  # fmt: skip


def _record(
    project: Project,
    plan: Plan,
    trained: Trained,
    ids: list[int],
    metrics: list[dict[str, Any]],
    seconds: float,
) -> Mapping[str, Any]:
    """Write the weights, then the run that names them; the metrics of the model to report are in "report"."""
    known = environment(plan.config.device) | {"weights": trained.model.weights}
    if plan.before is not None:
        known["started_from"] = plan.before["id"]
    if plan.task.merged:
        known["merged"] = [list(places) for places in plan.task.merged]
    info = {"task": _task_name(project), "categories": plan.task.categories, "fingerprint": plan.fingerprint}
    with project.writing("train") as connection:
        number = training_runs.next_run(connection)
        file = project.models / f"run-{number:04}.safetensors"
        checkpoint.save_model(file, trained, info)
        values = {
            "fingerprint": plan.fingerprint,
            "seed": plan.seed,
            "config": asdict(plan.config),
            "categories": list(plan.task.categories),
            "labeled": len(ids),
            "metrics": {**metrics[0], **({"report": metrics[1]} if len(metrics) > 1 else {})},
            "environment": known,
            "file": file.relative_to(project.folder).as_posix(),
            "digest": file_digest(file),
            "seconds": seconds,
            "created_at": now(),
        }
        training_runs.write_run(connection, number, values, ids)
    return {"id": number, **values}


def _task_name(project: Project) -> str:
    return str(project.state().task)
