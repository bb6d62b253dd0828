"""The model of the last training run, ready to score and to measure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from torch import Tensor

from alctl.database import categories, training_runs
from alctl.database.training_runs import TrainingRun
from alctl.errors import AlctlError
from alctl.files import file_digest
from alctl.images.decode import Source
from alctl.metrics import Metrics
from alctl.model import checkpoint, score
from alctl.model.device import check_device, resolve
from alctl.model.loss_prediction import Trained
from alctl.model.score import Scorer
from alctl.model.task import Task
from alctl.progress import Progress
from alctl.project import Project, required_state
from alctl.rounds.training_set import cache_of, labeled, load, task_of, without_gone


@dataclass(frozen=True)
class Model:
    """A finished training run, ready to score."""

    run: TrainingRun
    trained: Trained
    task: Task
    """With the class list as it is now, as far as the model knows it."""
    ids: Sequence[int]
    """The class that each output stands for; 0 where it only adds to another one, since a merge."""


def last_model(project: Project, device: str = "auto") -> Model | None:
    """Load the newest trained model; None before the first training run."""
    with project.reading() as connection:
        run = training_runs.last_run(connection)
    return None if run is None else model_of(project, run, device)


def model_number(project: Project, number: int, device: str = "auto") -> Model:
    """Load the model of the training run with this number; AlctlError if it or its weights are gone."""
    with project.reading() as connection:
        run = training_runs.run_with(connection, number)
    if run is None:
        raise AlctlError(f"there is no training run {number}")
    return model_of(project, run, device)


def model_of(project: Project, run: TrainingRun, device: str = "auto") -> Model:
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


def scorer(
    project: Project,
    model: Model,
    sources: Sequence[Source],
    progress: Progress,
    frozen: Tensor | None = None,
) -> Scorer:
    """Return these images as candidates that the model scores; their pixels come through the project's cache.

    ``frozen`` are their vectors (N, D) of a frozen backbone, if there are some.
    """
    cache = cache_of(project, model.task, model.trained.config.image_size)
    batches = partial(cache.batches, sources, progress)
    return Scorer(model.trained, model.task, batches, len(sources), frozen=frozen)


def has_weights(project: Project, run: TrainingRun) -> bool:
    """Tell whether the weights of a training run are still there, and its own."""
    try:
        weights_of(project, run)
    except AlctlError:
        return False
    return True


def weights_of(project: Project, run: TrainingRun) -> Path:
    """Return the file of weights of a training run; AlctlError if it is gone or another."""
    file: Path = project.folder / run.file
    if not file.is_file():
        raise AlctlError(f"the weights of training run {run.id} are gone: {file}; run `alctl train` again")
    if file_digest(file) != run.digest:
        raise AlctlError(f"{file} is not the file that training run {run.id} wrote; run `alctl train` again")
    return file


def predictions(
    project: Project, model: Model, split: str, progress: Progress
) -> tuple[score.Predictions, Tensor]:
    """Return what the model says of the labeled images of a split, and their targets (N, …)."""
    with project.reading() as connection:
        root = required_state(connection, project.folder).root
        some = labeled(connection, root, model.task, split)
    if not some.sources:
        raise AlctlError(f"no {split} image is labeled; the reserved images go out with the first round")
    cache = cache_of(project, model.task, model.trained.config.image_size)
    some, pixels, _ = load(project, cache, some, progress)
    return score.predict(model.trained, model.task, pixels, some.targets), some.targets


def losses(project: Project, model: Model, progress: Progress) -> tuple[list[int], score.Predictions | None]:
    """Return the labeled items of the pool, and what the model says of each; None if there are none.

    Items with a class that the model has never seen are left out.
    """
    with project.reading() as connection:
        root = required_state(connection, project.folder).root
        some, _ = without_gone(labeled(connection, root, model.task, "pool", known_only=True))
    cache = cache_of(project, model.task, model.trained.config.image_size)
    some, pixels, _ = load(project, cache, some, progress)
    if not some.sources:
        return [], None
    return [source.id for source in some.sources], score.predict(
        model.trained, model.task, pixels, some.targets
    )


def evaluate(project: Project, model: Model, split: str, progress: Progress) -> Metrics:
    """Return the metrics of the model on the labeled images of a split, "validation" or "test"."""
    said, targets = predictions(project, model, split, progress)
    return score.measure(said, model.task, targets, interval=split == "validation")


def required_model(project: Project, device: str = "auto") -> Model:
    """Load the newest trained model; AlctlError before the first training run."""
    model = last_model(project, device)
    if model is None:
        raise AlctlError("nothing is trained yet; run `alctl train` first")
    return model
