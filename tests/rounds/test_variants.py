"""The variants of learning loss: the deeper module, warm start, a model to report, and every switch by command."""

import itertools
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from alctl.config import TrainConfig, check_config
from alctl.database import training_runs
from alctl.database.training_runs import TrainingRun
from alctl.errors import AlctlError
from alctl.model.checkpoint import carry_over, load_model, read, save_model, write
from alctl.model.loss_prediction import LossPredictionModule
from alctl.model.score import predict
from alctl.model.train import Epoch, new_model, train
from alctl.project import Project
from alctl.rounds import train_plan, train_run, trained_model, training_set
from alctl.rounds.network_model import NetworkModel
from tests.fakes import CLASSES, classifier, pictures, tiny
from tests.project_files import TINY_FLAGS, no_progress, small_project, take, write_csv
from tests.warm import count_moments, run_code, run_warm, start_warm, warm_json

TASK = classifier()


def project_of(folder: Path, labeled: int = 12, **options: Any) -> Project:
    """Make a project of twenty images, the first few of them labeled."""
    project = small_project(folder, 20, **options)
    label(project, range(1, labeled + 1))
    return project


def label(project: Project, ids, **options: Any) -> None:
    names = options.pop("names", ("cat", "dog"))
    rows = [(i, names[i % len(names)]) for i in ids]
    take(project, write_csv(project.folder / f"labels-{min(ids)}.csv", rows), **options)


def run(project: Project, **changes: Any) -> tuple[TrainingRun, list[Epoch]]:
    """Train; return what was recorded and the epochs."""
    plan = train_plan.plan_training(project, tiny(**{"epochs": 2, **changes}), None)
    assert plan.finished is None
    epochs: list[Epoch] = []
    done = train_run.to_the_end(train_run.run_training(project, plan, no_progress), epochs.append)
    return done.run, epochs


def weights(project: Project, recorded: TrainingRun) -> dict[str, torch.Tensor]:
    return read(project.folder / recorded.file)[0]


# --- the deeper module ------------------------------------------------------------------------------------------------


def test_the_deeper_module_has_as_many_parameters_as_the_paper_s():
    module = LossPredictionModule([64, 128, 256, 512], 128, deeper=True)
    assert sum(p.numel() for p in module.parameters()) == 1_173_505


def test_every_tensor_of_the_deeper_module_learns_also_after_the_gradient_stop():
    images, targets = pictures(16)
    trained = new_model(TASK, images, tiny(epochs=1, module="deeper", grad_stop=0.0), seed=0)
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    list(train(trained, TASK, images, targets, range(16), seed=0))
    own = {name for name in before if name.startswith("module.")}
    assert sum(name.startswith("module.convolve.") for name in own) == 4 * 6
    assert all(not torch.equal(before[name], trained.state_dict()[name]) for name in own)


@pytest.mark.slow
def test_the_deeper_module_learns_to_rank_and_comes_back_from_its_file(tmp_path):
    images, targets = pictures(96)
    trained = new_model(TASK, images, tiny(epochs=20, module="deeper", lr=0.02), seed=0)
    epochs = list(train(trained, TASK, images, targets, range(96), seed=0))
    assert sum(epoch.ranking_accuracy or 0 for epoch in epochs[-4:]) / 4 > 0.6
    save_model(tmp_path / "m.safetensors", trained, {"task": "classification", "categories": list(CLASSES)})
    again, _ = load_model(tmp_path / "m.safetensors", lambda *_: TASK)
    first, second = (predict(model, TASK, images).predicted_loss for model in (trained, again))
    assert first is not None
    assert second is not None
    assert torch.equal(first, second)


def test_the_linear_layers_of_the_deeper_module_stay_in_float32_under_autocast():
    module = LossPredictionModule([8], 16, deeper=True)
    seen: dict[str, torch.dtype] = {}
    layers: list[tuple[str, Any]] = [("convolution", module.convolve), ("linear", module.compress)]
    for name, layer in layers:
        inner = layer[0][0] if name == "convolution" else layer[0]
        inner.register_forward_hook(lambda _, __, output, name=name: seen.update({name: output.dtype}))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        predicted = module([torch.rand(4, 8, 4, 4)])
    assert seen == {"convolution": torch.bfloat16, "linear": torch.float32}
    assert predicted.dtype == torch.float32


# --- warm start -------------------------------------------------------------------------------------------------------


def test_a_warm_start_is_the_former_weights_with_a_fresh_optimiser_and_schedule(tmp_path):
    project = project_of(tmp_path)
    first, _ = run(project, epochs=5)
    label(project, range(13, 17))
    second, epochs = run(project, epochs=5, start="warm", lr_drop=0.6)
    assert [epoch.lr for epoch in epochs] == [0.05] * 3 + [0.005] * 2
    assert second.environment["started_from"] == first.id
    assert second.environment["weights"] == "training run 1"

    plan = train_plan.plan_training(project, tiny(epochs=5, start="warm", lr_drop=0.6), None)
    sources, targets = plan.splits["pool"].sources, plan.splits["pool"].targets
    images = training_set.cache_of(project, plan.task).load(sources, no_progress)
    by_hand = new_model(plan.task, images, plan.config, seed=plan.seed)
    old = weights(project, first)
    kept = {name: by_hand.state_dict()[name] for name in ("mean", "std")}
    by_hand.load_state_dict({**old, **kept})
    list(train(by_hand, plan.task, images, targets, range(len(images)), seed=plan.seed))
    new = weights(project, second)
    assert all(torch.equal(tensor, new[name]) for name, tensor in by_hand.state_dict().items())


def test_the_first_warm_start_is_a_cold_one(tmp_path):
    warm, _ = run(project_of(tmp_path / "warm"), start="warm")
    cold, _ = run(project_of(tmp_path / "cold"))
    assert "started_from" not in warm.environment
    one = read(tmp_path / "warm" / "project" / warm.file)[0]
    other = read(tmp_path / "cold" / "project" / cold.file)[0]
    assert all(torch.equal(one[name], other[name]) for name in other)


def test_the_fingerprint_tells_which_run_a_warm_start_went_on_from(tmp_path):
    project = project_of(tmp_path)
    for seed in (1, 2):  # two runs that differ
        plan = train_plan.plan_training(project, tiny(epochs=1), seed)
        list(train_run.run_training(project, plan, no_progress))
        label(project, range(12 + seed, 13 + seed))
    last = train_plan.plan_training(project, tiny(epochs=1, start="warm"), 3)
    assert last.before is not None
    assert last.before.id == 2
    other = project_of(tmp_path / "other", labeled=14)
    assert train_plan.plan_training(other, tiny(epochs=1, start="warm"), 3).fingerprint != last.fingerprint


def test_the_same_warm_training_twice_is_one_run_and_new_labels_go_on(tmp_path):
    project = project_of(tmp_path)
    run(project, start="warm")
    assert train_plan.plan_training(project, tiny(epochs=2, start="warm"), None).finished is not None
    label(project, range(13, 15))
    run(project, start="warm")
    again = train_plan.plan_training(project, tiny(epochs=2, start="warm"), None)
    assert again.finished is not None
    assert again.finished.id == 2
    label(project, range(15, 17))
    third, _ = run(project, start="warm")
    assert third.environment["started_from"] == 2


def test_a_warm_start_keeps_what_the_head_knows_of_old_classes(tmp_path):
    images, _ = pictures(8)
    old = new_model(TASK, images, tiny(), seed=1)
    save_model(tmp_path / "old.safetensors", old, {})
    more = classifier(names=(*CLASSES, "newt"))
    new = new_model(more, images, tiny(), seed=2)
    fresh = {name: tensor.clone() for name, tensor in new.state_dict().items()}
    carry_over(tmp_path / "old.safetensors", new)
    own, former = new.state_dict(), old.state_dict()
    for name in ("model.network.fc.weight", "model.network.fc.bias"):
        assert torch.equal(own[name][:4], former[name])
        assert torch.equal(own[name][4], fresh[name][4])
    assert torch.equal(own["model.network.conv1.weight"], former["model.network.conv1.weight"])
    save_model(tmp_path / "new.safetensors", new, {})
    with pytest.raises(AlctlError, match="--start cold"):
        carry_over(tmp_path / "new.safetensors", old)  # classes never become fewer


def test_classes_that_grew_go_through_the_whole_warm_training(tmp_path):
    project = project_of(tmp_path)
    run(project, start="warm")
    label(project, range(13, 17), names=("newt", "cat"), add_classes=True)
    second, _ = run(project, start="warm")
    assert second.environment["started_from"] == 1
    assert weights(project, second)["model.network.fc.weight"].shape[0] == 3


@pytest.mark.parametrize(
    ("before", "after"), [({}, {"loss_weight": 0.0}), ({"loss_weight": 0.0}, {}), ({}, {"image_size": 16})]
)
def test_a_warm_start_may_add_or_drop_the_module_or_change_the_resolution(tmp_path, before, after):
    images, _ = pictures(8)
    old = new_model(TASK, images, tiny(**before), seed=1)
    save_model(tmp_path / "old.safetensors", old, {})
    new = new_model(TASK, images, tiny(**after), seed=2)
    carry_over(tmp_path / "old.safetensors", new)
    name = "model.network.layer4.1.conv2.weight"
    assert torch.equal(new.state_dict()[name], old.state_dict()[name])


@pytest.mark.parametrize(
    "changes",
    [{"width": 8}, {"taps": "layer3,layer4"}, {"embedding": 16}, {"module": "deeper"}, {"model": "resnet18"}],
)
def test_a_warm_start_from_another_network_is_a_sentence_and_records_nothing(tmp_path, changes):
    project = project_of(tmp_path)
    run(project, epochs=1)
    label(project, range(13, 15))
    plan = train_plan.plan_training(project, tiny(epochs=1, start="warm", **changes), None)
    with pytest.raises(AlctlError, match="use the same model, width, taps, module and embedding"):
        list(train_run.run_training(project, plan, no_progress))
    with project.reading() as connection:
        assert len(training_runs.every_run(connection)) == 1


def test_a_warm_start_whose_weights_are_gone_is_a_sentence(tmp_path):
    project = project_of(tmp_path)
    first, _ = run(project, epochs=1)
    (project.folder / first.file).unlink()
    label(project, range(13, 15))
    plan = train_plan.plan_training(project, tiny(epochs=1, start="warm"), None)
    with pytest.raises(AlctlError, match="weights of training run 1 are gone"):
        list(train_run.run_training(project, plan, no_progress))


def test_a_stopped_warm_training_goes_on_to_the_same_weights(tmp_path):
    results = []
    for name, stops in (("whole", False), ("stopped", True)):
        project = project_of(tmp_path / name)
        run(project)
        label(project, range(13, 17))
        plan = train_plan.plan_training(project, tiny(epochs=4, start="warm"), None)
        if stops:
            epochs = train_run.run_training(project, plan, no_progress)
            list(itertools.islice(epochs, 2))
            epochs.close()
        recorded, after = run(project, epochs=4, start="warm")
        assert len(after) == (2 if stops else 4)
        results.append(weights(project, recorded))
    assert all(torch.equal(tensor, results[1][name]) for name, tensor in results[0].items())


# --- the model to report ----------------------------------------------------------------------------------------------


def test_the_model_to_report_is_the_one_that_training_without_the_module_gives(tmp_path):
    project = project_of(tmp_path, test=4, validation=4)
    label(project, range(17, 21))
    reserved = [i for i in range(1, 21) if i not in range(1, 13)]
    label(project, [i for i in reserved if i < 17])
    both, epochs = run(project, report_model=True)
    assert [(epoch.epoch, epoch.epochs) for epoch in epochs] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [epoch.ranking_loss is None for epoch in epochs] == [False, False, True, True]
    joint, _ = run(project)
    alone, _ = run(project, loss_weight=0.0)
    assert both.report == alone.metrics
    assert both.metrics == joint.metrics
    one, other = weights(project, both), weights(project, joint)
    assert all(torch.equal(one[name], other[name]) for name in other)
    assert not list(project.models.glob("*checkpoint*"))


def test_without_a_module_there_is_nothing_more_to_report(tmp_path):
    project = project_of(tmp_path)
    recorded, epochs = run(project, report_model=True, loss_weight=0.0)
    assert len(epochs) == 2
    assert recorded.report == {}
    assert recorded.config["report_model"] is False


@pytest.mark.slow
@pytest.mark.parametrize("stop", [1, 3, 5])
def test_a_stop_at_any_point_of_the_two_trainings_loses_no_whole_epoch(tmp_path, stop):
    results = []
    for name in ("whole", "stopped"):
        project = project_of(tmp_path / name, test=4)
        label(project, range(13, 21))
        if name == "stopped":
            plan = train_plan.plan_training(project, tiny(epochs=3, report_model=True), None)
            epochs = train_run.run_training(project, plan, no_progress)
            list(itertools.islice(epochs, stop))
            epochs.close()
        plan = train_plan.plan_training(project, tiny(epochs=3, report_model=True), None)
        again: list[Epoch] = []
        done = train_run.to_the_end(train_run.run_training(project, plan, no_progress), again.append)
        numbers = [epoch.epoch for epoch in again]
        assert numbers == list(range(stop + 1 if name == "stopped" else 1, 7))
        assert done.resumed == (stop if name == "stopped" else 0)
        results.append((done.run.plain()["metrics"], weights(project, done.run)))
    assert results[0][0] == results[1][0]
    assert all(torch.equal(tensor, results[1][1][name]) for name, tensor in results[0][1].items())


@pytest.mark.slow
def test_a_kill_in_either_training_is_gone_on_from(tmp_path):
    prepared = project_of(tmp_path, test=4)
    label(prepared, range(13, 21))
    prepared.engine.dispose()
    command = ("train", "--report-model", "--epochs", 4, "--checkpoint-every", 1, *TINY_FLAGS)

    def copy(name: str) -> Path:
        return Path(shutil.copytree(prepared.folder, tmp_path / name))

    moments = count_moments(*command, "--project", copy("counted"))
    for part in (0.25, 0.5, 0.75):
        folder = copy(f"killed {part}")
        running = start_warm(*command, "--project", folder, moment=int(part * moments))
        running.wait_for_moment()
        running.signal(9)
        running.end()
        recorded = warm_json(*command, "--project", folder)
        assert set(recorded["metrics"]) == {"test", "report"}
        assert [file.name for file in (folder / "models").iterdir()] == ["run-0001.safetensors"]


def test_train_and_status_show_both_models_and_select_uses_the_joint_one(tmp_path):
    project = project_of(tmp_path, test=4)
    label(project, range(13, 21))
    where = ("--project", project.folder)
    done = run_warm("train", "--report-model", "--epochs", 1, *TINY_FLAGS, *where)
    assert done.returncode == 0, done.stderr
    assert "then once more without the loss prediction module" in done.stderr
    for text in (done.stdout, run_warm("status", *where).stdout):
        assert "test, module left out" in text
    model = trained_model.required_model(project, "cpu")
    assert isinstance(model, NetworkModel)
    assert isinstance(model.trained.module, LossPredictionModule)


def test_a_setting_that_is_on_can_be_switched_off_by_command(tmp_path):
    project = project_of(tmp_path)
    file = project.folder / "alctl.toml"
    file.write_text(file.read_text().replace("# report_model = false", "report_model = true"))
    command = ("train", "--epochs", 1, *TINY_FLAGS, "--project", project.folder)
    assert warm_json(*command)["config"]["report_model"] is True
    assert warm_json(*command, "--no-report-model")["config"]["report_model"] is False


# --- every switch by command ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def labeled(tmp_path_factory):
    """Twelve labeled images of the pool, and four of the test."""
    project = small_project(tmp_path_factory.mktemp("variants"), 16, test=4)
    label(project, range(1, 17))
    return project


@pytest.mark.parametrize(
    "flags",
    [
        *[("--rank-loss", kind, "--pairing", how) for kind in ("hinge", "bce", "kl") for how in ("half", "all")],
        ("--rank-loss", "hinge", "--pairing", "flip"),
        ("--rank-loss", "mse", "--loss-weight", "0.1"),
        ("--grad-stop", "0"),
        ("--grad-stop", "1"),
        ("--start", "warm"),
        ("--module", "deeper", "--embedding", "16"),
        ("--taps", "layer4"),
        ("--margin", "0.5"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_every_switch_trains_for_an_epoch(labeled, flags):
    recorded = warm_json("train", "--epochs", 1, *TINY_FLAGS, *flags, "--project", labeled.folder)
    wanted = dict(zip((flag[2:].replace("-", "_") for flag in flags[::2]), flags[1::2], strict=True))
    assert {name: str(recorded["config"][name]) for name in wanted} == {
        name: str(type(getattr(TrainConfig(), name))(value)) for name, value in wanted.items()
    }
    assert recorded["already"] is False
    assert 0 <= recorded["metrics"]["test"]["ranking_accuracy"] <= 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "parameters"),
    [
        (("--taps", "layer4"), 65_793),
        (("--taps", "layer4", "--embedding", "256"), 131_585),
        ((), 123_905),
        (("--embedding", "256"), 247_809),
        (("--module", "deeper"), 1_173_505),
    ],
)
def test_the_trained_module_has_the_paper_s_number_of_parameters(labeled, flags, parameters):
    options = [*TINY_FLAGS]
    options[options.index("--width") + 1] = "64"
    recorded = warm_json("train", "--epochs", 1, *options, *flags, "--project", labeled.folder)
    tensors = read(labeled.folder / recorded["file"])[0]
    counted = [
        tensor.numel()
        for name, tensor in tensors.items()
        if name.startswith("module.")
        and not name.endswith(("running_mean", "running_var", "num_batches_tracked"))
    ]
    assert sum(counted) == parameters


# --- sizes that a file may claim --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "setting", [{"width": 4097}, {"image_size": 4097}, {"embedding": 65_537}, {"width": 10**12}]
)
def test_settings_beyond_any_use_are_refused(setting):
    with pytest.raises(AlctlError, match=f"{next(iter(setting))}.*less than or equal"):
        check_config({"train": setting}, "a file")


@pytest.mark.parametrize(
    ("claim", "reason"),
    [
        ({"width": 10**9}, "less than or equal to 4096"),
        ({"width": 4096}, "its own settings say (4096, 3, 3, 3)"),
        ({"embedding": 65_536}, "its own settings say (65536, 4)"),
    ],
)
def test_a_file_that_claims_a_gigantic_model_is_refused_before_it_takes_any_memory(tmp_path, claim, reason):
    path = tmp_path / "model.safetensors"
    images, _ = pictures(4)
    save_model(
        path, new_model(TASK, images, tiny(), seed=0), {"task": "classification", "categories": list(CLASSES)}
    )
    tensors, header = read(path)
    write(path, tensors, {**header, "config": {**header["config"], **claim}})
    done = run_in_little_memory(path)
    assert "refused: " in done
    assert reason in done


def run_in_little_memory(path: Path) -> str:
    """Load a model in a process that may not take 2 GB more than it starts with; return what it printed."""
    code = f"""
import resource
from pathlib import Path
import torch
from alctl.model.checkpoint import load_model
from alctl.errors import AlctlError
from tests.fakes import classifier
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + 2 * 1024 ** 3
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    load_model(Path({str(path)!r}), lambda *_: classifier())
except AlctlError as error:
    print("refused:", error)
"""
    done = run_code(code)
    return done.stdout + done.stderr
