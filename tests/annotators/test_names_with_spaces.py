"""Names that begin or end with a space, beside the same names without: they stay apart through every format."""

import json
from pathlib import Path

import pytest

from alctl.annotators import export_labels
from alctl.database.bulk import run
from alctl.dataset.index import Options, create, manifest_dataset
from alctl.files import write_whole
from alctl.labels.format import FORMATS
from alctl.project import CONFIG, Project, config_text, open_project
from tests.annotating import SIDE
from tests.annotators.test_handout_formats import CARRIED, CASES
from tests.project_files import make_images, make_project, no_progress, take

NAMES = (" a.png", "a.png", "d /x.png", "d/x.png", " d/x.png", "t .png", "t.png", "d / y .png", "d /y.png")
SHAPES: dict[str, dict[str, object]] = {
    "classification": {},
    "detection": {"bbox": [1, 2, 30, 20]},
    "pose": {"bbox": [1, 2, 30, 20], "keypoints": [1, 2, 2, 3, 4, 2]},
    "segmentation": {"segmentation": [[1, 2, 31, 2, 31, 22]]},
}


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Project]:
    """A project for each task, of the same images, every other one a cat."""
    root = tmp_path_factory.mktemp("spaces")
    plain = root / "plain"
    make_images(plain, len(NAMES), seed=3, size=SIDE)
    for file, name in zip(sorted(plain.iterdir()), NAMES, strict=True):
        (root / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        file.rename(root / "images" / name)
    return {task: labeled(root, task) for task in CARRIED}


def labeled(root: Path, task: str) -> Project:
    project = make_project(root / task, root / "images", classes=(), task=task)
    points: dict[str, object] = {"keypoints": ["nose", "tail"]} if task == "pose" else {}
    file = root / f"{task}.json"
    file.write_text(
        json.dumps(
            {
                "images": [
                    {"id": n, "file_name": name, "width": SIDE, "height": SIDE}
                    for n, name in enumerate(NAMES)
                ],
                "annotations": [
                    {"id": n, "image_id": n, "category_id": n % 2, **SHAPES[task]} for n in range(len(NAMES))
                ],
                "categories": [{"id": n, "name": name, **points} for n, name in enumerate(("cat", "dog"))],
            }
        )
    )
    assert take(project, file, add_classes=True).added == len(NAMES)
    return project


def classes_of(project: Project) -> dict[str, str]:
    """Return the name of the class of each image, of the whole of it or of its one object."""
    with project.reading() as connection:
        names = {row.id: row.name for row in run(connection, "SELECT id, name FROM category")}
        rows = run(
            connection,
            "SELECT i.path, l.category_id, l.annotations FROM label AS l JOIN item AS i ON i.id = l.item_id",
        ).all()
    return {row.path: names[row.category_id or json.loads(row.annotations)[0]["category"]] for row in rows}


@pytest.mark.parametrize(("name", "task"), [case for case in CASES if case != ("masks", "detection")])
def test_spaces_at_the_ends_of_names_survive_every_format(name, task, projects, tmp_path):
    expected = {path: ("cat", "dog")[n % 2] for n, path in enumerate(NAMES)}
    assert classes_of(projects[task]) == expected
    target = tmp_path / f"labels{FORMATS.load(name).suffix}"
    export_labels.export_labels(projects[task], target, name)
    fresh = make_project(tmp_path / "fresh", projects[task].folder.parent / "images", classes=(), task=task)
    result = take(fresh, target, add_classes=True, options={"origin": "0"} if name == "voc" else {})
    assert (result.added, result.rejected, result.unknown) == (len(NAMES), [], 0)
    assert classes_of(fresh) == expected


def test_a_table_that_people_typed_means_the_name_with_the_space_only_where_it_is(tmp_path):
    project = make_project(tmp_path / "p", spaced(tmp_path, " a.png", "a.png", "b.png"))
    file = tmp_path / "l.csv"
    file.write_text("path,label\n a.png,cat\na.png,dog\n b.png ,cat\n")
    assert take(project, file).added == 3
    assert classes_of(project) == {" a.png": "cat", "a.png": "dog", "b.png": "cat"}


@pytest.mark.parametrize("called", ["a.png ", "a.png"])
def test_a_list_of_yolo_with_a_space_at_a_line_end_means_the_image_that_is_called_so(tmp_path, called):
    """A manifest takes files of any name."""
    root = spaced(tmp_path, called, "b.png")
    manifest = root / "m.csv"
    manifest.write_text(f"path\n{called}\nb.png\n")
    project = open_project_of(tmp_path / "p", manifest)
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (tmp_path / "set" / "classes.txt").write_text("cat\n")
    (tmp_path / "set" / "train.txt").write_text("a.png \nb.png\n")
    assert take(project, tmp_path / "set", add_classes=True, format="yolo").added == 1
    assert classes_of(project) == {called: "cat"}


def test_a_number_with_an_untidy_path_is_still_that_item(tmp_path):
    project = make_project(tmp_path / "p", spaced(tmp_path, " a.png", "b.png"))
    file = tmp_path / "l.csv"
    file.write_text("item,path,label\n1, a.png,cat\n2, b.png ,dog\n")
    assert take(project, file).added == 2


def test_a_manifest_names_files_as_they_are_called(tmp_path):
    root = spaced(tmp_path, " a.png", "d /b.png")
    for file, text in (
        (root / "m.csv", "path,label\n a.png, cat \nd /b.png,dog\n"),
        (root / "m.jsonl", '{"path": " a.png", "label": " cat "}\n{"path": "d /b.png", "label": "dog"}\n'),
    ):
        file.write_text(text)
        entries = list(manifest_dataset(file).entries())
        assert [(entry.path, entry.category) for entry in entries] == [(" a.png", "cat"), ("d /b.png", "dog")]


def open_project_of(folder: Path, manifest: Path) -> Project:
    """Make a project of boxes of a manifest's images."""
    wanted = Options(classes=(), validation=0, test=0, task="detection")
    create(folder, manifest_dataset(manifest), wanted, no_progress)
    write_whole(folder / CONFIG, config_text(first="random"))
    return open_project(folder)


def spaced(folder: Path, *names: str) -> Path:
    """Make images of these names."""
    make_images(folder / "plain", len(names))
    for file, name in zip(sorted((folder / "plain").iterdir()), names, strict=True):
        (folder / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        file.rename(folder / "images" / name)
    return folder / "images"
