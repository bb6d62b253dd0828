"""Training runs: train as planned, measure, and record the run with its weights."""

import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from alctl.config import TrainConfig
from alctl.database import training_runs
from alctl.database.training_runs import TrainingRun
from alctl.errors import AlctlError
from alctl.metrics import Metrics
from alctl.model import checkpoint, score
from alctl.model.loss_prediction import Trained as Network
from alctl.model.schedule import with_rate
from alctl.model.train import Epoch, Images, Stepped, new_model, not_told, train
from alctl.progress import Progress
from alctl.project import Project
from alctl.rounds.model import weights_of
from alctl.rounds.network_model import network_of
from alctl.rounds.train_plan import FinishedRun, Plan, Trained, record
from alctl.rounds.train_probe import fit_probe, probe_measured_again
from alctl.rounds.training_set import Loaded, cache_of, load

Begun = Callable[[str], object]
"""Called with what a model's weights start from, before it is trained."""


def silently(_weights: str) -> None:
    """Say nothing of the weights."""


def run_training(
    project: Project, plan: Plan, progress: Progress, stepped: Stepped = not_told, begun: Begun = silently
) -> Generator[Epoch | FinishedRun, None, None]:
    """Train as planned, yielding every epoch; record the run, whole or not at all, and yield it last.

    A killed run goes on from its last checkpoint. An image that cannot be decoded is quarantined and left out. Epochs
    count on from the joint model to the one to report.
    """
    if plan.used is not None:
        yield fit_probe(project, plan, plan.used, progress)
        return
    with project.held("train", "train.lock"):
        cache = cache_of(project, plan.task)
        learned, images, broken = load(project, cache, plan.splits["pool"], progress)
        held = {split: load(project, cache, plan.splits[split], progress) for split in ("validation", "test")}
        started, done, resumed = time.perf_counter(), 0, 0
        finished: list[Network] = []
        files = _checkpoints(project, plan)
        ids = [source.id for source in learned.sources]
        for config, file in zip(plan.models, files, strict=False):
            trained = _untrained(project, plan, config, images)
            begun(trained.model.weights)
            epochs = train(
                trained, plan.task, images, learned.targets, ids, seed=plan.seed, validation=held["validation"].told,
                checkpoint=file, fingerprint=plan.fingerprint,
                stepped=_after(len(finished) * config.epochs, stepped),
            )  # fmt: skip
            for epoch in epochs:
                done += 1
                number = len(finished) * config.epochs + epoch.epoch
                resumed = number - done
                yield epoch._replace(epoch=number, epochs=plan.epochs)
            score.predict(trained, plan.task, images[: config.batch_size])  # refuses one that diverged last
            finished.append(trained)
        metrics = [_measure(plan, trained, held) for trained in finished]
        run = record(project, plan, _came(project, plan, finished[0], ids, metrics, started), progress)
        _clear_checkpoints(project, plan)
    left_out = {**broken, **held["validation"].broken, **held["test"].broken}
    yield FinishedRun(run, resumed, left_out, plan.missing, plan.idle)


def _checkpoints(project: Project, plan: Plan) -> list[Path]:
    """Return the files of a training that is not finished: of the joint model, and of the one to report."""
    return [project.models / f"{plan.fingerprint[:12]}.{n}.checkpoint.safetensors" for n in range(2)]


def _clear_checkpoints(project: Project, plan: Plan) -> None:
    for file in _checkpoints(project, plan):
        if file.exists():  # where nobody may write, there is none
            file.unlink()


def _after(epochs: int, stepped: Stepped) -> Stepped:
    """Count the steps of a model that is trained after others."""
    return lambda done, share: stepped(epochs + done, share)


def _came(
    project: Project, plan: Plan, joint: Network, ids: list[int], metrics: list[dict[str, Metrics]], started: float
) -> Trained:  # fmt: skip
    """Return what came out of a training; ``metrics`` are of the joint model and the one to report."""
    info = {
        "task": plan.config.task or project.state().task, "categories": checkpoint.as_plain(plan.task.categories), "fingerprint": plan.fingerprint,
    }  # fmt: skip
    return Trained(
        joint.config, lambda file: checkpoint.save_model(file, joint, info), joint.model.weights, ids, metrics[0],
        metrics[1] if len(metrics) > 1 else {}, time.perf_counter() - started,
    )  # fmt: skip


def measured_again(project: Project, plan: Plan, finished: TrainingRun, progress: Progress) -> TrainingRun:
    """Return the finished run of a plan, measured again where validation images were labeled since, and recorded so.

    Also a run of before predicted losses were compared with margin. The model to report is gone and keeps its metrics.
    Checkpoints go that were left where the run was killed after it had been recorded.
    """
    _clear_checkpoints(project, plan)
    if plan.used is not None:
        return probe_measured_again(project, plan, finished, progress)
    told, count = finished.metrics.get("validation"), len(plan.splits["validation"].sources)
    known = told is not None and told.images == count and told.uncertainty is not None
    if known or not count or finished.config["loss_weight"] == 0:
        return finished
    with project.held("train", "train.lock"):
        cache = cache_of(project, plan.task)
        held = {split: load(project, cache, plan.splits[split], progress) for split in ("validation", "test")}
        trained = network_of(project, finished, plan.config.device).trained
        again = replace(finished, metrics=_measure(plan, trained, held))
        with project.recording("train", progress) as connection:
            training_runs.write_metrics(connection, again)
    return again


def to_the_end(events: Iterator[Epoch | FinishedRun], each: Callable[[Epoch], object]) -> FinishedRun:
    """Give every epoch of `run_training` to ``each`` as it ends; return the finished run."""
    for event in events:
        if isinstance(event, FinishedRun):
            return event
        each(event)
    raise RuntimeError("a training ended without its run")


def _untrained(project: Project, plan: Plan, config: TrainConfig, images: Images) -> Network:
    """Return a model to be trained; for a warm start with the weights of the run before."""
    if config.start == "cold" or plan.before is None:
        return new_model(plan.task, images, config, seed=plan.seed)
    trained = new_model(plan.task, images, replace(config, weights="none"), seed=plan.seed)
    trained.config = with_rate(config, fine_tuned=plan.task.fine_tunes(config))
    checkpoint.carry_over(weights_of(project, plan.before), trained)
    trained.model.weights = f"training run {plan.before.id}"
    return trained


def _measure(plan: Plan, trained: Network, held: Mapping[str, Loaded]) -> dict[str, Metrics]:
    """Return the metrics of a model on each reserved split that has labels; AlctlError if one is no finite number."""
    found = {
        split: score.measure(
            score.predict(trained, plan.task, pixels, some.targets), interval=split == "validation"
        )
        for split, (some, pixels, _) in held.items()
        if some.sources
    }  # fmt: skip
    for split, metrics in found.items():
        for name, number in metrics.by_name().items():
            if number is not None and not math.isfinite(number):
                raise AlctlError(
                    f"{name} on the {split} images is {number} after epoch {plan.config.epochs}, so the training diverged; "
                    f"train with a lower learning rate than --lr {trained.config.lr:g}"
                )
    return found
