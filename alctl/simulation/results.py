"""The results of a simulation so far: read from the databases of its arms, written as tables and pictures."""

import csv
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from io import StringIO
from pathlib import Path

import numpy as np
from filelock import FileLock

from alctl.database import categories, labels, rounds, training_runs
from alctl.errors import AlctlError
from alctl.files import whole_file, write_whole
from alctl.progress import Progress
from alctl.project import CONFIG, Project
from alctl.rounds import trained_model
from alctl.simulation import figures, statistics
from alctl.simulation.paired import Floats
from alctl.simulation.prepare import BASE, LOCK, RECORD, Record, opened
from alctl.simulation.run import claimed, measured, metric_of
from alctl.simulation.statistics import Curves, Point

BASELINE = "random"
RANKING = "ranking_accuracy"
FREE = {"entropy": "entropy_ranking_accuracy", "margin": "margin_ranking_accuracy"}
"""What it is compared with: orders that cost nothing."""


@dataclass(frozen=True)
class Result:
    """One round of one arm."""

    strategy: str
    trial: int
    seed: int
    round: int
    labeled: int
    metrics: Mapping[str, float | None]
    """On the test images."""
    picked: Mapping[str, int]
    """Images of each class that the round brought, by the labels that were given."""
    seconds: float
    """Of training."""
    environment: Mapping[str, object]


@dataclass(frozen=True)
class Outcome:
    """The results of every round of every arm so far."""

    record: Record
    metric: str
    results: list[Result]

    @property
    def points(self) -> list[Point]:
        """Every metric of every model, one by one."""
        return [
            Point(r.strategy, r.trial, r.round, r.labeled, name, value)
            for r in self.results
            for name, value in sorted(r.metrics.items())
            if value is not None
        ]

    @property
    def baseline(self) -> str:
        """What the others are compared with: the random arm, if need be that of another simulation."""
        names = [name for name in self.record["strategies"] if name.rpartition(":")[2] == BASELINE]
        return min(names, key=len, default=BASELINE)

    def of(self, metric: str) -> Curves:
        """Return the curves of one metric, the baseline first."""
        names = sorted(self.record["strategies"], key=lambda name: name != self.baseline)
        return statistics.curves(self.points, metric, names)


@dataclass(frozen=True)
class Summary:
    """What the results say; None where no arm has measured it yet."""

    simulation: Record
    metric: str
    outcome: statistics.Summary | None
    """Of the task's metric."""
    ranking: statistics.Summary | None
    """Of the ranking accuracy of predicted losses, and of entropy and margin of the same models."""


def read(folder: Path) -> Outcome:
    """Read every arm of the folder, also those of earlier commands and those that are running."""
    record: Record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    with opened(folder / BASE) as base:
        metric = metric_of(base)
    results: list[Result] = []
    for name in record["strategies"]:
        trials = {int(arm.parent.name.removeprefix("trial-")): arm.parent for arm in _arms(folder / name)}
        for trial in sorted(trials):
            with opened(trials[trial]) as project:
                results += _of_arm(project, name, trial)
    return Outcome(record, metric, results)


def compared(outcome: Outcome, folder: Path) -> Outcome:
    """Put the strategies of another simulation beside, as FOLDER:STRATEGY; only its training may be another.

    The trials are paired all the same: what they share follows from the dataset and the seed.
    """
    if not (folder / RECORD).exists():
        raise AlctlError(f"{folder} holds no simulation to compare with")
    other = read(folder)
    free = ("train", "strategies", "dataset")
    here, there = dict(outcome.record), dict(other.record)
    for name in (set(here) | set(there)) - set(free):
        ours, theirs = here.get(name), there.get(name)
        if ours != theirs:
            raise AlctlError(
                f"{folder} cannot be compared: its {name} is {theirs!r}, and here it is {ours!r}"
            )
    renamed = [replace(r, strategy=f"{folder.name}:{r.strategy}") for r in other.results]
    strategies = {f"{folder.name}:{name}": params for name, params in other.record["strategies"].items()}
    record: Record = {**outcome.record, "strategies": {**outcome.record["strategies"], **strategies}}
    return Outcome(record, outcome.metric, [*outcome.results, *renamed])


def _arms(folder: Path) -> list[Path]:
    return list(folder.glob(f"trial-*/{CONFIG}"))


def _of_arm(project: Project, strategy: str, trial: int) -> list[Result]:
    with project.reading() as connection:
        given = {row[0]: row[1] for row in labels.labeled_items(connection, "pool")}
        names = categories.categories(connection)
        every = training_runs.every_run(connection)
        picks = [rounds.picks(connection, number) for number in range(1, len(every) + 1)]
    results = []
    for number, (run, asked) in enumerate(zip(every, picks, strict=True), start=1):
        classes = Counter(given.get(pick.item_id) for pick in asked if pick.rank)
        results.append(
            Result(
                strategy, trial, run.seed, number, run.labeled, measured(run),
                {name: classes[i] for i, name in enumerate(names, start=1)}, run.seconds, run.environment,
            )
        )  # fmt: skip
    return results


def table(points: Sequence[Point]) -> str:
    """Return the measurements in long form, as CSV."""
    text = StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Point._fields)
    writer.writerows(points)
    return text.getvalue()


def summary(outcome: Outcome) -> Summary:
    """Return what the numbers say."""
    every = [outcome.of(outcome.metric), rankings(outcome)]
    found = [statistics.summary(c, outcome.baseline) if c.strategies else None for c in every]
    return Summary(outcome.record, outcome.metric, found[0], found[1])


def rankings(outcome: Outcome) -> Curves:
    """Return the ranking accuracy of predicted losses by strategy, and as "learning-loss: margin" what is beside it."""
    found, names = [], []
    for strategy in outcome.of(RANKING).strategies:
        for name, metric in {strategy: RANKING, **{f"{strategy}: {of}": FREE[of] for of in FREE}}.items():
            names.append(name)
            same = [p for p in outcome.points if (p.strategy, p.metric) == (strategy, metric)]
            found += [point._replace(strategy=name, metric=RANKING) for point in same]
    return statistics.curves(found, RANKING, names)


def write(folder: Path, others: Sequence[Path] = ()) -> Outcome:
    """Read all arms and write results.csv and results.json; two processes never overwrite newer with older.

    ``others`` are folders of simulations to compare with.
    """
    with FileLock(folder / LOCK):
        outcome = read(folder)
        for other in others:
            outcome = compared(outcome, other)
        write_whole(folder / "results.csv", table(outcome.points))
        result = asdict(summary(outcome)) | {"results": [asdict(result) for result in outcome.results]}
        write_whole(folder / "results.json", json.dumps(result, indent=1, allow_nan=False))
    return outcome


def draw(folder: Path, outcome: Outcome, device: str, progress: Progress) -> list[Path]:
    """Draw the pictures of a simulation; return their files."""
    target = folder / "figures"
    target.mkdir(exist_ok=True)
    name = Path(outcome.record["dataset"]).name
    files = [target / "learning_curves.png", target / "class_counts.png"]
    with FileLock(folder / LOCK):
        figures.draw_curves(outcome.of(outcome.metric), f"{name}: mean ± standard deviation", files[0])
        figures.draw_classes(_mean_counts(outcome), f"{name}: classes of each round", files[1])
        if (ranking := outcome.of(RANKING)).strategies:
            files.append(target / "ranking_accuracy.png")
            figures.draw_curves(rankings(outcome), f"{name}: losses in the right order", files[-1])
        for strategy in ranking.strategies:
            found = losses(folder / strategy / "trial-1", device, progress)
            if found is not None:
                files.append(target / f"losses-{strategy}.png")
                labeled, predicted, true = found
                figures.draw_scatter(predicted, true, f"{strategy}, {labeled:,} labels", files[-1])
    return files


def _mean_counts(outcome: Outcome) -> dict[str, list[dict[str, float]]]:
    """Return for each strategy and round the images of each class, the mean of the trials that are there."""
    found: dict[str, list[dict[str, float]]] = {}
    for strategy in outcome.record["strategies"]:
        own = [result for result in outcome.results if result.strategy == strategy]
        if own:
            found[strategy] = [
                {
                    name: float(np.mean([r.picked[name] for r in own if r.round == number]))
                    for name in own[0].picked
                }
                for number in range(1, max(r.round for r in own) + 1)
            ]
    return found


def losses(folder: Path, device: str, progress: Progress) -> tuple[int, Floats, Floats] | None:
    """Return labels, predicted and true losses of the test images under an arm's last model, kept once computed.

    None where the arm is being run by another process, or has no loss prediction module.
    """
    if not (folder / CONFIG).exists():
        return None
    with claimed(folder) as free:
        if not free:
            return None
        with opened(folder) as project:
            model = trained_model.last_model(project, device)
            if model is None or not model.predicts_losses:
                return None
            file = folder / f"test-losses-{model.run.id:04}.npz"
            if not file.exists():
                said = trained_model.predictions(project, model, "test", progress).said
                with whole_file(file) as partial:
                    np.savez(
                        partial, predicted=np.asarray(said.predicted_loss), true=np.asarray(said.target_loss)
                    )
        with np.load(file) as kept:
            return model.run.labeled, kept["predicted"].astype(float), kept["true"].astype(float)
