"""Labels out: the real command writes what holds, says what a format has no place for, and refuses to write a lie."""

import json
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from alctl.annotators import export_labels
from alctl.errors import AlctlError
from alctl.labels import rle
from alctl.labels.annotation import Annotation, Category, LabeledImage, Status
from alctl.labels.format import FORMATS
from alctl.project import Project
from tests.project_files import copied, lasting_folder, make_images, make_project, small_project, take
from tests.warm import run_warm, warm_json

NAMES = ("nose", "ear", "tail")
MASK = rle.of_mask(np.array([[2 < x < 9 and 3 < y < 8 for x in range(16)] for y in range(16)]))
THINGS: dict[str, dict[str, tuple[Annotation, ...]]] = {
    "classification": {"cat": (Annotation("cat"),), "dog": (Annotation("dog"),)},
    "detection": {
        "cat": (Annotation("cat", (1.25, 2.0, 3.3333333, 4.1)), Annotation("dog", (0.0, 0.0, 16.0, 16.0))),
        "dog": (Annotation("dog", (7.25, 2.5, 3.125, 4.5)),),
    },
    "pose": {
        name: (Annotation(name, (1.0, 1.0, 8.0, 8.0), ((1.5, 2.5, 2), (0.0, 0.0, 0), (5.1, 6.2, 1))),)
        for name in ("cat", "dog")
    },
    "segmentation": {
        "cat": (Annotation("cat", segmentation=((1.0, 1.0, 7.5, 1.0, 7.5, 9.25),)),),
        "dog": (Annotation("dog", segmentation=MASK),),
    },
}
"""What annotators say of an image, by task."""
WHOLE = [
    ("classification", "csv"), ("classification", "label-studio"), ("detection", "csv-objects"),
    ("detection", "label-studio"), ("pose", "csv-objects"), ("pose", "label-studio"), ("segmentation", "label-studio"),
]  # fmt: skip
"""Formats that hold all there is."""
REST = [
    ("classification", "coco"), ("classification", "cvat"), ("classification", "folders"), ("detection", "coco"),
    ("detection", "cvat"), ("detection", "voc"), ("pose", "coco"), ("pose", "cvat"), ("pose", "yolo"),
    ("segmentation", "cvat"),
]  # fmt: skip
"""Formats that hold all but skips, and one answer an image."""


def labeled_project(folder: Path, task: str) -> Project:
    """Give a project of six images; two annotators agree about four, skip one, and call one unusable."""
    return copied(first_labeled(task), folder)


@cache
def first_labeled(task: str) -> Path:
    folder = lasting_folder()
    make_images(folder / "images" / "sub", 6, size=16)
    project = make_project(folder / "project", folder / "images", task=task)
    said = THINGS[task]
    other: tuple[Status, ...] = ("skip", "unusable")
    answers = [said["cat"], said["dog"], said["cat"], said["dog"], *other]
    images = [
        LabeledImage(
            f"sub/{n:04}.png",
            () if isinstance(answer, str) else answer,
            annotator=who,
            status=answer if isinstance(answer, str) else "labeled",
            width=16,
            height=16,
        )
        for n, answer in enumerate(answers)
        for who in ("ann@example.org", "7")
    ]  # fmt: skip
    points = NAMES if task == "pose" else ()
    FORMATS.load("label-studio")().write(
        images, folder / "all.json", [Category("cat", points), Category("dog", points)]
    )
    assert take(project, folder / "all.json", add_classes=True).added == 12
    project.engine.dispose()
    return folder


def answers_of(project: Project, *, every_annotator: bool) -> dict[tuple[str, str], object]:
    """Return what is said of each image, and by whom if that is asked."""
    with project.reading() as connection:
        found = export_labels._labeled(connection, "", every_annotator=every_annotator)
        return {
            (image.path, image.annotator): (image.status, sorted(map(repr, image.annotations)))
            for image in found
        }


def there_and_back(project: Project, kind: str, *flags: str) -> tuple[dict[str, int], Project]:
    """Export labels and import them into a fresh project of the same images; return what was left out, and that project."""
    home = project.folder.parent
    target = home / "out" / f"labels{FORMATS.load(kind).suffix}"
    target.parent.mkdir()
    told = warm_json("export-labels", target, "--format", kind, "-p", project.folder, *flags)
    fresh = make_project(home / "fresh", home / "images", task=project.state().task, classes=())
    options = {"voc": {"origin": "0"}}.get(kind, {})
    result = take(fresh, target, add_classes=True, options=options)
    assert (result.added, result.rejected, result.notes) == (told["labels"], [], result.notes)
    return told["left_out"], fresh


@pytest.mark.parametrize(("task", "kind"), WHOLE)
def test_every_annotators_answer_survives_where_a_format_holds_it(tmp_path, task, kind):
    project = labeled_project(tmp_path, task)
    left, fresh = there_and_back(project, kind, "--every-annotator")
    assert left == {}
    assert answers_of(fresh, every_annotator=True) == answers_of(project, every_annotator=True)


@pytest.mark.parametrize(("task", "kind"), REST)
def test_what_a_format_cannot_say_is_counted_and_the_rest_survives(tmp_path, task, kind):
    project = labeled_project(tmp_path, task)
    left, fresh = there_and_back(project, kind)
    assert left == {f"skipped or unusable images have no label in it: {kind} cannot say what they are": 2}
    before = answers_of(project, every_annotator=False)
    assert answers_of(fresh, every_annotator=False) == {
        key: said for key, said in before.items() if key[0] < "sub/0004.png"
    }


@pytest.mark.parametrize("kind", ["voc", "csv-objects"])
def test_outlines_that_become_boxes_are_told(tmp_path, kind):
    project = labeled_project(tmp_path, "segmentation")
    target = tmp_path / f"labels{FORMATS.load(kind).suffix}"
    done = run_warm("export-labels", target, "--format", kind, "-p", project.folder)
    assert done.returncode == 0, done.stderr
    assert "4 objects are boxes without their outlines or masks" in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("task", "kind"),
    [("detection", "csv"), ("pose", "folders"), ("segmentation", "csv"), ("classification", "yolo")],
)
def test_labels_that_a_format_cannot_hold_are_not_written_as_something_else(tmp_path, task, kind):
    project = labeled_project(tmp_path, task)
    with pytest.raises(
        AlctlError, match=f"{kind} cannot hold the labels .* {task}; these formats can: .*label-studio"
    ):
        export_labels.export_labels(project, tmp_path / "out", kind)
    assert not (tmp_path / "out").exists()


def test_answers_of_several_annotators_go_into_no_format_that_has_one_for_an_image(tmp_path):
    project = labeled_project(tmp_path, "detection")
    with pytest.raises(
        AlctlError, match="with their annotators; these formats can: csv-objects, label-studio"
    ):
        export_labels.export_labels(project, tmp_path / "out.json", "coco", every_annotator=True)


def test_crowds_and_difficult_objects_that_lose_their_mark_are_told(tmp_path):
    project = small_project(tmp_path, 1, size=16, task="detection")
    row = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "iscrowd": 1, "difficult": 1}
    images, classes = [{"id": 1, "file_name": "0000.png"}], [{"id": 1, "name": "cat"}]
    content = {"images": images, "categories": classes, "annotations": [row]}
    (tmp_path / "l.json").write_text(json.dumps(content))
    take(project, tmp_path / "l.json")
    found = export_labels.export_labels(project, tmp_path / "voc", "voc")
    assert found.left_out == {"objects are no longer marked as crowds: voc has no mark for it": 1}
    assert export_labels.export_labels(project, tmp_path / "c.json", "coco").left_out == {}
    told = export_labels.export_labels(project, tmp_path / "o.csv", "csv-objects").left_out
    assert told["objects are no longer marked as difficult: csv-objects has no mark for it"] == 1


def test_a_difficult_object_goes_through_the_project_and_out_again(tmp_path):
    """Pascal VOC's mark, as it comes and as each format that knows it writes it."""
    project = small_project(tmp_path, 1, size=16, task="detection")
    things = "".join(
        f"<object><name>cat</name><difficult>{mark}</difficult><bndbox><xmin>1</xmin><ymin>{top}</ymin>"
        f"<xmax>5</xmax><ymax>9</ymax></bndbox></object>"
        for mark, top in ((1, 2), (0, 3))
    )
    head = "<filename>0000.png</filename><size><width>16</width><height>16</height></size>"
    (tmp_path / "0000.xml").write_text(f"<annotation>{head}{things}</annotation>")
    take(project, tmp_path / "0000.xml", options={"origin": "0"})
    export_labels.export_labels(project, tmp_path / "voc", "voc")
    (written,) = (tmp_path / "voc").rglob("*.xml")
    assert re.findall("<difficult>(.)</difficult>", written.read_text()) == ["1", "0"]
    export_labels.export_labels(project, tmp_path / "c.json", "coco")
    rows = json.loads((tmp_path / "c.json").read_text())["annotations"]
    assert [row.get("difficult", 0) for row in rows] == [1, 0]
