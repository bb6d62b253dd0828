"""`alctl simulate`: paired arms, each an ordinary project; killed, shared and extended without a trace."""

import csv
import json
import shutil
import signal
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alctl.database import items, rounds, training_runs
from alctl.project import Project, open_project
from alctl.simulation.run import claimed
from alctl.status import check
from tests.project_files import TINY_FLAGS
from tests.warm import count_moments, run_warm, start_warm, warm_json

SETTINGS = ("--trials", 2, "--rounds", 2, "--k", 12, "--subset", 60, "--epochs", 2, *TINY_FLAGS)
ARMS = ("learning-loss/trial-1", "learning-loss/trial-2", "random/trial-1", "random/trial-2")


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Handwritten digits in the folders train and test, below them one folder a class."""
    from sklearn.datasets import load_digits

    folder = tmp_path_factory.mktemp("data") / "digits"
    loaded = load_digits()
    for i, (pixels, digit) in enumerate(zip(loaded.images[:200], loaded.target, strict=False)):
        file = folder / ("test" if i >= 150 else "train") / f"digit {digit}" / f"{i:03}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.round(pixels * (255 / 16)).astype(np.uint8)).save(file)
    return folder


@pytest.fixture(scope="session")
def whole(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulation that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole") / "simulation"
    done = simulate(digits, folder)
    assert done.returncode == 0, done.stderr
    return folder


def simulate(dataset: Path, folder: Path, *more: object):
    return run_warm("simulate", dataset, "--project", folder, *SETTINGS, *more)


def arm(folder: Path, name: str) -> Project:
    return open_project(folder / name)


def first_round(folder: Path, name: str) -> list[int]:
    with arm(folder, name).reading() as connection:
        return [pick.item_id for pick in rounds.picks(connection, 1)]


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "results.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def given(folder: Path, name: str) -> dict[str, str]:
    """Return the labels that the oracle gave, by path."""
    answers: dict[str, str] = {}
    for file in sorted((folder / name / "rounds").glob("*/items.csv")):
        with file.open(encoding="utf-8", newline="") as stream:
            answers |= {row["path"]: row["label"] for row in csv.DictReader(stream)}
    return answers


def test_every_arm_is_a_sound_project_with_a_run_for_each_round(whole: Path):
    for name in ARMS:
        project = arm(whole, name)
        assert check(project) == []
        with project.reading() as connection:
            assert [run.labeled for run in training_runs.every_run(connection)] == [12, 24]


def test_the_arms_of_a_trial_begin_with_the_same_round_and_those_of_another_do_not(whole: Path):
    begun = {name: first_round(whole, name) for name in ARMS}
    assert begun["learning-loss/trial-1"] == begun["random/trial-1"]
    assert begun["learning-loss/trial-2"] == begun["random/trial-2"]
    assert set(begun["random/trial-1"]) != set(begun["random/trial-2"])


def test_the_arms_of_a_trial_share_the_seed_and_only_readers_of_predicted_loss_train_the_module(whole: Path):
    seeds = {name: arm(whole, name).state().seed for name in ARMS}
    assert seeds["learning-loss/trial-1"] == seeds["random/trial-1"] != seeds["random/trial-2"]
    for name, weight in (("learning-loss/trial-1", 1.0), ("random/trial-1", 0.0)):
        with arm(whole, name).reading() as connection:
            assert [run.config["loss_weight"] for run in training_runs.every_run(connection)] == [weight] * 2


def test_every_round_after_the_first_is_chosen_by_the_strategy_itself(whole: Path):
    for name in ARMS:
        with arm(whole, name).reading() as connection:
            chosen = [rounds.find_round(connection, number) for number in (1, 2)]
        assert [made.strategy for made in chosen if made is not None] == ["random", name.partition("/")[0]]


def test_the_oracle_answers_with_the_folder_of_each_image(whole: Path):
    for name in ARMS:
        answers = given(whole, name)
        assert len(answers) == 24
        assert all(path.split("/")[1] == label for path, label in answers.items())


def test_the_base_holds_no_label_of_the_pool(whole: Path):
    with open_project(whole / "base").reading() as connection:
        assert rounds.unlabeled(connection) == items.size(connection) - 50


def test_the_images_are_decoded_once_for_all_arms(whole: Path):
    assert list((whole / "cache").glob("*/pixels.u8"))
    assert not [name for name in ARMS if (whole / name / "cache").exists()]


def test_only_the_last_weights_of_an_arm_are_kept(whole: Path):
    for name in ARMS:
        assert [file.name for file in (whole / name / "models").iterdir()] == ["run-0002.safetensors"]


def test_the_table_is_long_and_holds_what_the_databases_hold(whole: Path):
    table = rows(whole)
    accuracies = [row for row in table if row["metric"] == "accuracy"]
    assert len(accuracies) == 8
    with arm(whole, "random/trial-2").reading() as connection:
        expected = [run.metrics["test"].of_task["accuracy"] for run in training_runs.every_run(connection)]
    found = [float(r["value"]) for r in accuracies if (r["strategy"], r["trial"]) == ("random", "2")]
    assert found == expected
    assert {row["strategy"] for row in table if row["metric"] == "ranking_accuracy"} == {"learning-loss"}


def test_entropy_and_margin_of_the_same_models_stand_beside_the_predicted_losses(digits: Path, whole: Path):
    done = simulate(digits, whole)
    assert "learning-loss  learning-loss: entropy  learning-loss: margin" in done.stdout
    ranking = json.loads((whole / "results.json").read_text())["ranking"]
    assert list(ranking["mean"]) == ["learning-loss", "learning-loss: entropy", "learning-loss: margin"]
    for name, metric in (("entropy", "entropy_ranking_accuracy"), ("margin", "margin_ranking_accuracy")):
        last = [
            float(row["value"])
            for row in rows(whole)
            if (row["strategy"], row["round"], row["metric"]) == ("learning-loss", "2", metric)
        ]
        assert ranking["mean"][f"learning-loss: {name}"][1] == pytest.approx(np.mean(last))


def test_the_results_count_the_classes_of_each_round(whole: Path):
    results = json.loads((whole / "results.json").read_text())["results"]
    assert len(results) == 8
    assert all(sum(result["picked"].values()) == 12 for result in results)
    first = next(r for r in results if (r["strategy"], r["trial"], r["round"]) == ("random", 1, 1))
    project = arm(whole, "random/trial-1")
    with project.reading() as connection:
        counted = Counter(pick.path.split("/")[1] for pick in rounds.picks(connection, 1))
    assert {name: count for name, count in first["picked"].items() if count} == counted


def test_all_pictures_are_drawn(whole: Path):
    assert sorted(file.name for file in (whole / "figures").iterdir()) == [
        "class_counts.png", "learning_curves.png", "losses-learning-loss.png", "ranking_accuracy.png",
    ]  # fmt: skip


def test_a_finished_simulation_is_not_run_again_and_tells_the_same(digits: Path, whole: Path, tmp_path: Path):
    before = (whole / "results.csv").read_bytes()
    stamps = {name: (whole / name / "models" / "run-0002.safetensors").stat().st_mtime_ns for name in ARMS}
    done = simulate(digits, whole, "--csv", tmp_path / "copy.csv")
    assert done.returncode == 0, done.stderr
    assert "random  learning-loss" in done.stdout
    assert "area under the curve" in done.stdout
    assert "round" not in done.stderr
    assert (tmp_path / "copy.csv").read_bytes() == (whole / "results.csv").read_bytes() == before
    assert stamps == {
        name: (whole / name / "models" / "run-0002.safetensors").stat().st_mtime_ns for name in ARMS
    }


@pytest.mark.slow
def test_strategies_and_trials_can_be_added_later(digits: Path, whole: Path, tmp_path: Path):
    folder = tmp_path / "simulation"
    shutil.copytree(whole, folder)
    found = warm_json(
        "simulate", digits, "--project", folder, *SETTINGS, "--trials", 1, "--strategy", "entropy"
    )  # fmt: skip
    assert set(found["outcome"]["mean"]) == {"random", "entropy", "learning-loss"}
    assert found["outcome"]["differences"]["entropy"]["area"]["trials"] == 1
    assert found["outcome"]["differences"]["learning-loss"]["area"]["trials"] == 2
    assert first_round(folder, "entropy/trial-1") == first_round(folder, "random/trial-1")
    untouched = [row for row in rows(folder) if row["strategy"] != "entropy"]
    assert untouched == rows(whole)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--k", 13), "k was 12 and is 13 now"),
        (("--epochs", 3), "train.epochs was 2 and is 3 now"),
        (("--imbalance", 2), "shape.imbalance was 1.0 and is 2.0 now"),
        (("--rounds", 99), "more than the 150 images of the pool"),
        (("--loss-weight", 0), "needs the loss prediction module"),
        (("--strategy", "entropi"), "did you mean 'entropy'"),
        (("--param", "badge.x=1"), "is not STRATEGY.NAME=VALUE of one of: learning-loss, random"),
        (("--strategy", "stochastic", "--param", "stochastic.heat=1"), "has no parameter 'heat'"),
    ],
)
def test_another_simulation_in_the_same_folder_is_refused_with_the_difference(
    digits: Path, whole: Path, more: tuple[object, ...], words: str
):
    done = simulate(digits, whole, *more)
    assert done.returncode == 1
    assert words in " ".join(done.stderr.split())


@pytest.mark.slow
def test_where_and_how_safely_it_runs_may_change(digits: Path, whole: Path):
    assert simulate(digits, whole, "--checkpoint-every", 1, "--device", "cpu").returncode == 0


@pytest.mark.slow
def test_another_training_of_the_same_rounds_is_shown_beside(digits: Path, whole: Path, tmp_path: Path):
    folder = tmp_path / "mse"
    other = ("--strategy", "learning-loss", "--trials", 1, "--rank-loss", "mse")
    done = simulate(digits, folder, *other, "--compare", whole, "--csv", tmp_path / "all.csv")
    assert done.returncode == 0, done.stderr
    name = f"{whole.name}:random"
    found = json.loads((folder / "results.json").read_text())
    assert set(found["outcome"]["mean"]) == {"learning-loss", name, f"{whole.name}:learning-loss"}
    assert first_round(folder, "learning-loss/trial-1") == first_round(whole, "random/trial-1")
    assert (tmp_path / "all.csv").read_bytes() == (folder / "results.csv").read_bytes()
    assert found["outcome"]["differences"]["learning-loss"]["area"]["trials"] == 1
    assert not list(folder.glob("*:*"))


@pytest.mark.slow
def test_the_model_to_report_is_measured_where_it_is_trained(digits: Path, tmp_path: Path):
    one = ("--strategy", "learning-loss", "--trials", 1, "--rounds", 1, "--report-model")
    done = simulate(digits, tmp_path / "new", *one)
    assert done.returncode == 0, done.stderr
    with arm(tmp_path / "new", "learning-loss/trial-1").reading() as connection:
        metrics = training_runs.every_run(connection)[0].plain()["metrics"]
    found = {row["metric"]: float(row["value"]) for row in rows(tmp_path / "new")}
    assert found["accuracy"] == metrics["report"]["test"]["accuracy"]
    assert found["target_loss"] == metrics["report"]["test"]["target_loss"]
    assert found["joint_target_loss"] == metrics["test"]["target_loss"] != found["target_loss"]
    for ranking in ("ranking_accuracy", "entropy_ranking_accuracy", "margin_ranking_accuracy"):
        assert found[ranking] == metrics["test"][ranking]  # of one model, so that they can be compared


def test_simulations_of_other_rounds_are_not_compared(digits: Path, whole: Path, tmp_path: Path):
    other = ("--strategy", "random", "--trials", 1, "--rounds", 1, "--k", 13)
    done = simulate(digits, tmp_path / "new", *other, "--compare", whole)
    assert done.returncode == 1
    assert "its k is 12, and here it is 13" in " ".join(done.stderr.split())
    assert not (tmp_path / "new" / "random").exists()


@pytest.mark.slow
def test_arms_that_another_process_has_are_left_to_it(digits: Path, whole: Path, tmp_path: Path):
    for name in ("base", "simulation.json", "simulate.lock", "truth.csv"):
        copy = shutil.copytree if (whole / name).is_dir() else shutil.copyfile
        copy(whole / name, tmp_path / name)
    with ExitStack() as claims:
        assert all(claims.enter_context(claimed(tmp_path / name)) for name in ARMS)
        done = simulate(digits, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "other processes have them: learning-loss trial 1, random trial 1" in " ".join(done.stderr.split())
    assert "no round is finished yet" in done.stdout
    assert not list(tmp_path.glob("*/trial-*/alctl.db"))


def test_a_folder_of_something_else_is_left_alone(digits: Path, tmp_path: Path):
    (tmp_path / "notes.txt").write_text("mine")
    done = simulate(digits, tmp_path)
    assert done.returncode == 1
    assert "holds no simulation" in done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


def test_a_dry_run_says_what_would_be_run_and_makes_nothing(digits: Path, whole: Path, tmp_path: Path):
    plan = warm_json("simulate", digits, "--project", tmp_path / "new", *SETTINGS, "--dry-run")
    assert plan["images"] == 4 * (12 + 24) * 2
    assert (len(plan["arms"]), plan["left"]) == (4, 4)
    assert list(tmp_path.iterdir()) == []
    assert warm_json("simulate", digits, "--project", whole, *SETTINGS, "--dry-run")["left"] == 0


@pytest.mark.slow
def test_imbalance_and_noise_reach_the_arms_and_are_recorded(digits: Path, tmp_path: Path):
    bent = ("--trials", 1, "--rounds", 1, "--strategy", "random", "--imbalance", 5, "--label-noise", 0.5)
    for name in ("a", "b"):
        done = simulate(digits, tmp_path / name, *bent, "--k", 40)
        assert done.returncode == 0, done.stderr
    answers = given(tmp_path / "a", "random/trial-1")
    assert answers == given(tmp_path / "b", "random/trial-1")
    wrong = sum(path.split("/")[1] != label for path, label in answers.items())
    assert 8 <= wrong <= 32
    record = json.loads((tmp_path / "a" / "simulation.json").read_text())
    assert record == json.loads((tmp_path / "b" / "simulation.json").read_text())
    assert len(record["rare_classes"]) == 5
    assert record["pool"] == items_of_pool(tmp_path / "a") < 110
    assert record["test"] == 50


def items_of_pool(folder: Path) -> int:
    with open_project(folder / "base").reading() as connection:
        return len(items.usable(connection, "pool"))


@pytest.mark.slow
def test_killed_again_and_again_it_ends_with_the_same_table(digits: Path, whole: Path, tmp_path: Path):
    def command(project: Path) -> list[object]:
        return ["simulate", digits, "--project", project, *SETTINGS, "--checkpoint-every", 1]

    moments = count_moments(*command(tmp_path / "counted"))
    folder = tmp_path / "simulation"
    killed = 0
    for i in range(12):
        running = start_warm(*command(folder), moment=int(moments * (0.1 + 0.05 * (i % 5))))
        running.wait_for_moment()
        running.signal(signal.SIGKILL)
        end = running.end()
        if end.returncode == 0:
            break
        killed += end.returncode == -signal.SIGKILL
    else:
        assert simulate(digits, folder).returncode == 0
    assert killed >= 3
    assert (folder / "results.csv").read_bytes() == (whole / "results.csv").read_bytes()
    assert all(check(arm(folder, name)) == [] for name in ARMS)


@pytest.mark.slow
def test_two_processes_share_the_arms_and_none_is_run_twice(digits: Path, whole: Path, tmp_path: Path):
    folder = tmp_path / "simulation"
    running = [start_warm("simulate", digits, "--project", folder, *SETTINGS) for _ in range(2)]
    ends = [process.end() for process in running]
    assert [end.returncode for end in ends] == [0, 0], ends
    told = [line.partition("  ")[0] for end in ends for line in end.stderr.splitlines() if " round " in line]
    assert Counter(told) == dict.fromkeys([name.replace("/trial-", " trial ") for name in ARMS], 2)
    assert all(" round " in end.stderr for end in ends)
    assert (folder / "results.csv").read_bytes() == (whole / "results.csv").read_bytes()


@pytest.mark.slow
def test_with_a_probe_each_strategy_chooses_its_own_first_round(digits: Path, tmp_path: Path):
    folder = tmp_path / "simulation"
    flags = ("--trials", 1, "--rounds", 2, "--k", 15, "--subset", 0, "--head", "probe", "--device", "cpu")
    done = run_warm(
        "simulate", digits, "--project", folder, *flags, "--strategy", "uherding", "--strategy", "random"
    )
    assert done.returncode == 0, done.stderr
    with arm(folder, "uherding/trial-1").reading() as connection:
        made = [rounds.find_round(connection, number) for number in (1, 2)]
        runs = training_runs.every_run(connection)
    assert [one.strategy for one in made if one is not None] == ["uherding", "uherding"]
    assert [(run.head, run.labeled) for run in runs] == [("probe", 15), ("probe", 30)]
    assert first_round(folder, "uherding/trial-1") != first_round(folder, "random/trial-1")
    tables = {file.parent.name for file in folder.glob("**/table.json")}
    assert len(tables) == len(list(folder.glob("**/table.json"))) == 1  # embedded once, for all arms
    again = run_warm("simulate", digits, "--project", folder, *flags, "--start-strategy", "random")
    assert "start was 'own' and is 'random' now" in again.stderr
    refused = run_warm(
        "simulate", digits, "--project", tmp_path / "other", *flags, "--strategy", "learning-loss"
    )
    assert refused.returncode == 1
    assert "uherding or margin" in refused.stderr
