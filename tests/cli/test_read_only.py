"""Real commands on a project that nobody can write to, and with a limit on how large a file may be."""

import json
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from alctl.project import open_project
from alctl.status import check
from tests.project_files import ENVIRONMENT, TINY_FLAGS, small_project, write_csv
from tests.warm import run_warm, warm_json


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds images and a project with a trained model."""
    folder = tmp_path_factory.mktemp("trained")
    project = small_project(folder, 24)
    project.engine.dispose()
    labels = write_csv(folder / "l.csv", [(i, "cat" if i % 2 else "dog") for i in range(1, 17)])
    commands: list[list[object]] = [["import-labels", labels], ["train", "--epochs", 1, *TINY_FLAGS]]
    for command in commands:
        done = run_warm(*command, "--project", project.folder)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def read_only(trained: Path, tmp_path: Path, write_protected: Callable[[Path], None]) -> Callable[..., Path]:
    """A function that copies the project and lets nobody write to the copy any more."""

    def made(*, cache: bool) -> Path:
        folder = tmp_path / "medium"
        shutil.copytree(trained / "project", folder)
        if not cache:
            shutil.rmtree(folder / "cache")
        write_protected(folder)
        return folder

    return made


@pytest.mark.parametrize("cache", [True, False])
def test_what_only_reads_works_on_a_read_only_medium(read_only, trained, tmp_path, cache):
    medium = read_only(cache=cache)
    for command in (["status"], ["db", "check"], ["history", 1]):
        done = run_warm(*command, "--json", "--project", medium)
        assert done.returncode == 0, done.stdout + done.stderr
    texts = []
    for name, project in (("a.csv", trained / "project"), ("b.csv", medium)):
        warm_json("predict", "--out", tmp_path / name, "--device", "cpu", "--project", project)
        texts.append((tmp_path / name).read_text())
    assert texts[0] == texts[1]


def test_a_read_only_project_is_backed_up_to_where_there_is_room(read_only, tmp_path):
    medium = read_only(cache=False)
    made = warm_json("backup", tmp_path / "b.zip", "--project", medium)
    assert (made["items"], made["labels"], made["models"]) == (24, 16, 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.zip", "medium"]
    warm_json("restore", tmp_path / "b.zip", "--project", tmp_path / "again")
    assert check(open_project(tmp_path / "again")) == []
    refused = run_warm("backup", medium / "b.zip", "--json", "--project", medium)
    assert refused.returncode == 1
    assert "is read-only here; give a file or folder elsewhere" in json.loads(refused.stdout)["error"]


@pytest.mark.slow
@pytest.mark.parametrize(("limit", "json_too"), [(512, False), (1 << 17, True)])
def test_a_limit_on_the_size_of_files_is_a_sentence_and_changes_nothing(trained, tmp_path, limit, json_too):
    shutil.copytree(trained / "project", tmp_path / "project")
    before = facts(tmp_path / "project")
    labels = write_csv(
        tmp_path / "m.csv",
        [(i, "cat", f"a{n}") for n in range(100) for i in range(1, 24)],
        ("item", "label", "annotator"),
    )
    commands: list[list[object]] = [
        ["import-labels", labels],
        ["backup", tmp_path / "b.zip"],
    ]
    if limit == 512:  # larger files than these need none
        commands += [
            ["train", "--epochs", 1, "--seed", 3, *TINY_FLAGS],
            ["select", "--k", 3, "--strategy", "random"],
            ["predict", "--out", tmp_path / "p.csv", "--device", "cpu"],
        ]
    # Coverage has no room for its data either, and says so.
    unmeasured = {name: value for name, value in ENVIRONMENT.items() if not name.startswith("COVERAGE_")}
    for command in commands:
        call = [sys.executable, "-m", "alctl", *map(str, command), "--project", str(tmp_path / "project")]
        done = subprocess.run(
            [*call, "--json"] if json_too else call,
            check=False,
            capture_output=True,
            text=True,
            env=unmeasured,
            cwd=tmp_path,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        )
        said = json.loads(done.stdout)["error"] if json_too else " ".join(done.stderr.split())
        assert done.returncode == 1, f"{command}: {said}"
        assert "Traceback" not in done.stderr
        assert any(why in said for why in ("File too large", "is full or fails", "no room left")), said
    assert facts(tmp_path / "project") == before
    assert not list(tmp_path.glob("*.zip"))


def facts(folder: Path) -> tuple[object, ...]:
    """Return what a project holds, and that it is sound."""
    project = open_project(folder)
    found = warm_json("status", "--project", folder)
    problems = check(project)
    project.engine.dispose()
    return found["states"], len(found["imports"]), found["run"]["id"], found["rounds"], problems
