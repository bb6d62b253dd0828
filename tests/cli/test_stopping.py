"""SIGTERM and Ctrl-C, sent to the real command in the middle of its work."""

import json
import signal
from pathlib import Path

import pytest

from alctl.project import open_project
from alctl.status import check
from tests.project_files import small_project, take, write_csv
from tests.warm import count_moments, run_warm, start_warm

LABELS = [(i, "cat" if i % 2 else "dog") for i in range(1, 11)]


def prepared(folder: Path, *, labeled: bool = True) -> Path:
    folder.mkdir()
    project = small_project(folder, 12)
    table = write_csv(folder / "labels.csv", LABELS)
    if labeled:
        take(project, table, add_classes=True)
    return project.folder


def command(name: str, project: Path) -> list[object]:
    commands: dict[str, list[object]] = {
        "select": ["select", "--k", 2, "--strategy", "random"],
        "import-labels": ["import-labels", project.parent / "labels.csv", "--add-classes"],
        "export-labels": ["export-labels", project.parent / "out.csv"],
        "backup": ["backup"],
        "embed": ["embed"],
    }
    return [*commands[name], "--project", project]


@pytest.mark.parametrize(
    "name",
    ["select", "import-labels", "export-labels", "backup", pytest.param("embed", marks=pytest.mark.slow)],
)
def test_sigterm_is_a_sentence_and_exit_code_143_and_the_same_command_still_works(name: str, tmp_path: Path):
    counted, stopped = (
        prepared(tmp_path / each, labeled=name != "import-labels") for each in ("counted", "stopped")
    )
    moments = count_moments(*command(name, counted))
    running = start_warm(*command(name, stopped), moment=moments * 2 // 3, hold=True)
    running.wait_for_moment()
    running.signal(signal.SIGTERM)
    end = running.end()
    assert end.returncode == 143, end.stderr
    assert "stopped; " in end.stderr
    assert "Traceback" not in end.stderr
    assert check(open_project(stopped)) == []
    again = run_warm(*command(name, stopped))
    assert again.returncode == 0, again.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stopped_command_says_so_in_json_too(number: int, code: int, tmp_path: Path):
    counted, project = (prepared(tmp_path / name, labeled=False) for name in ("counted", "stopped"))
    moments = count_moments(*command("import-labels", counted), "--json")
    running = start_warm(*command("import-labels", project), "--json", moment=moments * 3 // 4, hold=True)
    running.wait_for_moment()
    running.signal(number)
    end = running.end()
    assert end.returncode == code
    assert json.loads(end.stdout)["error"].startswith("stopped; ")
