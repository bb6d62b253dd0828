"""What uses a model, with a probe: selections, predictions, second looks, merged classes."""

import csv
import json
from dataclasses import asdict

import numpy as np
import pytest
import torch

from alctl.database import labels
from alctl.errors import AlctlError
from alctl.rounds import predict, trained_model
from alctl.rounds.second_look import surprises
from alctl.rounds.select import select
from alctl.rounds.select_options import SelectOptions
from tests.project_files import no_progress, take, write_csv
from tests.rounds.test_train_probe import class_of, digits_project, fit_run, label, parts, project

__all__ = ["project"]


def test_selecting_after_a_probe_is_by_uherding_and_says_so(project):
    run = fit_run(project)
    selected = select(project, SelectOptions(5, device="cpu"), no_progress)
    assert (selected.strategy, selected.run, len(selected.picks)) == ("uherding", run.id, 5)
    assert selected.choice is not None
    assert selected.choice.why == f"training run {run.id} is a probe"
    assert selected.params["choice"] == asdict(selected.choice)


@pytest.mark.parametrize("name", ["margin", "entropy", "dropquery", "badge", "switch", "typiclust"])
def test_strategies_choose_with_a_probe(project, name):
    fit_run(project)
    selected = select(project, SelectOptions(5, name, device="cpu"), no_progress)
    assert len({pick.item for pick in selected.picks}) == 5


@pytest.mark.parametrize("name", ["learning-loss", "learning-loss-diverse"])
@pytest.mark.parametrize("guard", [True, False])
def test_predicted_losses_are_refused_by_name_of_what_to_take(project, name, guard):
    fit_run(project)
    with pytest.raises(AlctlError, match="uherding or margin"):
        select(project, SelectOptions(5, name, device="cpu", guard=guard), no_progress)


def test_predictions_have_no_predicted_loss(project, tmp_path):
    fit_run(project)
    model = trained_model.required_model(project, "cpu")
    count, _ = predict.predict(project, model, tmp_path / "p.csv", "pool", no_progress)
    with (tmp_path / "p.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == count == 80
    digit = class_of(project)
    right = [int(row["predicted"]) == digit[int(row["item"])] for row in rows]
    assert np.mean(right) > 0.8
    assert {row["predicted_loss"] for row in rows} == {""}


def test_a_wrong_label_stands_out_although_the_probe_learned_it(project):
    """On what it was fitted to, a probe agrees with every label; held out it does not."""
    digit = class_of(project)
    with project.reading() as connection:
        first = next(i for i in labels.labeled_ids(connection) if digit[i] == 0)
    take(project, write_csv(project.folder.parent / "wrong.csv", [(first, 7)]))
    fit_run(project)
    model = trained_model.required_model(project, "cpu")
    suspects = sorted(surprises(project, model, no_progress), key=lambda one: -one.score)
    assert first in [suspect.item for suspect in suspects[:3]]


def test_a_merged_class_counts_as_the_one_it_was_merged_into(project):
    from alctl.annotators import classes

    fit_run(project)
    classes.merge(project, "7", "1")
    model = trained_model.required_model(project, "cpu")
    some, said = trained_model.predictions(project, model, "test", no_progress)
    p = model.candidates(project, some.sources, no_progress).map(lambda seen: seen.distributions.p[:, 0])
    assert float(p[:, 7].max()) == 0
    np.testing.assert_allclose(p.sum(dim=1), 1, atol=1e-5)
    assert said.target_loss is not None
    assert bool(torch.isfinite(said.target_loss).all())


def test_a_class_without_labels_costs_a_large_loss_and_no_infinity(tmp_path):
    project = digits_project(tmp_path, test=40, validation=0)
    digit = class_of(project)
    pool, reserved = parts(project)
    label(project, [*[i for i in pool if digit[i] != 3], *reserved])
    run = fit_run(project)
    assert np.isfinite(run.metrics["test"].target_loss)
    json.dumps(run.plain(), allow_nan=False)


def test_a_damaged_or_foreign_probe_is_refused(project):
    run = fit_run(project)
    (project.folder / run.file).write_bytes(b"x")
    with pytest.raises(AlctlError, match="is not the file that training run 1 wrote"):
        trained_model.required_model(project, "cpu")
