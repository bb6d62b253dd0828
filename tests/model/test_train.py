import copy
import itertools
import math
import signal
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from safetensors import safe_open

from alctl.chance import stream
from alctl.errors import AlctlError
from alctl.model.checkpoint import read
from alctl.model.loss_prediction import Trained, rank_loss
from alctl.model.score import evaluate
from alctl.model.tasks.classification import Classification
from alctl.model.tensors import rows
from alctl.model.train import batches, channel_statistics, new_model, train
from tests.fakes import KillsItself, NeverFinite, Plain, Recorder, ShortOfMemory, classifier, pictures, tiny
from tests.warm import run_code

TASK = classifier()


def run(config=None, *, task=TASK, n=32, seed=7, **options):
    """Train on ``n`` pictures; return the model and its epochs."""
    images, targets = pictures(n)
    trained = new_model(task, images, config or tiny(), seed=seed)
    return trained, list(train(trained, task, images, targets, range(n), seed=seed, **options))


def same(first, second, prefix=""):
    """Say whether two models have the same weights to the bit, where their name begins with ``prefix``."""
    a, b = first.state_dict(), second.state_dict()
    names = [name for name in a if name.startswith(prefix)]
    return bool(names) and all(torch.equal(a[name], b[name]) for name in names)


class Spy(Trained):
    """Notes of every training pass whether the features were detached, and that nothing ran in eval mode."""

    def __init__(self, plain):
        super().__init__(plain.model, plain.module, plain.mean, plain.std, plain.config)
        self.seen: list[tuple[bool, bool, bool]] = []

    def forward(self, images, *, detach=False):
        if torch.is_grad_enabled():
            self.seen.append((self.training, self.model.network.training, detach))
        return super().forward(images, detach=detach)


def spied(config):
    """Return a model that notes its training passes, and its data."""
    images, targets = pictures(16)
    return Spy(new_model(TASK, images, config, seed=1)), images, targets


# --- what is learned --------------------------------------------------------------------------------------------------


def test_training_learns_the_classes_and_to_rank_the_losses():
    images, targets = pictures(600)
    trained = new_model(TASK, images, tiny(width=8, epochs=12, batch_size=32, lr=0.1), seed=0)
    epochs = list(train(trained, TASK, images[:400], rows(targets, slice(400)), range(400), seed=0))
    metrics = evaluate(trained, TASK, images[400:], rows(targets, slice(400, None))).by_name()
    assert epochs[-1].target_loss < 0.5 * epochs[0].target_loss
    assert (metrics["accuracy"] or 0) > 0.7
    assert (metrics["ranking_accuracy"] or 0) > 0.7


@pytest.mark.parametrize("kind", ["hinge", "mse", "bce", "kl"])
@pytest.mark.parametrize("pairing", ["half", "flip", "all"])
def test_every_ranking_loss_and_pairing_trains(kind, pairing):
    _, epochs = run(tiny(epochs=1, rank_loss=kind, pairing=pairing), n=19)
    assert np.isfinite(epochs[0].ranking_loss)
    assert 0 <= epochs[0].ranking_accuracy <= 1


def test_every_tensor_of_the_module_changes_in_one_epoch():
    images, targets = pictures(16)
    trained = new_model(TASK, images, tiny(epochs=1), seed=0)
    before = copy.deepcopy(trained.state_dict())
    list(train(trained, TASK, images, targets, range(16), seed=0))
    changed = [name for name, value in trained.state_dict().items() if not torch.equal(before[name], value)]
    assert {name for name in before if name.startswith("module.")} <= set(changed)


def test_the_losses_reported_are_those_of_the_paper_s_equations():
    images, targets = pictures(9)
    task = classifier(Plain)
    trained = new_model(task, images, tiny(epochs=1, batch_size=9), seed=3)
    start = copy.deepcopy(trained)
    epoch = next(train(trained, task, images, targets, range(9), seed=3))
    (order,) = batches(9, 9, torch.Generator().manual_seed(stream(3, "order", 0)))
    output, predicted = start(images[order])
    loss = task.loss(output.raw, rows(targets, order))
    assert epoch.target_loss == pytest.approx(loss.mean().item(), rel=1e-5)
    assert epoch.ranking_loss == pytest.approx(rank_loss(predicted, loss).item(), rel=1e-5)
    right = [(predicted[i] > predicted[i + 4]) == (loss[i] > loss[i + 4]) for i in range(4)]
    assert epoch.ranking_accuracy == np.mean([bool(r) for r in right])


def test_without_loss_weight_there_is_no_module_and_no_ranking():
    trained, epochs = run(tiny(loss_weight=0.0))
    assert trained.module is None
    assert not any(name.startswith("module") for name in trained.state_dict())
    assert {(epoch.ranking_loss, epoch.ranking_accuracy) for epoch in epochs} == {(None, None)}


def test_a_module_without_gradient_to_the_target_model_changes_nothing_there():
    assert same(run(tiny(loss_weight=0.0))[0], run(tiny(grad_stop=0.0))[0], "model.")
    assert not same(run(tiny(loss_weight=0.0))[0], run(tiny(grad_stop=1.0))[0], "model.")


# --- schedules --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("grad_stop", "flowing"), [(0.6, 3), (0.0, 0), (1.0, 5), (0.5, 2)])
def test_the_ranking_loss_reaches_the_target_model_for_the_share_of_epochs_asked_for(grad_stop, flowing):
    spy, images, targets = spied(tiny(grad_stop=grad_stop))
    flows = []
    for _ in train(spy, TASK, images, targets, range(16), seed=1):
        flows.append({not detach for _, _, detach in spy.seen})
        spy.seen.clear()
    assert flows == [{True}] * flowing + [{False}] * (5 - flowing)


def test_the_module_goes_on_learning_after_the_gradient_stop():
    images, targets = pictures(16)
    trained = new_model(TASK, images, tiny(grad_stop=0.2), seed=1)
    weights = [
        trained.state_dict()["module.compress.0.weight"].clone()
        for _ in train(trained, TASK, images, targets, range(16), seed=1)
    ]
    assert all(not torch.equal(a, b) for a, b in itertools.pairwise(weights))


def test_the_learning_rate_drops_once_and_on_time():
    assert [epoch.lr for epoch in run(tiny(epochs=10, lr=0.1), n=8)[1]] == [0.1] * 8 + [0.01] * 2
    assert [epoch.lr for epoch in run(tiny(epochs=3, lr=0.1, lr_drop=1.0), n=8)[1]] == [0.1] * 3


def test_every_step_is_in_training_mode_whatever_the_caller_and_validation_do():
    spy, images, targets = spied(tiny())
    for _ in train(spy, TASK, images, targets, range(16), seed=1, validation=(images, targets)):
        assert not spy.training
    assert len(spy.seen) == 10
    assert all(whole and network for whole, network, _ in spy.seen)


# --- batches ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "sizes"), [(17, [6, 6, 5]), (16, [8, 8]), (19, [7, 6, 6]), (9, [5, 4]), (5, [5]), (2, [2])]
)
def test_every_label_is_seen_in_every_epoch_and_none_alone(n, sizes):
    images, _ = pictures(n)
    task = classifier(Recorder, [str(i) for i in range(n)])
    trained = new_model(task, images, tiny(epochs=2), seed=1)
    list(train(trained, task, images, {"class": torch.arange(n)}, range(n), seed=1))
    epochs = [task.steps[: len(sizes)], task.steps[len(sizes) :]]
    assert [[len(step) for step in epoch] for epoch in epochs] == [sizes, sizes]
    assert all(sorted(itertools.chain(*epoch)) == list(range(n)) for epoch in epochs)
    assert n < 3 or epochs[0] != epochs[1]


@pytest.mark.parametrize("size", [2, 3, 8, 64, 128])
def test_batches_are_as_even_as_they_can_be_and_hold_every_image_once(size):
    for n in range(2, 300):
        made = batches(n, size, torch.Generator().manual_seed(n))
        sizes = [len(batch) for batch in made]
        assert sorted(torch.cat(made).tolist()) == list(range(n))
        assert max(sizes) - min(sizes) <= 1
        assert min(sizes) >= 2
        assert max(sizes) <= max(size, 3)  # a pair and the odd one out, rather than one alone
        assert len(sizes) == math.ceil(n / size) or size == 2
    assert [len(batch) for batch in batches(900, 64, torch.Generator())] == [60] * 15


def test_one_image_at_a_time_trains_without_pairs():
    _, epochs = run(tiny(epochs=1, batch_size=1), task=classifier(Plain), n=4)
    assert epochs[0].ranking_loss == 0
    assert epochs[0].ranking_accuracy is None


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_images_are_refused(n):
    images, targets = pictures(2)
    trained = new_model(TASK, images, tiny(), seed=0)
    with pytest.raises(AlctlError, match=f"at least 2 labeled images, not {n}"):
        next(train(trained, TASK, images[:n], rows(targets, slice(n)), range(n), seed=0))


def test_a_read_only_memory_map_trains_like_a_tensor(tmp_path):
    images, targets = pictures(16)
    np.save(tmp_path / "images.npy", images.numpy())
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    models = []
    for data in (images, mapped):
        trained = new_model(TASK, data, tiny(epochs=2), seed=1)
        list(train(trained, TASK, data, targets, range(16), seed=1, validation=(data, targets)))
        models.append(trained)
    assert same(*models)


def test_channel_statistics_are_exact():
    images, _ = pictures(50)
    mean, std = channel_statistics(images)
    assert torch.allclose(mean, images.double().mean((0, 2, 3)).float())
    assert torch.allclose(std, images.double().std((0, 2, 3), correction=0).float())
    assert channel_statistics(np.zeros((2, 3, 4, 4), np.uint8))[1].tolist() == [1, 1, 1]


# --- chance -----------------------------------------------------------------------------------------------------------


def test_a_seed_repeats_to_the_bit_and_leaves_the_global_chance_alone():
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    first = run()[0]
    assert torch.equal(torch.rand(1), expected)
    torch.manual_seed(2)
    assert same(first, run()[0])
    assert not same(first, run(seed=8)[0])


def test_the_target_model_starts_alike_with_and_without_a_module():
    images, _ = pictures(4)
    with_module = new_model(TASK, images, tiny(), seed=3)
    assert same(with_module, new_model(TASK, images, tiny(embedding=16), seed=3), "model.")
    assert same(new_model(TASK, images, tiny(loss_weight=0.0), seed=3), with_module, "model.")


def test_dropout_draws_from_the_seed():
    images, targets = pictures(8, size=32)
    task = classifier(size=32)
    config = tiny(model="mobilenet_v3_small", image_size=32, epochs=1)
    models = []
    for before in (1, 2):
        torch.manual_seed(before)
        trained = new_model(task, images, config, seed=3)
        list(train(trained, task, images, targets, range(8), seed=3))
        models.append(trained)
    assert same(*models)


def test_augmentation_and_dropout_differ_between_epochs_and_seeds():
    @dataclass(frozen=True)
    class Listener(Plain):
        heard: set[tuple[int, int]] = field(default_factory=set)

        def augment(self, images, targets, rng):
            self.heard.add((rng.initial_seed(), torch.initial_seed()))
            return images, targets

    task = classifier(Listener)
    run(task=task, seed=7)
    run(task=task, seed=8)
    augmentations, dropouts = zip(*task.heard, strict=True)
    assert len(set(augmentations)) == len(set(dropouts)) == 2 * 5


def test_validation_watches_and_does_not_touch():
    images, targets = pictures(20, seed=9)
    watched, epochs = run(tiny(checkpoint_every=2), validation=(images, targets))
    assert same(watched, run(tiny(checkpoint_every=2))[0])
    assert [epoch.validation is not None for epoch in epochs] == [False, True, False, True, True]
    assert epochs[-1].validation == evaluate(watched, TASK, images, targets).of_task["accuracy"]


def test_bfloat16_trains_with_predictions_in_float32():
    trained, epochs = run(tiny(precision="bf16", epochs=1))
    assert np.isfinite(epochs[0].target_loss)
    output, predicted = trained(pictures(4)[0])
    assert {output.raw.dtype, output.embedding.dtype, predicted.dtype} == {torch.float32}
    assert {p.dtype for p in trained.parameters()} == {torch.float32}


# --- going on ---------------------------------------------------------------------------------------------------------


def resumed(path, **options):
    return run(checkpoint=path, fingerprint="run", **options)


@pytest.mark.parametrize("stop", [1, 2, 4])
def test_a_stopped_run_goes_on_to_the_same_weights(tmp_path, stop):
    path = tmp_path / "run.safetensors"
    images, targets = pictures(32)
    trained = new_model(TASK, images, tiny(checkpoint_every=100), seed=7)
    steps = train(trained, TASK, images, targets, range(32), seed=7, checkpoint=path, fingerprint="run")
    for epoch in steps:
        if epoch.epoch == stop:
            break
    steps.close()
    again, epochs = resumed(path, config=tiny(checkpoint_every=100))
    assert [epoch.epoch for epoch in epochs] == list(range(stop + 1, 6))
    assert same(again, run()[0])


def test_an_interrupt_within_an_epoch_keeps_the_last_whole_one(tmp_path):
    class Interrupted(KillsItself):
        def augment(self, images, targets, rng):
            self.calls.append(len(images))
            if len(self.calls) == 11:
                raise KeyboardInterrupt
            return Classification.augment(self, images, targets, rng)

    path = tmp_path / "run.safetensors"
    with pytest.raises(KeyboardInterrupt):
        resumed(path, task=classifier(Interrupted), config=tiny(checkpoint_every=100))
    again, epochs = resumed(path)
    assert [epoch.epoch for epoch in epochs] == [3, 4, 5]
    assert same(again, run()[0])


@pytest.mark.slow
def test_a_killed_process_goes_on_to_the_same_weights(tmp_path):
    path = tmp_path / "run.safetensors"
    code = f"from tests.fakes import train_until_killed; train_until_killed({str(path)!r})"
    assert run_code(code).returncode == -signal.SIGKILL
    again, epochs = resumed(path)
    assert [epoch.epoch for epoch in epochs] == [3, 4, 5]
    assert same(again, run()[0])


def test_a_finished_run_goes_on_to_nothing(tmp_path):
    path = tmp_path / "run.safetensors"
    first, _ = resumed(path)
    again, epochs = resumed(path)
    assert epochs == []
    assert same(first, again)


def test_a_checkpoint_of_another_run_is_not_used(tmp_path):
    path = tmp_path / "run.safetensors"
    resumed(path)
    trained, epochs = run(seed=8, checkpoint=path, fingerprint="other")
    assert len(epochs) == 5
    assert same(trained, run(seed=8)[0])
    assert read(path)[1]["fingerprint"] == "other"


def test_what_the_weights_started_from_survives_a_resume(tmp_path):
    path = tmp_path / "run.safetensors"
    images, targets = pictures(16)
    config = tiny(weights="auto")
    trained = new_model(TASK, images, config, seed=1)
    steps = train(trained, TASK, images, targets, range(16), seed=1, checkpoint=path, fingerprint="run")
    next(steps)
    steps.close()
    assert "no pretrained weights" in trained.model.weights
    again = new_model(TASK, images, replace(config, weights="none"), seed=1)
    list(train(again, TASK, images, targets, range(16), seed=1, checkpoint=path, fingerprint="run"))
    assert again.model.weights == trained.model.weights


@pytest.mark.parametrize("keep", [0, 8, 500, -100])
def test_a_damaged_checkpoint_is_named_and_never_silently_dropped(tmp_path, keep):
    path = tmp_path / "run.safetensors"
    resumed(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(AlctlError, match=r"run.safetensors cannot be resumed; delete it"):
        resumed(path)


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    path = tmp_path / "run.safetensors"
    resumed(path)
    with pytest.raises(AlctlError, match="delete it"):
        resumed(path, config=tiny(width=8))


def test_only_every_so_many_epochs_are_written(tmp_path):
    path = tmp_path / "run.safetensors"
    images, targets = pictures(8)
    trained = new_model(TASK, images, tiny(epochs=5, checkpoint_every=2), seed=1)
    written = []
    for _ in train(trained, TASK, images, targets, range(8), seed=1, checkpoint=path, fingerprint="f"):
        with_file = path.exists()
        if with_file:
            with safe_open(path, framework="pt") as file:
                assert "momentum_buffer:model.network.conv1.weight" in file.keys()  # noqa: SIM118
        written.append(read(path)[1]["epochs"] if with_file else None)
    assert written == [None, 2, 2, 4, 5]
    assert list(tmp_path.iterdir()) == [path]


# --- trouble ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rank", [{"loss_weight": 0.0}, {"rank_loss": "mse"}])
@pytest.mark.parametrize(
    ("limit", "micro_batch"), [(3, 2), (5, 4)]
)  # the steps are of 6, 6 and 5: pieces of 4 leave the last one whole, which 3 is too few for
def test_short_memory_takes_smaller_pieces_with_the_same_mean(rank, limit, micro_batch):
    config = tiny(epochs=2, **rank)
    task = classifier(ShortOfMemory, limit=limit)
    pieces, epochs = run(config, task=task, n=17)
    whole, reference = run(config, task=classifier(Plain), n=17)
    assert max(task.passes) == limit
    assert [epoch.micro_batch for epoch in epochs] == [micro_batch, micro_batch]
    for name, value in whole.state_dict().items():
        assert torch.allclose(pieces.state_dict()[name], value, atol=1e-5), name
    for ours, theirs in zip(epochs, reference, strict=True):
        assert ours.target_loss == pytest.approx(theirs.target_loss, rel=1e-4)


def test_short_memory_makes_pairs_within_the_pieces():
    images, targets = pictures(8)
    task = classifier(ShortOfMemory, limit=4)
    trained = new_model(task, images, tiny(epochs=1), seed=3)
    start = copy.deepcopy(trained)
    epoch = next(train(trained, task, images, targets, range(8), seed=3))
    (order,) = batches(8, 8, torch.Generator().manual_seed(stream(3, "order", 0)))
    output, predicted = start(images[order])
    loss = [task.loss(output.raw[half], rows(targets, order[half])) for half in (slice(4), slice(4, None))]
    by_hand = (rank_loss(predicted[:4], loss[0]) + rank_loss(predicted[4:], loss[1])) / 2
    assert epoch.micro_batch == 4
    assert epoch.ranking_loss == pytest.approx(by_hand.item(), rel=1e-5)


def test_memory_that_is_too_short_for_two_images_ends_training():
    with pytest.raises(AlctlError, match="out of memory even with 2 images"):
        run(task=classifier(ShortOfMemory, limit=1), n=16)


def test_a_loss_that_is_not_finite_names_item_and_epoch(tmp_path):
    images, targets = pictures(16)
    images[:, 0, 0, 0] = 0
    images[11, 0, 0, 0] = 255
    task = classifier(NeverFinite)
    trained = new_model(task, images, tiny(batch_size=4), seed=0)
    ids = range(100, 116)
    path = tmp_path / "run.safetensors"
    with pytest.raises(AlctlError, match=r"in epoch 1, first at item 111: .*lower learning rate"):
        list(train(trained, task, images, targets, ids, seed=0, checkpoint=path, fingerprint="f"))
    assert not path.exists()


def test_a_model_that_explodes_is_noticed_before_its_weights_are_kept(tmp_path):
    path = tmp_path / "run.safetensors"
    with pytest.raises(
        AlctlError, match=r"no longer a finite number in epoch \d+, first at item .* and \d+ more"
    ):
        run(
            tiny(lr=1e6, epochs=30, weight_decay=1.0),
            task=classifier(Plain),
            checkpoint=path,
            fingerprint="f",
        )
    if path.exists():
        assert all(torch.isfinite(value).all() for value in read(path)[0].values())
