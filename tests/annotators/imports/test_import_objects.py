"""Labels in: what becomes of objects between a file and the pool, when something about them is not as it should be."""

import json
from pathlib import Path
from typing import Any

import pytest

from alctl.annotators.imports.problems import BadRowsError
from alctl.annotators.imports.undo import undo_import
from alctl.database import categories, labels
from alctl.database.tables import label as label_table
from alctl.labels import canonical_json
from alctl.project import Project
from alctl.status import status
from tests.project_files import make_images, make_project, take, write_csv

BOX = {"bbox": [2.0, 3.0, 4.0, 5.0]}


def coco(
    file: Path,
    found: dict[str, list[dict[str, Any]]],
    classes: tuple[Any, ...] = ("cat", "dog"),
    **size: int,
) -> Path:
    """Write annotations by file name; ``size`` is the images' declared width and height."""
    images = [{"id": n, "file_name": name, **size} for n, name in enumerate(found, 1)]
    rows = [
        {"image_id": n, "category_id": 1, **row} for n, some in enumerate(found.values(), 1) for row in some
    ]
    content = {
        "images": images,
        "annotations": [{**row, "id": n} for n, row in enumerate(rows, 1)],
        "categories": [
            {"id": n, **(one if isinstance(one, dict) else {"name": one})} for n, one in enumerate(classes, 1)
        ],
    }
    file.write_text(json.dumps(content), encoding="utf-8")
    return file


def project_of(folder: Path, task: str, **options: Any) -> Project:
    """Make a project of four images of 16 × 16 pixels, 0000.png … 0003.png."""
    make_images(folder / "images", 4, size=16)
    return make_project(folder / "project", folder / "images", task=task, **options)


def refused(project: Project, file: Path, sentence: str, **options: Any) -> None:
    """Import a file with a problem; look that nothing was changed."""
    before = status(project)
    with pytest.raises(BadRowsError, match=sentence):
        take(project, file, **options)
    assert status(project) == before


def class_names(project: Project) -> list[str]:
    """Return the class list."""
    with project.reading() as connection:
        return categories.categories(connection)


# --- what reaches over an edge ----------------------------------------------------------------------------------------


def test_an_object_of_which_clipping_would_leave_nothing_is_refused_and_does_not_vanish(tmp_path):
    project = project_of(tmp_path, "detection")
    beside = {"bbox": [-0.9, 1.0, 0.8, 4.0]}
    refused(project, coco(tmp_path / "l.json", {"0000.png": [beside, BOX]}), "reaches over its edge: -0.9")
    below = {"bbox": [2.0, 16.2, 3.0, 0.5]}
    refused(project, coco(tmp_path / "l.json", {"0001.png": [below]}), "reaches over its edge")


def test_an_outline_of_which_clipping_would_leave_no_area_is_refused(tmp_path):
    project = project_of(tmp_path, "segmentation")
    outline = {"segmentation": [[-0.9, 1, -0.1, 1, -0.5, 5]]}
    refused(project, coco(tmp_path / "l.json", {"0000.png": [outline]}), "reaches over its edge: -0.9")


def answers(file: Path, first: list[Any], second: list[Any]) -> Path:
    """Write Label Studio's answers of one annotator to 0000.png at two times: boxes in percent, of an unknown size."""
    found = [
        {
            "id": n,
            "completed_by": 1,
            "updated_at": f"2026-01-0{n}T00:00:00Z",
            "result": [
                {
                    "type": "rectanglelabels",
                    "value": {
                        "x": x, "y": 10, "width": 50, "height": 50, "rectanglelabels": ["cat"],
                    },
                }
                for x in boxes
            ],
        }
        for n, boxes in enumerate((first, second), 1)
    ]  # fmt: skip
    file.write_text(json.dumps([{"id": 1, "data": {"image": "0000.png"}, "annotations": found}]))
    return file


def test_an_older_answer_in_fractions_goes_into_the_history_in_pixels(tmp_path):
    project = project_of(tmp_path, "detection")
    assert take(project, answers(tmp_path / "l.json", [10], [20])).added == 1
    with project.reading() as connection:
        texts = connection.execute(label_table.select().order_by(label_table.c.id)).mappings()
        boxes = [canonical_json.loads(row["annotations"])[0][0].bbox for row in texts]
    assert boxes == [(1.6, 1.6, 8.0, 8.0), (3.2, 1.6, 8.0, 8.0)]


def test_an_answer_that_cannot_be_taken_does_not_make_the_one_before_it_count_as_unchanged(tmp_path):
    project = project_of(tmp_path, "detection")
    result = take(project, answers(tmp_path / "l.json", [10], [60]), skip_bad=True)
    assert (result.added, result.unchanged, len(result.rejected)) == (1, 0, 1)


# --- masks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width"), [(8, 8), (17, 16), (16, 17)])
def test_a_mask_that_is_not_of_its_images_size_is_refused_though_the_file_declares_none(
    tmp_path, height, width
):
    project = project_of(tmp_path, "segmentation")
    mask = {"segmentation": {"size": [height, width], "counts": [10, 20, height * width - 30]}}
    sentence = f"16 × 16 pixels, and its labels are for {width} × {height}"
    refused(project, coco(tmp_path / "l.json", {"0000.png": [mask]}), sentence)


def test_two_masks_of_one_image_have_one_size(tmp_path):
    project = project_of(tmp_path, "segmentation")
    masks = [
        {"segmentation": {"size": [side, side], "counts": [10, 20, side * side - 30]}} for side in (16, 8)
    ]
    refused(
        project, coco(tmp_path / "l.json", {"0000.png": masks}), "a mask of 8 × 8 pixels in an image of 16"
    )


# --- keypoints --------------------------------------------------------------------------------------------------------

POSE = {**BOX, "keypoints": [1, 1, 2, 5, 5, 2], "num_keypoints": 2}


def person(*keypoints: str) -> tuple[dict[str, Any], ...]:
    """Return the class of COCO with these keypoints."""
    return ({"name": "person", "keypoints": list(keypoints)},)


def test_skip_bad_takes_no_pose_whose_keypoints_stand_in_another_order(tmp_path):
    project = project_of(tmp_path, "pose", classes=())
    take(project, coco(tmp_path / "a.json", {"0000.png": [POSE]}, person("nose", "tail")), add_classes=True)
    other = coco(tmp_path / "b.json", {"0001.png": [POSE]}, person("tail", "nose"))
    result = take(project, other, skip_bad=True, add_classes=True)
    assert (result.added, len(result.rejected)) == (0, 2)
    assert "keypoints tail, nose in the file, and nose, tail" in result.rejected[1].problem


def test_two_files_of_a_folder_that_order_keypoints_differently_are_refused(tmp_path):
    project = project_of(tmp_path, "pose", classes=())
    (tmp_path / "both").mkdir()
    coco(tmp_path / "both" / "person_keypoints_a.json", {"0000.png": [POSE]}, person("nose", "tail"))
    coco(tmp_path / "both" / "person_keypoints_b.json", {"0001.png": [POSE]}, person("tail", "nose"))
    refused(project, tmp_path / "both", "nose, tail in one part of the file", add_classes=True)
    result = take(project, tmp_path / "both", add_classes=True, skip_bad=True)
    assert (result.added, result.new_classes) == (1, ["person"])


# --- new classes ------------------------------------------------------------------------------------------------------


def test_a_class_that_only_rejected_rows_have_is_not_made(tmp_path):
    project = project_of(tmp_path, "classification")
    rows = [(99, "typo"), (1, "owl"), (98, "tpyo"), (2, "fox"), (3, "cat")]
    result = take(project, write_csv(tmp_path / "l.csv", rows), skip_bad=True, add_classes=True)
    assert (result.added, result.new_classes) == (3, ["owl", "fox"])
    assert class_names(project) == ["cat", "dog", "owl", "fox"]
    with project.reading() as connection:
        assert labels.labeled_items(connection, "pool") == [(1, 3, None), (2, 4, None), (3, 1, None)]


def test_a_class_that_only_images_outside_the_pool_have_is_not_made(tmp_path):
    project = project_of(tmp_path, "pose", classes=("cat",))
    classes = ({"name": "typo", "keypoints": ["x"]}, *person("nose", "tail"))
    stray = {**BOX, "keypoints": [1, 1, 2], "num_keypoints": 1}
    file = coco(
        tmp_path / "l.json", {"nowhere.png": [stray], "0001.png": [{**POSE, "category_id": 2}]}, classes
    )
    assert take(project, file, add_classes=True).new_classes == ["person"]
    with project.reading() as connection:
        assert [(c.id, c.name, c.keypoints) for c in categories.class_list(connection)] == [
            (1, "cat", ()),
            (2, "person", ("nose", "tail")),
        ]
        ((_, _, text),) = labels.labeled_items(connection, "pool")
    assert [id_ for _, id_ in canonical_json.loads(text or "")] == [2]


# --- again, after an undo ---------------------------------------------------------------------------------------------


def test_a_file_is_taken_again_if_an_import_that_it_agreed_with_was_undone(tmp_path):
    project = project_of(tmp_path, "classification")
    take(project, write_csv(tmp_path / "a.csv", [(1, "cat")]))
    file = write_csv(tmp_path / "b.csv", [(1, "cat"), (2, "dog")])
    both = take(project, file)
    assert (both.added, both.unchanged) == (1, 1)
    undo_import(project, 1)
    again = take(project, file)
    assert (again.earlier, again.added, again.unchanged) == (None, 1, 1)
