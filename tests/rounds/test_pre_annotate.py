"""Predictions for annotators to correct: what the tools' files hold, and that nobody's silence becomes a label."""

import json
import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from alctl.annotators import classes, handout
from alctl.annotators.imports import undo
from alctl.annotators.imports.recognise import UNTOUCHED
from alctl.annotators.ledger import overview
from alctl.database import categories, pre_annotations, rounds, training_runs
from alctl.database.pre_annotations import Kept
from alctl.errors import AlctlError
from alctl.labels import canonical_json
from alctl.labels.annotation import Annotation
from alctl.labels.format import FORMATS
from alctl.labels.rle import of_mask
from alctl.project import Project, open_project
from alctl.rounds import pre_annotate, train_plan, train_run
from alctl.rounds.select import select
from alctl.rounds.select_options import SelectOptions
from alctl.status import status
from tests.annotating import SIDE, TOOLS, Drawn
from tests.annotators.test_handout_formats import bytes_of, held, made, out, seen_in, texts
from tests.fakes import tiny
from tests.project_files import (
    TINY_FLAGS,
    make_images,
    make_project,
    no_progress,
    paths_of,
    small_project,
    take,
    write_csv,
)
from tests.warm import run_warm, warm_json

NAMES = ("cat", "dog", "owl")
WITH_CLASSES = ("coco", "cvat", "label-studio")
"""The formats in which the predicted class of an image stands."""


def trained(folder: Path) -> Project:
    """Make a project of 20 images in two folders, of which 9 are labeled and learned."""
    for name, seed in (("a", 1), ("b", 2)):
        make_images(folder / "images" / name, 10, seed=seed, size=SIDE)
    project = make_project(folder / "project", folder / "images", classes=NAMES)
    take(project, write_csv(folder / "labels.csv", [(i, NAMES[i % 3]) for i in range(1, 10)]))
    plan = train_plan.plan_training(project, tiny(epochs=1), None)
    list(train_run.run_training(project, plan, no_progress))
    return project


def predicted(project: Project, *names: str, **options: Any) -> Path:
    """Select a round of five images with predictions, and export it."""
    select(project, SelectOptions(5, **{"strategy": "random", "device": "cpu", **options}), no_progress)
    assert pre_annotate.predict_round(project, 1, "cpu", no_progress) == 5
    return out(project, *names)


def said(project: Project) -> dict[int, str]:
    """Return the recorded classes."""
    with project.reading() as connection:
        known = categories.categories(connection)
        return {
            item: known[found.category_id - 1]
            for item, found in pre_annotations.of_round(connection, 1).items()
            if found.category_id
        }


def told(export: Path, name: str) -> dict[str, str]:
    """Return the class that a tool shows beside each image, by the image's name in the export."""
    if name == "cvat":
        images = ET.parse(export / "cvat.xml").getroot().iter("image")
        return {image.get("name", ""): tag.get("label", "") for image in images for tag in image.iter("tag")}
    found = json.loads((export / f"{name}.json").read_text())
    if name == "coco":
        names = {row["id"]: row["name"] for row in found["categories"]}
        files = {row["id"]: Path(row["file_name"]).name for row in found["images"]}
        return {files[row["image_id"]]: names[row["category_id"]] for row in found["annotations"]}
    return {
        task["data"]["image"].rpartition("/")[2]: task["predictions"][0]["result"][0]["value"]["choices"][0]
        for task in found
    }


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A trained project; tests that change it copy its folder."""
    return trained(tmp_path_factory.mktemp("trained"))


@pytest.fixture
def own(project: Project, tmp_path: Path) -> Project:
    shutil.copytree(project.folder, tmp_path / "project")
    return open_project(tmp_path / "project")


@pytest.mark.parametrize("name", WITH_CLASSES)
def test_a_tool_shows_what_the_model_says_of_each_image_and_which_model_it_was(name, own):
    export = predicted(own, name)
    wanted = {f"{item:07}_{Path(paths_of(own)[item]).name}": category for item, category in said(own).items()}
    assert told(export, name) == wanted
    assert len(wanted) == 5
    if name == "label-studio":
        tasks = json.loads((export / "label-studio.json").read_text())
        assert [task["predictions"][0]["model_version"] for task in tasks] == ["run 1"] * 5
        assert not any("annotations" in task for task in tasks)


@pytest.mark.parametrize("name", [*WITH_CLASSES, "csv"])
def test_predictions_that_nobody_has_looked_at_never_become_labels(name, own, tmp_path):
    export = predicted(own, name)
    given = export / ("items.csv" if name == "csv" else f"{name}{FORMATS.load(name).suffix}")
    before = held(own)
    for file in (given, Path(shutil.copy(given, tmp_path / f"renamed{given.suffix}"))):
        for more in ({}, {"skip_bad": True}, {"format": name}, {"annotator": "ann"}):
            with pytest.raises(AlctlError, match="is as it was handed out; nobody has worked in it yet"):
                take(own, file, **more)
    assert held(own) == before
    assert overview(own)[0].out == 5


def drawn(name: str, item: int) -> Annotation:
    """Return an object as a model of boxes, keypoints or outlines would predict it."""
    if name == "masks":
        mask = np.zeros((SIDE, SIDE), dtype=bool)
        mask[item : item + 9, item : item + 9] = True
        return Annotation("cat", segmentation=of_mask(mask))
    return Annotation("cat", bbox=(item, item, 9.0, 9.0))


@pytest.mark.parametrize("name", ["csv-objects", "voc", "yolo", "masks", "coco", "cvat", "label-studio"])
def test_predicted_objects_count_once_an_annotator_has_worked_on_their_image(name, tmp_path):
    task = "segmentation" if name == "masks" else "detection"
    project = made(tmp_path, task)
    select(project, SelectOptions(5), no_progress)
    with project.writing("test") as connection:
        rows = [
            (item, None, canonical_json.dumps([(drawn(name, item), 1)], ordered=True))
            for item in items_of_round(project)
        ]
        pre_annotations.write(connection, 1, rows)
    export = out(project, name)
    given = export / f"{name}{FORMATS.load(name).suffix}"
    options = {"options": {"origin": "0"} if name == "voc" else {}}
    with pytest.raises(AlctlError, match="nobody has worked in it yet"):
        take(project, given, **options)
    if name not in ("voc", "yolo", "masks"):
        return  # one file for all images
    worked = tmp_path / "worked"
    shutil.copytree(given, worked)
    image, seen = sorted(seen_in(export).items())[0]
    back = tmp_path / "back"
    back.mkdir()
    made_by_tool = TOOLS[name](export, task, {image: Drawn("dog", *seen[1:])}, back)
    stem = image.removesuffix(".png")
    (new,) = made_by_tool.rglob(f"{stem}.*")
    (old,) = worked.rglob(f"{stem}.*")
    shutil.copy(new, old)
    result = take(project, worked, **options)
    assert (result.added, result.notes[UNTOUCHED]) == (1, 4)
    assert [found.category for found in held(project).values()] == ["dog"]


def test_images_that_measure_the_model_are_answered_without_its_help(tmp_path):
    make_images(tmp_path / "images", 20, size=SIDE)
    project = make_project(tmp_path / "project", tmp_path / "images", classes=NAMES, validation=2, test=2)
    with project.reading() as connection:
        free = set(range(1, 21)) - {id_ for id_, _ in rounds.unsent_reserved(connection)}
    take(project, write_csv(tmp_path / "l.csv", [(i, NAMES[i % 3]) for i in sorted(free)[:9]]))
    list(
        train_run.run_training(
            project,
            train_plan.plan_training(project, tiny(epochs=1), None),
            no_progress,
        )
    )
    selected = select(project, SelectOptions(3, strategy="random", device="cpu"), no_progress)
    assert (len(selected.picks), selected.reserved) == (7, 4)
    assert pre_annotate.predict_round(project, 1, "cpu", no_progress) == 3
    assert set(said(project)) == {pick.item for pick in selected.picks if pick.rank is not None}


def items_of_round(project: Project) -> list[int]:
    (row,) = overview(project)
    assert row.items == 5
    with project.reading() as connection:
        return [pick.item_id for pick in rounds.picks(connection, 1)]


def test_status_and_an_import_say_how_many_predictions_annotators_kept(own, tmp_path):
    predicted(own, "label-studio")
    known = said(own)
    rows = [(item, category) for item, category in known.items()]
    other = {"cat": "dog", "dog": "owl", "owl": "cat"}
    assert status(own).predictions == [Kept(1, predicted=5, answers=0, kept=0)]
    file = write_csv(tmp_path / "l.csv", [*rows[:3], (rows[3][0], other[rows[3][1]])])
    done = run_warm("import-labels", file, "--project", own.folder)
    assert "round 1: annotators kept 3 of 4 predictions (75%)" in done.stdout
    for command in (("status",), ("status", "--rounds")):
        shown = run_warm(*command, "--project", own.folder).stdout
        assert "round 1: annotators kept 3 of 4 predictions (75%)" in shown
    result = take(own, write_csv(tmp_path / "m.csv", [(rows[4][0], "skip")], ("item", "status")))
    assert result.kept == []
    assert status(own).predictions == [Kept(1, predicted=5, answers=4, kept=3)]
    classes.merge(own, rows[3][1], other[rows[3][1]])
    assert status(own).predictions[0].kept == 4
    undo.undo_import(own, 2)
    assert status(own).predictions[0].answers == 0


def test_labels_from_before_a_round_answer_none_of_its_predictions(own):
    select(own, SelectOptions(5, strategy="random", device="cpu", resend=True), no_progress)
    with own.writing("test") as connection:
        pre_annotations.write(connection, 1, [(item, 1, None) for item in items_of_round(own)])
    assert status(own).predictions[0].answers == 0


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_class_that_was_merged_since_is_predicted_by_its_living_name(when, own):
    if when == "before":
        classes.merge(own, "cat", "dog")
        classes.merge(own, "owl", "dog")
        export = predicted(own, *WITH_CLASSES)
    else:
        predicted(own)
        classes.merge(own, "cat", "dog")
        classes.merge(own, "owl", "dog")
        export = out(own, *WITH_CLASSES)
    for name in WITH_CLASSES:
        assert set(told(export, name).values()) == {"dog"}
        assert len(told(export, name)) == 5


def test_a_blind_round_has_predictions_for_all_its_images_alike(own):
    export = predicted(own, *WITH_CLASSES, strategy="entropy", control=0.4, guard=False)
    for name in WITH_CLASSES:
        assert list(told(export, name)) == sorted(seen_in(export))
    for name, text in texts(export).items():
        assert "control" not in text, name
        assert "predicted_loss" not in text, name


def test_predictions_can_be_added_to_an_export_that_nobody_has_worked_in_and_stay_the_same(own):
    select(own, SelectOptions(5, strategy="random", device="cpu"), no_progress)
    export = out(own, "coco")
    assert told(export, "coco") == {}
    warm_json("export", 1, "--predictions", "--device", "cpu", "--project", own.folder)
    assert len(told(export, "coco")) == 5
    first = bytes_of(export)
    (own.folder / weights_file(own)).unlink()  # no model any more, and none needed
    warm_json("export", 1, "--predictions", "--device", "cpu", "--project", own.folder)
    assert bytes_of(export) == first


def weights_file(project: Project) -> str:
    with project.reading() as connection:
        run = training_runs.last_run(connection)
    assert run is not None
    return run.file


def test_without_a_model_nothing_is_selected_and_the_reason_is_given(tmp_path):
    project = small_project(tmp_path)
    done = run_warm("select", "--k", 2, "--predictions", "--project", project.folder)
    assert done.returncode == 1
    assert "nothing is trained yet" in done.stderr
    assert overview(project) == []
    with pytest.raises(AlctlError, match="there is no round 1"):
        pre_annotate.predict_round(project, 1, "cpu", no_progress)


@pytest.mark.slow
def test_a_whole_round_with_predictions_is_corrected_in_label_studio(tmp_path):
    project = small_project(tmp_path, 12, classes=NAMES)
    take(project, write_csv(tmp_path / "l.csv", [(i, NAMES[i % 2]) for i in range(1, 7)]))
    where = ("--project", project.folder)
    warm_json("train", "--epochs", 1, *TINY_FLAGS, *where)
    done = run_warm(
        "select", "--k", 4, "--strategy", "random", "--format", "label-studio", "--predictions", *where
    )
    assert done.returncode == 0, done.stderr
    export = handout.folder_of(project, 1)
    assert f"for label-studio: {export / 'label-studio.json'}" in done.stdout.replace("\n", "")
    back = tmp_path / "back"
    back.mkdir()
    file = TOOLS["label-studio"](export, "classification", seen_in(export), back)
    tasks = json.loads(file.read_text())
    assert all(task["predictions"] and task["annotations"] for task in tasks)
    result = take(project, file)
    assert result.added == 4
    labeled = held(project)
    assert [labeled[item] for item in said(project)] == [NAMES[item % 3] for item in said(project)]
    assert result.kept[0].kept == sum(name == NAMES[item % 3] for item, name in said(project).items())
