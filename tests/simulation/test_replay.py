"""Rounds replayed in memory: what a strategy is shown, what it is measured by, and what the arms of a trial share."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch

from alctl.model import probe as probes
from alctl.model.distances import unit
from alctl.model.strategies.margin import Margin
from alctl.model.strategies.random import Random
from alctl.model.strategies.uherding import UHerding
from alctl.model.strategy import Candidates, Prediction, QueryStrategy, Selection, UntrainedError
from alctl.simulation.replay import Arm, Known, replay, split

NAMES = ("a", "b", "c")
BUDGETS = (6, 12, 30, 60)


def some_images(n: int = 90) -> Known:
    rng = np.random.default_rng(0)
    classes = rng.integers(3, size=n)
    vectors = 0.7 * rng.normal(size=(3, 8))[classes] + rng.normal(size=(n, 8))
    return Known(torch.from_numpy(vectors).float(), classes, NAMES)


KNOWN = some_images()
PARTS = split(90, 30, 1)


def curve(arm: Arm, seed: int = 5, **changes) -> list[float]:
    return [one.accuracy for one in replay(KNOWN, PARTS, arm, changes.get("budgets", BUDGETS), seed)]


@dataclass(frozen=True)
class Spy(QueryStrategy):
    """Takes the first images, and remembers what it was shown."""

    free: bool = False
    shown: list[Any] = field(default_factory=list)

    @property
    def needs_model(self) -> bool:
        return not self.free

    def query(self, unlabeled: Candidates, labeled: Candidates, n: int, rng: torch.Generator) -> Selection:
        try:
            said = [some.map(lambda seen: seen.distributions.p[:, 0]) for some in (unlabeled, labeled)]
            targets = labeled.map(_target)
        except UntrainedError:
            said, targets = [], None
        self.shown.append((unlabeled.embeddings(), labeled.embeddings(), said, targets))
        return Selection(torch.arange(n), torch.zeros(n, dtype=torch.float64))


def _target(seen: Prediction) -> torch.Tensor:
    assert seen.target is not None
    return seen.target["class"]


def test_a_split_uses_every_image_once():
    assert sorted([*PARTS.pool, *PARTS.test]) == list(range(90))
    assert len(PARTS.test) == 30
    assert (split(90, 30, 1).pool == PARTS.pool).all()
    assert not (split(90, 30, 2).test == PARTS.test).all()


def test_a_strategy_is_shown_the_rest_of_the_pool_and_what_it_chose_and_never_the_test():
    spy = Spy(free=True)
    measured = list(replay(KNOWN, PARTS, Arm("spy", spy), BUDGETS, 5))
    assert [one.labeled for one in measured] == list(BUDGETS)
    pool = KNOWN.vectors[torch.from_numpy(PARTS.pool)]
    for before, (unlabeled, labeled, _, _) in zip((0, *BUDGETS), spy.shown, strict=False):
        assert torch.equal(labeled, pool[:before])  # it took the first ones every time
        assert torch.equal(unlabeled, pool[before:])
    assert spy.shown[0][2] == []  # no model before the first labels


def test_a_strategy_is_shown_the_calibrated_probe_of_what_is_labeled():
    spy = Spy(free=True)
    list(replay(KNOWN, PARTS, Arm("spy", spy), (6, 30), 5))
    pool = KNOWN.vectors[torch.from_numpy(PARTS.pool)]
    classes = torch.from_numpy(KNOWN.classes[PARTS.pool])
    own = probes.fit(pool[:6], classes[:6], NAMES, pool_mean=unit(pool).mean(0), embedding="")
    unlabeled, _, said, targets = spy.shown[1]
    assert torch.allclose(said[0], probes.predict(own, unlabeled))
    assert torch.equal(targets, classes[:6])


def test_with_the_whole_pool_labeled_it_is_the_ordinary_probe_that_is_measured():
    (*_, last) = replay(KNOWN, PARTS, Arm("margin", Margin()), BUDGETS, 5)
    pool, test = KNOWN.vectors[PARTS.pool], KNOWN.vectors[PARTS.test]
    own = probes.fit(pool, KNOWN.classes[PARTS.pool], NAMES, pool_mean=unit(pool).mean(0), embedding="")
    said, truth = probes.predict(own, test).argmax(1).numpy(), KNOWN.classes[PARTS.test]
    assert last.accuracy == pytest.approx((said == truth).mean())
    balanced = probes.predict(own, test, balance=1.0).argmax(1).numpy()
    assert last.adjusted == pytest.approx(np.mean([(balanced == truth)[truth == c].mean() for c in range(3)]))


def test_the_same_seed_gives_the_same_curve_and_another_draw_another_one():
    assert curve(Arm("random", Random())) == curve(Arm("random", Random()))
    assert curve(Arm("random", Random())) != curve(Arm("random 2", Random(), draw=1))
    assert curve(Arm("random", Random())) != curve(Arm("random", Random()), seed=6)


def test_what_needs_a_model_begins_as_random_does_and_the_others_choose_their_own_first_round():
    assert curve(Arm("margin", Margin()))[0] == curve(Arm("random", Random()))[0]
    spy = Spy(free=True)
    list(replay(KNOWN, PARTS, Arm("given", Margin(), start=spy), BUDGETS, 5))
    assert len(spy.shown) == 1
    assert Arm("u", UHerding()).first == UHerding()
    assert Arm("m", Margin()).first == Random()


def test_without_calibration_the_temperature_is_1():
    pool = KNOWN.vectors[torch.from_numpy(PARTS.pool)]
    classes = torch.from_numpy(KNOWN.classes[PARTS.pool])
    plain, fitted = (
        probes.fit(pool, classes, NAMES, pool_mean=unit(pool).mean(0), embedding="", calibrate=c)
        for c in (False, True)
    )
    assert plain.temperature.used == 1 != fitted.temperature.used
    assert torch.equal(probes.predict(plain, pool).argmax(1), probes.predict(fitted, pool).argmax(1))
