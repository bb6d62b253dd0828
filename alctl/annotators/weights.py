"""How far the annotators of a project agree, and the weights of their votes that follow from it."""

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import Connection

from alctl.agreement import measures
from alctl.agreement.dawid_skene import accuracies
from alctl.agreement.measures import Answer, Judge, PairKappa, Row, Tally
from alctl.agreement.similarity import LIKENESS, Part, mean_likeness
from alctl.database import categories, consensus, rounds
from alctl.errors import AlctlError
from alctl.labels.annotation import one_class_each
from alctl.project import Project, required_state

CONFUSED = 20
"""Pairs of classes that are named because annotators confuse them most."""


Measures = Mapping[str, float | None]
"""By name, as in "agreement" and "fleiss_kappa": which ones there are depends on the task."""


@dataclass(frozen=True)
class AnnotatorAgreement:
    """How far one annotator agrees with the others."""

    annotator: str
    answers: int
    """In force."""
    items: int
    """Those that others labeled too."""
    with_consensus: float | None
    """None where every item is a tie of unlike answers, which says nothing about anybody."""
    with_others: float | None
    median_seconds: float | None
    weight: float
    """What the annotator's vote counts."""


@dataclass(frozen=True)
class PairLikeness:
    """How alike two annotators' objects are."""

    annotators: list[str]
    items: int
    """Those that both of them labeled."""
    agreement: float
    f1: float | None
    """Of the same objects in both."""
    mean: float | None
    """The mean likeness of objects, which `LIKENESS` names."""


@dataclass(frozen=True)
class Confused:
    """Two classes that annotators gave to the same thing."""

    classes: list[str]
    n: int


@dataclass(frozen=True)
class Disputed:
    """An item that annotators disagree about."""

    item: int
    path: str
    agreement: float
    answers: Mapping[str, str]
    """What each said, in a few words, by annotator."""


@dataclass(frozen=True)
class Agreement:
    """How far the annotators of a project, or of a round, agree."""

    task: str
    round: int | None
    items: int
    """Those that several of them labeled."""
    answers: int
    measures: Measures
    """Over all annotators and items."""
    annotators: Sequence[AnnotatorAgreement]
    """Most shared items first."""
    pairs: Sequence[PairKappa] | Sequence[PairLikeness]
    """Most shared items first."""
    classes: Mapping[str, Measures]
    confused: Sequence[Confused]
    """Most often first."""
    worst: Sequence[Disputed]
    """Those that they disagree about most first."""

    def pair_measures(self, pair: PairKappa | PairLikeness) -> Measures:
        """Return the measures of a pair by their names."""
        if isinstance(pair, PairKappa):
            return {"agreement": pair.agreement, "kappa": pair.kappa}
        return {"agreement": pair.agreement, "f1": pair.f1, LIKENESS[self.task]: pair.mean}

    def plain(self) -> dict[str, object]:
        """Return it for --json: the measures of pairs are fields of theirs."""
        pairs = [
            {"annotators": pair.annotators, "items": pair.items, **self.pair_measures(pair)}
            for pair in self.pairs
        ]
        return {**vars(self), "pairs": pairs}


@dataclass(frozen=True)
class Weight:
    """What an annotator's vote counts from now on."""

    quality: float
    """The share of right answers, or for objects the mean likeness to the others'."""
    weight: float


def measure(project: Project, number: int | None = None) -> Agreement:
    """Return how far annotators agree about the items that several of them labeled, of a round or in all."""
    with project.reading() as connection:
        required_state(connection, project.folder)
        if number is not None and rounds.find_round(connection, number) is None:
            raise AlctlError(
                f"there is no round {number}; the last one is {rounds.next_round(connection) - 1}"
            )
        judge = consensus.judge(connection)
        tally = Tally(judge)
        for shared in consensus.shared(connection, judge, number):
            tally.add(shared)
        names = dict(enumerate(categories.effective_names(connection), start=1))
        return Agreement(
            task=judge.task,
            round=number,
            items=tally.items,
            answers=tally.answers,
            measures=_overall(tally),
            annotators=_people(connection, tally, number),
            pairs=_pairs(tally),
            classes=_classes(tally, names),
            confused=_confused(tally, names),
            worst=_worst(tally, names),
        )


def _rows(tally: Tally) -> list[Row]:
    return [Row(*key, n) for key, n in sorted(tally.rows.items())]


def _overall(tally: Tally) -> Measures:
    """Return the measures over all annotators and items."""
    if not tally.items:
        return {}
    found: dict[str, float | None] = {"agreement": tally.total / tally.items}
    if one_class_each(tally.judge.task):
        rows = _rows(tally)
        return {
            **found,
            "fleiss_kappa": measures.fleiss(rows),
            "krippendorff_alpha": measures.krippendorff(rows),
        }
    whole = Part()
    for part in tally.classes.values():
        whole = whole.plus(part)
    return {**found, "f1": whole.f1, LIKENESS[tally.judge.task]: mean_likeness(tally.judge.task, whole)}


def _people(connection: Connection, tally: Tally, number: int | None) -> list[AnnotatorAgreement]:
    """Return what is known of each annotator, most shared items first."""
    found = []
    for name, (answers, seconds) in consensus.answered(connection, number).items():
        person = tally.people.get(name)
        found.append(
            AnnotatorAgreement(
                annotator=name,
                answers=answers,
                items=person.items if person else 0,
                with_consensus=person.with_consensus / person.decided if person and person.decided else None,
                with_others=person.with_others / person.pairs if person else None,
                median_seconds=seconds,
                weight=tally.judge.weights.get(name, 1.0),
            )
        )
    return sorted(found, key=lambda row: (-row.items, row.annotator))


def _pairs(tally: Tally) -> list[PairKappa] | list[PairLikeness]:
    """Return each two annotators who share items, most shared items first."""
    if one_class_each(tally.judge.task):
        return measures.kappas(_rows(tally))
    found = [
        PairLikeness(
            annotators=list(names),
            items=n,
            agreement=tally.alike[names] / n,
            f1=tally.together[names].f1,
            mean=mean_likeness(tally.judge.task, tally.together[names]),
        )
        for names, n in tally.shared.items()
    ]
    return sorted(found, key=lambda pair: (-pair.items, pair.annotators))


def _classes(tally: Tally, names: Mapping[int, str]) -> dict[str, Measures]:
    """Return for each class how well annotators find the same objects, or how often they say it together."""
    found: dict[str, dict[str, float | None]] = {}
    for id_, part in sorted(tally.classes.items()):
        found[names[id_]] = {"objects": part.objects, "f1": part.f1}
        if tally.judge.task in LIKENESS:
            found[names[id_]][LIKENESS[tally.judge.task]] = mean_likeness(tally.judge.task, part)
    return dict(found)


def _confused(tally: Tally, names: Mapping[int, str]) -> list[Confused]:
    """Return the pairs of classes that annotators gave to the same thing, most often first."""
    ranked = sorted(tally.confused.items(), key=lambda entry: (-entry[1], entry[0]))
    return [Confused([names[a], names[b]], n) for (a, b), n in ranked[:CONFUSED]]


def _worst(tally: Tally, names: Mapping[int, str]) -> list[Disputed]:
    """Return the items about which annotators disagree most, and what each said."""
    return [
        Disputed(
            item=found.item,
            path=found.path,
            agreement=-value,
            answers={answer.annotator: said(answer, names) for answer in found.answers},
        )
        for value, _, _, found in sorted(tally.worst, key=lambda entry: entry[:3], reverse=True)
    ]


def said(answer: Answer, names: Mapping[int, str]) -> str:
    """Return an answer in a few words: its class, or how many objects of which classes."""
    if answer.category is not None:
        return names[answer.category]
    ids = [id_ for _, id_ in answer.objects]
    counted = [f"{ids.count(id_)} {names[id_]}" for id_ in sorted(set(ids))]
    return ", ".join(counted) or "nothing"


def weigh(project: Project) -> dict[str, Weight]:
    """Give every annotator who shares items a weight, and return it with the quality that it follows from.

    The quality is the share of right answers (see `dawid_skene`), and for objects the mean likeness to the others'.
    Weights are qualities divided by their mean over the answers: who shares nothing keeps 1, like an average one.
    """
    with project.writing("agreement") as connection:
        required_state(connection, project.folder)
        judge = consensus.judge(connection)
        unweighted = Judge(judge.task, judge.keypoints)
        quality, answers = (
            _of_classes(connection, unweighted)
            if one_class_each(judge.task)
            else _of_objects(connection, unweighted)
        )
        if not quality:
            raise AlctlError(
                "no image was labeled by two annotators, so nothing tells how good they are; "
                "`alctl select --annotators ann,bob --overlap 0.1` makes some that are"
            )
        mean = sum(quality[name] * answers[name] for name in quality) / sum(answers.values())
        found = {name: Weight(value, value / mean if mean else 1.0) for name, value in quality.items()}
        consensus.set_weights(connection, {name: max(row.weight, 1e-6) for name, row in found.items()})
    return found


def _of_objects(connection: Connection, judge: Judge) -> tuple[dict[str, float], dict[str, int]]:
    tally = Tally(judge)
    for shared in consensus.shared(connection, judge):
        tally.add(shared)
    return tally.quality(), {name: person.items for name, person in tally.people.items()}


def _of_classes(connection: Connection, judge: Judge) -> tuple[dict[str, float], dict[str, int]]:
    items, people, classes = array("q"), array("q"), array("q")
    names: dict[str, int] = {}
    ids: dict[int, int] = {}
    for place, shared in enumerate(consensus.shared(connection, judge)):
        for answer in shared.answers:
            items.append(place)
            people.append(names.setdefault(answer.annotator, len(names)))
            classes.append(ids.setdefault(int(answer.category or 0), len(ids)))
    if not names:
        return {}, {}
    arrays = [np.frombuffer(numbers, dtype=np.int64) for numbers in (items, people, classes)]
    found = accuracies(arrays[0], arrays[1], arrays[2])
    counts = np.bincount(arrays[1])
    return (
        {name: float(found[place]) for name, place in names.items()},
        {name: int(counts[place]) for name, place in names.items()},
    )


def reset(project: Project) -> list[str]:
    """Take the weights of all annotators away; return who had one."""
    with project.writing("agreement") as connection:
        required_state(connection, project.folder)
        had = sorted(consensus.weights(connection))
        consensus.set_weights(connection, {})
    return had
