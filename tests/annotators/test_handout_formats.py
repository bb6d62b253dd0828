"""Whole rounds through annotators' tools: out in every format, worked on as the real tool would, and in again."""

import json
import re
import shutil
import signal
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from alctl.annotators import classes, handout
from alctl.annotators.ledger import overview, recall
from alctl.database import categories, handouts, labels
from alctl.errors import AlctlError
from alctl.labels import canonical_json
from alctl.labels.annotation import RLE
from alctl.labels.format import FORMATS
from alctl.labels.rle import to_mask
from alctl.labels.shapes import boxed
from alctl.project import Project
from alctl.rounds.select import select
from alctl.rounds.select_options import SelectOptions
from tests.annotating import SIDE, TOOLS, Drawn
from tests.project_files import copied, lasting_folder, make_images, make_project, no_progress, take
from tests.warm import count_moments, run_warm, start_warm, warm_json

CARRIED = {
    "classification": ("coco", "csv", "cvat", "folders", "label-studio"),
    "detection": ("coco", "csv-objects", "cvat", "label-studio", "masks", "voc", "yolo"),
    "pose": ("coco", "csv-objects", "cvat", "label-studio", "yolo"),
    "segmentation": ("coco", "cvat", "label-studio", "masks", "yolo"),
}
CASES = [(name, task) for task, names in CARRIED.items() for name in names]
LIVING = ("cat", "dog", "owl")


def made(folder: Path, task: str, images: int = 3) -> Project:
    """Give a project of images with the same names in two folders; of its classes, "kitten" was merged into "cat"."""
    return copied(first_made(task, images), folder)


@cache
def first_made(task: str, images: int) -> Path:
    folder = lasting_folder()
    for name, seed in (("a", 1), ("b", 2)):
        make_images(folder / "images" / name, images, seed=seed, size=SIDE)
    project = make_project(folder / "project", folder / "images", classes=("cat", "kitten"), task=task)
    classes.merge(project, "kitten", "cat")
    points = ("nose", "tail") if task == "pose" else ()
    for name in LIVING[1:] + LIVING[:1] * bool(points):
        classes.add(project, [name], points)
    project.engine.dispose()
    return folder


def sent(project: Project, *names: str, **options) -> Path:
    """Select a round of five images and export it with formats."""
    select(project, SelectOptions(5, **options), no_progress)
    return out(project, *names)


def out(project: Project, *names: str, **options) -> Path:
    formats = handout.formats_of(project, ",".join(names), {})
    return handout.export(project, 1, no_progress, formats=formats, **options)


def seen_in(export: Path) -> dict[str, Drawn]:
    """Return what annotators see: an object of the item's own class, as far to the right as its number says."""
    items = json.loads((export / "manifest.json").read_text())["items"]
    return {Path(entry["image"]).name: thing(entry["item"]) for entry in items}


def thing(item: int) -> Drawn:
    return Drawn(LIVING[item % 3], 2 * item, item, 2 * item + 10, item + 12)


def answer(export: Path, name: str, task: str, folder: Path) -> tuple[Path, dict[str, Any]]:
    """Return what comes back from a tool, and what an import has to be told beside."""
    back = folder / f"back-{name}"
    back.mkdir()
    file = TOOLS[name](export, task, seen_in(export), back)
    told: dict[str, str] = {"origin": "0"} if name == "voc" else {}
    if name == "label-studio" and task == "pose":
        told["config"] = str(export / "label-studio.xml")
    return file, {"options": told}


def held(project: Project) -> dict[int, Any]:
    """Return what holds of each item: its class, or the class and the box around its only object."""
    with project.reading() as connection:
        names = categories.effective_names(connection)
        rows = labels.with_items(connection, "", every_annotator=True)
    found: dict[int, Any] = {}
    for row in rows:
        assert row["item_id"] not in found
        if row["category_id"]:
            found[row["item_id"]] = names[row["category_id"] - 1]
        else:
            (one,) = canonical_json.named(row["annotations"], names)
            found[row["item_id"]] = one
    return found


def assert_is(found: Any, item: int, task: str) -> None:
    """Assert that a label is the one that this item was given and no other."""
    drawn = thing(item)
    if task == "classification":
        assert found == drawn.name
        return
    assert found.category == drawn.name
    if task == "pose":
        nose, tail = found.keypoints
        assert nose == pytest.approx((drawn.left, drawn.top, 2), abs=0.01)
        assert tail == pytest.approx((drawn.right, drawn.bottom, 2), abs=0.01)
    if task != "pose" or found.bbox is not None:  # a skeleton of CVAT has no box
        x, y, width, height = boxed(found).bbox  # type: ignore[misc]
        assert (x, y, x + width, y + height) == pytest.approx(drawn[1:], abs=0.01)
    if isinstance(found.segmentation, RLE):
        assert to_mask(found.segmentation).sum() == 10 * 12


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def texts(export: Path) -> dict[str, str]:
    """Return all that annotators can read."""
    return {
        name: data.decode("utf-8")
        for name, data in bytes_of(export).items()
        if not name.endswith((".png", ".jpg")) and name != "manifest.json"
    }


def test_the_cases_are_all_that_the_formats_carry():
    parts = {"classification": {"category"}, "detection": {"bbox", "mask"}, "pose": {"keypoints"}}
    for task, names in CARRIED.items():
        wanted = parts.get(task, {"polygons", "mask"})
        assert {name for name in FORMATS.names() if FORMATS.load(name).carries & wanted} == set(names)


@pytest.mark.parametrize(("name", "task"), CASES)
def test_every_label_comes_back_to_the_item_whose_image_the_annotator_saw(name, task, tmp_path):
    project = made(tmp_path, task)
    export = sent(project, name)
    file, told = answer(export, name, task, tmp_path)
    result = take(project, file, **told)
    assert (result.added, result.rejected, result.unknown) == (5, [], 0)
    labeled = held(project)
    assert labeled.keys() == {
        entry["item"] for entry in json.loads((export / "manifest.json").read_text())["items"]
    }
    for item, found in labeled.items():
        assert_is(found, item, task)
    (row,) = overview(project)
    assert (row.labeled, row.out) == (5, 0)
    assert take(project, file, **told).earlier == 1


@pytest.mark.parametrize(("name", "task"), CASES)
def test_what_is_handed_out_offers_the_living_classes_in_order_and_every_image(name, task, tmp_path):
    project = made(tmp_path, task)
    found = texts(sent(project, name))
    own = "\n".join(text for file, text in found.items() if file.startswith(name))
    if name == "folders":
        own = " ".join(sorted(p.name for p in (handout.folder_of(project, 1) / "folders").iterdir()))
    assert "kitten" not in own
    if "csv" not in name:
        places = [re.search(rf"\b{living}\b", own).start() for living in LIVING]  # type: ignore[union-attr]
        assert places == sorted(places)
    if name not in ("folders", "voc", "masks"):  # whose tools open the images themselves
        listed = found["items.csv"] if name == "csv" else own
        for image in seen_in(handout.folder_of(project, 1)):
            assert (image if "csv" not in name else image.partition("_")[2]) in listed


@pytest.mark.parametrize(("name", "task"), CASES)
def test_a_file_that_nobody_has_worked_in_is_refused(name, task, tmp_path):
    project = made(tmp_path, task)
    export = sent(project, name)
    given = export / ("items.csv" if name == "csv" else f"{name}{FORMATS.load(name).suffix}")
    moved = tmp_path / f"sent back by mail{given.suffix}"
    (shutil.copytree if given.is_dir() else shutil.copy)(given, moved)
    for options in ({}, {"format": name}):
        with pytest.raises(AlctlError, match=r"as it was handed out|holds no images|none of the formats"):
            take(project, moved, **options)
    assert held(project) == {}


@pytest.mark.parametrize("task", CARRIED)
def test_a_blind_round_tells_annotators_neither_scores_nor_which_images_are_the_control(task, tmp_path):
    project = made(tmp_path, task)
    export = sent(project, *CARRIED[task], control=0.4)
    for name, text in texts(export).items():
        assert "control" not in text, name
        assert "predicted_loss" not in text, name
    with (export / "items.csv").open(encoding="utf-8") as stream:
        assert [line.rstrip("\r\n")[-6:] for line in stream][1:] == [",,,,,,"] * 5
    order = json.loads((export / "coco.json").read_text())["images"]
    assert [row["alctl_item"] for row in order] == sorted(row["alctl_item"] for row in order)


@pytest.mark.parametrize("task", CARRIED)
def test_the_same_export_gives_the_same_bytes_here_and_elsewhere(task, tmp_path):
    project = made(tmp_path, task)
    export = sent(project, *CARRIED[task])
    first = bytes_of(export)
    assert bytes_of(out(project)) == first
    assert bytes_of(out(project, *CARRIED[task], target=tmp_path / "elsewhere")) == first
    with project.reading() as connection:
        found = handouts.find(connection, round_id=1)
    places = {"rounds/0001", str(tmp_path / "elsewhere")}
    assert sorted((row.tool, row.place) for row in found) == sorted(
        (tool, place) for tool in {"csv", *CARRIED[task]} for place in places
    )


def test_a_later_export_with_another_tool_keeps_the_files_of_the_earlier_one(tmp_path):
    project = made(tmp_path, "detection")
    before = bytes_of(sent(project, "voc", "cvat"))
    after = bytes_of(out(project, "coco"))
    assert after.keys() - before.keys() == {"coco.json"}
    assert before.items() <= after.items()


@pytest.mark.parametrize("name", ["coco", "cvat", "label-studio", "voc", "yolo"])
def test_an_export_never_overwrites_what_an_annotator_did_in_a_tools_file(name, tmp_path):
    project = made(tmp_path, "detection")
    export = sent(project, name)
    given = export / f"{name}{FORMATS.load(name).suffix}"
    if given.is_dir():
        (given / "labels").mkdir()
        (given / "labels" / "0000001_0000.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    else:
        given.write_text(given.read_text() + "\n")
    before = bytes_of(export)
    with pytest.raises(AlctlError, match="not as it was exported; import it first"):
        out(project, "csv-objects")
    assert bytes_of(export) == before
    assert bytes_of(out(project, name, target=tmp_path / "elsewhere")) != before


def test_files_that_nobody_has_worked_in_are_made_again_with_the_classes_of_today(tmp_path):
    project = made(tmp_path, "detection")
    export = sent(project, *CARRIED["detection"])
    classes.add(project, ["fox"])
    out(project)
    assert "fox" in (export / "label-studio.xml").read_text()
    assert "fox" in (export / "yolo" / "data.yaml").read_text()


def test_an_export_that_nobody_has_worked_in_is_made_again_without_what_was_recalled(tmp_path):
    project = made(tmp_path, "detection")
    export = sent(project, "coco")
    gone = sorted(seen_in(export))[0]
    recall(project, 1, items=[int(gone[:7])])
    out(project)
    assert gone not in seen_in(export)
    assert not (export / "images" / gone).exists()
    assert len(json.loads((export / "coco.json").read_text())["images"]) == 4


@pytest.mark.parametrize(
    ("task", "name"),
    [("classification", "voc"), ("detection", "folders"), ("pose", "masks"), ("pose", "voc")],
)
def test_a_format_that_cannot_hold_the_labels_is_refused_before_a_round_is_selected(task, name, tmp_path):
    project = made(tmp_path, task)
    done = run_warm("select", "--k", 2, "--format", f"coco,{name}", "--project", project.folder)
    assert done.returncode == 1
    assert f"{name} cannot hold what the task of this project, {task}, asks for" in " ".join(
        done.stderr.split()
    )
    assert overview(project) == []


def test_what_is_wrong_with_a_class_name_is_said_before_a_round_is_selected(tmp_path):
    project = made(tmp_path, "classification")
    classes.add(project, ["a/b"])
    done = run_warm("select", "--k", 2, "--format", "folders", "--project", project.folder)
    assert done.returncode == 1
    assert "cannot be the name of a folder" in " ".join(done.stderr.split())
    assert overview(project) == []


def test_an_unknown_format_is_an_error_with_the_choices_and_csv_is_no_other_export(tmp_path):
    project = made(tmp_path, "detection")
    done = run_warm("select", "--k", 2, "--format", "cvta", "--project", project.folder)
    assert done.returncode == 1
    for name in (*FORMATS.names(), "did you mean 'cvat'"):
        assert name in done.stderr
    plain = bytes_of(sent(project))
    assert bytes_of(out(project, "csv")) == plain


@pytest.mark.slow
def test_a_killed_export_leaves_nothing_hidden_once_the_next_one_is_done(tmp_path):
    project = made(tmp_path, "detection", images=60)
    select(project, SelectOptions(120), no_progress)
    command = ("export", 1, "--format", "coco,cvat", "--project", project.folder)
    moments, rounds, left = count_moments(*command), project.folder / "rounds", 0
    shutil.rmtree(rounds / "0001")
    for part in (0.2, 0.4, 0.6, 0.8):
        running = start_warm(*command, moment=int(part * moments), hold=True)
        running.wait_for_moment()
        running.signal(signal.SIGKILL)
        running.end()
        left += len(list(rounds.glob(".0001.*")))
    assert left
    (rounds / ".0001.notes").mkdir()
    warm_json("export", 1, "--project", project.folder)
    assert sorted(path.name for path in rounds.iterdir()) == [".0001.notes", "0001"]


def test_a_round_whose_images_have_moved_says_how_to_tell_where_they_are(tmp_path):
    project = made(tmp_path, "detection")
    select(project, SelectOptions(5), no_progress)
    (tmp_path / "images").rename(tmp_path / "moved")
    with pytest.raises(AlctlError, match="alctl relink NEW_FOLDER"):
        out(project, "coco")


def test_an_image_that_has_changed_can_be_taken_out_of_its_round(tmp_path):
    project = made(tmp_path, "detection")
    select(project, SelectOptions(6), no_progress)
    (tmp_path / "images" / "a" / "0001.png").write_bytes(b"other")
    with pytest.raises(AlctlError, match="alctl recall 1 --item 2"):
        out(project, "coco")
    recall(project, 1, items=[2])
    assert len(seen_in(out(project, "coco"))) == 5
