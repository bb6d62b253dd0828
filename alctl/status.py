"""How a project stands: its counts, its last model, what is wrong with it, and which command comes next."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from alctl.database import counts, handouts, items, labels, pre_annotations, settings, training_runs
from alctl.database.address import exposed
from alctl.database.counts import Counts, RoundCounts, State
from alctl.database.handouts import is_address
from alctl.database.integrity import integrity_problems
from alctl.database.items import Unusable
from alctl.database.pre_annotations import Kept
from alctl.database.rounds_out import round_file
from alctl.files import as_typed
from alctl.labels.annotation import Split, one_class_each
from alctl.plugins import Plugins
from alctl.project import CONFIG, Project, now, required_state

SHOWN = 1_000
"""Unusable items that are listed one by one."""


ROUND = 100
"""Images of a round that is proposed."""


@dataclass(frozen=True)
class NextStep:
    """The command that brings a project forward."""

    command: str
    why: str


@dataclass(frozen=True)
class RoundStatus(RoundCounts):
    """A round's counts, and how its answers come back."""

    pushed: bool
    """It is on a server, from which `alctl pull` fetches answers."""


@dataclass(frozen=True)
class LastRun:
    """The newest training run."""

    id: int
    labeled: int
    """Images that it learned from."""
    metrics: Mapping[str, Any]
    """By split."""
    config: Mapping[str, Any]
    seconds: float
    created_at: str


@dataclass(frozen=True)
class EmbeddingStatus:
    """How far the images have embeddings."""

    backbone: str
    embedded: int
    lacking: int
    """Usable images without one."""


@dataclass(frozen=True)
class Status:
    """How a project stands."""

    project: str
    """Its folder."""
    root: str
    """The folder of its images."""
    task: str
    items: int
    states: Mapping[Split, Mapping[State, int]]
    classes: Mapping[str, Mapping[Split, int]]
    """Labeled images per class."""
    rounds: Sequence[RoundStatus]
    predictions: Sequence[Kept]
    imports: Sequence[labels.ImportBatch]
    unusable: Sequence[Unusable]
    run: LastRun | None
    embedding: "EmbeddingStatus | None"
    """None before the first `alctl embed`."""
    next: str
    """The command that comes next."""
    why: str


def status(project: Project) -> Status:
    """Return items per split and state, per class and per round, the last training run, and the next step."""
    with project.reading() as connection:
        state = required_state(connection, project.folder)
        run = _last_run(training_runs.last_run(connection))
        counted = counts.count(connection, now())
        pushed = {found.round_id for found in handouts.find(connection) if is_address(found.place)}
        per_round = counts.per_round(connection, now())
        rounds = [RoundStatus(**vars(row), pushed=row.id in pushed) for row in per_round]
        frozen = one_class_each(state.task) and settings.read(connection, settings.EMBEDDING) is not None
        step = _next_step(project, state.task, counted, rounds, run, frozen=frozen)
        return Status(
            project=str(project.folder),
            root=state.root,
            task=state.task,
            items=items.size(connection),
            states=counted.states,
            classes=counted.classes,
            rounds=rounds,
            predictions=pre_annotations.kept(connection),
            imports=labels.imports(connection),
            unusable=items.unusable_items(connection, SHOWN),
            run=run,
            embedding=_embedding(project, connection),
            next=step.command,
            why=step.why,
        )


def _embedding(project: Project, connection: Connection) -> EmbeddingStatus | None:
    """Count the usable images with a row in the table of the project's backbone.

    A table in the project's own folder holds its images alone, so only the unusable ones are looked for in it; one in
    a folder of the settings may be shared with other projects, and then all are. Vectors of an earlier network than
    the newest do not count.
    """
    found = settings.read(connection, settings.EMBEDDING)
    if found is None:
        return None
    from alctl.images.embeddings import Key, count_stored, folder_of, rows_stored

    key = Key(**found["key"])
    folder = folder_of(project.cache, key.digest)
    network = training_runs.last_network(connection) if key.backbone == "model" else None
    if key.backbone == "model" and (network is None or network.digest != key.weights):
        embedded = 0
    elif project.config.storage.cache:
        _, digests = items.digests(connection)
        embedded = count_stored(folder, digests)
    else:
        _, digests = items.digests(connection, unusable=True)
        embedded = rows_stored(folder) - count_stored(folder, digests)
    return EmbeddingStatus(found["name"], embedded, items.count_usable(connection) - embedded)


def _last_run(run: training_runs.TrainingRun | None) -> LastRun | None:
    if run is None:
        return None
    return LastRun(**{field.name: run.plain()[field.name] for field in fields(LastRun)})


def next_step(project: Project) -> NextStep:
    """Return the command that brings the project forward now: the one answer to "what next"."""
    found = status(project)
    return NextStep(found.next, found.why)


def proposed(project: Project, *, relabel: bool = False) -> int:
    """Return how many images a round could have: at most 100 of the unlabeled ones, or of labeled ones half of that."""
    with project.reading() as connection:
        pool = counts.count(connection, now()).states["pool"]
    return min(ROUND // 2, pool["labeled"]) if relabel else min(ROUND, pool["unlabeled"])


def _next_step(
    project: Project,
    task: str,
    counted: Counts,
    rounds: Sequence[RoundStatus],
    run: LastRun | None,
    *,
    frozen: bool,
) -> NextStep:
    """Return the first step that is due: what is out with annotators, then training, then the next round.

    ``frozen``: the project has embeddings that a probe can learn from.
    """
    states = counted.states
    pool, several = states["pool"], sum(bool(found["pool"]) for found in counted.classes.values()) > 1
    out = [row for row in rounds if row.out or row.overdue]
    trainable = task in Plugins("alctl.model.tasks", object).names()
    untrained = trainable and several and (run is None or run.labeled != pool["labeled"])
    if out and (step := _of_round(project.folder, task, out[-1])):
        return step
    if untrained:
        return NextStep(_train(project, run, frozen=frozen), f"{pool['labeled']:,} images are labeled")
    if free := pool["unlabeled"]:
        return NextStep(f"alctl select --k {min(ROUND, free)}", f"{free:,} images are unlabeled")
    if late := sum(row.overdue for row in out):
        why = f"{late:,} images were due, and may be selected again once recalled"
        return NextStep("alctl recall --overdue", why)
    if out:
        return NextStep(
            _take(project.folder, task, out[-1]), f"{pool['out']:,} images are out with annotators"
        )
    last = _at_the_end(states, run) if trainable else "alctl export-labels labels.json --format coco"
    return NextStep(last, "every image is answered")


def train_again(project: Project) -> str:
    """Return the command that trains the kind of model that is in use again; empty where none was trained."""
    with project.reading() as connection:
        run = _last_run(training_runs.last_run(connection))
    return _train(project, run, frozen=False) if run else ""


def _train(project: Project, run: LastRun | None, *, frozen: bool) -> str:
    """Return the command that trains again what was trained last; the first model is a probe, if there can be one."""
    probe = run.config.get("head") == training_runs.PROBE if run else frozen
    return (
        "alctl train --head probe"
        if probe and project.config.train.head != training_runs.PROBE
        else "alctl train"
    )


def _at_the_end(states: Mapping[Split, Mapping[State, int]], run: LastRun | None) -> str:
    """Return what shows how good the last model is."""
    measured = [split for split in ("test", "validation") if states[split]["labeled"]]
    if run is None or not measured:
        return "alctl report"
    return "alctl evaluate" if measured[0] == "test" else "alctl evaluate --split validation"


def _of_round(folder: Path, task: str, last: RoundStatus) -> NextStep | None:
    """Return what the newest round that is out waits for; None where answers to it come in."""
    if not (folder / round_file(last.id, last.annotators)).is_file():
        return NextStep(f"alctl export {last.id}", f"round {last.id}'s files are not in the project")
    if last.answered:
        return None
    if last.overdue:
        why = f"round {last.id} was due {last.due_at}; `alctl recall {last.id}` takes it back"
    else:
        why = f"round {last.id} is out with annotators"
    return NextStep(_take(folder, task, last), why)


def _take(folder: Path, task: str, row: RoundStatus) -> str:
    """Return the command that takes in a round's answers."""
    if row.pushed:
        return f"alctl pull {row.id}"
    return f"alctl import-labels {as_typed(folder / round_file(row.id, row.annotators)) if one_class_each(task) else 'FILE'}"


def check(project: Project) -> list[str]:
    """Return what is wrong with the project's state: its database, the pool's rules, weights that are gone.

    Also a password in its settings that everybody on the machine may read.
    """
    problems = integrity_problems(project.engine)
    if problem := exposed(project.engine.url, project.folder / CONFIG):
        problems.append(problem)
    with project.reading() as connection:
        problems += counts.broken_invariants(connection)
        run = training_runs.last_run(connection)
    if run and not (project.folder / run.file).is_file():
        problems.append(f"the weights of training run {run.id} are gone: {run.file}")
    return problems
