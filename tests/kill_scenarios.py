"""Commands that write, each in a folder that holds all that it needs; `tests.kill_points` kills them."""

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.project_files import TINY_FLAGS, make_images, make_project, write_csv
from tests.warm import run_warm

IMAGES = 24
Words = tuple[object, ...]


def _nothing(_place: Path) -> None:
    pass


@dataclass(frozen=True)
class Scenario:
    """A command, typed in a folder that holds all of `make_base`."""

    name: str
    words: Words
    prepare: Callable[[Path], object] = _nothing
    """Is given a copy of the base and gets it ready."""
    once_recorded: Words | None = None
    """What to type instead of the same command where the database has recorded it and its files may be missing."""


def _move_images(place: Path) -> None:
    (place / "images").rename(place / "moved")


def _lose_an_image(place: Path) -> None:
    (place / "images" / "0020.png").unlink()


def _no_project(place: Path) -> None:
    shutil.rmtree(place / "project")


def _no_export(place: Path) -> None:
    shutil.rmtree(place / "project" / "rounds")


SCENARIOS = (
    Scenario("init", ("init", "images"), _no_project),
    Scenario("add", ("add", "more", "--validation", 1)),
    Scenario("relink", ("relink", "moved"), _move_images),
    Scenario("remove", ("remove", "--missing"), _lose_an_image),
    Scenario("select", ("select", "--k", 4, "--strategy", "random"), once_recorded=("export", 2)),
    Scenario("export", ("export", 1), _no_export),
    Scenario("export again", ("export", 1)),
    Scenario("recall", ("recall", 1)),
    Scenario("import-labels", ("import-labels", "second.csv", "--add-classes")),
    Scenario("undo-import", ("undo-import", 1)),
    Scenario("classes add", ("classes", "add", "elk")),
    Scenario("classes rename", ("classes", "rename", "cat", "feline")),
    Scenario("classes merge", ("classes", "merge", "cat", "dog")),
    Scenario("export-labels", ("export-labels", "out.json", "--format", "coco")),
    Scenario("backup", ("backup", "new.zip")),
    Scenario("restore", ("restore", "old.zip"), _no_project),
    Scenario("embed", ("embed", "--backbone", "table:vectors.csv")),
    Scenario("train", ("train", "--epochs", 2, "--checkpoint-every", 1, *TINY_FLAGS)),
)


def make_base(place: Path) -> None:
    """Make images, a project with labels of two people, a round that is out, and files for every command."""
    make_images(place / "images", IMAGES)
    make_images(place / "more", 4, seed=1)
    make_project(place / "project", place / "images", test=2).engine.dispose()
    first = write_csv(place / "first.csv", [(i, "cat" if i % 2 else "dog") for i in range(1, 13)])
    write_csv(place / "second.csv", [(i, "elk" if i % 3 else "dog") for i in range(7, 19)])
    vectors = np.random.default_rng(0).normal(size=(IMAGES, 4))
    write_csv(
        place / "vectors.csv",
        [(f"{i:04}.png", *row) for i, row in enumerate(vectors.tolist())],
        ("path", *"abcd"),
    )
    for words in (
        ("import-labels", first),
        ("select", "--k", 3, "--strategy", "random"),
        ("backup", "old.zip"),
    ):
        done = run_in(place, *words)
        assert done.returncode == 0, done.stderr
    shutil.rmtree(place / "project" / "cache", ignore_errors=True)


def once_for_all(folder: Path) -> Path:
    """Make the base in this folder, to be copied beside it; return where it lies."""
    make_base(folder / "now")
    return (folder / "now").rename(folder / "base")


def run_in(place: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """Run the command there to its end."""
    return run_warm(*words, "--project", place / "project", "--json", cwd=place)
