"""The cold-start guard, and the random control of a round."""

import csv
import json
import shutil
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import update

from alctl.annotators import handout
from alctl.config import SelectConfig
from alctl.database import training_runs
from alctl.database.rounds import find_round
from alctl.database.tables import training_run
from alctl.database.training_runs import TrainingRun
from alctl.errors import AlctlError
from alctl.metrics import RankingInterval, metrics_of
from alctl.model.ranking import loss_ranking, ranking_interval, ranking_lead
from alctl.project import Project, open_project
from alctl.rounds import frozen, train_plan, train_run
from alctl.rounds.cold_start_guard import judge, rule_of
from alctl.rounds.select import select
from alctl.rounds.select_options import SelectOptions
from alctl.status import check, status
from tests.fakes import tiny
from tests.project_files import (
    TINY_FLAGS,
    lasting_folder,
    no_progress,
    small_project,
    subset_of,
    take,
    write_csv,
)
from tests.warm import run_warm, warm_json


@pytest.fixture
def no_embeddings(monkeypatch):
    """Computing embeddings takes longer than anybody waits."""
    monkeypatch.setattr(frozen, "PATIENCE", -1)


@cache
def first_trained(n: int, **options: Any) -> Path:
    folder = lasting_folder()
    project = small_project(folder, n, **options)
    rows = [(i, ("cat", "dog")[i % 2]) for i in range(1, 9)]
    take(project, write_csv(folder / "labels.csv", rows))
    plan = train_plan.plan_training(project, tiny(epochs=1), None)
    list(train_run.run_training(project, plan, no_progress))
    project.engine.dispose()
    return project.folder


def trained_project(folder, n: int = 40, validation: dict[str, Any] | None = None, **options: Any) -> Project:
    """Make a project with one training run, whose metrics on the validation images are these."""
    shutil.copytree(first_trained(n, **options), folder / "project")
    project = open_project(folder / "project")
    if validation is not None:
        with project.writing("test") as connection:
            connection.execute(update(training_run).values(metrics={"validation": validation}))
    return project


def measured(lead: float, images: int = 100, se: float = 0.02) -> dict[str, Any]:
    """Return metrics on validation images with a lead of predicted losses over margin, about ± two standard errors."""
    return {
        "images": images, "ranking_accuracy": 0.6 + lead, "entropy_ranking_accuracy": 0.6, "margin_ranking_accuracy": 0.6,
        "lead_over_margin": lead, "lead_se": se, "lead_low": lead - 2 * se, "lead_high": lead + 2 * se,
        "lead_images": images,
    }  # fmt: skip


def run_of(validation: dict[str, Any] | None) -> TrainingRun:
    metrics = {} if validation is None else {"validation": metrics_of(validation)}
    return TrainingRun(3, "", 0, {}, [], 0, metrics, {}, {}, "", "", 0.0, "")


def choose(project: Project, k: int = 5, **options: Any):
    return select(project, SelectOptions(k, **{"device": "cpu", **options}), no_progress)


def interval(predicted, true, **options: Any) -> tuple[float, float]:
    got = ranking_interval(predicted, true, **options)
    low, high = got.ranking_accuracy_low, got.ranking_accuracy_high
    assert low is not None
    assert high is not None
    return low, high


def last_run_of(project: Project) -> TrainingRun:
    with project.reading() as connection:
        found = training_runs.last_run(connection)
    assert found is not None
    return found


def items_of(selected, why: str) -> list[int]:
    return [pick.item for pick in selected.picks if pick.why == why]


# --- the interval -----------------------------------------------------------------------------------------------------


def resampled_by_hand(predicted, true, resamples, seed):
    rng = np.random.default_rng(seed)
    order, guess = (np.sign(values[:, None] - values) for values in (true, predicted))
    right, counts = np.where(order == 0, 0, (1 + order * guess) / 2), np.abs(order)
    assert right.sum() / counts.sum() == pytest.approx(loss_ranking(predicted, true).ranking_accuracy)
    found = []
    for _ in range(resamples):
        drawn = rng.integers(0, len(true), len(true))
        pairs = np.ix_(drawn, drawn)
        found.append(right[pairs].sum() / counts[pairs].sum() if counts[pairs].any() else None)
    return np.quantile([value for value in found if value is not None], (0.025, 0.975))


@pytest.mark.parametrize(("n", "noise"), [(20, 0.5), (60, 2.0), (200, 5.0)])
def test_the_interval_is_that_of_images_drawn_one_by_one(n, noise):
    rng = np.random.default_rng(n)
    true = rng.exponential(size=n).round(1)  # with ties
    predicted = (true + noise * rng.normal(size=n)).round(1)
    low, high = resampled_by_hand(predicted, true, 4_000, 1)
    assert interval(predicted, true, resamples=4_000) == pytest.approx((low, high), abs=0.012)
    accuracy = loss_ranking(predicted, true).ranking_accuracy
    assert accuracy is not None
    assert low < accuracy < high


def test_the_interval_repeats_and_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        true, noise = rng.normal(size=(2, 50))
        predicted = true + noise  # a correlation of 1/√2: pairs are in order with probability 3/4
        low, high = interval(predicted, true, resamples=300)
        assert (low, high) == interval(predicted, true, resamples=300)
        covered += low <= 0.75 <= high
    assert 180 <= covered <= 198


def test_a_perfect_order_is_certain_and_equal_losses_say_nothing():
    true = np.arange(30.0)
    assert ranking_interval(true, true) == RankingInterval(1.0, 1.0)
    assert ranking_interval(true, np.ones(30)) == RankingInterval(None, None)


def test_many_images_are_thinned_out_so_that_memory_does_not_grow_with_their_square():
    rng = np.random.default_rng(0)
    true = rng.normal(size=60_000)
    low, high = interval(true + rng.normal(size=60_000), true, resamples=50)
    assert 0.7 < low < high < 0.8


# --- the guard --------------------------------------------------------------------------------------------------------


BEFORE = {"images": 100, "ranking_accuracy": 0.9, "ranking_accuracy_low": 0.8, "ranking_accuracy_high": 1.0}
"""What was recorded before predicted losses were compared with margin."""
SAME = {"images": 100, "entropy_ranking_accuracy": None, "margin_ranking_accuracy": None}
"""Validation images whose true losses are all the same."""


@pytest.mark.parametrize(
    ("validation", "trusted", "verdict", "reason"),
    [
        (None, {}, None, "0 labeled validation images, and fewer than 20 say nothing"),
        (measured(0.3, images=19), {}, None, "19 labeled validation images"),
        (BEFORE, {}, None, "which `alctl train` does now"),
        (SAME, {}, None, "differ too little"),
        (measured(-0.05), {}, "below", "a difference of -0.050 [-0.090, -0.010]: below margin"),
        (measured(-0.03), {"below"}, "not told apart", "not told apart, about 126 images would tell"),
        (measured(0.0, images=400, se=0.01), {"below"}, "equal", "[-0.020, +0.020]: equal to margin"),
        (measured(0.03), {"below"}, "not told apart", "predicted losses is 0.630 and that of margin 0.600"),
        (measured(0.05), {"below", "above"}, "above", "on 100 validation images"),
        (measured(0.3, images=20), {"below", "above"}, "above", "[+0.260, +0.340]: above margin"),
    ],
)
def test_predicted_losses_choose_unless_they_are_below_margin_or_only_if_they_are_above(
    validation, trusted, verdict, reason
):
    for rule in ("below", "above"):
        found = judge(run_of(validation), "learning-loss", rule)
        assert (found.trusted, found.verdict, found.rule) == (rule in trusted, verdict, rule)
        assert found.instead_of == (None if found.trusted else "learning-loss")
        assert reason in found.reason


def test_the_stricter_rule_says_that_it_is_the_reason():
    found = judge(run_of(measured(0.03)), "learning-loss", "above")
    assert found.reason.endswith('and guard = "above" asks for more')


@pytest.mark.parametrize(
    ("setting", "asked", "rule"),
    [
        ("below", None, "below"), ("above", None, "above"), (True, None, "below"), (False, None, None),
        ("above", True, "above"), (False, True, "below"), ("above", False, None), ("below", False, None),
    ],
)  # fmt: skip
def test_the_option_goes_before_the_setting(setting, asked, rule):
    assert rule_of(setting=setting, asked=asked) == rule


def test_at_equal_ranking_the_guard_refuses_rarely_and_the_stricter_rule_hardly_ever_permits():
    rng = np.random.default_rng(0)
    said = []
    for _ in range(300):
        true, *noise = rng.normal(size=(3, 60))
        lead = ranking_lead(true + noise[0], true + noise[1], true)
        assert lead is not None
        validation = {"images": 60, "margin_ranking_accuracy": 0.75, **vars(lead)}
        said.append([judge(run_of(validation), "learning-loss", rule).trusted for rule in ("below", "above")])
    refused, permitted = 1 - np.mean(said, axis=0)[0], np.mean(said, axis=0)[1]
    assert refused <= 0.05  # wanted 0.025, with a standard error of 0.009
    assert permitted <= 0.05


@pytest.mark.usefixtures("no_embeddings")
def test_where_they_are_below_margin_the_round_is_that_of_margin_and_says_so(tmp_path):
    project = trained_project(tmp_path, validation=measured(-0.2))
    expected = choose(project, strategy="margin", dry_run=True)
    selected = choose(project)
    assert (selected.strategy, selected.run) == ("margin", 1)
    assert items_of(selected, "picked") == items_of(expected, "picked")
    manifest = json.loads((handout.export(project, 1, no_progress) / "manifest.json").read_text())
    assert manifest["strategy"] == "margin"
    assert manifest["params"]["guard"] == vars(selected.guard)
    assert (selected.guard.instead_of, selected.guard.verdict) == ("learning-loss", "below")


def test_with_embeddings_at_hand_the_round_is_that_of_uherding_and_says_so(tmp_path):
    project = trained_project(tmp_path, validation=measured(-0.2))
    expected = choose(project, strategy="uherding", dry_run=True)
    selected = choose(project)
    assert (selected.strategy, selected.guard.instead_of) == ("uherding", "learning-loss")
    assert selected.choice.embeddings.missing > 0
    assert selected.params["choice"] == asdict(selected.choice)
    again = choose(project, dry_run=True)
    assert (again.strategy, again.choice.embeddings.missing) == ("uherding", 0)
    assert items_of(selected, "picked") != items_of(expected, "picked")  # by the network's own embeddings


@pytest.mark.usefixtures("no_embeddings")
def test_with_too_few_validation_images_the_round_is_the_random_one(tmp_path):
    project = trained_project(tmp_path, validation=measured(0.3, images=19))
    expected = choose(project, strategy="random", dry_run=True)
    selected = choose(project)
    assert selected.strategy == "random"
    assert items_of(selected, "picked") == items_of(expected, "picked")


def test_predicted_losses_that_are_trusted_choose_and_the_round_records_why(tmp_path):
    project = trained_project(tmp_path, validation=measured(0.0))
    selected = choose(project)
    assert (selected.strategy, selected.guard.trusted) == ("learning-loss", True)
    with project.reading() as connection:
        made = find_round(connection, 1)
    assert made is not None
    assert made.params["guard"] == asdict(selected.guard)
    assert selected.guard == judge(last_run_of(project), "learning-loss", "below")


def test_without_the_guard_the_predicted_losses_choose_and_nobody_is_asked(tmp_path):
    project = trained_project(tmp_path, validation=measured(-0.2))
    off = replace(project, config=replace(project.config, select=SelectConfig(guard=False)))
    for selected in (choose(project, guard=False, dry_run=True), choose(off, dry_run=True)):
        assert (selected.strategy, selected.guard) == ("learning-loss", None)
        assert "guard" not in selected.params


@pytest.mark.usefixtures("no_embeddings")
def test_the_setting_asks_for_the_stricter_rule(tmp_path):
    project = trained_project(tmp_path, validation=measured(0.0))
    strict = replace(project, config=replace(project.config, select=SelectConfig(guard="above")))
    assert choose(project, dry_run=True).strategy == "learning-loss"
    assert choose(strict, dry_run=True).strategy == "margin"


@pytest.mark.usefixtures("no_embeddings")
@pytest.mark.parametrize("strategy", ["learning-loss-diverse", "entropy", "core-set"])
def test_the_guard_asks_only_strategies_that_read_predicted_losses(tmp_path, strategy):
    selected = choose(trained_project(tmp_path), strategy=strategy)
    assert selected.strategy == ("random" if strategy == "learning-loss-diverse" else strategy)


def test_the_fallback_may_be_any_strategy_that_reads_no_predicted_losses(tmp_path):
    project = trained_project(tmp_path)
    assert choose(project, fallback="core-set", dry_run=True).strategy == "core-set"
    config = replace(project.config, select=SelectConfig(fallback="core-set"))
    assert choose(replace(project, config=config), dry_run=True).strategy == "core-set"
    with pytest.raises(AlctlError, match="choose another --fallback"):
        choose(project, fallback="learning-loss-diverse")
    assert status(project).rounds == []


@pytest.mark.usefixtures("no_embeddings")
def test_a_model_without_a_module_is_still_refused_and_not_guarded(tmp_path):
    project = small_project(tmp_path, 20)
    take(project, write_csv(tmp_path / "labels.csv", [(i, ("cat", "dog")[i % 2]) for i in range(1, 9)]))
    plan = train_plan.plan_training(project, tiny(epochs=1, loss_weight=0.0), None)
    list(train_run.run_training(project, plan, no_progress))
    with pytest.raises(AlctlError, match="predicts no losses"):
        choose(project, strategy="learning-loss")
    selected = choose(project)
    assert (selected.strategy, selected.guard) == ("margin", None)
    assert "predicts no losses" in selected.choice.why


@pytest.mark.slow
def test_the_real_commands_compare_with_margin_and_say_in_plain_words_who_chose(tmp_path):
    project = small_project(tmp_path, 60, validation=24)
    where = ("--project", project.folder)
    first = warm_json("select", "--k", 20, *where)
    rows = [(pick["item"], ("cat", "dog")[pick["item"] % 2]) for pick in first["picks"]]
    reserved = {pick["item"] for pick in first["picks"] if pick["why"] == "validation"}
    pool, held_back = ([row for row in rows if (row[0] in reserved) == kind] for kind in (False, True))
    run_warm("import-labels", write_csv(tmp_path / "pool.csv", [*pool, *held_back[:10]]), *where)
    training = ("train", "--epochs", 1, *TINY_FLAGS, *where)
    trained = run_warm(*training)
    assert "validation: ranking accuracy 0." in trained.stderr
    line = trained.stderr[trained.stderr.index("epoch 1/1") :]
    assert line.index("validation:") < line.index("within training batches: ranking loss")
    assert "entropy's" in trained.stdout
    few = run_warm("select", "--k", 3, "--dry-run", "--device", "cpu", *where)
    assert "chosen by uherding instead of learning-loss: training run 1 was measured on 10" in few.stderr
    assert "36 images lack an embedding by efficientnet-lite0, about " in few.stderr
    assert "--no-guard uses predicted losses" in few.stderr

    run_warm("import-labels", write_csv(tmp_path / "more.csv", held_back[10:]), *where)
    again = warm_json(*training)
    assert again["already"]
    found = again["metrics"]["validation"]
    assert (found["images"], found["lead_images"]) == (24, 24)
    assert found["lead_low"] <= found["lead_over_margin"] <= found["lead_high"]
    assert found["lead_over_margin"] == pytest.approx(
        found["ranking_accuracy"] - found["margin_ranking_accuracy"]
    )
    assert (
        warm_json(*training)["metrics"] == warm_json("status", *where)["run"]["metrics"] == again["metrics"]
    )
    result = warm_json("select", "--k", 3, "--dry-run", "--device", "cpu", *where)
    assert (result["guard"]["images"], result["guard"]["lead"]) == (24, found["lead_over_margin"])
    assert result["strategy"] == ("learning-loss" if result["guard"]["trusted"] else "uherding")
    told = run_warm("select", "--k", 3, "--dry-run", "--device", "cpu", *where)
    assert result["guard"]["reason"] in told.stdout + told.stderr
    free = warm_json("select", "--k", 3, "--dry-run", "--no-guard", "--device", "cpu", *where)
    assert (free["strategy"], free["guard"]) == ("learning-loss", None)


# --- the control ------------------------------------------------------------------------------------------------------


def test_the_control_is_random_from_the_whole_pool_and_the_strategy_has_the_rest(tmp_path):
    project = trained_project(tmp_path, 60)
    subset = set(subset_of(project, 12, seed=0, number=1))
    selected = choose(project, 10, strategy="entropy", subset=12, control=0.2)
    control, chosen = items_of(selected, "control"), items_of(selected, "picked")
    assert (len(control), len(chosen), selected.control) == (2, 8, 2)
    assert set(chosen) <= subset - set(control)
    assert [pick.rank for pick in selected.picks] == list(range(1, 11))
    assert all((pick.score is None) == (pick.why == "control") for pick in selected.picks)
    assert set(control).isdisjoint(range(1, 9))
    assert check(project) == []
    assert status(project).states["pool"]["out"] == 10


def test_every_strategy_has_the_same_control_and_every_round_another(tmp_path):
    project = trained_project(tmp_path, 60)
    drawn = [
        items_of(choose(project, 10, strategy=name, control=0.5, dry_run=True), "control")
        for name in ("random", "entropy", "core-set")
    ]
    assert drawn[0] == drawn[1] == drawn[2]
    assert items_of(choose(project, 10, strategy="random", control=0.5), "control") == drawn[0]
    again = choose(project, 10, strategy="random", control=0.5)
    assert set(items_of(again, "control")).isdisjoint(drawn[0])


@pytest.mark.slow
def test_over_many_seeds_the_control_is_uniform(tmp_path):
    project = small_project(tmp_path, 10)
    counts = np.zeros(11)
    for seed in range(150):
        for item in items_of(choose(project, 4, seed=seed, control=0.5, dry_run=True), "control"):
            counts[item] += 1
    assert counts.sum() == 300
    assert (np.abs(counts[1:] - 30) < 20).all()  # standard deviation 4.9


@pytest.mark.parametrize(
    ("k", "share", "control"), [(10, 0.01, 1), (1, 0.1, 1), (10, 1.0, 10), (100, 0.1, 2), (10, 0.0, 0)]
)
def test_the_control_is_a_share_of_what_goes_out_and_at_least_one(tmp_path, k, share, control):
    selected = choose(small_project(tmp_path, 20), k, control=share)
    assert len(items_of(selected, "control")) == selected.control == control
    assert len(selected.picks) == min(k, 20)


def test_a_share_in_the_settings_counts_and_the_option_goes_before(tmp_path):
    project = small_project(tmp_path, 20)
    config = replace(project.config, select=SelectConfig(control=0.5))
    project = replace(project, config=config)
    assert choose(project, 10, dry_run=True).control == 5
    assert choose(project, 10, dry_run=True, control=0.1).control == 1
    assert choose(project, 10, dry_run=True, control=0.0).control == 0


def test_annotators_cannot_tell_the_control_from_the_rest_and_the_manifest_can(tmp_path):
    project = trained_project(tmp_path, 40, test=3)
    selected = choose(project, 10, strategy="entropy", control=0.3)
    folder = handout.export(project, 1, no_progress)
    with (folder / "items.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    listed = [int(row["item"]) for row in rows]
    assert listed == sorted(pick.item for pick in selected.picks)
    assert {(row["rank"], row["score"], row["why"]) for row in rows} == {("", "", "")}
    manifest = json.loads((folder / "manifest.json").read_text())
    known = [entry["item"] for entry in manifest["items"] if entry["why"] == "control"]
    assert known == items_of(selected, "control")
    assert {row["image"].split("/")[1] for row in rows} == {
        file.name for file in (folder / "images").iterdir()
    }
    assert (
        handout.export(project, 1, no_progress) == folder
    )  # the same again, byte for byte, or it would refuse


def test_labels_of_a_blind_round_are_imported_like_any_others(tmp_path):
    project = trained_project(tmp_path, 40)
    choose(project, 10, strategy="entropy", control=0.3)
    file = handout.export(project, 1, no_progress) / "items.csv"
    with file.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows({**row, "label": "cat"} for row in rows)
    assert take(project, file).added == 10
    assert status(project).states["pool"]["labeled"] == 18


def test_the_real_command_takes_a_share_and_says_how_many(tmp_path):
    project = small_project(tmp_path, 20)
    done = run_warm("select", "--k", 10, "--control", 0.3, "--project", project.folder)
    assert "3 of them at random, to compare with" in done.stdout
    refused = run_warm("select", "--k", 10, "--control", 1.5, "--project", project.folder)
    assert refused.returncode == 2
