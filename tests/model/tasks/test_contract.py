"""What every task promises, whichever it is; those of other distributions too."""

import ast
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import alctl
from alctl.labels.annotation import KINDS, Annotation, Category
from alctl.model.checkpoint import load_model, save_model
from alctl.model.loss_prediction import new_module
from alctl.model.task import TASKS, WHOLE_IMAGES
from alctl.model.tensors import cut, first, rows
from alctl.model.train import new_model, train
from tests.fakes import tiny

SIZE, N = 32, 6
NAMES = ("cat", "dog", "owl")
CLASSES = tuple(map(Category, NAMES))
CONFIG = tiny(image_size=SIZE, epochs=4, batch_size=4)
MODELS = {"detection": "ssd-tiny"}
"""Networks of other kinds of labels than those that `CONFIG` has one for."""
ANSWERS: dict[str, list[tuple[Annotation, ...]]] = {
    "classification": [(Annotation(NAMES[i % 3]),) for i in range(N)],
    "detection": [
        tuple(Annotation(NAMES[(i + k) % 3], bbox=(2.0 + i, 3.0 * k, 10.0, 12.0 + i)) for k in range(i))
        for i in range(N)
    ],
}
"""Labels of N images, by kind."""


@pytest.fixture(params=TASKS.names())
def task(request):
    return TASKS.load(request.param)(CLASSES, CONFIG.frame)


@pytest.fixture
def config(task):
    return replace(CONFIG, model=MODELS.get(task.labels, CONFIG.model))


@pytest.fixture
def model(task, config):
    torch.manual_seed(0)
    return task.model(config, "none").eval()


@pytest.fixture
def images():
    return torch.randint(0, 256, (N, 3, SIZE, SIZE), generator=torch.Generator().manual_seed(0)).to(
        torch.uint8
    )


@pytest.fixture
def targets(task):
    encoded = [task.encode_target(answer, (SIZE, SIZE)) for answer in ANSWERS[task.labels]]
    return task.stack(encoded)


@pytest.fixture
def raw(model, images):
    with torch.no_grad():
        return model(images.float() / 255).raw


def part(raw, some):
    """Return the rows of what a network says."""
    return raw[some] if isinstance(raw, torch.Tensor) else rows(raw, some)


def test_it_says_what_it_learns_from_and_predicts_and_holds_no_state(task):
    assert task.labels in KINDS
    assert task.units in {WHOLE_IMAGES, "boxes", "joints", "pixels"}
    assert task == type(task)(CLASSES, CONFIG.frame)
    assert TASKS.load(TASKS.name_of(type(task))) is type(task)
    with pytest.raises(FrozenInstanceError):
        setattr(task, "frame", (8, 8))  # noqa: B010
    assert task.names == NAMES


def test_everything_a_network_says_has_a_row_for_each_image(model, images, raw):
    values = [raw] if isinstance(raw, torch.Tensor) else raw.values()
    assert {len(value) for value in values} == {N}
    output = model(images.float())
    assert output.embedding.shape[0] == N
    assert output.embedding.dim() == 2
    assert len({id(feature) for feature in output.features}) == len(output.features) == len(model.channels)


def test_there_is_one_loss_per_image_and_it_does_not_depend_on_the_others(task, raw, targets):
    losses = task.loss(raw, targets)
    assert losses.shape == (N,)
    assert torch.isfinite(losses).all()
    alone = [task.loss(part(raw, slice(i, i + 1)), rows(targets, slice(i, i + 1))) for i in range(N)]
    assert torch.allclose(losses, torch.cat(alone), atol=1e-6)


def test_more_padding_changes_no_loss(task, raw):
    encoded = [task.encode_target(answer, (SIZE, SIZE)) for answer in ANSWERS[task.labels]]
    together = task.stack(encoded)
    alone = [task.stack([one]) for one in encoded]
    for i in range(N):
        shorter = task.loss(part(raw, slice(i, i + 1)), alone[i])
        assert torch.allclose(task.loss(part(raw, slice(i, i + 1)), rows(together, slice(i, i + 1))), shorter)


def test_gradients_reach_the_network_and_the_module_every_tap(task, model, images, targets, config):
    module = new_module(model.channels, config)
    assert module is not None
    output = model(images.float() / 255)
    for feature in output.features:
        feature.retain_grad()
    module(output.features).sum().backward(retain_graph=True)
    assert all(bool(feature.grad.any()) for feature in output.features)
    model.zero_grad()
    task.loss(output.raw, targets).sum().backward()
    assert any(p.grad is not None and bool(p.grad.any()) for p in model.parameters())


def test_distributions_sum_to_one_count_one_together_and_keep_their_places(task, raw):
    found = task.distributions(raw)
    assert len(found.p) == N
    assert found.p.dtype in {torch.float32, torch.float64}
    assert found.weight.shape == found.place.shape == found.p.shape[:2]
    used = found.weight > 0
    assert torch.allclose(found.p.sum(-1)[used], torch.ones(()).to(found.p.dtype), atol=1e-5)
    assert torch.allclose(found.weight.sum(1).double(), torch.ones(N, dtype=torch.float64))
    if task.units == WHOLE_IMAGES:
        assert found.p.shape[1] == 1
    again = task.distributions(raw, found)
    assert all(torch.equal(a, b) for a, b in zip(found, again, strict=True))


def test_a_meter_over_two_batches_is_one_over_both(task, raw, targets):
    whole, pieces = task.meter(), task.meter()
    quality = whole.update(raw, targets)
    assert quality.shape == (N,)
    assert ((quality >= 0) & (quality <= 1)).all()
    again = [pieces.update(part(raw, some), rows(targets, some)) for some in (slice(0, 4), slice(4, N))]
    assert torch.allclose(torch.cat(again), quality)
    assert task.metric in whole.compute()
    assert pieces.compute() == pytest.approx(whole.compute())
    if (confusion := whole.confusion()) is not None:
        assert confusion[1].tolist() == pieces.confusion()[1].tolist()
    if (confidence := whole.confidence()) is not None:
        assert confidence[0].shape == confidence[1].shape


def test_what_is_said_decodes_to_annotations_of_known_classes(task, raw):
    decoded = task.decode(raw, [(SIZE, SIZE)] * N)
    assert len(decoded) == N
    assert {a.category for annotations in decoded for a in annotations} <= set(task.names)


def test_encoding_is_deterministic_and_augmentation_follows_its_generator(task, targets, config):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 40, 3), dtype=np.uint8))
    once, again = task.encode_image(picture), task.encode_image(picture)
    assert once.shape == (3, *task.frame)
    assert once.dtype == np.uint8
    assert (once == again).all()
    images = torch.from_numpy(np.stack([once] * N))
    results = [task.augment(images, targets, torch.Generator().manual_seed(7)) for _ in range(2)]
    assert torch.equal(results[0][0], results[1][0])
    assert all(torch.equal(value, results[1][1][key]) for key, value in results[0][1].items())
    assert {key: value.shape for key, value in results[0][1].items()} == {
        k: v.shape for k, v in targets.items()
    }
    seen, _ = task.view(images, {})
    assert seen.shape[2:] == results[0][0].shape[2:] == task.model(config, "none").shape


def test_an_oblong_frame_is_as_good(task, targets, config):
    oblong = replace(task, frame=(SIZE, 2 * SIZE))
    picture = Image.fromarray(np.zeros((50, 40, 3), np.uint8))
    assert oblong.encode_image(picture).shape == (3, SIZE, 2 * SIZE)
    model = oblong.model(replace(config, image_size=2 * SIZE, image_height=SIZE), "none").eval()
    assert torch.isfinite(oblong.loss(model(torch.zeros(N, 3, *model.shape)).raw, targets)).all()


def test_cut_targets_are_the_targets(targets):
    pieces = cut(targets, 4)
    assert [len(first(piece)) for piece in pieces] == [2, 2, 1, 1]
    assert all(torch.equal(torch.cat([piece[key] for piece in pieces]), targets[key]) for key in targets)


def trained(task, images, targets, config):
    model = new_model(task, images, config, seed=1)
    return model, list(train(model, task, images, targets, range(N), seed=1))


def test_a_step_repeats_and_moves_the_network_and_the_module(task, images, targets, config):
    config = replace(config, epochs=1)
    start = new_model(task, images, config, seed=1).state_dict()
    runs = [trained(task, images, targets, config)[0].state_dict() for _ in range(2)]
    assert all(torch.equal(value, runs[1][name]) for name, value in runs[0].items())
    for part_ in ("model.", "module."):
        assert any(not torch.equal(v, start[n]) for n, v in runs[0].items() if n.startswith(part_))


def test_a_saved_model_is_built_again_without_weights_and_says_the_same(
    task, images, targets, tmp_path, config
):
    model, _ = trained(task, images, targets, config)
    info = {"task": TASKS.name_of(type(task)), "categories": list(NAMES)}
    save_model(tmp_path / "m.safetensors", model, info)
    again, _ = load_model(
        tmp_path / "m.safetensors", lambda name, classes, frame: TASKS.load(name)(tuple(classes), frame)
    )
    said, same = (one.eval()(images) for one in (model, again))
    assert torch.equal(first(said[0].raw), first(same[0].raw))
    assert torch.equal(said[1], same[1])
    assert task.decode(same[0].raw, [(SIZE, SIZE)] * N) == task.decode(said[0].raw, [(SIZE, SIZE)] * N)


KNOWING = (
    "labels/", "model/tasks/", "demo.py", "annotators/imports/check.py", "annotators/handout.py",
    "annotators/export_labels.py", "agreement/similarity.py",
)  # fmt: skip
"""Where kinds of labels may be told apart: what labels are and how they are written, checked and compared."""


def test_no_other_code_asks_which_task_it_is():
    root = Path(alctl.__file__).parent
    asked = [
        f"{name}:{node.lineno}"
        for path in sorted(root.rglob("*.py"))
        if not (name := path.relative_to(root).as_posix()).startswith(KNOWING)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in KINDS
    ]
    assert asked == []
