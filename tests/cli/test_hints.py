"""What a command says to type next works where it was said: each hint of the main path is run."""

import csv
import re
import shlex
from pathlib import Path

import pytest

from tests.project_files import TINY_FLAGS, make_images, small_project, take, write_csv
from tests.warm import run_warm

HINT = re.compile("(?:^next: |`)(alctl [a-z][^`\n]*?)(?:  .*|`|$)", re.MULTILINE)
QUICK = {"train": ["--epochs", "1", *TINY_FLAGS], "evaluate": ["--device", "cpu"]}


class Shell:
    """A person in a folder who types what alctl says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.typed: list[str] = []

    def type(self, command: str) -> str:
        """Run a command as typed, which has to work; return what it printed."""
        words = shlex.split(command)[1:]
        done = run_warm(*words, *QUICK.get(words[0], []), cwd=self.folder)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        self.typed.append(command)
        return done.stdout

    def follow(self, said: str) -> str:
        """Run what an output ends with as the next step."""
        return self.type(HINT.findall(said)[-1])


def fill_in(table: Path) -> None:
    """Answer all rows of a round's table but one, as an annotator who was called away would."""
    with table.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows[1:]:
        row["label"] = "cat" if int(row["item"]) % 2 else "dog"
    with table.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def filled_in(folder: Path, command: str) -> str:
    """Fill in the table that a hint says to import; return the hint."""
    fill_in(folder / shlex.split(command)[2])
    return command


@pytest.mark.parametrize(
    ("project", "where"),
    [
        pytest.param("", "alctl-project", id="found"),
        pytest.param("-p p", "p", id="named with a letter", marks=pytest.mark.slow),
        pytest.param(
            "--project 'my projects/a b'", "my projects/a b", id="with spaces", marks=pytest.mark.slow
        ),
    ],
)
def test_the_main_path_is_the_hints_one_after_the_other(tmp_path, project, where):
    make_images(tmp_path / "my images", 9)
    shell = Shell(tmp_path)
    said = shell.type(f"alctl init 'my images' --classes cat,dog --validation 2 --test 1 {project}")
    (tmp_path / where / "alctl.toml").write_text("[select]\nfirst = 'random'\nstrategy = 'margin'\n")
    said = shell.follow(said)  # select
    said = shell.type(filled_in(tmp_path, HINT.findall(said)[-1]))
    assert "1 rows are blank" in said
    undo, *_, last = HINT.findall(said)
    assert undo.startswith("alctl undo-import 1")
    assert last.startswith("alctl train")
    said = shell.type(undo)
    assert HINT.findall(said)[-1].startswith("alctl import-labels")
    said = shell.follow(said)
    said = shell.follow(said)  # train
    assert HINT.findall(said)[-1].startswith(("alctl import-labels", "alctl select"))
    said = shell.type(f"alctl backup {project}")
    said = shell.follow(said)  # restore
    assert HINT.findall(said)[-1].split()[1] in {"import-labels", "export", "select"}
    shell.follow(said)
    assert [command.split()[1] for command in shell.typed[:6]] == [
        "init", "select", "import-labels", "undo-import", "import-labels", "train",
    ]  # fmt: skip


def test_select_without_a_number_proposes_one_that_works(tmp_path):
    project = small_project(tmp_path)
    done = run_warm("select", "--strategy", "random", "--to", "for ann", "-p", project.folder, cwd=tmp_path)
    assert done.returncode == 1
    (proposed,) = HINT.findall(done.stderr)
    assert proposed.endswith("--k 6")
    assert run_warm(*shlex.split(proposed)[1:], cwd=tmp_path).returncode == 0
    assert (tmp_path / "for ann" / "items.csv").is_file()
    done = run_warm("select", "-p", project.folder)
    assert "None is unlabeled" in done.stderr


def test_labels_of_one_class_are_not_said_to_be_enough_to_train(tmp_path):
    project = small_project(tmp_path)
    take(project, write_csv(tmp_path / "l.csv", [(1, "cat"), (2, "cat"), (3, "cat")]))
    assert HINT.findall(run_warm("status", "-p", project.folder).stdout)[-1].startswith("alctl select --k 3")


def test_the_hint_at_the_end_measures_only_what_is_labeled(tmp_path):
    project = small_project(tmp_path)
    take(project, write_csv(tmp_path / "l.csv", [(i, "cat" if i % 2 else "dog") for i in range(1, 7)]))
    shell = Shell(tmp_path)
    said = shell.type(f"alctl train -p {project.folder}")
    assert HINT.findall(said)[-1].startswith("alctl report")
    shell.follow(said)


def test_commands_within_sentences_name_the_project_that_was_named(tmp_path):
    project = small_project(tmp_path)
    done = run_warm("predict", "--out", "p.csv", "-p", project.folder)
    assert f"`alctl train -p {project.folder}`" in done.stderr


def test_classes_alone_lists_them(tmp_path):
    project = small_project(tmp_path)
    done = run_warm("classes", cwd=project.folder)
    assert done.returncode == 0
    assert "cat" in done.stdout
    assert done.stdout == run_warm("classes", "list", cwd=project.folder).stdout


@pytest.mark.parametrize("words", ["select", "init", "simulate", "export", "recall"])
def test_the_help_gives_words_more_room_than_types(words):
    shown = run_warm(words, "--help").stdout
    assert "range>" not in shown
    assert "2147483647" not in shown


def test_init_says_how_large_a_lead_shows_and_what_reserves_more(tmp_path):
    """By the table of docs/learning-loss.md; `add` reserves among the images that it brings."""
    make_images(tmp_path / "images", 100, size=4)
    make_images(tmp_path / "more", 40, size=4, seed=1)
    said = run_warm("init", "images", "--classes", "cat,dog", "-p", "p", cwd=tmp_path).stdout
    assert "20 validation images show a lead of predicted losses over margin only of more than 0.1" in said
    (command,) = [hint for hint in HINT.findall(said) if hint.startswith("alctl add")]
    words = shlex.split(command.replace("MORE_IMAGES", "more").replace("--validation N", "--validation 30"))
    done = run_warm(*words[1:], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "30 reserved for validation" in done.stdout
