"""A training that diverges is refused in a sentence and never recorded; a model that did is never used."""

import json
from dataclasses import replace

import pytest
import torch
from sqlalchemy import update

from alctl.database.tables import training_run
from alctl.errors import AlctlError
from alctl.files import file_digest
from alctl.model.checkpoint import load_model, save_model
from alctl.project import Project
from alctl.rounds import predict, train_plan, train_run, trained_model
from alctl.rounds.select import select
from alctl.rounds.select_options import SelectOptions
from alctl.rounds.training_set import task_of
from alctl.status import status
from tests.fakes import tiny
from tests.project_files import TINY_FLAGS, no_progress, small_project, take, write_csv
from tests.warm import run_warm


def labeled_project(folder) -> Project:
    project = small_project(folder, 30)
    take(project, write_csv(folder / "labels.csv", [(i, ("cat", "dog")[i % 2]) for i in range(1, 9)]))
    return project


def trained(project: Project, **settings):
    plan = train_plan.plan_training(project, tiny(epochs=1, **settings), None)
    return train_run.to_the_end(train_run.run_training(project, plan, no_progress), lambda _: None).run


def diverged(folder) -> Project:
    """Make a project whose newest model has a weight that is not a number, as older versions recorded it."""
    project = labeled_project(folder)
    run = trained(project)
    file = project.folder / run.file
    model, info = load_model(file, task_of)
    with torch.no_grad():
        next(model.model.parameters()).fill_(torch.nan)
    save_model(file, model, info)
    with project.writing("test") as connection:
        connection.execute(update(training_run).values(digest=file_digest(file)))
    return project


@pytest.mark.parametrize("setting", [("--lr", 1e30), ("--weight-decay", 1e38)])
def test_a_run_of_one_step_that_diverged_is_refused_and_not_recorded(tmp_path, setting):
    project = labeled_project(tmp_path)
    done = run_warm("train", "--epochs", 1, *TINY_FLAGS, *setting, "--json", "--project", project.folder)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "lower learning rate" in json.loads(done.stdout)["error"]
    assert "epoch" in done.stderr
    assert status(project).run is None
    assert not list(project.models.glob("run-*"))
    assert trained(project).id == 1


@pytest.mark.parametrize("value", ["inf", "nan", "-inf"])
def test_settings_that_are_no_finite_numbers_are_refused_where_they_are_given(tmp_path, value):
    project = labeled_project(tmp_path)
    done = run_warm("train", f"--lr={value}", f"--margin={value}", "--project", project.folder)
    assert done.returncode == 1
    assert "train.lr: Input should be a finite number" in done.stderr
    assert "train.margin: Input should be a finite number" in done.stderr
    for option in ("--control", "--overlap"):
        asked = run_warm(
            "select", "--k", 2, f"{option}={value}", "--strategy", "random", "-p", project.folder
        )
        assert asked.returncode == 2
        assert "Traceback" not in asked.stderr
    with pytest.raises(AlctlError, match=r"'learning-loss-diverse': \w+: Input should be a finite number"):
        select(project, SelectOptions(2, "learning-loss-diverse", {"alpha": value}), no_progress)


@pytest.mark.parametrize("strategy", ["entropy", "learning-loss", "core-set", "badge"])
def test_a_strategy_that_is_told_no_numbers_names_itself_the_item_and_what_to_do(tmp_path, strategy):
    project = diverged(tmp_path)
    options = SelectOptions(3, strategy, device="cpu", guard=False, subset=0)
    with pytest.raises(AlctlError) as refused:
        select(project, options, no_progress)
    assert f"strategy {strategy!r} cannot choose" in str(refused.value)
    assert "training run 1 says of item 9 (" in str(refused.value)  # 1 to 8 are labeled
    assert "lower learning rate" in str(refused.value)
    assert status(project).rounds == []
    assert select(project, replace(options, strategy="random"), no_progress).picks


def test_a_model_that_diverged_predicts_nothing(tmp_path):
    project = diverged(tmp_path)
    model = trained_model.required_model(project, "cpu")
    with pytest.raises(AlctlError, match="answers are no finite numbers for 30 of 30 images"):
        predict.predict(project, model, tmp_path / "out.csv", "pool", no_progress)
