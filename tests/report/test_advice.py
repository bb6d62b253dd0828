"""What a report advises: a sentence for every situation, and "equal to nothing" where that is the truth."""

from dataclasses import replace

import numpy as np
import pytest

from alctl.report import advice
from alctl.report.ask_models import Judged
from alctl.report.contents import TimeAndCost
from alctl.report.measures import Estimate
from alctl.report.model_contents import ControlTogether, Losses
from alctl.status import NextStep
from tests.report.by_hand import LATER, RUN, facts, gain, states


def judged(right: list[bool], first: int = 1) -> Judged:
    n = len(right)
    said = np.where(right, 1, 0)
    return Judged(np.arange(first, first + n), np.ones(n, np.int64), said, np.ones(n), None, np.ones(n))


@pytest.mark.parametrize(
    ("interval", "unlabeled", "verdict"),
    [
        ((0.01, 0.05), 1000, "Another round is worth it: the last labels helped, and 1,000 images are unlabeled."),
        ((0.01, 0.05), 0, "The last labels helped, but no unlabeled image is left."),
        ((-0.01, 0.05), 1000, "The last labels are equal to nothing so far: what they brought cannot be told from chance."),
        ((0.0, 0.05), 1000, "The last labels are equal to nothing so far: what they brought cannot be told from chance."),
        ((-0.05, -0.01), 1000, "The last labels made the model worse: look at them, and at the settings, before you label more."),
    ],
)  # fmt: skip
def test_the_verdict_is_that_of_the_interval(interval, unlabeled, verdict):
    found = facts(gain(*interval), states=states(unlabeled))
    assert advice.advise(found).verdict == verdict


def test_the_newest_run_with_fewer_labels_is_the_one_to_compare_with():
    again = replace(LATER, id=3)
    assert advice.earlier([RUN, LATER, again]) == RUN
    assert advice.earlier([RUN]) is None
    assert advice.earlier([]) is None
    assert advice.earlier([LATER, RUN]) is None


def test_two_models_are_compared_on_the_images_that_both_could_read():
    was, now = judged([False] * 30 + [True] * 30), judged([True] * 59, first=2)
    found = advice.gain(facts(), RUN, LATER, was, now)
    assert found is not None
    assert (found.how, found.images) == ("paired", 59)
    assert found.gain.value == pytest.approx(29 / 59)
    assert found.per_100 == found.gain


def test_recorded_accuracies_are_compared_over_the_images_that_there_were():
    before = replace(RUN, metrics={"test": {"accuracy": 0.5, "images": 50}})
    found = advice.gain(facts(), before, LATER, None, judged([True]))
    assert found is not None
    assert (found.how, found.images, found.changed) == ("unpaired", 50, [])
    assert advice.gain(facts(), replace(RUN, metrics={}), LATER, None, None) is None


def test_other_settings_are_named_and_another_device_is_none():
    other = replace(LATER, config={**LATER.config, "lr": 0.2, "device": "cuda"})
    found = advice.gain(facts(), RUN, other, None, None)
    assert found is not None
    assert found.changed == ["lr"]
    reasons = advice.advise(facts(found)).reasons
    assert any("differ in their settings (lr)" in reason for reason in reasons)


def test_what_the_images_cannot_show_is_said():
    reasons = advice.advise(facts(gain(-0.02, 0.04))).reasons
    assert "With 400 test images a change of less than about 3.0 points cannot be seen at all." in reasons
    assert not any("cannot be seen" in reason for reason in advice.advise(facts(gain(0.02, 0.04))).reasons)


def test_the_next_round_has_a_price_and_a_most_that_it_may_bring():
    time = TimeAndCost(
        annotators=[], rounds=[], answers=200, timed=200, mean_seconds=36.0, hours=2.0, cost_per_hour=25.0,
        cost_per_label=0.25, cost=50.0,
    )  # fmt: skip
    (sentence,) = [
        r for r in advice.advise(facts(gain(0.02, 0.04), time=time)).reasons if "Another round" in r
    ]
    assert sentence == (
        "Another round of 100 labels takes about 60 min, costs about 25.00 and brings, at the last pace, at most "
        "+3.0 points (95 % interval +2.0 to +4.0), because curves flatten."
    )
    nothing = advice.advise(facts(gain(-0.02, 0.04), time=time)).reasons
    assert "Another round of 100 labels takes about 60 min and costs about 25.00." in nothing
    assert not any("Another round" in reason for reason in advice.advise(facts()).reasons)


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (-0.1, 0.2, "are not told apart from random so far"),
        (0.1, 0.2, "are harder than random ones"),
        (-0.2, -0.1, "are easier than"),
    ],
)
def test_the_control_is_judged_by_its_interval(low, high, said):
    control = ControlTogether(["entropy"], Estimate(0, low, high), picked_images=90, control_images=10)
    (sentence,) = advice.advise(facts(control_all=control)).reasons
    assert f"Picks of entropy {said}" in sentence


@pytest.mark.parametrize(
    ("low", "said"), [(-0.01, "do not follow the true ones"), (0.2, "still follow the true ones")]
)
def test_predicted_losses_that_lost_touch_are_reported(low, said):
    losses = Losses(
        ranking_accuracy=0.6, ranking_accuracy_strict=0.6, ties_predicted=0, ties_true=0, pearson=0.3, spearman=0.3,
        images=400, spearman_interval=Estimate(0.3, low, 0.5), predicted=[], true=[],
    )  # fmt: skip
    (sentence,) = advice.advise(facts(losses=losses)).reasons
    assert said in sentence


def test_what_can_be_done_instead_is_what_is_possible_and_not_what_comes_next():
    def verbs(next_: str = "", **changes):
        step = NextStep(next_, "") if next_ else None
        return [one.command for one in advice.advise(facts(**changes), step).others]

    again, mine, stop = (
        "alctl select --relabel --k 50",
        "alctl simulate --mine",
        "alctl export-labels labels.json --format coco",
    )
    assert verbs() == ["alctl select --k 100", again, mine, stop]
    assert verbs("alctl select --k 7") == [again, mine, stop]
    assert verbs("alctl train", states=states(3))[0] == "alctl select --k 3"
    assert verbs(runs=[], states=states(0)) == [mine, stop]
    assert verbs(states=states(0, labeled=20)) == ["alctl select --relabel --k 20", stop]
    assert verbs(states=states(0, labeled=0)) == []
