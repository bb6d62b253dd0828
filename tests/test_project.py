"""Finding a project, its settings file, and the lock that tells a second process who is writing."""

import gc
import json
import os
import signal
import tomllib
from pathlib import Path

import pytest
from sqlalchemy import QueuePool

from alctl.config import Config, check_config, read_config
from alctl.database import categories, items
from alctl.errors import AlctlError
from alctl.project import CONFIG, config_text, find_project, now, open_project
from tests.holding import holder
from tests.project_files import make_images, make_project, small_project


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder without a named project."""
    monkeypatch.delenv("ALCTL_PROJECT", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def project_folder(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / CONFIG).touch()
    return folder


def test_a_project_is_found_from_within_and_beside_it(home, monkeypatch):
    project_folder(home / "work" / "alctl-project")
    project_folder(home / "other")
    (home / "work" / "deep" / "er").mkdir(parents=True)
    (home / "alctl-project" / "rounds").mkdir(parents=True)  # no settings in it: not a project
    for here, expected in {
        "work": "work/alctl-project",
        "work/deep/er": "work/alctl-project",
        "work/alctl-project": "work/alctl-project",
        "other": "other",
    }.items():
        monkeypatch.chdir(home / here)
        assert find_project(None) == home / expected


def test_the_nearest_project_is_found_and_the_folder_itself_comes_first(home, monkeypatch):
    project_folder(home / "a")
    project_folder(home / "a" / "alctl-project")
    inner = project_folder(home / "a" / "b" / "alctl-project")
    monkeypatch.chdir(home / "a")
    assert find_project(None) == home / "a"
    monkeypatch.chdir(home / "a" / "b")
    assert find_project(None) == inner


def test_a_given_folder_comes_before_the_variable_and_that_before_the_working_folder(home, monkeypatch):
    for name in ("given", "variable", "alctl-project"):
        project_folder(home / name)
    assert find_project(None).name == "alctl-project"
    monkeypatch.setenv("ALCTL_PROJECT", "variable")
    assert find_project(None) == home / "variable"
    assert find_project(Path("given")) == home / "given"
    monkeypatch.setenv("ALCTL_PROJECT", "")
    assert find_project(None).name == "alctl-project"


def test_a_folder_without_a_project_gives_a_sentence(home, monkeypatch):
    with pytest.raises(AlctlError, match="alctl init DATASET"):
        find_project(None)
    with pytest.raises(AlctlError, match=r"nothing is not an alctl project \(no alctl\.toml in it\)"):
        find_project(Path("nothing"))
    project_folder(home / "alctl-project")
    monkeypatch.setenv("ALCTL_PROJECT", "nothing")
    with pytest.raises(AlctlError, match="nothing is not an alctl project"):
        find_project(None)


def test_a_second_process_is_told_who_holds_the_project(tmp_path, monkeypatch):
    monkeypatch.setattr("alctl.project.BUSY_SECONDS", 0)
    project = small_project(tmp_path)
    with holder(project.folder) as other:
        expected = (
            rf"held by `alctl import-labels` \(process {other.pid} on .+, since 20.+Z\); try again later"
        )
        with pytest.raises(AlctlError, match=expected), project.writing("select"):
            pytest.fail("two writers at once")
        with project.reading() as connection:
            assert items.size(connection) == 6
        assert project.state().seed == 0
        other.communicate("\n")
    with project.writing("select"):
        who = json.loads((project.folder / "alctl.lock.holder").read_text())
        assert (who["command"], who["process"]) == ("alctl select", os.getpid())
    assert not (project.folder / "alctl.lock.holder").exists()
    project.engine.dispose()


def test_a_second_process_gets_in_as_soon_as_the_first_has_finished(tmp_path):
    project = small_project(tmp_path)
    with holder(project.folder) as other:
        assert other.stdin is not None
        other.stdin.write("\n")
        other.stdin.flush()
        with project.writing("select") as connection:
            assert items.size(connection) == 6
    project.engine.dispose()


def test_a_killed_holder_lets_go(tmp_path):
    project = small_project(tmp_path)
    with holder(project.folder) as other:
        other.send_signal(signal.SIGKILL)
        other.wait()
        assert (project.folder / "alctl.lock.holder").is_file()
        with project.writing("select") as connection:
            assert items.size(connection) == 6
    assert not (project.folder / "alctl.lock.holder").exists()
    project.engine.dispose()


def test_an_unreadable_note_of_the_holder_does_not_matter(tmp_path, monkeypatch):
    monkeypatch.setattr("alctl.project.BUSY_SECONDS", 0)
    project = small_project(tmp_path)
    with holder(project.folder):
        for note in ("", "{}", "[]", "\0", '{"command": "x"}'):
            (project.folder / "alctl.lock.holder").write_text(note)
            with pytest.raises(AlctlError, match="held by another alctl process"), project.writing("select"):
                pytest.fail("two writers at once")
    project.engine.dispose()


def test_the_lock_is_free_again_after_an_error(tmp_path):
    project = small_project(tmp_path)
    with pytest.raises(ZeroDivisionError), project.writing("select") as connection:
        categories.add_categories(connection, ["owl"]) and 1 / 0
    with project.writing("select") as connection:
        assert categories.categories(connection) == ["cat", "dog"]
    project.engine.dispose()


def test_a_lock_of_training_does_not_keep_labels_out(tmp_path):
    project = small_project(tmp_path)
    with project.held("train", "train.lock"), project.writing("import-labels") as connection:
        assert items.size(connection) == 6
    project.engine.dispose()


def test_the_settings_of_a_new_project_are_the_defaults_and_stay_so_when_uncommented(tmp_path):
    text = config_text()
    (tmp_path / CONFIG).write_text(text, encoding="utf-8")
    assert read_config(tmp_path / CONFIG) == Config()
    settings = [
        line[2:] if line.startswith("# ") and " = " in line else line for line in text.splitlines()[1:]
    ]
    uncommented = "\n".join(line for line in settings if not line.startswith("#"))
    assert check_config(tomllib.loads(uncommented), "x") == Config()
    assert set(tomllib.loads(uncommented)) == {"train", "select", "storage"}


@pytest.mark.parametrize("database", ["postgresql://ann:p%40ss@h/x", 'a"b\\c', "grün", "😀"])
def test_a_given_database_is_read_back_from_the_settings(tmp_path, database):
    (tmp_path / CONFIG).write_text(config_text(database=database), encoding="utf-8")
    assert read_config(tmp_path / CONFIG).storage.database == database


def test_the_database_of_the_environment_comes_first(tmp_path, monkeypatch):
    project = small_project(tmp_path)
    project.engine.dispose()
    monkeypatch.setenv("ALCTL_DATABASE", f"sqlite:///{tmp_path / 'other.db'}")
    with pytest.raises(AlctlError, match="did not finish"):
        open_project(project.folder)
    assert (tmp_path / "other.db").is_file()


def test_the_time_is_recorded_in_utc_to_the_second():
    assert len(now()) == 20
    assert now().endswith("Z")


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("shirts/alctl-project", "shirts"),
        ("work/shirts", "shirts"),
        ("alctl-project/alctl-project", "alctl-project"),
    ],
)
def test_a_project_is_called_as_its_folder_or_the_one_around_a_folder_called_like_any(tmp_path, folder, name):
    make_images(tmp_path / "images", 2)
    assert make_project(tmp_path / folder, tmp_path / "images").name == name


def test_a_project_that_nobody_has_any_more_leaves_no_database_open(tmp_path):
    """SQLAlchemy's pool keeps a connection for the next time; Python 3.13 warns of one that was never closed."""
    small_project(tmp_path, 1)
    project = open_project(tmp_path / "project")
    project.state()
    engine = project.engine
    assert isinstance(engine.pool, QueuePool)
    assert engine.pool.checkedin() == 1
    del project
    gc.collect()
    assert isinstance(engine.pool, QueuePool)
    assert engine.pool.checkedin() == 0
