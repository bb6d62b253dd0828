"""How far annotators agree, what holds where they do not, and how good each of them is. Pure measures: no SQL.

An item's agreement is the mean likeness of its pairs of answers: 1 or 0 for classes, `similarity` for objects.
"""

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import combinations
from typing import NamedTuple

import numpy as np

from alctl.agreement import similarity
from alctl.agreement.similarity import Comparison, Objects, Part
from alctl.labels.annotation import one_class_each

WORST = 20
"""Items that are named because annotators disagree about them most."""
DIGITS = 9
"""Sums of weights that differ less are equal."""


class Answer(NamedTuple):
    """What one annotator said of an item: its class, or its objects."""

    annotator: str
    category: int | None = None
    objects: Objects = ()
    label: int = 0
    """Its number in the label table."""


class Shared(NamedTuple):
    """An item that several annotators labeled; the answers are in the order in which they came."""

    item: int
    path: str
    size: tuple[int, int]
    """Height and width in pixels."""
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class Judge:
    """What it takes to compare two answers."""

    task: str
    keypoints: Mapping[int, Sequence[str]] = field(default_factory=dict)
    """Names of the keypoints of each class."""
    weights: Mapping[str, float] = field(default_factory=dict)
    """Of an annotator's vote; 1 for those who are not in it."""

    def compared(self, shared: Shared, one: Answer, other: Answer) -> Comparison:
        """Compare two answers about the same item."""
        if not one_class_each(self.task):
            return similarity.compared(self.task, one.objects, other.objects, shared.size, self.keypoints)
        return _of_classes(int(one.category or 0), int(other.category or 0))

    def weight(self, answer: Answer) -> float:
        """Return what the annotator's vote counts."""
        return self.weights.get(answer.annotator, 1.0)


@cache
def _of_classes(one: int, other: int) -> Comparison:
    """Compare two classes of a whole image; there are few of them, and millions of answers."""
    if one == other:
        return Comparison({one: Part(1, 1.0, 2)})
    return Comparison({id_: Part(0, 0.0, 1) for id_ in (one, other)}, Counter([(one, other)]))


Pairs = Mapping[tuple[int, int], Comparison]
"""The comparison of each two answers of an item, by their places."""


def pairs_of(judge: Judge, shared: Shared) -> Pairs:
    """Compare every two answers of an item."""
    numbered = list(enumerate(shared.answers))
    return {(i, j): judge.compared(shared, a, b) for (i, a), (j, b) in combinations(numbered, 2)}


def agreement_of(pairs: Pairs) -> float:
    """Return the mean likeness of an item's answers."""
    return float(np.mean([found.value for found in pairs.values()]))


def holds(judge: Judge, shared: Shared, pairs: Pairs | None = None) -> int:
    """Return the place of the answer that holds: the weighted medoid of all, ties to the newest.

    The medoid is the answer to which the answers of all, each with its weight, are most alike. Of classes it is the
    weighted majority.
    """
    return max(best(judge, shared, pairs_of(judge, shared) if pairs is None else pairs))


def best(judge: Judge, shared: Shared, pairs: Pairs) -> list[int]:
    """Return the places of all answers that could hold: several if they tie, though they are not alike."""
    weights = [judge.weight(answer) for answer in shared.answers]
    alike = list(weights)  # everybody agrees with themselves
    for (i, j), found in pairs.items():
        alike[i] += weights[j] * found.value
        alike[j] += weights[i] * found.value
    most = max(round(value, DIGITS) for value in alike)
    return [place for place, value in enumerate(alike) if round(value, DIGITS) == most]


def consensus_of(judge: Judge, shared: Shared, pairs: Pairs) -> int | None:
    """Return the place of the answer that people's are compared with; None where unlike ones tie.

    Which of those holds is decided by the order in which they came, and that says nothing about anybody.
    """
    tied = best(judge, shared, pairs)
    if any(pairs[both].value < 1 for both in combinations(tied, 2)):
        return None
    return tied[-1]


@dataclass
class _Person:
    """What is known of one annotator."""

    items: int = 0
    pairs: int = 0
    with_others: float = 0.0
    decided: int = 0
    """Items of which a majority decides what holds, and not a tie."""
    with_consensus: float = 0.0


@dataclass
class Tally:
    """Sums over shared items, which are added one at a time."""

    judge: Judge
    items: int = 0
    answers: int = 0
    total: float = 0.0
    people: dict[str, _Person] = field(default_factory=dict)
    together: dict[tuple[str, str], Part] = field(default_factory=dict)
    shared: Counter[tuple[str, str]] = field(default_factory=Counter)
    alike: dict[tuple[str, str], float] = field(default_factory=lambda: defaultdict(float))
    classes: dict[int, Part] = field(default_factory=dict)
    confused: Counter[tuple[int, int]] = field(default_factory=Counter)
    rows: Counter[tuple[str, str, int, int, int]] = field(default_factory=Counter)
    """Of classes: two annotators, what each says, answers of the item, and how often."""
    worst: list[tuple[float, int, int, Shared]] = field(default_factory=list)

    def add(self, shared: Shared) -> None:
        """Count one item."""
        pairs = pairs_of(self.judge, shared)
        value = agreement_of(pairs)
        self.items += 1
        self.answers += len(shared.answers)
        self.total += value
        chosen = consensus_of(self.judge, shared, pairs)
        for place, answer in enumerate(shared.answers):
            person = self.people.setdefault(answer.annotator, _Person())
            person.items += 1
            if chosen is not None:
                both = (min(place, chosen), max(place, chosen))
                person.decided += 1
                person.with_consensus += 1.0 if place == chosen else pairs[both].value
        for (i, j), found in pairs.items():
            self._pair(shared, shared.answers[i], shared.answers[j], found)
        if value < 1:
            entry = (-value, len(shared.answers), -shared.item, shared)
            (heapq.heappush if len(self.worst) < WORST else heapq.heappushpop)(self.worst, entry)

    def _pair(self, shared: Shared, one: Answer, other: Answer, found: Comparison) -> None:
        for answer in (one, other):
            person = self.people[answer.annotator]
            person.pairs += 1
            person.with_others += found.value
        names = (min(one.annotator, other.annotator), max(one.annotator, other.annotator))
        self.shared[names] += 1
        self.alike[names] += found.value
        self.together[names] = self.together.get(names, Part()).plus(found.whole)
        for id_, part in found.classes.items():
            self.classes[id_] = self.classes.get(id_, Part()).plus(part)
        for ids, n in found.confused.items():
            self.confused[min(ids), max(ids)] += n
        if one_class_each(self.judge.task):
            says = (int(one.category or 0), int(other.category or 0))
            ordered = says if one.annotator == names[0] else says[::-1]
            self.rows[*names, *ordered, len(shared.answers)] += 1

    def quality(self) -> dict[str, float]:
        """Return the mean likeness of each annotator's answers to those of the others."""
        return {name: person.with_others / person.pairs for name, person in self.people.items()}


class Row(NamedTuple):
    """How often two annotators gave an item of so many answers these classes."""

    one: str
    other: str
    one_says: int
    other_says: int
    answers: int
    """How many annotators gave the item a class: what Krippendorff's alpha weighs an item by."""
    n: int


@dataclass(frozen=True)
class PairKappa:
    """How far two annotators agree about classes."""

    annotators: list[str]
    items: int
    """Those that both of them labeled."""
    agreement: float
    """The share of these to which both gave the same class."""
    kappa: float | None
    """Cohen's; None where both used one and the same class only."""


def fleiss(rows: Iterable[Row]) -> float | None:
    """Return Fleiss' kappa (1971); None where only one class was ever given.

    Items may have different numbers of answers: each item's agreement is the share of its pairs that agree, and the
    chance of a class its share of all answers.
    """
    agreed = items = 0.0
    given: dict[int, float] = defaultdict(float)
    for row in rows:
        part = 2 * row.n / (row.answers * (row.answers - 1))  # the pairs of an item add up to 1
        items += part
        agreed += part * (row.one_says == row.other_says)
        for said in (row.one_says, row.other_says):
            given[said] += row.n / (row.answers - 1)  # an answer is in so many pairs
    total = sum(given.values())
    if not items:
        return None
    by_chance = sum((n / total) ** 2 for n in given.values())
    return None if 1 - by_chance < 1e-12 else float((agreed / items - by_chance) / (1 - by_chance))


def kappas(rows: Sequence[Row]) -> list[PairKappa]:
    """Return how far each two annotators agree, most shared items first."""
    from sklearn.metrics import cohen_kappa_score

    found = []
    for one, other in sorted({(row.one, row.other) for row in rows}):
        own = [row for row in rows if (row.one, row.other) == (one, other)]
        says = [row.one_says for row in own], [row.other_says for row in own]
        counts = [row.n for row in own]
        same = sum(row.n for row in own if row.one_says == row.other_says)
        varied = len({*says[0], *says[1]}) > 1
        kappa = float(cohen_kappa_score(*says, sample_weight=counts)) if varied else None
        found.append(PairKappa([one, other], sum(counts), same / sum(counts), kappa))
    return sorted(found, key=lambda pair: -pair.items)


def krippendorff(rows: Iterable[Row]) -> float | None:
    """Return Krippendorff's alpha for classes over all annotators; None where only one class was ever given.

    From coincidences: an item with m answers adds 1/(m-1) for each ordered pair of them (Krippendorff, Content
    Analysis, chapter 12).
    """
    together: dict[tuple[int, int], float] = defaultdict(float)
    for row in rows:
        weight = row.n / (row.answers - 1)
        together[row.one_says, row.other_says] += weight
        together[row.other_says, row.one_says] += weight
    totals: dict[int, float] = defaultdict(float)
    for (said, _), weight in together.items():
        totals[said] += weight
    n = sum(totals.values())
    expected = n * n - sum(total * total for total in totals.values())
    if expected <= 1e-9 * n * n:
        return None
    observed = sum(weight for (one, other), weight in together.items() if one != other)
    return float(1 - (n - 1) * observed / expected)
