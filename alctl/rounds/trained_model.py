"""The model of a training run, whichever kind it is, and what it says of the labeled images."""

from alctl.database import training_runs
from alctl.database.training_runs import TrainingRun
from alctl.errors import AlctlError
from alctl.metrics import Metrics
from alctl.model import score
from alctl.progress import Progress
from alctl.project import Project, required_state
from alctl.rounds.model import Answers, Model, asked
from alctl.rounds.network_model import network_of
from alctl.rounds.probe_model import probe_of
from alctl.rounds.training_set import labeled, without_gone


def last_model(project: Project, device: str = "auto") -> Model | None:
    """Load the newest trained model; None before the first training run."""
    with project.reading() as connection:
        run = training_runs.last_run(connection)
    return None if run is None else model_of(project, run, device)


def required_model(project: Project, device: str = "auto") -> Model:
    """Load the newest trained model; AlctlError before the first training run."""
    model = last_model(project, device)
    if model is None:
        raise AlctlError("nothing is trained yet; run `alctl train` first")
    return model


def model_number(project: Project, number: int, device: str = "auto") -> Model:
    """Load the model of the training run with this number; AlctlError if it or its weights are gone."""
    with project.reading() as connection:
        run = training_runs.run_with(connection, number)
    if run is None:
        raise AlctlError(f"there is no training run {number}")
    return model_of(project, run, device)


def model_of(project: Project, run: TrainingRun, device: str = "auto") -> Model:
    """Load the model of a recorded training run; AlctlError if its weights are gone or not its own."""
    return (
        probe_of(project, run, device)
        if run.head == training_runs.PROBE
        else network_of(project, run, device)
    )


def predictions(project: Project, model: Model, split: str, progress: Progress) -> Answers:
    """Return what the model says of the labeled images of a split."""
    with project.reading() as connection:
        root = required_state(connection, project.folder).root
        some = labeled(connection, root, model.task, split)
    answers = asked(project, some, lambda some: model.answers(project, some, progress))
    if answers is None:
        raise AlctlError(f"no {split} image is labeled; the reserved images go out with the first round")
    return answers


def losses(project: Project, model: Model, progress: Progress) -> Answers | None:
    """Return the labeled images of the pool and what the model says of each; None if there are none.

    Images with a class that the model has never seen are left out.
    """
    with project.reading() as connection:
        root = required_state(connection, project.folder).root
        some, _ = without_gone(labeled(connection, root, model.task, "pool", known_only=True))
    return asked(project, some, lambda some: model.held_out_answers(project, some, progress))


def evaluate(project: Project, model: Model, split: str, progress: Progress) -> Metrics:
    """Return the metrics of the model on the labeled images of a split, "validation" or "test"."""
    _, said = predictions(project, model, split, progress)
    return score.measure(said, interval=split == "validation")
