"""Small projects on disk, and the real command run on them in a process of its own."""

import atexit
import csv
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
from PIL import Image

from alctl.annotators.imports.import_labels import Imported, ImportOptions, import_labels
from alctl.database import items, rounds
from alctl.dataset import index
from alctl.files import write_whole
from alctl.project import CONFIG, Project, config_text, open_project

ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith("ALCTL_")},
    "OMP_NUM_THREADS": "1",
    "COLUMNS": "100",
    "NO_COLOR": "1",
}
TINY_FLAGS = (
    "--width", "4", "--image-size", "8", "--batch-size", "8", "--lr", "0.05", "--device", "cpu", "--weights", "none",
)  # fmt: skip
"""The smallest useful training settings, as one would type them."""


def no_progress(stage: str, done: int, total: int) -> None:
    """Say nothing."""


def make_images(folder: Path, n: int, *, size: int = 8, seed: int = 0) -> list[str]:
    """Write ``n`` PNG files of noise, no two alike; return their names."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    names = [f"{i:04}.png" for i in range(n)]
    for name in names:
        Image.fromarray(rng.integers(0, 256, (size, size, 3), dtype=np.uint8)).save(folder / name)
    return names


def make_project(
    folder: Path, images: Path, *, classes: Sequence[str] = ("cat", "dog"), **options: Any
) -> Project:
    """Make a project in ``folder`` of a folder of images; nothing is reserved unless asked for.

    Its first round is random, which is quick: no image needs an embedding.
    """
    wanted = index.Options(classes=classes, **{"validation": 0, "test": 0, **options})
    index.create(folder, index.folder_dataset(images, class_folders=False), wanted, no_progress)
    write_whole(folder / CONFIG, config_text(first="random", database=wanted.database))
    return open_project(folder)


def small_project(folder: Path, n: int = 6, *, size: int = 8, **options: Any) -> Project:
    """Make ``n`` images and a project of them: a copy of what `init` made of such images before, in this process."""
    return copied(_first_project(n, size, json.dumps(options)), folder)


def copied(made: Path, folder: Path) -> Project:
    """Copy a folder that holds `images` and their `project`, and open the copy."""
    shutil.copytree(made, folder, dirs_exist_ok=True)
    with closing(sqlite3.connect(folder / "project" / "alctl.db")) as database, database:
        database.execute("UPDATE project SET root = ?", [str((folder / "images").resolve())])
    return open_project(folder / "project")


def lasting_folder() -> Path:
    """Make a folder for what many tests copy; it is removed as the process ends."""
    folder = Path(mkdtemp(prefix="alctl-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def _first_project(n: int, size: int, options: str) -> Path:
    folder = lasting_folder()
    make_images(folder / "images", n, size=size)
    make_project(folder / "project", folder / "images", **json.loads(options)).engine.dispose()
    return folder


def write_csv(
    file: Path, rows: Iterable[Sequence[object]], header: Sequence[str] = ("item", "label")
) -> Path:
    """Write a table of labels."""
    with file.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])
    return file


def take(project: Project, file: Path, **options: Any) -> Imported:
    """Import a file of labels."""
    return import_labels(project, file, ImportOptions(**options))


def paths_of(project: Project) -> dict[int, str]:
    """Return the path of every item."""
    with project.reading() as connection:
        return dict(items.paths(connection))


def subset_of(project: Project, n: int, seed: int, number: int) -> list[int]:
    """Return the random subset that every strategy of a round sees."""
    with project.reading() as connection:
        return [int(i) for i in rounds.subset(connection, n, seed, number)]


def run_alctl(
    *args: object, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the real command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "alctl", *map(str, args)],
        cwd=cwd,
        env={**ENVIRONMENT, **(env or {})},
        text=True,
        encoding="utf-8",
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=240,
        check=False,
    )


def alctl_json(*args: object, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> Any:
    """Run the real command with --json; return its result."""
    return parsed(run_alctl(*args, "--json", cwd=cwd, env=env))


def parsed(done: subprocess.CompletedProcess[str]) -> Any:
    """Return the JSON that a command printed; it must have worked."""
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
