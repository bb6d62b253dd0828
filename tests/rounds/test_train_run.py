"""Training runs of a real project: planning, going on, recording, and the model afterwards."""

import hashlib
import json
import signal
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from alctl.annotators.imports.undo import undo_import
from alctl.config import TrainConfig
from alctl.errors import AlctlError
from alctl.files import file_digest
from alctl.model.device import best_device, resolve
from alctl.model.train import Epoch
from alctl.project import Project
from alctl.rounds import trained_model
from alctl.rounds.train_plan import plan_training
from alctl.rounds.train_run import run_training, to_the_end
from alctl.rounds.trained_model import last_model
from alctl.status import check, status
from tests.fakes import tiny
from tests.project_files import TINY_FLAGS, no_progress, small_project, take, write_csv
from tests.warm import count_moments, start_warm, warm_json


def label(project: Project, classes: dict[int, str]) -> None:
    file = project.folder.parent / f"labels-{'-'.join(map(str, classes))}.csv"
    take(project, write_csv(file, classes.items()))


@pytest.fixture
def project(tmp_path):
    """Fourteen images, two of them reserved for the test; the first ten are labeled."""
    made = small_project(tmp_path, 14, test=2)
    label(made, {i: "cat" if i % 2 else "dog" for i in range(1, 11)})
    return made


def train(project: Project, seed: int | None = None, **changes):
    """Train, and return the recorded run and the epochs."""
    plan = plan_training(project, tiny(**{"epochs": 2, **changes}), seed)
    epochs: list[Epoch] = []
    done = to_the_end(run_training(project, plan, no_progress), epochs.append)
    return done.run, epochs


# --- planning ---------------------------------------------------------------------------------------------------------


def test_nothing_or_one_labeled_image_is_too_little_and_says_what_to_do(tmp_path):
    project = small_project(tmp_path)
    for count in (0, 1):
        with pytest.raises(AlctlError, match=f"{count} labeled images are too few.*alctl status"):
            plan_training(project, tiny(), None)
        label(project, {count + 1: "cat"})


def test_one_class_only_is_too_little_and_is_named(tmp_path):
    project = small_project(tmp_path)
    label(project, dict.fromkeys(range(1, 6), "dog"))
    with pytest.raises(AlctlError, match="all 5 labeled images are 'dog'"):
        plan_training(project, tiny(), None)


def test_skipped_and_unusable_answers_are_not_labels(tmp_path):
    project = small_project(tmp_path)
    rows = [(1, "cat", ""), (2, "", "skip"), (3, "", "unusable")]
    take(project, write_csv(tmp_path / "l.csv", rows, ("item", "label", "status")))
    with pytest.raises(AlctlError, match="1 labeled images are too few"):
        plan_training(project, tiny(), None)


def test_reserved_images_are_never_learned_from(project):
    label(project, dict.fromkeys(range(11, 15), "cat"))
    plan = plan_training(project, tiny(), None)
    learned = {source.id for source in plan.splits["pool"].sources}
    reserved = {source.id for source in plan.splits["test"].sources}
    assert (len(learned), len(reserved)) == (12, 2)
    assert learned.isdisjoint(reserved)
    train(project)
    assert check(project) == []


def test_auto_means_a_small_network_for_small_images_and_a_large_one_for_photos():
    small, photo = resolve(TrainConfig(), (32, 28)), resolve(TrainConfig(), (400, 533))
    assert (small.model, small.image_size) == ("resnet18-cifar", 32)
    assert (photo.model, photo.image_size) == ("resnet18", 224)
    assert resolve(TrainConfig(image_size=48), (400, 533)).model == "resnet18-cifar"
    assert resolve(TrainConfig(model="resnet50"), (8, 8)).model == "resnet50"


def test_auto_takes_the_best_device_and_the_precision_that_suits_it():
    assert resolve(TrainConfig(), (8, 8)).device == best_device()
    assert resolve(TrainConfig(device="cpu"), (8, 8)).precision == "fp32"
    assert resolve(TrainConfig(device="cuda:1"), (8, 8)).precision == "bf16"
    assert resolve(TrainConfig(device="cuda", precision="fp32"), (8, 8)).precision == "fp32"


def test_nothing_is_left_on_auto_but_the_weights():
    config = resolve(TrainConfig(), (8, 8))
    assert [name for name in ("model", "device", "precision") if getattr(config, name) == "auto"] == []
    assert config.image_size > 0


# --- recording --------------------------------------------------------------------------------------------------------


def test_a_run_records_what_its_weights_follow_from_and_how_good_they_are(project):
    run, epochs = train(project, epochs=3)
    assert [epoch.epoch for epoch in epochs] == [1, 2, 3]
    assert run.labeled == status(project).states["pool"]["labeled"]
    assert (run.id, run.seed, run.categories) == (1, 0, ["cat", "dog"])
    assert run.digest == file_digest(project.folder / run.file)
    assert run.config["epochs"] == 3
    assert run.environment["device"] == "cpu"
    assert list(project.models.glob("*.checkpoint.*")) == []
    assert (last := status(project).run) is not None
    assert last.id == 1


def test_the_same_labels_settings_and_seed_are_the_run_that_is_there(project):
    train(project)
    plan = plan_training(project, tiny(epochs=2), None)
    assert plan.finished is not None
    assert plan.finished.id == 1
    assert plan_training(project, tiny(epochs=2, checkpoint_every=5), None).finished is not None


def test_another_label_setting_or_seed_is_another_run(project):
    train(project)
    assert plan_training(project, tiny(epochs=2), 5).finished is None
    assert plan_training(project, tiny(epochs=2, lr=0.01), None).finished is None
    label(project, {11: "cat", 12: "dog", 13: "cat", 14: "dog"})
    assert plan_training(project, tiny(epochs=2), None).finished is None
    undo_import(project, 2)
    assert plan_training(project, tiny(epochs=2), None).finished is not None


def test_the_run_that_is_there_but_whose_weights_are_gone_is_trained_again(project):
    """The errors about missing or strange weights say "run `alctl train` again", so that has to help."""
    run, _ = train(project)
    (project.folder / run.file).unlink()
    with pytest.raises(AlctlError, match=r"are gone.*run `alctl train` again"):
        last_model(project, "cpu")
    assert plan_training(project, tiny(epochs=2), None).finished is None
    again, _ = train(project)
    assert again.digest == run.digest
    assert last_model(project, "cpu") is not None


def test_weights_that_were_changed_are_refused_and_trained_again(project):
    run, _ = train(project)
    file = project.folder / run.file
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(AlctlError, match="not the file that training run 1 wrote"):
        last_model(project, "cpu")
    assert plan_training(project, tiny(epochs=2), None).finished is None
    train(project)
    assert last_model(project, "cpu") is not None


def test_before_anything_is_trained_there_is_no_model(project):
    assert last_model(project, "cpu") is None
    with pytest.raises(AlctlError, match="run `alctl train` first"):
        trained_model.required_model(project, "cpu")


def test_the_last_model_scores_what_the_training_run_measured(project):
    run, _ = train(project)
    label(project, dict.fromkeys(range(11, 15), "cat"))
    run, _ = train(project)
    model = trained_model.required_model(project, "cpu")
    assert model.run.id == run.id
    measured = trained_model.evaluate(project, model, "test", no_progress)
    assert measured.by_name() == pytest.approx(run.metrics["test"].by_name())


def test_measuring_on_reserved_images_that_nobody_labeled_is_a_sentence(project):
    train(project)
    with pytest.raises(AlctlError, match="no validation image is labeled"):
        trained_model.evaluate(
            project, trained_model.required_model(project, "cpu"), "validation", no_progress
        )


# --- the real command -------------------------------------------------------------------------------------------------


def prepared(folder: Path) -> Project:
    folder.mkdir()
    project = small_project(folder, 12)
    label(project, {i: "cat" if i % 2 else "dog" for i in range(1, 11)})
    return project


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_and_sigterm_save_and_the_same_command_goes_on_to_the_same_weights(number, code, tmp_path):
    flags = ["--epochs", 60, "--checkpoint-every", 5, *TINY_FLAGS, "--lr", 0.002]
    counted, stopped, whole = (prepared(tmp_path / name) for name in ("counted", "stopped", "whole"))
    moments = count_moments("train", *flags, "--project", counted.folder)
    running = start_warm("train", *flags, "--project", stopped.folder, moment=moments - 450, hold=True)
    running.wait_for_moment()
    running.signal(number)
    end = running.end()
    assert end.returncode == code
    assert "goes on from the last epoch" in end.stderr
    assert [file.name.endswith(".checkpoint.safetensors") for file in stopped.models.iterdir()] == [True]
    assert status(stopped).run is None

    went_on = warm_json("train", *flags, "--project", stopped.folder)
    at_once = warm_json("train", *flags, "--project", whole.folder)
    assert 0 < went_on["resumed"] < 60
    assert at_once["resumed"] == 0
    assert went_on["digest"] == at_once["digest"]
    assert warm_json("train", *flags, "--project", stopped.folder)["already"] is True


@pytest.mark.parametrize(
    ("names", "asked", "flips"),
    [(("cat", "dog"), "auto", True), (("6", "9"), "auto", False), (("b", "d"), "auto", False), (("6", "9"), True, True),
     (("cat", "dog"), False, False), (("9", "dog"), "auto", True)],
)  # fmt: skip
def test_letters_and_digits_are_not_flipped_and_a_run_that_flips_has_the_fingerprint_of_before(
    tmp_path, names, asked, flips
):
    """A run of before there was the setting flipped always."""
    project = small_project(tmp_path, classes=names)
    take(project, write_csv(tmp_path / "l.csv", [(1, names[0]), (2, names[1])]))
    plan = plan_training(project, tiny(flip=asked), None)
    assert plan.config.flip == plan.task.flip == flips
    before = {k: v for k, v in asdict(plan.config).items() if k not in {
        "checkpoint_every", "head", "head_l2", "dropout", "flip"}}  # fmt: skip
    text = json.dumps([names, before, plan.seed, plan.splits["pool"].plain])
    assert (plan.fingerprint == hashlib.sha256(text.encode()).hexdigest()) == flips
    images = torch.arange(1, 9, dtype=torch.uint8).expand(16, 3, 8, 8)
    seen, _ = plan.task.augment(images, torch.zeros(16), torch.Generator().manual_seed(0))
    mirrored = (seen[:, 0, :, 3] > seen[:, 0, :, 4]).any(1)
    assert bool(mirrored.any()) == flips
