"""Kill -9 at many moments of init, select, import-labels and train: nothing that was said to be done may be missing."""

import random
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import select as sql_select

from alctl.database.tables import label as label_table
from alctl.files import file_digest
from alctl.project import Project, open_project
from alctl.status import check, status
from tests.project_files import TINY_FLAGS, make_images, make_project, take, write_csv
from tests.warm import count_moments, run_warm, start_warm

KILLS = 8
"""For each of the four commands."""
IMAGES = 60
LABELS = [(i, "cat" if i % 2 else "dog") for i in range(1, 31)]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


class Killed:
    """What one killed command left behind."""

    def __init__(self, folder: Path, printed: str) -> None:
        self.folder = folder
        self.done = bool(printed.strip())
        """Whether the command had said that it was done."""

    def project(self) -> Project:
        """Open the project, and look that its state is sound."""
        opened = open_project(self.folder)
        assert check(opened) == []
        return opened


def kill_at_many_moments(
    tmp_path: Path, prepare: Callable[[Path], object], command: Callable[[Path], list[object]]
) -> Iterator[Killed]:
    """Run the command once to its end, to count its moments; then again and again, killed ever later.

    Every other command waits for its death at its moment; the others go on until it comes, be it within a call.
    """
    prepare(tmp_path / "whole")
    moments = count_moments(*command(tmp_path / "whole"))
    chance = random.Random(0)
    killed = 0
    for i in range(KILLS):
        folder = tmp_path / f"killed-{i}"
        prepare(folder)
        moment = 1 + int(moments * (i + chance.random()) / KILLS)
        running = start_warm(*command(folder), moment=moment, hold=i % 2 == 1)
        running.wait_for_moment()
        running.signal(signal.SIGKILL)
        end = running.end()
        killed += end.returncode == -signal.SIGKILL
        yield Killed(folder, end.stdout)
        shutil.rmtree(folder, ignore_errors=True)
    assert killed >= KILLS // 2, "the moments were too late to tell anything"


def repeat(arguments: list[object]) -> None:
    done = run_warm(*arguments)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A project of 60 images, 30 of them labeled."""
    make_images(tmp_path / "images", IMAGES)
    project = make_project(tmp_path / "base", tmp_path / "images", test=4)
    take(project, write_csv(tmp_path / "labels.csv", LABELS))
    project.engine.dispose()
    return project.folder


def test_a_killed_init_leaves_a_whole_project_or_none(tmp_path):
    make_images(tmp_path / "images", 400, size=32)

    def command(folder: Path) -> list[object]:
        return ["init", tmp_path / "images", "--project", folder]

    for killed in kill_at_many_moments(tmp_path, lambda folder: None, command):
        if killed.done or killed.folder.exists():
            assert status(killed.project()).items == 400
        else:
            repeat(command(killed.folder))
            assert status(killed.project()).items == 400
        assert not killed.folder.with_name(killed.folder.name + ".partial").exists() or not killed.done


def test_a_killed_select_leaves_a_whole_round_or_none_and_a_recorded_one_can_be_exported(base, tmp_path):
    def command(folder: Path) -> list[object]:
        return ["select", "--k", 10, "--strategy", "random", "--project", folder]

    for killed in kill_at_many_moments(tmp_path, lambda folder: shutil.copytree(base, folder), command):
        rounds = status(killed.project()).rounds
        assert [row.items for row in rounds] in (
            [],
            [12],
        )  # the reserved ones that are not labeled go along
        if killed.done:
            assert rounds
            assert (killed.folder / "rounds" / "0001" / "items.csv").is_file()
        if rounds:
            advice = status(killed.project()).next
            assert advice.startswith("alctl export 1") or (killed.folder / "rounds" / "0001").is_dir()
            repeat(["export", 1, "--project", killed.folder])
        repeat(command(killed.folder))
        picked = [row.items for row in status(killed.project()).rounds]
        assert picked == ([12, 10] if rounds else [12])


def test_a_killed_import_leaves_all_its_labels_or_none(base, tmp_path):
    more = write_csv(tmp_path / "more.csv", [(i, "dog") for i in range(21, IMAGES + 1)])

    def command(folder: Path) -> list[object]:
        return ["import-labels", more, "--project", folder]

    for killed in kill_at_many_moments(tmp_path, lambda folder: shutil.copytree(base, folder), command):
        labels = count_labels(killed.project())
        assert labels in (30, 65)  # 5 changed, 30 added
        assert labels == 65 or not killed.done
        repeat(command(killed.folder))
        assert count_labels(killed.project()) == 65


def count_labels(project: Project) -> int:
    with project.reading() as connection:
        return len(connection.execute(sql_select(label_table.c.id)).all())


def test_a_killed_training_run_goes_on_and_ends_at_the_same_weights(base, tmp_path):
    flags = ["--epochs", 12, "--checkpoint-every", 2, *TINY_FLAGS]

    def command(folder: Path) -> list[object]:
        return ["train", *flags, "--project", folder]

    for killed in kill_at_many_moments(tmp_path, lambda folder: shutil.copytree(base, folder), command):
        whole = file_digest(tmp_path / "whole" / "models" / "run-0001.safetensors")
        run = status(killed.project()).run
        assert run is not None or not killed.done
        repeat(command(killed.folder))
        project = killed.project()
        assert (last := status(project).run) is not None
        assert last.id == 1
        assert [file.name for file in project.models.iterdir()] == ["run-0001.safetensors"]
        assert file_digest(project.models / "run-0001.safetensors") == whole
