"""Many rounds, strategies and trials on images whose labels are known, by the code of the real rounds.

An arm is one strategy in one trial, and an ordinary project. How far it is stands in its own database, so that it can
be killed at any point and goes on from there; several processes share the arms by claiming one at a time.
The arms of a trial share the seed, and with it the first round, the initial weights and the order of the random
subsets; the images of every arm are the same items, copied from one base project.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from alctl.annotators.imports.import_labels import ImportOptions, import_labels
from alctl.chance import stream
from alctl.config import TrainConfig
from alctl.database import project_row, training_runs
from alctl.database import rounds as recorded
from alctl.database.connection import copy_to, engine_of, writing
from alctl.database.rounds_out import round_file
from alctl.database.training_runs import TrainingRun
from alctl.errors import AlctlError
from alctl.files import whole_file, write_whole
from alctl.labels.annotation import Annotation, LabeledImage
from alctl.labels.format import FORMATS
from alctl.metrics import Metrics
from alctl.model.train import Epoch
from alctl.progress import Progress
from alctl.project import CONFIG, Project, config_text
from alctl.rounds import select, train_run
from alctl.rounds.select_options import RANDOM, Limits, SelectOptions
from alctl.rounds.strategy_choice import make_strategy
from alctl.rounds.train_plan import plan_training
from alctl.rounds.training_set import headline
from alctl.simulation import hide_labels
from alctl.simulation.prepare import BASE, LOCK, OWN, TRUTH, Simulation, opened

ORACLE = "oracle"
"""The annotator who knows."""


@dataclass(frozen=True)
class Arm:
    """One strategy in one trial, and its project."""

    folder: Path
    strategy: str
    params: Mapping[str, object]
    trial: int
    """From 1."""
    seed: int

    @property
    def name(self) -> str:
        """What a person reads."""
        return f"{self.strategy} trial {self.trial}"


class Done(NamedTuple):
    """A finished round of an arm."""

    arm: Arm
    round: int
    labeled: int
    value: float | None
    """The task's metric on the test images."""
    seconds: float


def trial_seed(seed: int, trial: int) -> int:
    """Return the seed of a trial: the same for every strategy."""
    return stream(seed, "trial", trial) % 2**31


def arms(folder: Path, simulation: Simulation) -> list[Arm]:
    """Return every arm, trial by trial, so that what can be compared is finished together."""
    return [
        Arm(folder / name / f"trial-{trial}", name, params, trial, trial_seed(simulation.seed, trial))
        for trial in range(1, simulation.trials + 1)
        for name, params in simulation.strategies.items()
    ]


def run(folder: Path, simulation: Simulation, progress: Progress) -> Iterator[Done]:
    """Run the arms that are neither finished nor claimed by another process, one at a time."""
    truth = hide_labels.read_truth(folder / TRUTH)
    took = True
    while took:  # once more after the last: another process may have died and left its arm
        took = False
        for arm in arms(folder, simulation):
            if finished(arm, simulation.rounds):
                continue
            with claimed(arm.folder) as free:
                if free:
                    took = True
                    _start(folder, arm)
                    answers = hide_labels.noisy(truth, simulation.label_noise, arm.seed)
                    yield from _rounds(arm, simulation, answers, progress)


@contextmanager
def claimed(folder: Path) -> Iterator[bool]:
    """Claim an arm for this process, and tell whether it was free.

    The operating system lets go of the claim when the process dies, however it dies.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def finished(arm: Arm, count: int) -> bool:
    """Tell whether the arm has trained on its last round, or there is nothing left to select."""
    if not (arm.folder / CONFIG).exists():
        return False
    with opened(arm.folder) as project:
        selected, trained = _position(project)
        if trained >= count:
            return True
        with project.reading() as connection:
            return trained == selected and not recorded.unlabeled(connection)


def _start(folder: Path, arm: Arm) -> None:
    """Make the arm's project, a copy of the base with the trial's seed; its settings come last and say it is whole."""
    if (arm.folder / CONFIG).exists():
        return
    for left in arm.folder.glob("alctl.db*"):
        left.unlink()
    with opened(folder / BASE) as base:
        file = copy_to(base.engine, arm.folder / "alctl.db")
    engine = engine_of(base.engine.url.set(database=str(file)))
    with writing(engine) as connection:
        project_row.set_seed(connection, arm.seed)
    engine.dispose()
    write_whole(arm.folder / CONFIG, config_text(cache="../../cache"))


def _rounds(arm: Arm, simulation: Simulation, truth: Mapping[str, str], progress: Progress) -> Iterator[Done]:
    """Go round from wherever the arm is: select, ask the oracle, train."""
    with opened(arm.folder) as project:
        number, trained = _position(project)
        while trained < simulation.rounds:
            started = time.perf_counter()
            if trained == number:
                if not select.select(project, _options(arm, simulation, number + 1), _quiet).picks:
                    return
                number += 1
            options = ImportOptions(annotator=ORACLE, round=number)
            import_labels(project, _answer(project, number, truth), options)
            result = _train(project, arm, simulation, number, progress)
            trained += 1
            value = measured(result).get(metric_of(project))
            yield Done(arm, number, result.labeled, value, time.perf_counter() - started)


def _position(project: Project) -> tuple[int, int]:
    """Return how many rounds were selected, and how many training runs are done: one for each round."""
    with project.reading() as connection:
        return recorded.next_round(connection) - 1, training_runs.next_run(connection) - 1


def _options(arm: Arm, simulation: Simulation, number: int) -> SelectOptions:
    """Say how an arm selects; no guard helps it.

    A random first round is from the whole pool, the same for all arms of a trial; so is that of a strategy that needs
    a model for its own.
    """
    own = number > 1 or simulation.start == OWN
    name, params = (arm.strategy, arm.params) if own else (simulation.start, {})
    if number == 1 and (name == RANDOM or make_strategy(name, params).needs_model):
        return SelectOptions(simulation.k, RANDOM, subset=0)
    return SelectOptions(
        simulation.k,
        name,
        params,
        simulation.subset,
        device=simulation.train.device,
        guard=False,
        limits=Limits(duplicates=0.0),
    )


def _answer(project: Project, number: int, truth: Mapping[str, str]) -> Path:
    """Fill in the round's table; the same round gives the same bytes, which a second import recognises."""
    with project.reading() as connection:
        asked = recorded.picks(connection, number)
    answers = [
        LabeledImage(pick.path, annotations=(Annotation(truth[pick.path]),), item=pick.item_id)
        for pick in asked
        if pick.path in truth
    ]
    file = project.folder / round_file(number)
    file.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(file) as partial:
        FORMATS.load("csv")().write(answers, partial, [])
    return file


def arm_config(simulation: Simulation, strategy: str) -> TrainConfig:
    """Return how an arm trains: without the loss prediction module where nobody reads it, as LL4AL's baselines do."""
    made = make_strategy(strategy, simulation.strategies[strategy])
    return simulation.train if made.uses_predicted_loss else replace(simulation.train, loss_weight=0.0)


def _train(
    project: Project, arm: Arm, simulation: Simulation, number: int, progress: Progress
) -> TrainingRun:
    """Train on all that is labeled, and keep the weights of this run only."""
    plan = plan_training(project, arm_config(simulation, arm.strategy), None)
    if not plan.splits["test"].sources:
        raise AlctlError("no test image is labeled, so nothing could be measured")

    def shown(epoch: Epoch) -> None:
        before = (number - 1) * epoch.epochs
        progress(arm.name, before + epoch.epoch, simulation.rounds * epoch.epochs)

    with closing(train_run.run_training(project, plan, _quiet)) as events:  # saves the last epoch on Ctrl-C
        run = train_run.to_the_end(events, shown).run
    for file in project.models.iterdir():
        if file != project.folder / run.file:
            file.unlink()
    return run


def measured(run: TrainingRun) -> dict[str, float | None]:
    """Return a run's metrics on the test images: of the model to report if there is one, the other's as joint_… then.

    How well images are ordered is always the joint model's: entropy and margin are compared with its module.
    """
    both = [of.get("test", Metrics({})) for of in (run.metrics, run.report)]
    joint, alone = both[0].by_name(), replace(both[1], uncertainty=None).by_name()
    return {**joint, **alone, **{f"joint_{name}": joint.get(name) for name in alone}}


def metric_of(project: Project) -> str:
    """Return the name of the task's metric."""
    with project.reading() as connection:
        return headline(connection, project.state().task)


def _quiet(_stage: str, _done: int, _total: int) -> None:
    """Say nothing: an arm has one line."""
