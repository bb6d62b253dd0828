"""The experiments of benchmarks/selection in a small size: the statistics are those of a few independent lines."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from benchmarks.selection import data, tables
from benchmarks.selection.experiments import EVERY, Experiment
from benchmarks.selection.lines import Line, read
from benchmarks.selection.run import run
from tests.data import archive

BUDGETS = (10, 20, 40)
ARMS = ("random", "random 2", "random 3", "random 4", "uherding", "margin")


def small(name: str, **changes) -> Experiment:
    whole = next(one for one in EVERY if one.name == name)
    return replace(whole, arms=tuple(arm for arm in whole.arms if arm.name in ARMS), **changes)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The photographs embedded at half the size, which takes a quarter of the time."""
    folder = tmp_path_factory.mktemp("cache")
    vectors, classes = data.embedded(list(data.read("clothing", archive("clothing_dev.zip"))), 112)
    np.savez(folder / "clothing.npz", vectors=vectors, classes=classes)
    return folder


@pytest.mark.slow
def test_e2_in_a_small_size(cache, tmp_path):
    experiment = small("E2", budgets=BUDGETS, areas=(40, 20), trials=3)
    run(experiment, Path(os.devnull), cache, tmp_path)
    file = tmp_path / "E2.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(lines) == 3 * len(ARMS)

    def area(arm: str, trial: int) -> float:
        (curve,) = [one["accuracy"] for one in lines if (one["arm"], one["trial"]) == (arm, trial)]
        return float(10 * (curve[0] + curve[1]) / 2 + 20 * (curve[1] + curve[2]) / 2) / 30

    raw, expected = [], {}
    for rival in ("uherding", "margin"):
        d = np.array([area(rival, t) - np.mean([area(r, t) for r in ARMS[:4]]) for t in (1, 2, 3)])
        error = d.std(ddof=1) * np.sqrt(1 / 3 + 101 / 240)
        half = stats.t.ppf(0.975, 2) * error
        expected[rival] = (d.mean(), d.mean() - half, d.mean() + half)
        raw.append(2 * stats.t.sf(abs(d.mean()) / error, 2))
    by_arm = tables.values_of(experiment, read(file), "accuracy")
    found = tables.compare(experiment, by_arm, "random", 40)
    for rival, ends in expected.items():
        whole = found[rival].area
        assert whole is not None
        assert (whole.mean, whole.low, whole.high) == pytest.approx(ends)
    holm = [min(1, 2 * min(raw))] * 2 if raw[0] == raw[1] else [
        min(1, 2 * p) if p == min(raw) else max(min(1, 2 * min(raw)), p) for p in raw
    ]  # fmt: skip
    assert [found[rival].p for rival in expected] == pytest.approx(holm)
    page = tables.page(experiment, read(file))
    assert "3 of 3 registered trials" in page
    first = found["uherding"].budgets[0]
    assert first is not None
    assert f"| uherding | 3 | {100 * first.mean:+.1f} |" in page
    resumed_gives_the_same(experiment, cache, file)


def resumed_gives_the_same(experiment: Experiment, cache: Path, file: Path) -> None:
    """Cut the results in the middle of a line, as a kill does, and run again."""
    whole = read(file)
    text = file.read_text()
    file.write_text(text[: text.index("\n", len(text) // 2) + 20])
    run(experiment, Path(os.devnull), cache, file.parent)
    again = read(file)
    assert [line._replace(seconds=0.0) for line in again] == [line._replace(seconds=0.0) for line in whole]


def test_false_alarms_are_counted_in_groups_of_trials():
    rng = np.random.default_rng(0)
    experiment = small("E8")
    lines = [
        Line(arm.name, trial, list(experiment.budgets), rng.normal(0.5, 0.01, 6).tolist(), [], 0.0)
        for trial in range(1, 41)
        for arm in experiment.arms
    ]
    areas = {
        arm.name: [
            np.trapezoid(line.accuracy, experiment.budgets) / 180 for line in lines if line.arm == arm.name
        ]
        for arm in experiment.arms
    }
    d = np.array(areas["random 2"]) - np.array(areas["random"])
    alarms = sum(stats.ttest_1samp(d[i : i + 5], 0).pvalue < 0.05 for i in range(0, 40, 5))
    assert f"| 5 | 8 | {alarms} (" in tables.false_alarms(experiment, lines)
