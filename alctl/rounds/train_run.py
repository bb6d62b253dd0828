"""Training runs: read what there is to learn from, train, measure, and record the run with its weights."""

import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

from alctl.config import TrainConfig
from alctl.database import categories, items, training_runs
from alctl.database.training_runs import TrainingRun
from alctl.errors import AlctlError
from alctl.files import file_digest
from alctl.metrics import Metrics
from alctl.model import checkpoint, score
from alctl.model.device import check_device, environment, resolve
from alctl.model.loss_prediction import Trained
from alctl.model.task import Task
from alctl.model.train import Epoch, Images, new_model, train
from alctl.progress import Progress
from alctl.project import Project, now, required_state
from alctl.rounds.fingerprint import fingerprint_after, fingerprint_of, run_to_start_from
from alctl.rounds.trained_model import has_weights, model_of, weights_of
from alctl.rounds.training_set import Labeled, Loaded, cache_of, labeled, load, task_of, without_gone


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
    missing: Mapping[int, str] = field(default_factory=dict)
    """Where labeled images should be that are not there, by item id: the run goes on without them."""

    @property
    def models(self) -> list[TrainConfig]:
        """How the models are trained, one after the other: the joint one, and the one to report."""
        alone = replace(self.config, loss_weight=0.0, start="cold")
        return [self.config, alone] if self.config.report_model else [self.config]

    @property
    def epochs(self) -> int:
        """How many epochs all models together take."""
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


def plan_training(project: Project, config: TrainConfig, seed: int | None) -> Plan:
    """Read what there is to learn from; AlctlError where it is too little."""
    with project.reading() as connection:
        state = required_state(connection, project.folder)
        known = categories.class_list(connection)
        names, _, merged = categories.outputs(known, len(known))
        task = task_of(state.task, names, merged)
        found = {
            split: without_gone(labeled(connection, state.root, task, split))
            for split in ("pool", "validation", "test")
        }
        splits = {split: some for split, (some, _) in found.items()}
        missing = {id_: why for _, gone in found.values() for id_, why in gone.items()}
        config = resolve(config, items.sizes(connection))
        check_device(config.device)
        _check_enough(splits["pool"], names)
        seed = state.seed if seed is None else seed
        own = fingerprint_of([*names, *map(str, merged)], config, seed, splits["pool"].plain)
        warm = config.start == "warm"
        before = run_to_start_from(own, training_runs.every_run(connection)) if warm else None
        fingerprint = fingerprint_after(own, before)
        finished = training_runs.last_run(connection, fingerprint)
    if finished is not None and not has_weights(project, finished):
        finished = None  # training again is what the error about such weights advises
    return Plan(task, config, seed, splits, fingerprint, finished, before, missing)


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
    project: Project, plan: Plan, progress: Progress
) -> Generator[Epoch | FinishedRun, None, None]:
    """Train as planned, yielding every epoch; record the run, whole or not at all, and yield it last.

    A killed run goes on from its last checkpoint. An image that cannot be decoded is quarantined and left out. Epochs
    count on from the joint model to the one to report.
    """
    with project.held("train", "train.lock"):
        cache = cache_of(project, plan.task, plan.config.image_size)
        learned, images, broken = load(project, cache, plan.splits["pool"], progress)
        held = {split: load(project, cache, plan.splits[split], progress) for split in ("validation", "test")}
        started, done, resumed = time.perf_counter(), 0, 0
        finished: list[Trained] = []
        files = [project.models / f"{plan.fingerprint[:12]}.{n}.checkpoint.safetensors" for n in range(2)]
        told = held["validation"]
        validation = (told.pixels, told.labeled.targets) if told.labeled.sources else None
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
                resumed = number - done
                yield epoch._replace(epoch=number, epochs=plan.epochs)
            score.predict(
                trained, plan.task, images[: config.batch_size]
            )  # refuses a model that diverged at the end
            finished.append(trained)
        metrics = [_measure(plan, trained, held) for trained in finished]
        run = _record(project, plan, finished[0], ids, metrics, time.perf_counter() - started)
        for file in files:
            file.unlink(missing_ok=True)
    left_out = {**broken, **held["validation"].broken, **held["test"].broken}
    yield FinishedRun(run, resumed, left_out, plan.missing)


def measured_again(project: Project, plan: Plan, finished: TrainingRun, progress: Progress) -> TrainingRun:
    """Return the finished run of a plan, measured again where validation images were labeled since, and recorded so.

    Also a run of before predicted losses were compared with margin. The model to report is gone and keeps its metrics.
    """
    told, count = finished.metrics.get("validation"), len(plan.splits["validation"].sources)
    known = told is not None and told.images == count and told.uncertainty is not None
    if known or not count or finished.config["loss_weight"] == 0:
        return finished
    with project.held("train", "train.lock"):
        cache = cache_of(project, plan.task, plan.config.image_size)
        held = {split: load(project, cache, plan.splits[split], progress) for split in ("validation", "test")}
        trained = model_of(project, finished, plan.config.device).trained
        again = replace(finished, metrics=_measure(plan, trained, held))
        with project.writing("train") as connection:
            training_runs.write_metrics(connection, again)
    return again


def to_the_end(events: Iterator[Epoch | FinishedRun], each: Callable[[Epoch], object]) -> FinishedRun:
    """Give every epoch of `run_training` to ``each`` as it ends; return the finished run."""
    for event in events:
        if isinstance(event, FinishedRun):
            return event
        each(event)
    raise RuntimeError("a training ended without its run")


def _untrained(project: Project, plan: Plan, config: TrainConfig, images: Images) -> Trained:
    """Return a model to be trained; for a warm start with the weights of the run before."""
    if config.start == "cold" or plan.before is None:
        return new_model(plan.task, images, config, seed=plan.seed)
    trained = new_model(plan.task, images, replace(config, weights="none"), seed=plan.seed)
    trained.config = config
    checkpoint.carry_over(weights_of(project, plan.before), trained)
    trained.model.weights = f"training run {plan.before.id}"
    return trained


def _measure(plan: Plan, trained: Trained, held: Mapping[str, Loaded]) -> dict[str, Metrics]:
    """Return the metrics of a model on each reserved split that has labels; AlctlError if one is no finite number."""
    found = {
        split: score.measure(
            score.predict(trained, plan.task, pixels, some.targets), plan.task, some.targets,
            interval=split == "validation",
        )
        for split, (some, pixels, _) in held.items()
        if some.sources
    }  # fmt: skip
    for split, metrics in found.items():
        for name, number in metrics.by_name().items():
            if number is not None and not math.isfinite(number):
                raise AlctlError(
                    f"{name} on the {split} images is {number} after epoch {plan.config.epochs}, so the training diverged; "
                    f"train with a lower learning rate than --lr {plan.config.lr:g}"
                )
    return found


def _record(
    project: Project,
    plan: Plan,
    trained: Trained,
    ids: list[int],
    metrics: list[dict[str, Metrics]],
    seconds: float,
) -> TrainingRun:
    """Write the weights, then the run that names them; ``metrics`` are of the joint model and the one to report."""
    known = environment(plan.config.device) | {"weights": trained.model.weights}
    if plan.before is not None:
        known["started_from"] = plan.before.id
    if plan.task.merged:
        known["merged"] = [list(places) for places in plan.task.merged]
    info = {"task": _task_name(project), "categories": plan.task.categories, "fingerprint": plan.fingerprint}
    with project.writing("train") as connection:
        number = training_runs.next_run(connection)
        file = project.models / f"run-{number:04}.safetensors"
        checkpoint.save_model(file, trained, info)
        run = TrainingRun(
            id=number,
            fingerprint=plan.fingerprint,
            seed=plan.seed,
            config=asdict(plan.config),
            categories=list(plan.task.categories),
            labeled=len(ids),
            metrics=metrics[0],
            report=metrics[1] if len(metrics) > 1 else {},
            environment=known,
            file=file.relative_to(project.folder).as_posix(),
            digest=file_digest(file),
            seconds=seconds,
            created_at=now(),
        )
        training_runs.write_run(connection, run, ids)
    return run


def _task_name(project: Project) -> str:
    return str(project.state().task)
