"""`export-labels`, the command: whole or not at all, over nothing, with the split and the answers that were asked for."""

import csv
import json
from pathlib import Path

import pytest

from alctl.annotators import export_labels
from alctl.labels.format import FORMATS
from alctl.project import Project
from tests.annotating import SIDE
from tests.annotators.test_handout_formats import CARRIED, CASES, bytes_of
from tests.pools import reserve
from tests.project_files import make_images, make_project, small_project, take, write_csv
from tests.warm import run_warm, warm_json

BOX = ("item", "label", "x", "y", "width", "height", "annotator")


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Project]:
    """A project for each task, of the same four images in two folders, with a label each."""
    root = tmp_path_factory.mktemp("projects")
    for name, seed in (("a", 1), ("b", 2)):
        make_images(root / "images" / name, 2, seed=seed, size=SIDE)
    return {task: labeled(root, task) for task in CARRIED}


def labeled(root: Path, task: str) -> Project:
    project = make_project(root / task, root / "images", classes=(), task=task)
    file = root / f"{task}.json"
    shapes: dict[str, dict[str, object]] = {
        "classification": {},
        "detection": {"bbox": [1, 2, 30, 20]},
        "pose": {"bbox": [1, 2, 30, 20], "keypoints": [1, 2, 2, 3, 4, 2]},
        "segmentation": {"segmentation": [[1, 2, 31, 2, 31, 22]]},
    }
    points: dict[str, object] = {"keypoints": ["nose", "tail"]} if task == "pose" else {}
    places = ["a/0000.png", "a/0001.png", "b/0000.png", "b/0001.png"]
    file.write_text(
        json.dumps(
            {
                "images": [
                    {"id": n, "file_name": place, "width": SIDE, "height": SIDE}
                    for n, place in enumerate(places)
                ],
                "annotations": [
                    {"id": n, "image_id": n, "category_id": n % 2, **shapes[task]} for n in range(len(places))
                ],
                "categories": [{"id": n, "name": name, **points} for n, name in enumerate(("cat", "dog"))],
            }
        )
    )
    assert take(project, file, add_classes=True).added == 4
    return project


def write(project: Project, target: Path, name: str, *args: object):
    return warm_json("export-labels", target, "--format", name, *args, "--project", project.folder)


def refused(project: Project, target: Path, *args: object) -> str:
    done = run_warm("export-labels", target, *args, "--project", project.folder)
    assert done.returncode in (1, 2)
    return " ".join(done.stderr.split())


@pytest.mark.parametrize(("name", "task"), [case for case in CASES if case != ("masks", "detection")])
def test_what_is_written_says_the_same_to_the_project_that_it_came_from(name, task, projects, tmp_path):
    target = tmp_path / f"labels{FORMATS.load(name).suffix}"
    export_labels.export_labels(projects[task], target, name)
    assert all(not file.name.startswith(".") for file in tmp_path.iterdir())
    options = {"origin": "0"} if name == "voc" else {}
    fresh = make_project(tmp_path / "fresh", projects[task].folder.parent / "images", classes=(), task=task)
    result = take(fresh, target, add_classes=True, options=options)
    assert (result.added, result.rejected, result.unknown) == (4, [], 0)


@pytest.mark.parametrize("name", ["csv-objects", "label-studio", "yolo"])
def test_what_is_there_already_is_never_overwritten(name, projects, tmp_path):
    target = tmp_path / "labels"
    write(projects["detection"], target, name)
    before = bytes_of(tmp_path)
    assert "exists already" in refused(projects["detection"], target, "--format", name)
    assert bytes_of(tmp_path) == before


def test_what_a_format_writes_beside_its_file_is_moved_too_and_overwrites_nothing(projects, tmp_path):
    write(projects["detection"], tmp_path / "a.json", "label-studio")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "a.xml"]
    (tmp_path / "b.xml").write_text("mine")
    assert "b.xml exists already" in refused(
        projects["detection"], tmp_path / "b.json", "--format", "label-studio"
    )
    assert (tmp_path / "b.xml").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "a.xml", "b.xml"]


def test_a_folder_for_each_class_holds_the_images_themselves(projects, tmp_path):
    write(projects["classification"], tmp_path / "sorted", "folders")
    root = projects["classification"].folder.parent / "images"
    for place, name in (
        ("a/0000.png", "cat"),
        ("a/0001.png", "dog"),
        ("b/0000.png", "cat"),
        ("b/0001.png", "dog"),
    ):
        assert (tmp_path / "sorted" / name / place).samefile(root / place)


def rows(file: Path) -> list[tuple[str, str, str, str]]:
    with file.open(encoding="utf-8", newline="") as stream:
        return [
            (row["item"], row["label"], row["annotator"], row["status"]) for row in csv.DictReader(stream)
        ]


@pytest.mark.slow
def test_the_split_and_the_annotators_are_those_asked_for(tmp_path):
    project = small_project(tmp_path)
    answers = [(1, "cat", "ann", ""), (1, "dog", "bob", ""), (1, "dog", "eve", ""), (2, "cat", "ann", ""),
               (3, "", "ann", "skip"), (4, "", "bob", "unusable")]  # fmt: skip
    take(project, write_csv(tmp_path / "l.csv", answers, ("item", "label", "annotator", "status")))
    with project.writing("test") as connection:
        reserve(connection, "validation", [2])
    held = [("1", "dog", "", ""), ("2", "cat", "", ""), ("3", "", "", "skip"), ("4", "", "", "unusable")]
    for split, wanted in (("all", held), ("pool", [held[0], *held[2:]]), ("validation", held[1:2])):
        assert write(project, tmp_path / f"{split}.csv", "csv", "--split", split)["labels"] == len(wanted)
        assert rows(tmp_path / f"{split}.csv") == wanted
    write(project, tmp_path / "every.csv", "csv", "--every-annotator")
    assert rows(tmp_path / "every.csv") == [
        tuple(map(str, (i, name, who, said))) for i, name, who, said in answers
    ]
    assert "there are no labels" in refused(project, tmp_path / "test.csv", "--split", "test")


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (("--format", "cocoo"), "did you mean 'coco'"),
        (("--format", "coco", "--option", "nothing=1"), "has no parameter 'nothing'; it has: empty, file"),
        (("--format", "yolo", "--option", "kind=round"), "format 'yolo': kind"),
        (("--format", "yolo", "--option", "kind"), "NAME=VALUE"),
        (("--split", "train"), "'train' is not one of"),
    ],
)
def test_what_cannot_be_meant_is_said_and_nothing_is_written(args, sentence, projects, tmp_path):
    assert sentence in refused(projects["detection"], tmp_path / "labels", *args)
    assert list(tmp_path.iterdir()) == []


def test_a_target_in_a_folder_that_is_not_there_is_refused_and_a_failed_export_leaves_nothing(
    projects, tmp_path
):
    assert "there is no folder" in refused(projects["detection"], tmp_path / "no" / "labels.csv")
    root = tmp_path / "elsewhere"
    make_images(root, 1)
    project = make_project(tmp_path / "project", root)
    take(project, write_csv(tmp_path / "l.csv", [(1, "cat")]))
    (root / "0000.png").unlink()
    assert "0000.png" in refused(project, tmp_path / "sorted", "--format", "folders")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "l.csv", "project"]
