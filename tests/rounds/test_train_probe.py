"""Training runs that fit a probe to frozen embeddings."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from alctl.cli.model import outlook
from alctl.config import SelectConfig, TrainConfig
from alctl.database import items, labels, settings, training_runs
from alctl.model.probe import fit
from alctl.model.probe import predict as predict_by
from alctl.project import CONFIG, Project, config_text, open_project
from alctl.rounds import trained_model
from alctl.rounds.embed import EmbedOptions, embed, plan_embedding
from alctl.rounds.fingerprint import fingerprint_of
from alctl.rounds.probe_model import ProbeModel
from alctl.rounds.select import select
from alctl.rounds.select_options import SelectOptions
from alctl.rounds.train_plan import plan_training
from alctl.rounds.train_run import measured_again, run_training, to_the_end
from alctl.status import check, status
from tests.fakes import tiny
from tests.project_files import make_project, no_progress, paths_of, small_project, take, write_csv
from tests.warm import run_warm, warm_json

PROBE = TrainConfig(head="probe", device="cpu")
NAMES = tuple("0123456789")
DIGITS = load_digits()


def digits_project(folder, n: int = 120, **options) -> Project:
    """Make a project of handwritten digits whose embeddings are their 64 pixels: a table of the user's own."""
    from PIL import Image

    images = folder / "images"
    images.mkdir(parents=True)
    for i in range(n):
        Image.fromarray((DIGITS.images[i] * 15).astype(np.uint8)).save(images / f"{i:04}.png")
    project = make_project(folder / "project", images, classes=NAMES, **options)
    file = folder / "pixels.csv"
    rows = [(f"{i:04}.png", *DIGITS.data[i]) for i in range(n)]
    write_csv(file, rows, ("path", *(f"v{i}" for i in range(64))))
    embed(project, plan_embedding(project, EmbedOptions(f"table:{file}", device="cpu")), no_progress)
    return project


def class_of(project: Project) -> dict[int, int]:
    """Return the digit of each item."""
    return {item: int(DIGITS.target[int(path[:4])]) for item, path in paths_of(project).items()}


def parts(project: Project) -> tuple[list[int], list[int]]:
    """Return the items of the pool, and those that are reserved."""
    with project.reading() as connection:
        pool, every = (items.usable(connection, split).tolist() for split in ("pool", "all"))
    return pool, [i for i in every if i not in pool]


def label(project: Project, wanted) -> None:
    digit = class_of(project)
    rows = [(i, digit[i]) for i in wanted]
    file = project.folder.parent / f"labels-{len(list(project.folder.parent.glob('labels-*')))}.csv"
    take(project, write_csv(file, rows))


def fitted_model(project: Project) -> ProbeModel:
    model = trained_model.required_model(project, "cpu")
    assert isinstance(model, ProbeModel)
    return model


def run_number(project: Project, number: int) -> training_runs.TrainingRun:
    with project.reading() as connection:
        run = training_runs.run_with(connection, number)
    assert run is not None
    return run


def fit_run(project: Project, config: TrainConfig = PROBE):
    plan = plan_training(project, config, None)
    return to_the_end(run_training(project, plan, no_progress), lambda epoch: None).run


@pytest.fixture
def project(tmp_path):
    """120 digits, 20 of them for the test and 20 for validation; all of them and 60 of the pool are labeled."""
    made = digits_project(tmp_path, test=20, validation=20)
    pool, reserved = parts(made)
    label(made, [*pool[:60], *reserved])
    return made


def test_a_probe_is_a_training_run_like_any_other(project):
    run = fit_run(project)
    assert (run.id, run.labeled, run.head) == (1, 60, "probe")
    assert run.config["model"].startswith("probe on table:")
    assert run.weights.endswith("frozen")
    assert set(run.metrics) == {"validation", "test"}
    assert run.metrics["test"].of_task["accuracy"] > 0.7
    assert run.metrics["test"].ranking is None
    assert run.metrics["test"].uncertainty.margin_ranking_accuracy > 0.5
    assert check(project) == []
    last = status(project).run
    assert last is not None
    assert last.id == 1


def test_it_is_the_probe_that_the_mathematics_give(project):
    fit_run(project)
    model = fitted_model(project)
    some, said = trained_model.predictions(project, model, "test", no_progress)
    number = {item: int(path[:4]) for item, path in paths_of(project).items()}
    with project.reading() as connection:
        mean = settings.read(connection, f"{settings.MEAN} {model.used.key.digest}")
        pool = [number[i] for i in labels.labeled_ids(connection)]
    assert len(pool) == run_number(project, 1).labeled == 60
    probe = fit(
        DIGITS.data[pool],
        DIGITS.target[pool],
        NAMES,
        pool_mean=np.array(mean),
        embedding=model.used.key.digest,
    )
    expected = predict_by(probe, DIGITS.data[[number[source.id] for source in some.sources]])
    assert torch.allclose(said.confidence, expected.amax(1), atol=1e-5)
    assert torch.equal(said.likeliest, expected.argmax(1))


def test_the_pools_mean_is_of_all_images_of_the_pool_and_is_found_once(project):
    fit_run(project)
    model = fitted_model(project)
    pool, _ = parts(project)
    with project.reading() as connection:
        mean = settings.read(connection, f"{settings.MEAN} {model.used.key.digest}")
    number = {item: int(path[:4]) for item, path in paths_of(project).items()}
    vectors = DIGITS.data[[number[i] for i in pool]]
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(mean, unit.mean(axis=0), atol=1e-3)  # float16
    label(project, pool[60:70])
    assert fit_run(project).labeled == 70
    with project.reading() as connection:
        assert settings.read(connection, f"{settings.MEAN} {model.used.key.digest}") == mean


def test_the_same_labels_are_the_same_run_whatever_else_is_set(project):
    run = fit_run(project)
    for same in (PROBE, TrainConfig(head="probe", device="cpu", lr=5.0, epochs=1, start="warm")):
        plan = plan_training(project, same, seed=9)
        assert plan.finished is not None
        assert plan.finished.id == run.id
    assert (
        plan_training(project, TrainConfig(head="probe", head_l2=1e-3, device="cpu"), None).finished is None
    )
    assert plan_training(project, tiny(), None).fingerprint != run.fingerprint


def test_a_probe_is_measured_again_on_validation_labels_that_came_later(tmp_path):
    project = digits_project(tmp_path, test=0, validation=20)
    pool, reserved = parts(project)
    label(project, pool[:40])
    assert fit_run(project).metrics == {}
    label(project, reserved)
    plan = plan_training(project, PROBE, None)
    assert plan.finished is not None
    again = measured_again(project, plan, plan.finished, no_progress)
    assert set(again.metrics) == {"validation"}
    assert run_number(project, 1).metrics == again.metrics


def test_the_fingerprints_of_networks_are_what_they_were():
    """Recorded before there were probes: runs of old projects are still found."""
    assert fingerprint_of(["a", "b"], TrainConfig(), 0, [[1, "00", 0]]) == (
        "3501cdc956f9ffab659429cb720d0001fe1b629839265f33772b57e11be3d0c6"
    )


# --- embeddings that are missing --------------------------------------------------------------------------------------


def test_a_probe_embeds_what_it_needs(tmp_path):
    """Without `alctl embed` the default backbone embeds what is learned from, measured on, and the mean is taken over."""
    project = small_project(tmp_path, 12, test=2)
    (project.folder / CONFIG).write_text(config_text())
    project = open_project(project.folder)
    take(project, write_csv(tmp_path / "l.csv", [(i, "cat" if i % 2 else "dog") for i in range(1, 9)]))
    run = fit_run(project)
    assert run.config["model"] == "probe on efficientnet-lite0"
    embedding = status(project).embedding
    assert embedding is not None
    assert embedding.backbone == "efficientnet-lite0"
    stages: list[str] = []
    selected = select(
        project, SelectOptions(2, device="cpu"), lambda stage, done, total: stages.append(stage)
    )
    assert selected.strategy == "uherding"


def test_what_a_dry_run_computed_is_there_although_it_changed_nothing(tmp_path):
    project = small_project(tmp_path, 6)
    options = SelectOptions(2, "maxherding", device="cpu", dry_run=True)
    select(project, options, no_progress)
    assert status(project).embedding is None
    (project.folder / CONFIG).write_text(config_text())
    found = select(open_project(project.folder), replace(options, strategy=""), no_progress).choice
    assert found is not None
    assert found.embeddings is not None
    assert (found.embeddings.missing, found.embeddings.seconds) == (0, 0.0)


def test_a_broken_image_is_quarantined_and_the_others_are_learned(project):
    with project.reading() as connection:
        first = labels.labeled_ids(connection)[0]
    with project.writing("test") as connection:
        settings.write(
            connection, settings.EMBEDDING, {"name": "efficientnet-lite0", "key": _lite0_key(project)}
        )
    (project.folder.parent / "images" / paths_of(project)[first]).write_bytes(b"no image")
    plan = plan_training(project, PROBE, None)
    done = to_the_end(run_training(project, plan, no_progress), lambda epoch: None)
    assert list(done.quarantined) == [first]
    assert done.run.labeled == 59


def _lite0_key(project: Project):
    return asdict(plan_embedding(project, EmbedOptions("efficientnet-lite0", device="cpu")).key)


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_command_fits_measures_and_says_what_comes_next(project, tmp_path):
    where = ("--project", project.folder)
    shown = run_warm("train", "--head", "probe", "--device", "cpu", *where)
    assert shown.returncode == 0, shown.stderr
    assert "fitting a probe on table:" in shown.stderr
    assert "training run 1: 60 images" in shown.stdout
    again = warm_json("train", "--head", "probe", "--head-l2", "cv", "--device", "cpu", *where)
    assert (again["already"], again["config"]["head_l2"]) == (False, "cv")
    assert warm_json("train", "--head", "probe", "--device", "cpu", *where)["already"] is True
    measured = warm_json("evaluate", "--split", "test", *where)
    assert measured["metrics"]["accuracy"] > 0.7
    assert "probe on table:" in run_warm("status", *where).stdout
    done = run_warm("select", "--k", 4, "--predictions", "--format", "coco", "--device", "cpu", *where)
    assert done.returncode == 0, done.stderr
    assert "uherding" in done.stdout


def test_a_bad_penalty_is_refused_where_it_is_given(project):
    for bad in ("0", "-1", "nan", "some"):
        done = run_warm("train", "--head", "probe", "--head-l2", bad, "--project", project.folder)
        assert done.returncode == 1, bad
        assert "head_l2" in done.stderr


def test_a_first_round_is_by_uherding_where_embeddings_are_at_hand(tmp_path):
    project = digits_project(tmp_path)
    (project.folder / CONFIG).write_text(config_text())
    assert open_project(project.folder).config.select == SelectConfig()
    selected = warm_json("select", "--k", 5, "--device", "cpu", "--project", project.folder)
    assert (selected["strategy"], selected["run"]) == ("uherding", None)
    assert "nothing is trained yet" in selected["choice"]["why"]


def test_the_first_model_of_a_project_with_embeddings_is_to_be_a_probe(project):
    assert (status(project).run, status(project).next) == (None, "alctl train --head probe")


def test_the_next_step_after_new_labels_is_a_probe_again(project):
    fit_run(project)
    with project.reading() as connection:
        free = [
            i for i in items.usable(connection, "pool").tolist() if i not in labels.labeled_ids(connection)
        ]
    label(project, free[:3])
    assert status(project).next == "alctl train --head probe"
    (project.folder / CONFIG).write_text(config_text(head="probe"))
    again = open_project(project.folder)
    assert (status(again).next, again.config.train.head) == ("alctl train", "probe")


def test_a_network_that_takes_long_is_told_of_the_quicker_way(project):
    plan = plan_training(project, tiny(epochs=5_000), None)
    assert "`alctl train --head probe` takes about" in outlook(project, plan, 1e4)
    assert outlook(project, plan, 40.0) == f"{plan.epochs} epochs take about 40 s on this cpu"
    assert outlook(project, plan, 1.0) == ""
