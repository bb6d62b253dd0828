"""Training runs of the real project: what there is to learn from, training, recording, and the model afterwards."""

import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from alctl import checkpoint, lineage, score
from alctl.config import TrainConfig
from alctl.errors import AlctlError
from alctl.examples import Labeled, cache_of, labeled, task_of
from alctl.images import BrokenImages, ImageCache
from alctl.lineage import file_digest
from alctl.machine import check_device, environment, resolve
from alctl.models import Trained
from alctl.pool import categories, items, rounds
from alctl.progress import Progress
from alctl.project import Project, now, required_state
from alctl.task import Task
from alctl.train import Epoch, new_model, train


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
        task = task_of(state["task"], names, merged)
        splits = {
            split: labeled(connection, state["root"], task, split) for split in ("pool", "validation", "test")
        }
        config = resolve(config, items.sizes(connection))
        check_device(config.device)
        _check_enough(splits["pool"], names)
        seed = state["seed"] if seed is None else seed
        own = lineage.fingerprint([*names, *map(str, merged)], config, seed, splits["pool"].plain)
        warm = config.start == "warm"
        before = lineage.run_before(own, rounds.every_run(connection)) if warm else None
        fingerprint = lineage.gone_on(own, before)
        finished = rounds.last_run(connection, fingerprint)
    if finished is not None and not _has_weights(project, finished):
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
        learned, images = _load(project, cache, plan.splits["pool"], state, progress)
        held = {s: _load(project, cache, plan.splits[s], state, progress) for s in ("validation", "test")}
        started, done = time.perf_counter(), 0
        finished: list[Trained] = []
        files = [project.models / f"{plan.fingerprint[:12]}.{n}.checkpoint.safetensors" for n in range(2)]
        validation = (
            (held["validation"][1], held["validation"][0].targets) if held["validation"][0].sources else None
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


def _measure(plan: Plan, trained: Trained, held: Mapping[str, tuple[Labeled, Any]]) -> dict[str, Any]:
    """Return the metrics of a model on each reserved split that has labels."""
    return {
        split: score.measure(
            score.predict(trained, plan.task, pixels, some.targets), plan.task, some.targets,
            interval=split == "validation",
        )
        for split, (some, pixels) in held.items()
        if some.sources
    }  # fmt: skip


def _load(
    project: Project, cache: ImageCache, some: Labeled, state: Progressed, progress: Progress
) -> tuple[Labeled, Any]:
    """Return the images that can be decoded, and their pixels; the others are quarantined."""
    try:
        return some, cache.load(some.sources, progress)
    except BrokenImages as broken:
        quarantine(project, broken)
        state.quarantined |= broken.reasons
        keep = [i for i, source in enumerate(some.sources) if source.id not in broken.reasons]
        rest = Labeled([some.sources[i] for i in keep], some.targets[keep])
        return rest, cache.load(rest.sources, progress)


def quarantine(project: Project, broken: BrokenImages) -> None:
    """Mark images as unusable, for good."""
    with project.writing("quarantine") as connection:
        items.quarantine(connection, broken.reasons)


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
        number = rounds.next_run(connection)
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
        rounds.write_run(connection, number, values, ids)
    return {"id": number, **values}


def _task_name(project: Project) -> str:
    return str(project.state()["task"])


@dataclass(frozen=True)
class Model:
    """A finished training run, ready to score."""

    run: Mapping[str, Any]
    trained: Trained
    task: Task
    """With the class list as it is now, as far as the model knows it."""
    ids: Sequence[int]
    """The class that each output stands for; 0 where it only adds to another one, since a merge."""


def last_model(project: Project, device: str = "auto") -> Model | None:
    """Load the newest trained model; None before the first training run."""
    with project.reading() as connection:
        run = rounds.last_run(connection)
    return None if run is None else model_of(project, run, device)


def model_of(project: Project, run: Mapping[str, Any], device: str = "auto") -> Model:
    """Load the model of a recorded training run; AlctlError if its weights are gone or not its own."""
    trained, info = checkpoint.load_model(
        weights_of(project, run), lambda info: task_of(info["task"], info["categories"])
    )
    config = resolve(replace(trained.config, device=device, precision="auto"), (0, 0))
    check_device(config.device)
    trained.config = replace(trained.config, device=config.device, precision=config.precision)
    trained.to(config.device)
    with project.reading() as connection:
        names, ids, merged = categories.outputs(categories.class_list(connection), len(info["categories"]))
    return Model(run, trained, task_of(info["task"], names, merged), ids)


def _has_weights(project: Project, run: Mapping[str, Any]) -> bool:
    try:
        weights_of(project, run)
    except AlctlError:
        return False
    return True


def weights_of(project: Project, run: Mapping[str, Any]) -> Path:
    """Return the file of weights of a training run; AlctlError if it is gone or another."""
    file: Path = project.folder / run["file"]
    if not file.is_file():
        raise AlctlError(f"the weights of training run {run['id']} are gone: {file}; run `alctl train` again")
    if file_digest(file) != run["digest"]:
        raise AlctlError(
            f"{file} is not the file that training run {run['id']} wrote; run `alctl train` again"
        )
    return file


def predictions(
    project: Project, model: Model, split: str, progress: Progress
) -> tuple[score.Predictions, Tensor]:
    """Return what the model says of the labeled images of a split, and their targets (N, …)."""
    with project.reading() as connection:
        root = required_state(connection, project.folder)["root"]
        some = labeled(connection, root, model.task, split)
    if not some.sources:
        raise AlctlError(f"no {split} image is labeled; the reserved images go out with the first round")
    cache = cache_of(project, model.task, model.trained.config.image_size)
    some, pixels = _load(project, cache, some, Progressed(), progress)
    return score.predict(model.trained, model.task, pixels, some.targets), some.targets


def losses(project: Project, model: Model, progress: Progress) -> tuple[list[int], score.Predictions | None]:
    """Return the labeled items of the pool, and what the model says of each; None if there are none.

    Items with a class that the model has never seen are left out.
    """
    with project.reading() as connection:
        root = required_state(connection, project.folder)["root"]
        some = labeled(connection, root, model.task, "pool", known_only=True)
    cache = cache_of(project, model.task, model.trained.config.image_size)
    some, pixels = _load(project, cache, some, Progressed(), progress)
    if not some.sources:
        return [], None
    return [source.id for source in some.sources], score.predict(
        model.trained, model.task, pixels, some.targets
    )


def evaluate(project: Project, model: Model, split: str, progress: Progress) -> dict[str, float | None]:
    """Return the metrics of the model on the labeled images of a split, "validation" or "test"."""
    said, targets = predictions(project, model, split, progress)
    return score.measure(said, model.task, targets, interval=split == "validation")


def required_model(project: Project, device: str = "auto") -> Model:
    """Load the newest trained model; AlctlError before the first training run."""
    model = last_model(project, device)
    if model is None:
        raise AlctlError("nothing is trained yet; run `alctl train` first")
    return model
