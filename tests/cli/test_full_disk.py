"""Real commands on a disk that is full."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from alctl.project import open_project
from alctl.status import check
from tests.project_files import TINY_FLAGS, small_project, write_csv
from tests.warm import run_warm

SIZE = 1 << 21


@pytest.fixture
def disk(tmp_path):
    """Give a small disk of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", folder]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("a file system cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(disk: Path, left: int) -> Path:
    """Fill the disk up to so many bytes."""
    filler = disk / "filler"
    free = os.statvfs(disk)
    filler.write_bytes(bytes(max(0, free.f_bavail * free.f_frsize - left)))
    return filler


@pytest.mark.slow
@pytest.mark.parametrize("left", [0, 4096, 20_000])
def test_every_command_that_writes_says_so_in_a_sentence_and_breaks_nothing(disk, tmp_path, left):
    project = small_project(disk, 24)
    project.engine.dispose()
    labels = write_csv(tmp_path / "l.csv", [(i, "cat" if i % 2 else "dog") for i in range(1, 13)])
    more = write_csv(tmp_path / "m.csv", [(i, "cat") for i in range(13, 17)])
    before: list[list[object]] = [
        ["import-labels", labels, "--add-classes"],
        ["select", "--k", 2, "--strategy", "random"],
    ]
    for command in before:
        assert run_warm(*command, "--project", project.folder).returncode == 0
    filler = fill(disk, left)
    refused = 0
    commands: list[list[object]] = [
        ["backup"],
        ["export", 1],
        ["classes", "add", "elk"],
        ["import-labels", more],
        ["undo-import", 1],
        ["train", "--epochs", 1, *TINY_FLAGS],
        ["recall", 1],
    ]
    for command in commands:
        done = run_warm(*command, "--json", "--project", project.folder)
        assert "Traceback" not in done.stderr, done.stderr
        if done.returncode:
            said = json.loads(done.stdout)["error"]
            refused += any(why in said for why in ("No space left", "no room left", "full"))
    assert refused
    filler.unlink()
    assert check(open_project(project.folder)) == []
