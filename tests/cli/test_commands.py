"""The command line as people and programs meet it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from typer.main import get_command
from typer.testing import CliRunner

from alctl.cli import app
from alctl.model.strategy import STRATEGIES
from tests.project_files import (
    ENVIRONMENT,
    TINY_FLAGS,
    alctl_json,
    make_images,
    run_alctl,
    small_project,
    take,
    write_csv,
)
from tests.warm import run_warm, warm_json

ROOT = Path(__file__).parents[2]


def walk(command, path=()):
    """Yield the words and the object of every command that does something."""
    members = getattr(command, "commands", None)
    if members is None:
        yield path, command
    for name, member in (members or {}).items():
        yield from walk(member, (*path, name))


COMMANDS = dict(walk(get_command(app)))
NAMES = [" ".join(path) for path in COMMANDS]


# --- help -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_command_explains_itself_with_an_example_that_names_it(name):
    shown = CliRunner().invoke(app, [*name.split(), "--help"], prog_name="alctl")
    assert shown.exit_code == 0
    assert "Example" in shown.stdout
    assert f"alctl {name}" in shown.stdout.split("Example", 1)[1]


@pytest.mark.parametrize("name", NAMES)
def test_every_option_of_every_command_is_explained(name):
    for parameter in COMMANDS[tuple(name.split())].params:
        assert getattr(parameter, "help", None), f"{name} {parameter.name}"


@pytest.mark.parametrize("name", NAMES)
def test_every_command_can_answer_in_json(name):
    assert "json" in {parameter.name for parameter in COMMANDS[tuple(name.split())].params}


def test_the_page_of_commands_is_what_the_commands_say():
    """Write it again with `python docs/generate.py > docs/commands.md`."""
    script = [sys.executable, str(ROOT / "docs" / "generate.py")]
    done = subprocess.run(script, capture_output=True, env=ENVIRONMENT, cwd=ROOT, check=True)
    page = done.stdout.decode()
    assert page == (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert str(ROOT) not in page
    assert "\x1b" not in page


def test_no_command_at_all_shows_the_help():
    shown = CliRunner().invoke(app, [], prog_name="alctl")
    assert "import-labels" in shown.stdout + shown.stderr


# --- exit codes and errors --------------------------------------------------------------------------------------------

WORDS: dict[str, list[str]] = {
    "init": ["no-such-folder"], "add": ["no-such-folder"], "relink": ["no-such-folder"], "select": ["--k", "3"],
    "export": ["1"], "export-labels": ["l.csv"], "import-labels": ["no.csv"], "undo-import": ["1"], "predict": ["--out", "p.csv"],
    "simulate": ["no-such-folder"], "demo": ["full"],
    "restore": ["no.zip"], "history": ["1"], "classes add": ["x"], "classes rename": ["x", "y"],
    "classes merge": ["x", "y"], "push": ["1", "--to", "http://localhost"], "pull": ["1"],
}  # fmt: skip
"""What a command cannot do without, chosen so that it fails where there is nothing."""


@pytest.mark.parametrize("name", NAMES)
def test_an_error_is_a_sentence_one_json_document_and_exit_code_1(tmp_path, name):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "of things").touch()
    done = run_warm(*name.split(), *WORDS.get(name, []), "--json", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout)["error"]
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


def test_a_refused_file_lists_all_its_problems_in_json(tmp_path):
    project = small_project(tmp_path)
    file = write_csv(tmp_path / "l.csv", [(100 + i, "cat") for i in range(50)])
    done = run_warm("import-labels", file, "--json", "--project", project.folder)
    assert done.returncode == 1
    assert [row["line"] for row in json.loads(done.stdout)["problems"]] == list(range(2, 52))


@pytest.mark.parametrize(
    "words",
    [["nonsense"], ["select", "--k", "0"], ["select", "--k", "many"], ["status", "--colour"]],
)
def test_a_command_that_cannot_be_understood_exits_2(words):
    assert CliRunner().invoke(app, words, prog_name="alctl").exit_code == 2


def test_a_setting_that_makes_no_sense_is_a_sentence(tmp_path):
    project = small_project(tmp_path)
    take(project, write_csv(tmp_path / "l.csv", [(1, "cat"), (2, "dog")]))
    done = run_warm("train", "--epochs=-1", "--lr=-1", "--pairing", "third", "--project", project.folder)
    assert done.returncode == 1
    for word in ("the command line has bad settings", "train.epochs", "train.lr", "train.pairing"):
        assert word in done.stderr


def test_every_bad_key_of_the_settings_file_is_named(tmp_path):
    project = small_project(tmp_path)
    (project.folder / "alctl.toml").write_text(
        "[train]\nepoch = 3\nwidth = 0\n[selekt]\nk = 2\n[select]\nsubset = 'all'\n"
    )
    done = run_warm("status", "--project", project.folder)
    assert done.returncode == 1
    for word in ("alctl.toml", "train.epoch", "train.width", "selekt", "select.subset"):
        assert word in done.stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("init images --project p --task nonsense", "did you mean|is none of the tasks"),
        ("init images --project /proc/nope/p", "No such file"),
        ("demo labels.csv", "Not a directory"),
        ("export 1 --to images/0000.png/x", "File exists|Not a directory"),
        ("export 1 --to /proc/nope", "No such file"),
        ("train --epochs 1 --device nope", "device 'nope' cannot be used"),
        ("train --epochs 1 --device cuda:99", "device 'cuda:99' cannot be used"),
        ("train --epochs 1 --device meta", "device 'meta' cannot be used"),
        ("train --epochs 1 --batch-size 1", "train.batch_size"),
        ("predict --device cpu --out no/folder/p.csv", "No such file"),
        ("predict --device cpu --out images", "directory"),
        ("predict --device nope --out p.csv", "device 'nope' cannot be used"),
        ("import-labels images", "none of the formats"),
    ],
)
def test_what_the_machine_refuses_is_a_sentence_too(used, words, sentence):
    done = run_warm(*words.split(), "--json", cwd=used)
    assert done.returncode == 1, done.stderr
    assert re.search(sentence, json.loads(done.stdout)["error"])
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def used(tmp_path_factory):
    """A folder with a project of which a round was selected and that was trained."""
    folder = tmp_path_factory.mktemp("used")
    make_images(folder / "images", 8)
    write_csv(folder / "labels.csv", [(i, "cat" if i % 2 else "dog") for i in range(1, 9)])
    for words in (
        ["init", "images", "--classes", "cat,dog"],
        ["select", "--k", 3],
        ["import-labels", "labels.csv"],
    ):
        warm_json(*words, cwd=folder)
    warm_json("train", "--epochs", 1, *TINY_FLAGS, cwd=folder)
    return folder


@pytest.mark.parametrize(
    "words",
    [
        "select --k 99999999999999999999", "select --k 3 --seed 99999999999999999999", "export 99999999999999999999",
        "import-labels l.csv --round 99999999999999999999", "undo-import 99999999999999999999", "init x --validation -1",
        "init x --seed -1", "add x --test -1",
    ],
)  # fmt: skip
def test_a_number_that_no_database_holds_is_a_usage_error(words):
    assert CliRunner().invoke(app, words.split(), prog_name="alctl").exit_code == 2


def test_settings_of_the_file_hold_and_options_go_before_them(tmp_path):
    project = small_project(tmp_path)
    take(project, write_csv(tmp_path / "l.csv", [(1, "cat"), (2, "dog"), (3, "dog"), (4, "cat")]))
    (project.folder / "alctl.toml").write_text("[train]\nepochs = 1\nwidth = 4\nimage_size = 8\n")
    run = warm_json("train", "--width", 2, "--device", "cpu", "--project", project.folder)
    config = run["config"]
    assert (config["epochs"], config["width"], config["image_size"]) == (1, 2, 8)


@pytest.mark.slow
def test_a_second_process_is_told_who_holds_the_project(tmp_path):
    project = small_project(tmp_path)
    command = ["classes", "add", "owl", "--project", project.folder]
    with project.writing("train"):
        done = run_warm(*command)
        assert run_warm("status", "--project", project.folder).returncode == 0  # a reader does not wait
    assert done.returncode == 1
    assert f"held by `alctl train` (process {os.getpid()}" in " ".join(done.stderr.split())
    assert run_warm(*command).returncode == 0


# --- the loop ---------------------------------------------------------------------------------------------------------


def test_the_whole_loop_answers_in_json_and_every_command_names_the_next(tmp_path):
    make_images(tmp_path / "images", 30)
    labels = write_csv(tmp_path / "labels.csv", [(i, "cat" if i % 2 else "dog") for i in range(1, 31)])
    folder = tmp_path / "alctl-project"
    loop: list[list[object]] = [
        ["init", "images", "--classes", "cat,dog", "--validation", 3, "--test", 4],
        ["add", "images"], ["relink", "images"], ["status"], ["select", "--k", 8], ["export", 1],
        ["import-labels", labels, "--round", 1], ["undo-import", 1], ["import-labels", labels],
        ["train", "--epochs", 1, *TINY_FLAGS], ["evaluate", "--device", "cpu"],
        ["predict", "--out", tmp_path / "p.csv", "--device", "cpu"], ["db", "check"],
    ]  # fmt: skip
    for words in loop:
        done = run_warm(*words, "--json", cwd=tmp_path)
        assert done.returncode == 0, (words, done.stderr)
        assert isinstance(json.loads(done.stdout), dict)
    for line in ("status", "export 1", "evaluate --device cpu", "select --k 3"):
        done = run_warm(*line.split(), cwd=tmp_path)
        assert "next: alctl " in done.stdout, (line, done.stdout)
        assert "\x1b" not in done.stdout
    assert (folder / "rounds" / "0001" / "items.csv").is_file()


def test_names_with_brackets_are_shown_as_they_are(tmp_path):
    make_images(tmp_path / "images [bold]", 2)
    (tmp_path / "images [bold]" / "[red]broken.png").write_bytes(b"")
    done = run_warm("init", "images [bold]", "--project", "p", cwd=tmp_path)
    assert "[red]broken.png" in done.stdout + done.stderr
    assert "images [bold]" in run_warm("status", "--project", "p", cwd=tmp_path).stdout


@pytest.mark.slow
def test_the_commands_work_as_processes_of_their_own(tmp_path):
    """Everything else runs them forked off a process that has imported torch already."""
    make_images(tmp_path / "images", 12)
    alctl_json("init", "images", "--classes", "cat,dog", cwd=tmp_path)
    assert len(alctl_json("select", "--k", 8, cwd=tmp_path)["picks"]) == 10  # two are reserved for validation
    labels = write_csv(tmp_path / "l.csv", [(i, "cat" if i % 2 else "dog") for i in range(1, 13)])
    assert alctl_json("import-labels", labels, cwd=tmp_path)["added"] == 12
    assert alctl_json("train", "--epochs", 1, *TINY_FLAGS, cwd=tmp_path)["id"] == 1
    assert run_alctl("db", "check", cwd=tmp_path).returncode == 0


@pytest.mark.slow
def test_the_demo_runs_the_whole_loop(tmp_path):
    result = warm_json("demo", tmp_path / "demo", "--rounds", 2, "--k", 20)
    points = result["points"]
    assert [(p["strategy"], p["labeled"]) for p in points] == [
        ("uherding", 20), ("uherding", 40), ("learning-loss", 20), ("learning-loss", 40),
    ]  # fmt: skip
    assert all(0 <= p["accuracy"] <= 1 for p in points)
    trials = result["trials"]
    assert (trials["trials"], trials["images"], list(trials["curves"])) == (5, 340, ["random", "uherding"])
    area = trials["rivals"][0]["area"]
    assert area["low"] < area["value"] < area["high"]
    assert (tmp_path / "demo" / "learning_curve.png").stat().st_size > 1000
    for strategy in ("uherding", "learning-loss"):
        assert warm_json("db", "check", "--project", tmp_path / "demo" / strategy)["problems"] == []


# --- start-up and the shell -------------------------------------------------------------------------------------------

LIGHT = """
import sys
from typer.testing import CliRunner
from alctl.cli import app
for words in (["--help"], ["--version"], ["status"], ["select", "--help"], ["train", "--help"], ["export", "1"],
              ["import-labels", sys.argv[1]], ["undo-import", "1"], ["db", "check"]):
    done = CliRunner().invoke(app, words, prog_name="alctl")
    assert done.exit_code == 0, (words, done.output)
    heavy = {"torch", "torchvision", "sklearn", "scipy", "matplotlib"} & set(sys.modules)
    if words in (["--help"], ["--version"], ["status"]):
        heavy |= {"numpy", "PIL"} & set(sys.modules)
    assert not heavy, (words, heavy)
"""


NO_MODEL = """
import sys
from typer.testing import CliRunner
from alctl.cli import app
for code, *words in ((0, "select", "--k", "1", "--strategy", "random"), (0, "select", "--k", "1", "--control", "0.5"),
                     (0, "select", "--k", "1", "--resend", "--format", "label-studio"),
                     (1, "select", "--k", "1", "--strategy", "randm"), (1, "select", "--k", "1", "--fallback", "margn"),
                     (1, "train", "--epochs", "-1"), (1, "train", "-p", sys.argv[1])):
    done = CliRunner().invoke(app, words, prog_name="alctl")
    assert done.exit_code == code, (words, done.output)
    heavy = {"torch", "torchvision", "sklearn", "scipy", "matplotlib"} & set(sys.modules)
    assert not heavy, (words, heavy)
    print(done.output)
"""


def test_random_rounds_and_refusals_never_import_torch(tmp_path):
    """The project's first round is random by its settings; the other one's task has no model."""
    project = small_project(tmp_path / "one")
    other = small_project(tmp_path / "other", task="segmentation")
    command = [sys.executable, "-c", NO_MODEL, str(other.folder)]
    done = subprocess.run(
        command, env=ENVIRONMENT, cwd=project.folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr + done.stdout
    for sentence in (
        "did you mean 'random'?",
        "did you mean 'margin'?",
        "there is no model for segmentation yet",
    ):
        assert sentence in done.stdout + done.stderr


def test_a_random_round_without_torch_has_the_images_of_the_strategy(tmp_path):
    """`--duplicates 0` changes nothing about it, and takes the way of every other strategy."""
    project = small_project(tmp_path, 40)
    found = [
        warm_json("select", "--k", 7, "--control", 0.2, "--dry-run", *words, "-p", project.folder)
        for words in (["--strategy", "random"], ["--strategy", "random", "--duplicates", "0"], [])
    ]
    assert [len(one["picks"]) for one in found] == [7, 7, 7]
    assert found[0] == found[1] == found[2]


def test_the_commands_that_touch_no_model_never_import_torch(tmp_path):
    from alctl.rounds.select import select
    from alctl.rounds.select_options import SelectOptions
    from tests.project_files import no_progress

    project = small_project(tmp_path)
    select(project, SelectOptions(2), no_progress)
    labels = write_csv(tmp_path / "l.csv", [(1, "cat")])
    environment = {**ENVIRONMENT, "ALCTL_PROJECT": str(project.folder)}
    command = [sys.executable, "-c", LIGHT, str(labels)]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_shell_completes_commands_and_strategies():
    def completed(words: str) -> list[str]:
        environment = {
            "_ALCTL_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(words.count(" ")),
        }
        return run_alctl(env=environment).stdout.split()

    assert set(STRATEGIES.names()) <= set(completed("alctl select --strategy "))
    assert completed("alctl import-l") == ["import-labels"]


def test_held_out_labels_are_those_of_reserved_images_only(tmp_path):
    folders = (("train/cat", 6), ("train/dog", 6), ("test/cat", 4), ("test/dog", 4))
    for seed, (folder, n) in enumerate(folders):
        make_images(tmp_path / "photos" / folder, n, seed=seed)
    report = warm_json("init", tmp_path / "photos", "--labels", "held-out", "--validation", 0, cwd=tmp_path)
    assert report["classes"] == ["cat", "dog"]
    states = warm_json("status", cwd=tmp_path)["states"]
    assert states["test"]["labeled"] == 8
    assert states["pool"]["labeled"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["bald", "mc-dropout"])
def test_the_default_network_trained_with_dropout_can_be_asked_with_dropout(tmp_path, strategy):
    project = small_project(tmp_path, 10)
    take(project, write_csv(tmp_path / "l.csv", [(i, "cat" if i % 2 else "dog") for i in range(1, 7)]))
    words = ["select", "--k", 2, "--strategy", strategy, "--dry-run", "-p", project.folder]
    warm_json("train", "--epochs", 1, *TINY_FLAGS, "-p", project.folder)
    assert "`alctl train --dropout 0.2" in run_warm(*words).stderr
    run = warm_json("train", "--epochs", 1, "--dropout", 0.2, *TINY_FLAGS, "-p", project.folder)
    assert run["id"] == 2
    scores = [pick["score"] for pick in warm_json(*words)["picks"]]
    assert len(scores) == 2
    assert scores[0] >= scores[1] > 0


def test_train_says_that_it_sees_the_middle_of_oblong_images(tmp_path):
    """3:2 photographs lose a third; 4:3 and squares are not worth a word."""
    (tmp_path / "images").mkdir()
    for n, size in enumerate([(24, 16), (16, 40), (16, 12), (16, 16)], start=1):
        Image.new("RGB", size, (n, n, n)).save(tmp_path / "images" / f"{n}.png")
    write_csv(tmp_path / "l.csv", [(1, "cat"), (2, "dog"), (3, "cat")])
    for words in (["init", "images", "--classes", "cat,dog"], ["import-labels", "l.csv"]):
        warm_json(*words, cwd=tmp_path)
    said = run_warm("train", "--epochs", 1, *TINY_FLAGS, cwd=tmp_path).stderr
    assert "of 2 oblong images (3:2 or longer) the network sees the central square" in said
