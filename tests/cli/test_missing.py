"""A few images are gone: each command names all of them at once, goes on without them where that is right, and says how."""

import json
import shutil
from pathlib import Path

import pytest

from tests.project_files import TINY_FLAGS, small_project, take, write_csv
from tests.warm import run_warm, warm_json

IMAGES = 40
GONE = [3, 8]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of 40 images, 30 of them labeled and one round out, whose model has learned from all of them."""
    folder = tmp_path_factory.mktemp("missing")
    project = small_project(folder, IMAGES)
    take(project, write_csv(folder / "l.csv", [(i, ("cat", "dog")[i % 2]) for i in range(1, 31)]))
    project.engine.dispose()
    assert run_warm("train", *TINY_FLAGS, "--epochs", 1, "-p", folder / "project").returncode == 0
    assert run_warm("select", "--strategy", "random", "--k", 5, "-p", folder / "project").returncode == 0
    return folder


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    """A copy, in which two labeled images and one that is out are gone."""
    shutil.copytree(trained, tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy" / "project" / "cache", ignore_errors=True)
    run = run_warm("relink", tmp_path / "copy" / "images", "-p", tmp_path / "copy" / "project")
    assert run.returncode == 0
    for item in GONE:
        (tmp_path / "copy" / "images" / f"{item - 1:04}.png").unlink()
    return tmp_path / "copy"


def all_named(text: str) -> bool:
    return all(f"{item - 1:04}.png" in text for item in GONE) and "alctl remove --missing" in text


def test_train_leaves_them_out_and_says_so(folder):
    done = run_warm("train", *TINY_FLAGS, "--epochs", 1, "-p", folder / "project")
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "2 images are not there and left out" in said
    assert all_named(said)
    assert "28 images in" in done.stdout
    again = warm_json("train", *TINY_FLAGS, "--epochs", 1, "-p", folder / "project")
    assert again["already"]
    assert sorted(map(int, again["missing"])) == GONE


@pytest.mark.slow
def test_when_they_are_back_the_same_command_trains_on_all_of_them(folder, trained):
    first = warm_json("train", *TINY_FLAGS, "--epochs", 1, "-p", folder / "project")
    assert (first["labeled"], first["already"]) == (28, False)
    for item in GONE:
        name = f"{item - 1:04}.png"
        shutil.copy(trained / "images" / name, folder / "images" / name)
    back = warm_json("train", *TINY_FLAGS, "--epochs", 1, "-p", folder / "project")
    assert back["labeled"] == 30


def test_train_stops_where_more_than_a_tenth_is_gone_and_names_them(folder):
    for item in (10, 11, 12):
        (folder / "images" / f"{item - 1:04}.png").unlink()
    done = run_warm("train", *TINY_FLAGS, "--epochs", 1, "-p", folder / "project")
    assert done.returncode == 1
    assert "5 images are not there:" in done.stderr
    assert all_named(done.stderr)


@pytest.mark.parametrize("strategy", ["random", "entropy"])
def test_select_takes_others(folder, strategy):
    left = sorted(set(range(31, IMAGES + 1)) - out(folder))
    (folder / "images" / f"{left[0] - 1:04}.png").unlink()
    asked = ("--strategy", strategy, "--k", IMAGES, "--subset", 0, "-p", folder / "project")
    found = warm_json("select", *asked)
    missing = {int(item) for item in found["missing"]}
    assert missing == {left[0]} if strategy == "random" else {left[0], *GONE}
    assert [pick["item"] for pick in sorted(found["picks"], key=lambda pick: pick["item"])] == left[1:]


def out(folder: Path) -> set[int]:
    manifest = json.loads((folder / "project" / "rounds" / "0001" / "manifest.json").read_text())
    return {entry["item"] for entry in manifest["items"]}


@pytest.mark.slow
def test_predict_and_embed_and_show_go_on_without_them(folder):
    first = sorted(out(folder))[0]
    (folder / "images" / f"{first - 1:04}.png").unlink()
    wanted = sorted({*GONE, first})
    predicted = warm_json("predict", "--split", "all", "--out", folder / "out.csv", "-p", folder / "project")
    assert sorted(map(int, predicted["missing"])) == wanted
    assert predicted["images"] == IMAGES - 3
    embedded = warm_json("embed", "--backbone", "model", "-p", folder / "project")
    assert sorted(map(int, embedded["missing"])) == wanted
    assert embedded["embedded"] == IMAGES - 3
    for args, missing in (([], [first]), (["--embedding"], wanted)):
        shown = warm_json("show", 1, *args, "--out", folder / "a.png", "--no-open", "-p", folder / "project")
        assert sorted(map(int, shown["missing"])) == missing


def test_export_names_all_at_once_and_goes_on_after_remove(folder):
    gone = sorted(out(folder))[:2]
    for item in gone:
        (folder / "images" / f"{item - 1:04}.png").unlink()
    done = run_warm("export", 1, "-p", folder / "project")
    assert done.returncode == 1
    assert all(f"item {item}, " in done.stderr for item in gone)
    assert "alctl remove --missing" in done.stderr
    dry = warm_json("remove", "--missing", "--dry-run", "-p", folder / "project")
    assert len(dry["images"]) == 4
    assert run_warm("export", 1, "-p", folder / "project").returncode == 1
    assert warm_json("remove", "--missing", "-p", folder / "project")["images"] == dry["images"]
    assert run_warm("export", 1, "-p", folder / "project").returncode == 0
    assert out(folder).isdisjoint(gone)


def test_remove_wants_to_be_told_what(folder):
    done = run_warm("remove", "-p", folder / "project")
    assert done.returncode == 1
    assert "alctl remove --missing" in done.stderr
