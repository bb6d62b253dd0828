import json
import os
import pickle
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from alctl.config import TrainConfig
from alctl.errors import AlctlError
from alctl.labels.annotation import Category
from alctl.model.checkpoint import as_plain, from_plain, load_model, read, save_model, write
from alctl.model.loss_prediction import TargetModel
from alctl.model.tasks.classification import Classification
from alctl.model.train import new_model, train
from tests.fakes import CLASSES, classifier, pictures, tiny

TASK = classifier()
INFO = {"task": "classification", "categories": list(CLASSES), "round": 3}


def saved(path, **changes):
    """Train for one epoch, save, and return the model."""
    images, targets = pictures(16)
    trained = new_model(TASK, images, tiny(epochs=1, **changes), seed=1)
    list(train(trained, TASK, images, targets, range(16), seed=1))
    save_model(path, trained, INFO)
    return trained


def load(path):
    return load_model(path, lambda _, classes, frame: Classification(tuple(classes), frame))


@pytest.mark.parametrize("changes", [{}, {"loss_weight": 0.0}, {"taps": "layer2, layer4", "embedding": 16}])
def test_a_saved_model_predicts_the_same(tmp_path, changes):
    path = tmp_path / "models" / "round-3.safetensors"
    trained = saved(path, **changes)
    again, info = load(path)
    images, _ = pictures(9, seed=4)
    assert info == INFO
    assert again.config == trained.config
    assert again.model.taps == trained.model.taps
    assert not again.training
    (output, predicted), (same_output, same_predicted) = trained(images), again(images)
    assert torch.equal(output.raw, same_output.raw)
    assert (predicted is None and same_predicted is None) or torch.equal(predicted, same_predicted)


def test_what_is_saved_are_the_weights_of_that_moment(tmp_path):
    path = tmp_path / "model.safetensors"
    trained = saved(path)
    before = trained.model.network.conv1.weight.clone()
    with torch.no_grad():
        trained.model.network.conv1.weight.zero_()
    assert torch.equal(load(path)[0].model.network.conv1.weight, before)


def test_a_saved_model_can_start_another(tmp_path):
    path = tmp_path / "model.safetensors"
    trained = saved(path)
    other = TASK.model(tiny(), str(path))
    source, name = trained.model.network.state_dict(), "layer1.0.conv1.weight"
    assert torch.equal(other.network.state_dict()[name], source[name])


def test_what_the_weights_started_from_is_kept(tmp_path):
    path = tmp_path / "model.safetensors"
    saved(path, weights="auto")
    assert load(path)[0].model.weights == "none (there are no pretrained weights for resnet18-cifar)"


class Hostile:
    def __reduce__(self):
        return (os.system, ("echo this must never run",))


def header(**changes):
    """Return the bytes of a file whose header says something else."""
    path = changes.pop("path")
    saved(path)
    tensors, info = read(path)
    write(path, tensors, {**info, **changes})


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(pickle.dumps(Hostile())),
        lambda path: torch.save(Hostile(), path),
        lambda path: path.write_bytes((2**63 - 1).to_bytes(8, "little") + b"{}"),
        lambda path: save_file({"a": torch.zeros(1)}, path),
        lambda path: save_file({"a": torch.zeros(1)}, path, metadata={"alctl": "[" * 100_000}),
        lambda path: save_file({"a": torch.zeros(1)}, path, metadata={"alctl": "[1]"}),
        lambda path: save_file({"a": torch.zeros(1)}, path, metadata={"alctl": json.dumps({"info": 3})}),
        lambda path: header(path=path, config={"model": "no-such-model"}),
        lambda path: header(path=path, config={"epochs": "many", "evil": 1}),
        lambda path: header(path=path, config=5),
        lambda path: header(path=path, taps=["layer9"]),
        lambda path: header(path=path, taps=None),
        lambda path: header(path=path, info={}),
        lambda path: write(path, {"mean": torch.zeros(3)}, read(path)[1]),
    ],
)
def test_a_damaged_or_hostile_file_is_refused_and_runs_nothing(tmp_path, capfd, damage):
    path = tmp_path / "model.safetensors"
    saved(path)
    damage(path)
    with pytest.raises(AlctlError):
        load(path)
    assert capfd.readouterr().out == ""


def test_a_missing_file_is_a_sentence(tmp_path):
    with pytest.raises(AlctlError, match=r"absent.safetensors"):
        load(tmp_path / "absent.safetensors")


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "model.safetensors"
    write(path, {"a": torch.ones(2)}, {"n": 1})
    with pytest.raises(TypeError):
        write(path, {"a": torch.zeros(2)}, {"n": object()})
    assert read(path)[0]["a"].tolist() == [1, 1]
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(AlctlError, match="cannot be written"):
        write(tmp_path / "file" / "model.safetensors", {"a": torch.zeros(1)}, {})


def test_others_may_read_what_the_umask_lets_them(tmp_path):
    path = tmp_path / "model.safetensors"
    before = os.umask(0o022)
    try:
        write(path, {"a": torch.zeros(1)}, {})
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert load_file(path)["a"].tolist() == [0]


WRITTEN_BEFORE = Path(__file__).with_name("written_before")
"""Files of before a task said what it learns from: a run after two of four epochs, and what came of it."""


@dataclass(frozen=True)
class Faulty(Classification):
    """Its network cannot be built without weights."""

    def model(self, config: TrainConfig, weights: str) -> TargetModel:
        raise RuntimeError("Tensor on device cpu is not on the expected device meta!")


def test_a_fault_in_the_code_of_a_network_is_not_called_damage(tmp_path):
    path = tmp_path / "model.safetensors"
    saved(path)
    with pytest.raises(RuntimeError, match="expected device meta"):
        load_model(path, lambda _, classes, frame: Faulty(tuple(classes), frame))


def test_classes_are_recorded_with_their_keypoints():
    classes = [Category("cat"), Category("person", ("head", "neck"), ((0, 1),))]
    assert from_plain(json.loads(json.dumps(as_plain(classes)))) == classes


def test_a_run_and_a_model_that_were_written_before_go_on(tmp_path):
    shutil.copyfile(WRITTEN_BEFORE / "checkpoint.safetensors", tmp_path / "run.safetensors")
    images, targets = pictures(16)
    trained = new_model(TASK, images, tiny(width=1, embedding=4, epochs=4), seed=7)
    run = train(
        trained,
        TASK,
        images,
        targets,
        range(16),
        seed=7,
        checkpoint=tmp_path / "run.safetensors",
        fingerprint="run",
    )
    assert [epoch.epoch for epoch in run] == [3, 4]
    finished, _ = load(WRITTEN_BEFORE / "model.safetensors")
    for name, value in finished.state_dict().items():
        assert torch.allclose(trained.state_dict()[name], value, atol=1e-5), name
