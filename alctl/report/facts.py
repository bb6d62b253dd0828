"""Gathering everything that a report says: from the database, and from the models and images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection

from alctl.agreement.measures import kappas, krippendorff
from alctl.database import categories, counts, history, items, labels, rounds, training_runs
from alctl.errors import AlctlError
from alctl.labels.annotation import Split, one_class_each
from alctl.progress import Progress
from alctl.project import Project, now, required_state
from alctl.report import advice, evaluation, measures, near_duplicates
from alctl.report.ask_models import Judges, truth_of
from alctl.report.contents import (
    AnnotatorAgreement,
    ClassBalance,
    CurvePoint,
    Facts,
    RoundFacts,
    Run,
    ShownPick,
    TimeAndCost,
)
from alctl.report.evaluation import RoundItems
from alctl.report.label_value import value_of_labels
from alctl.rounds import own_simulation
from alctl.rounds.own_simulation import OwnSimulation
from alctl.rounds.training_set import headline

GALLERY = 12
"""Picks of a round that are shown."""
GALLERY_ROUNDS = 20
"""Newest rounds whose picks are shown."""
LISTED = 100
"""Unusable images that are listed one by one."""
_NOT_SIMULATED = "Nothing was replayed yet: `alctl simulate --mine` compares strategies on the labels that there are, from 100 on."
RESERVED: tuple[Split, ...] = ("validation", "test")


@dataclass(frozen=True)
class Options:
    """What a person may ask of a report."""

    cost_per_hour: float | None = None
    """What an annotator's hour costs, in any currency."""
    device: str = "auto"


def gather(project: Project, options: Options, progress: Progress) -> Facts:
    """Return all facts. Models and images are read, and nothing is written but the cache of decoded images."""
    with project.reading() as connection:
        answers = {split: _classes(connection, split) for split in RESERVED}
        pool = _classes(connection, "pool")
        rounds_ = _rounds(connection)
        facts = _recorded(connection, project, [row for row, _ in rounds_], answers, options.cost_per_hour)
        names, merged = categories.categories(connection), categories.merges(connection)
    judges = Judges(project, options.device, progress)
    last = facts.runs[-1] if facts.runs else None
    before = advice.earlier(facts.runs)
    said = was = None
    if last and facts.split and one_class_each(facts.task):
        truth = truth_of(project, facts.root, answers[facts.split])
        said = judges.judge(last, truth)
        was = judges.judge(before, truth) if before else None
    gain = advice.gain(facts, before, last, was, said)
    found = evaluation.of_model(project, said, names, merged)
    of_task = rounds_ if one_class_each(facts.task) else []
    arms = evaluation.against_random(project, facts.root, facts.runs, of_task, judges)
    own = _own_simulation(project, judges)
    value = None
    if facts.split and one_class_each(facts.task):
        value = value_of_labels(project, facts.root, of_task, pool, answers[facts.split], progress)
    facts = replace(
        facts,
        gain=gain,
        losses=found.losses,
        calibration=found.calibration,
        confusion=found.confusion,
        certain=found.certain,
        control=[control for control, _ in arms],
        control_all=evaluation.together(arms),
        label_value=value,
        own_simulation=own,
        curve=_curve(facts),
        problems=judges.problems,
    )
    return replace(facts, missing=missing(facts), advice=advice.advise(facts))


def _own_simulation(project: Project, judges: Judges) -> OwnSimulation | None:
    """Return what `simulate --mine` found; a damaged file is a problem to name, and no reason to show nothing."""
    try:
        return own_simulation.read(project)
    except AlctlError as error:
        judges.problems.append(str(error))
        return None


def _recorded(
    connection: Connection,
    project: Project,
    rounds: Sequence[RoundFacts],
    answers: Mapping[Split, Mapping[int, int]],
    cost_per_hour: float | None,
) -> Facts:
    """Return what the tables say; the rest of the facts takes the models."""
    state = required_state(connection, project.folder)
    counted = counts.count(connection)
    names, merged = categories.categories(connection), categories.merges(connection)
    split: Split | None = next((one for one in ("test", "validation") if answers[one]), None)
    return Facts(
        project=project.folder.name,
        folder=str(project.folder),
        root=state.root,
        task=state.task,
        metric=headline(connection, state.task),
        created_at=state.created_at,
        generated_at=now(),
        classes=[names[place] for place in evaluation.living(len(names), merged)],
        items=items.size(connection),
        states=counted.states,
        runs=_runs(connection),
        imports=len([row for row in labels.imports(connection) if not row.undone_at]),
        balance=_balance(connection, counted.classes),
        rounds=rounds,
        agreement=_agreement(connection),
        time=_time(connection, cost_per_hour),
        unusable=items.unusable_items(connection, LISTED),
        split=split,
        measured=len(answers[split]) if split else 0,
    )


def _runs(connection: Connection) -> list[Run]:
    """Return every training run, oldest first, with the newest round that it learned from."""
    learned = history.rounds_learned(connection)
    keys = (
        "id",
        "labeled",
        "metrics",
        "config",
        "seconds",
        "seed",
        "created_at",
        "environment",
        "file",
        "digest",
    )
    return [
        Run(**{key: run.plain()[key] for key in keys}, round=learned.get(run.id))
        for run in training_runs.every_run(connection)
    ]


def _classes(connection: Connection, split: str) -> dict[int, int]:
    """Return the class id of each labeled item of a split that has one."""
    return {
        item: category
        for item, category, _ in labels.labeled_items(connection, split)
        if category is not None
    }


def _balance(connection: Connection, per_class: Mapping[str, Mapping[Split, int]]) -> list[ClassBalance]:
    """Return for each class its labeled images, per split and per round."""
    rows = history.labels_per_class(connection)
    by_round = {(row.name, row.round_id): row.n for row in rows}
    numbers = sorted({row.round_id for row in rows})
    return [
        ClassBalance(
            name=name,
            pool=found["pool"],
            validation=found["validation"],
            test=found["test"],
            rounds={number: by_round.get((name, number), 0) for number in numbers},
        )
        for name, found in per_class.items()
    ]


def _rounds(connection: Connection) -> list[tuple[RoundFacts, RoundItems]]:
    """Return every round with its counts and the picks that are shown, and its items."""
    counted = {row.id: row for row in counts.per_round(connection)}
    found = []
    every = history.every_round(connection)
    for row in every:
        picks = rounds.picks(connection, row.id)
        said = {answer.item_id: answer for answer in history.answers_of_round(connection, row.id)}
        candidates = [pick for pick in picks if pick.why not in RESERVED]
        control = [pick.item_id for pick in candidates if pick.why == rounds.CONTROL]
        picked = [pick.item_id for pick in candidates if pick.why != rounds.CONTROL]
        new = row.id > every[-1].id - GALLERY_ROUNDS
        shown = candidates[:GALLERY] if new else []
        facts = RoundFacts(
            **vars(row),
            images=len(candidates),
            control=len(control),
            picked=len(picked),
            reserved=len(picks) - len(candidates),
            answered=counted[row.id].answered,
            out=counted[row.id].out,
            shown=[
                ShownPick(
                    item=pick.item_id,
                    path=pick.path,
                    rank=pick.rank,
                    score=pick.score,
                    why=pick.why,
                    answer=said[pick.item_id].words if pick.item_id in said else None,
                )
                for pick in shown
            ],
            pairs=near_duplicates.closest(connection, row.params) if new else (),
        )
        classes = {item: answer.category_id for item, answer in said.items() if answer.category_id}
        found.append((facts, RoundItems(picked, control, classes)))
    return found


def _agreement(connection: Connection) -> AnnotatorAgreement | None:
    rows = history.agreement(connection)
    return AnnotatorAgreement(kappas(rows), krippendorff(rows)) if rows else None


def _time(connection: Connection, rate: float | None) -> TimeAndCost | None:
    """Return time and cost; None where no answer says how long it took."""
    people = history.time_per_annotator(connection)
    timed = sum(person.timed for person in people)
    if not timed:
        return None
    mean = sum(person.seconds or 0.0 for person in people) / timed
    answers = sum(person.answers for person in people)
    return TimeAndCost(
        annotators=sorted(people, key=lambda person: person.annotator),
        rounds=history.time_per_round(connection),
        answers=answers,
        timed=timed,
        mean_seconds=mean,
        hours=answers * mean / 3600,
        cost_per_hour=rate,
        cost_per_label=None if rate is None else mean / 3600 * rate,
        cost=None if rate is None else answers * mean / 3600 * rate,
    )


def _curve(facts: Facts) -> list[CurvePoint]:
    """Return the metric of every run on the split that is reported, in the order of labels, the newest last.

    The interval is that of chance in the test images, where the metric is a share of them.
    """
    points = []
    for run in facts.runs:
        metrics = run.on(facts.split)
        value = metrics.get(facts.metric)
        if value is not None:
            n = int(metrics.get("images") or facts.measured)
            around = measures.share(round(value * n), n) if one_class_each(facts.task) else None
            low, high = (around.low, around.high) if around else (None, None)
            points.append(CurvePoint(run.id, run.labeled, value, low, high))
    return sorted(points, key=lambda point: (point.labeled, point.run))


def missing(facts: Facts) -> dict[str, str]:
    """Return for each section that has nothing to show what it waits for."""
    untrained = "Nothing is trained yet: `alctl train`."
    unmeasured = "No validation or test image is labeled yet, so nothing can be measured on them."
    model = untrained if not facts.runs else unmeasured if not facts.split else ""
    if not model and not one_class_each(facts.task):
        model = "This is shown for whole-image classes only."
    elif not model and facts.losses is None and facts.certain is None:
        model = "The last model could not be asked: " + (" ".join(facts.problems) or "no image can be read.")
    reasons: dict[str, Sequence[tuple[Any, str]]] = {
        "curve": [(facts.curve, untrained if not facts.runs else unmeasured)],
        "runs": [(facts.runs, untrained)],
        "losses": [
            (facts.losses, model or "The last model has no loss prediction module (loss_weight 0)."),
        ],
        "calibration": [(facts.calibration, model)],
        "confusion": [(facts.confusion, model)],
        "certain": [(facts.certain, model)],
        "balance": [(any(row.pool for row in facts.balance), "No image of the pool is labeled yet.")],
        "rounds": [(facts.rounds, "No round was selected yet; `alctl status` names the command.")],
        "control": [(facts.control or facts.label_value, "No round has answered control images yet: `alctl select --control 0.1`.")],
        "simulated": [(facts.own_simulation, _NOT_SIMULATED)],
        "agreement": [(facts.agreement, "No image was given a class by two annotators.")],
        "time": [(facts.time, "No answer says how long it took: the column `seconds` of items.csv.")],
        "unusable": [(facts.unusable, "Every image can be used.")],
    }  # fmt: skip
    return {name: why for name, found in reasons.items() for there, why in found if not there}
