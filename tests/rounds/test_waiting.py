"""Results of long work wait for the one who is writing, instead of being thrown away after five seconds."""

import json

import pytest
from filelock import FileLock

from alctl.errors import AlctlError
from alctl.project import WRITER, Project
from alctl.rounds.select import select
from alctl.rounds.select_options import SelectOptions
from alctl.status import status
from tests.project_files import no_progress, small_project


class Writer:
    """Holds a project's lock, as a long import does, until a stage of a wait is told."""

    def __init__(self, project: Project) -> None:
        self.told: list[str] = []
        self.lock = FileLock(project.folder / WRITER)
        self.lock.acquire()
        (project.folder / f"{WRITER}.holder").write_text(
            json.dumps({"command": "alctl import-labels", "process": 7, "host": "h", "since": "then"})
        )

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage.startswith("waiting for "):
            self.told.append(stage)
            self.lock.release()


@pytest.fixture
def project(tmp_path) -> Project:
    return small_project(tmp_path, 12)


def test_a_selection_waits_for_an_import_and_says_so_and_is_recorded(project):
    writer = Writer(project)
    selected = select(project, SelectOptions(k=3, strategy="random"), writer)
    assert writer.told == ["waiting for `alctl import-labels` (process 7 on h, since then)"]
    assert len(selected.picks) == 3
    assert status(project).rounds


def test_a_wait_ends_some_time(project):
    writer = Writer(project)
    with (
        pytest.raises(AlctlError, match="held by `alctl import-labels`"),
        project.held("select", WRITER, 0, no_progress),
    ):
        pass
    assert writer.lock.is_locked
