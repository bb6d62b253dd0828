"""`simulate --mine`: would another strategy have needed fewer of the project's own labels?

The labeled images are split at random into a pool, whose labels are hidden, and a test, and rounds are replayed on
their frozen embeddings with the probe. The splits share their images, and the intervals say so: see `paired.overlap`.
"""

import hashlib
import json
import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from alctl.chance import stream
from alctl.database import categories, rounds
from alctl.errors import AlctlError
from alctl.images.decode import BrokenImages, Source
from alctl.labels.annotation import one_class_each
from alctl.model.strategies.random import Random
from alctl.progress import Progress
from alctl.project import Project, now, required_state
from alctl.rounds import own_simulation
from alctl.rounds.backbones import MODEL, use
from alctl.rounds.frozen import FrozenGroups
from alctl.rounds.own_simulation import LabelsSaved, Measured, OwnSimulation, Replayed, Rival
from alctl.rounds.strategy_choice import make_strategy
from alctl.rounds.training_set import Labeled, classes_named, labeled, task_of
from alctl.simulation import paired, statistics
from alctl.simulation.paired import Floats
from alctl.simulation.replay import Arm, Known, replay, split
from alctl.simulation.statistics import Comparison, Curves

RANDOM = "random"
RANDOMS = 4
"""Random arms of each trial; what is compared with is their mean, whose chance is a quarter of one's."""
STRATEGIES = ("uherding", "maxherding", "margin")
FEWEST = 100
"""Labeled images below which nothing could be told: some 30 would be left to measure on."""
FEW = 300
TEST = 0.3
"""Share of the labeled images that a trial measures on."""
USED = 0.7
"""Share of a trial's pool up to which labels are given; of a whole pool every strategy has chosen the same."""
STEPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
"""Labels a class after each round, if nothing else is asked."""
METRIC = "accuracy"


@dataclass(frozen=True)
class MineOptions:
    """What is compared."""

    strategies: Mapping[str, Mapping[str, object]]
    """Parameters by name."""
    trials: int
    budgets: Sequence[int] = ()
    """Labels after each round; empty: `STEPS` for each class."""
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Plan:
    """What `simulate --mine` is going to do."""

    known: Known
    arms: tuple[Arm, ...]
    trials: int
    found: OwnSimulation
    """What there is of it: the numbers of an earlier command, if they are of the same labels."""

    @property
    def left(self) -> list[tuple[int, Arm]]:
        """The trials and arms that are still to be replayed, trial by trial."""
        done = {(one.trial, one.arm) for one in self.found.replayed}
        every = ((trial, arm) for trial in range(1, self.trials + 1) for arm in self.arms)
        return [one for one in every if (one[0], one[1].name) not in done]


def plan(
    project: Project, options: MineOptions, progress: Progress, told: Callable[[str], None] | None = None
) -> Plan:
    """Read the labels and vectors; what has none is embedded first, once ``told`` was called with how long that takes.

    Raises:
        AlctlError: The labels are too few or of another task, an image cannot be embedded, or one would have to be and
            ``told`` is None.
    """
    arms = _arms(options.strategies)
    labels = _labels(project)
    n = len(labels.sources)
    if n < FEWEST:
        raise AlctlError(
            f"{n} labeled images are too few to replay: about {round(n * TEST)} would be left to measure on, and 5 points "
            f"of accuracy are {max(1, round(n * TEST * 0.05))} of them. Label at least {FEWEST}, better {FEW}"
        )
    known, chosen, backbone = _known(project, labels, progress, told)
    n = len(known.classes)
    test = round(n * TEST)
    budgets = _budgets(options.budgets, n - test, len(known.names))
    key = _key(known, backbone, budgets, options.seed)
    found = OwnSimulation(
        key, n, chosen, len(known.names), backbone, n - test, test, budgets, options.seed, now(), 0, (), {}, (), ()
    )  # fmt: skip
    before = own_simulation.read(project)
    if before is not None and before.key == key:
        found = replace(found, looks=before.looks, replayed=before.replayed)
    return Plan(known, arms, options.trials, found)


def _arms(strategies: Mapping[str, Mapping[str, object]]) -> tuple[Arm, ...]:
    found = [Arm(RANDOM if i == 0 else f"{RANDOM} {i + 1}", Random(), draw=i) for i in range(RANDOMS)]
    for name, params in strategies.items():
        if name == RANDOM:
            continue
        made = make_strategy(name, params)
        if made.uses_predicted_loss:
            raise AlctlError(
                f"{name} reads predicted losses, and a probe has none; compare uherding, margin and others, or train "
                "networks: `alctl simulate DATASET`"
            )
        shown = ",".join(f"{key}={value}" for key, value in params.items())
        found.append(Arm(f"{name}({shown})" if shown else name, made))
    if len(found) == RANDOMS:
        raise AlctlError("there is nothing to compare with random: add --strategy uherding")
    return tuple(found)


class _Labels(NamedTuple):
    sources: list[Source]
    targets: Tensor
    names: Sequence[str]
    picked: set[int]
    """Items that a strategy chose."""


def _labels(project: Project) -> _Labels:
    """Return the labeled images of the pool and the validation images.

    Test images stay out: a strategy that was chosen by them could not be judged by them.
    """
    with project.reading() as connection:
        state = required_state(connection, project.folder)
        if not one_class_each(state.task):
            raise AlctlError(
                f"`--mine` replays classification, and this project's task is {state.task}; compare strategies with "
                "`alctl simulate DATASET` on images with one class each"
            )
        classes = categories.class_list(connection)
        names, _, merged = categories.outputs(classes, len(classes))
        task = task_of(state.task, classes_named(classes, names), (0, 0), merged)
        both = [labeled(connection, state.root, task, part) for part in ("pool", "validation")]
        picked = set(rounds.picked_by_strategies(connection))
    sources = [source for part in both for source in part.sources]
    return _Labels(sources, _classes(both), task.names, picked)


def _classes(parts: Sequence[Labeled]) -> Tensor:
    """Return the class of each image of all parts, (N,) int64; a part without labels has no targets at all."""
    found = [part.targets["class"] for part in parts if part.sources]
    return torch.cat(found) if found else torch.empty(0, dtype=torch.int64)


def _known(
    project: Project, labels: _Labels, progress: Progress, told: Callable[[str], None] | None
) -> tuple[Known, int, str]:
    """Return the images that have a vector, how many of them a strategy chose, and the backbone."""
    groups = FrozenGroups(project, [labels.sources], progress, forced=True)
    hand = groups.at_hand
    if hand.backbone == MODEL:
        raise AlctlError(
            "the embeddings are those of a model that has learned from these labels, so nothing could be hidden from it; "
            "run `alctl embed --backbone efficientnet-lite0` first"
        )
    if hand.missing and told is None:
        raise AlctlError(f"{hand.why}; run `alctl embed` first")
    if hand.missing and told is not None:
        told(hand.why)
    try:
        vectors = groups.found
    except BrokenImages as broken:
        raise AlctlError(f"{broken}; run `alctl embed`, which sets them aside") from broken
    if vectors is None:
        raise AlctlError(f"{hand.why}; run `alctl embed` first")
    if hand.missing and groups.wanted is not None:
        with project.writing("simulate --mine") as connection:
            use(connection, groups.wanted)
    usable = vectors[0].any(dim=1)  # a row of zeros is an image that the backbone could say nothing of
    targets = labels.targets[usable].numpy()
    ids = [source.id for source, use in zip(labels.sources, usable.tolist(), strict=True) if use]
    living = sorted(set(targets.tolist()))
    known = Known(
        vectors[0][usable], np.searchsorted(living, targets), tuple(labels.names[c] for c in living)
    )
    return known, len(labels.picked.intersection(ids)), hand.backbone


def _budgets(given: Sequence[int], pool: int, classes: int) -> tuple[int, ...]:
    if not given:
        made = tuple(step * classes for step in STEPS if step * classes <= USED * pool)
        if len(made) < 2:
            raise AlctlError(
                f"{pool} images of {classes} classes are too few for two rounds of one label a class; give --budgets"
            )
        return made
    found = tuple(sorted(set(given)))
    if len(found) < 2 or found[0] < 1 or found[-1] > pool:
        raise AlctlError(
            f"--budgets must be two numbers or more between 1 and {pool}, the images of a trial's pool"
        )
    return found


def _key(known: Known, backbone: str, budgets: Sequence[int], seed: int) -> str:
    """Return a digest of all that numbers depend on, but for the strategy and the trial."""
    digest = hashlib.sha256(json.dumps([backbone, known.names, list(budgets), seed]).encode())
    digest.update(known.vectors.numpy().tobytes())
    digest.update(known.classes.astype("<i8").tobytes())
    return digest.hexdigest()


def run(project: Project, plan: Plan, progress: Progress) -> Generator[tuple[int, str, float], None, None]:
    """Replay what is left, yielding trial, arm and last accuracy of each; what is done is kept after every trial."""
    replayed, left = list(plan.found.replayed), plan.left
    for done, (trial, arm) in enumerate(left, start=1):
        seed = stream(plan.found.seed, "mine", trial)
        parts = split(plan.found.images, plan.found.test, seed)
        values = [one.accuracy for one in replay(plan.known, parts, arm, plan.found.budgets, seed)]
        replayed.append(Replayed(arm.name, trial, tuple(values)))
        if done == len(left) or left[done][0] != trial:
            own_simulation.write(project, replace(plan.found, replayed=tuple(replayed)))
        progress("replaying", done, len(left))
        yield trial, arm.name, values[-1]


def judge(project: Project, plan: Plan, *, look: bool = True) -> OwnSimulation:
    """Say what the replayed trials tell, and keep it.

    With ``look`` this is one more look at the verdicts: who looks at 5 trials, then at 10 and then at 20 has three
    chances of a false one, so p is taken times as many.
    """
    kept = own_simulation.read(project) or plan.found
    names = [arm.name for arm in plan.arms]
    every = [one for one in kept.replayed if one.trial <= plan.trials and one.arm in names]
    finished = [t for t in range(1, plan.trials + 1) if {o.arm for o in every if o.trial == t} == set(names)]
    looks = tuple(sorted({*kept.looks, len(finished)})) if look and finished else kept.looks
    found = curves_of(every, finished, plan.found.budgets)
    overlap = paired.overlap(kept.test, kept.pool)
    compared = statistics.comparisons(found, RANDOM, overlap=overlap)
    judged = replace(
        kept,
        created_at=now(),
        trials=len(finished),
        looks=looks,
        curves={name: tuple(map(float, found.of(name).mean(axis=0))) for name in found.strategies},
        rivals=tuple(_rival(name, one, overlap, len(looks)) for name, one in compared.items()),
    )
    own_simulation.write(project, judged)
    return judged


def curves_of(replayed: Sequence[Replayed], trials: Sequence[int], budgets: Sequence[int]) -> Curves:
    """Return the curves of these trials; that of random is the mean of the random arms of each trial."""
    by_arm: dict[str, dict[int, list[Sequence[float]]]] = {}
    for one in replayed:
        first, _, number = one.arm.partition(" ")
        name = RANDOM if first == RANDOM and (not number or number.isdigit()) else one.arm
        by_arm.setdefault(name, {}).setdefault(one.trial, []).append(one.accuracy)
    values: list[Floats] = [
        np.array([np.mean(of[trial], axis=0) for trial in trials]).reshape(len(trials), len(budgets))
        for of in by_arm.values()
    ]
    return Curves(METRIC, list(by_arm), list(trials), list(budgets), np.array(values))


def _rival(name: str, found: Comparison, overlap: float, looks: int) -> Rival:
    area = found.area
    assert area is not None
    p = 1.0 if found.p is None else min(1.0, found.p * looks)
    last = found.labels[-1] if found.labels else None
    deviation = area.deviation or 0.0
    saved = None
    if last is not None and last.needed is not None and last.saved is not None:
        saved = LabelsSaved(
            last.labeled, last.needed, last.at_most, Measured(last.saved, last.low, last.high), last.censored
        )
    return Rival(
        name,
        Measured(area.mean, area.low, area.high),
        deviation,
        p,
        statistics.verdict(name, RANDOM, METRIC, area, p),
        saved,
        paired.visible(deviation, area.trials, overlap=overlap),
        paired.visible(deviation, math.inf, overlap=overlap),
    )


def trials_that_tell(rival: Rival, found: OwnSimulation) -> dict[float, int | None]:
    """Return for true differences of 1, 2, 3 and 5 points how many trials tell them; None where no number does."""
    overlap = paired.overlap(found.test, found.pool)
    return {
        points: paired.trials_needed(rival.deviation, points / 100, overlap=overlap) if rival.deviation else 2
        for points in (1, 2, 3, 5)
    }
