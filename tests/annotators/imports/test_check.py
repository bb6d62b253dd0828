"""What an importer must check, one by one: each of these has cost somebody labels in some tool.

The files are COCO, because it can hold everything; what each format itself checks is tested beside the format.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from alctl.annotators.imports.problems import BadRowsError
from alctl.annotators.imports.recognise import recognised
from alctl.database import categories, labels
from alctl.database.tables import label as label_table
from alctl.errors import AlctlError
from alctl.labels import canonical_json
from alctl.labels.annotation import Annotation
from alctl.project import Project
from alctl.status import status
from tests.project_files import make_images, make_project, small_project, take, write_csv

BOX = [2.0, 3.0, 4.0, 5.0]


def coco(
    file: Path,
    boxes: dict[str, list[Any]],
    *,
    size: tuple[int, int] = (16, 16),
    classes: tuple[str, ...] = ("cat", "dog"),
    **more: Any,
) -> Path:
    """Write boxes by file name, each a COCO bbox or a whole annotation."""
    images = [
        {"id": n, "file_name": name, "width": size[0], "height": size[1]} for n, name in enumerate(boxes, 1)
    ]
    annotations = [
        {"image_id": n, "category_id": 1, "iscrowd": 0, **(box if isinstance(box, dict) else {"bbox": box})}
        for n, found in enumerate(boxes.values(), 1)
        for box in found
    ]
    for n, annotation in enumerate(annotations, 1):
        annotation["id"] = n
    categories = [{"id": n, "name": name} for n, name in enumerate(classes, 1)]
    content = {"images": images, "categories": categories, "annotations": annotations, **more}
    file.write_text(json.dumps(content), encoding="utf-8")
    return file


@pytest.fixture
def project(tmp_path):
    """Six images of 16 × 16 pixels, 0000.png … 0005.png, to be labeled with boxes of cat and dog."""
    return small_project(tmp_path, 6, size=16, task="detection")


def objects_of(project: Project) -> dict[int, tuple[Annotation, ...]]:
    """Return what holds for each labeled item."""
    with project.reading() as connection:
        names = categories.categories(connection)
        return {
            i: canonical_json.named(text or "[]", names)
            for i, _, text in labels.labeled_items(connection, "pool")
        }


def refused(project: Project, file: Path, sentence: str, **options: Any) -> None:
    """Import a file with one problem; look that nothing was changed."""
    before = status(project)
    with pytest.raises(BadRowsError, match=sentence):
        take(project, file, **options)
    assert status(project) == before


# --- 1: which image ---------------------------------------------------------------------------------------------------


def test_an_image_is_matched_by_item_then_digest_then_path_then_unique_name(project, tmp_path):
    digest = hashlib.sha256((tmp_path / "images" / "0002.png").read_bytes()).hexdigest()
    rows = [
        ("", "renamed.png", digest),
        ("", "images/0003.png", ""),
        ("", "elsewhere/0004.png", ""),
        (1, "", ""),
    ]
    plain = make_project(tmp_path / "plain", tmp_path / "images")
    header = ("item", "path", "sha256", "label")
    result = take(plain, write_csv(tmp_path / "l.csv", [(*row, "cat") for row in rows], header))
    assert result.added == 4
    with plain.reading() as connection:
        assert [row[0] for row in labels.labeled_items(connection, "pool")] == [1, 3, 4, 5]


def test_a_digest_goes_before_a_path_that_another_image_has_by_now(tmp_path):
    make_images(tmp_path / "images", 2)
    plain = make_project(tmp_path / "plain", tmp_path / "images")
    digest = hashlib.sha256((tmp_path / "images" / "0000.png").read_bytes()).hexdigest()
    take(plain, write_csv(tmp_path / "l.csv", [("0001.png", digest, "cat")], ("path", "sha256", "label")))
    with plain.reading() as connection:
        assert [row[0] for row in labels.labeled_items(connection, "pool")] == [1]


def test_an_item_whose_bytes_are_others_is_of_another_project(tmp_path):
    make_images(tmp_path / "images", 2)
    plain = make_project(tmp_path / "plain", tmp_path / "images")
    refused(
        plain,
        write_csv(tmp_path / "l.csv", [(1, "ab" * 32, "cat")], ("item", "sha256", "label")),
        "other bytes than the file says",
    )


def test_a_name_without_its_suffix_is_matched_if_only_one_image_has_it(project, tmp_path):
    assert take(project, coco(tmp_path / "l.json", {"0001": [BOX]})).added == 1
    Image.new("RGB", (16, 16)).save(tmp_path / "images" / "0001.bmp")
    other = make_project(tmp_path / "other", tmp_path / "images", task="detection")
    refused(other, tmp_path / "l.json", r"may be '0001\.bmp' or '0001\.png'")


def test_a_folder_tells_images_of_one_name_apart_and_without_it_both_are_named(tmp_path):
    for n, folder in enumerate(("a", "b")):
        make_images(tmp_path / "images" / folder, 2, size=16, seed=n)
    project = make_project(tmp_path / "project", tmp_path / "images", task="detection")
    refused(project, coco(tmp_path / "l.json", {"0001.png": [BOX]}), r"'a/0001\.png' or 'b/0001\.png'")
    take(project, coco(tmp_path / "m.json", {"set/b/0001.png": [BOX]}))
    assert list(objects_of(project)) == [4]


def test_ids_and_the_order_in_a_file_mean_nothing(project, tmp_path):
    boxes = {f"000{n}.png": [[n, n, 2.0, 2.0]] for n in (5, 3, 1)}
    take(project, coco(tmp_path / "l.json", boxes))
    assert {i: found[0].bbox for i, found in objects_of(project).items()} == {
        2: (1.0, 1.0, 2.0, 2.0), 4: (3.0, 3.0, 2.0, 2.0), 6: (5.0, 5.0, 2.0, 2.0),
    }  # fmt: skip


# --- 2: unknown images, unknown classes, nothing to import ------------------------------------------------------------


def test_images_that_are_not_in_the_pool_are_counted_named_and_left(project, tmp_path):
    result = take(
        project, coco(tmp_path / "l.json", {"0001.png": [BOX], "beach.png": [BOX], "cow.png": [BOX]})
    )
    assert (result.added, result.unknown, result.unknown_paths) == (1, 2, ["beach.png", "cow.png"])


def test_images_that_are_not_in_the_pool_can_be_refused(project, tmp_path):
    file = coco(tmp_path / "l.json", {"0001.png": [BOX], "beach.png": [BOX]})
    refused(project, file, "'beach.png' is not in the pool", unknown_images="refuse")


def test_the_file_of_another_project_is_refused_as_a_whole(project, tmp_path):
    with pytest.raises(AlctlError, match=r"none of the 2 images .* is in the pool"):
        take(project, coco(tmp_path / "l.json", {"beach.png": [BOX], "cow.png": [BOX]}))


def test_images_that_were_left_are_taken_once_they_are_in_the_pool(project, tmp_path):
    file = coco(tmp_path / "l.json", {"0001.png": [BOX], "beach.png": [BOX]})
    take(project, file)
    assert take(project, file).earlier is None


def test_an_unknown_class_of_an_object_is_refused_with_the_nearest_one(project, tmp_path):
    file = coco(tmp_path / "l.json", {"0001.png": [BOX]}, classes=("catt",))
    refused(project, file, "class 'catt' is not in the class list; did you mean 'cat'")
    assert take(project, file, add_classes=True).new_classes == ["catt"]


def test_a_file_that_declares_classes_and_holds_no_label_is_an_error(project, tmp_path):
    with pytest.raises(AlctlError, match=r"l\.json"):
        take(project, coco(tmp_path / "l.json", {"0001.png": [], "0002.png": []}))
    assert status(project).imports == []


# --- 3: units ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("box", "sentence"),
    [
        ([2, 3, 0, 5], "0 × 5 pixels"),
        ([2, 3, 4, -5], "4 × -5 pixels"),
        ([2, 3, 1e308, 1e308], "reaches over its edge|not finite|NaN or Infinity"),
        ([200, 3, 4, 5], "reaches over its edge"),
        ([-3, 3, 9, 5], "reaches over its edge"),
        ({"segmentation": [[1, 1, 2, 2]]}, "polygon"),
    ],
)
def test_a_shape_that_cannot_be_is_refused(project, tmp_path, box, sentence):
    refused(project, coco(tmp_path / "l.json", {"0001.png": [BOX, box]}), sentence)


def test_a_shape_that_reaches_over_by_a_rounding_is_clipped_and_counted(project, tmp_path):
    result = take(project, coco(tmp_path / "l.json", {"0001.png": [[-0.4, 10, 8, 6.5]], "0002.png": [BOX]}))
    assert [count for what, count in result.notes.items() if "clipped" in what] == [1]
    assert objects_of(project)[2][0].bbox == (0.0, 10.0, 7.6, 6.0)


# --- 4: sizes ---------------------------------------------------------------------------------------------------------


def test_labels_made_for_another_size_are_refused(project, tmp_path):
    file = coco(tmp_path / "l.json", {"0001.png": [BOX]}, size=(32, 32))
    refused(project, file, "is 16 × 16 pixels, and its labels are for 32 × 32")


def test_labels_of_an_image_that_the_tool_did_not_turn_upright_are_refused_with_the_reason(tmp_path):
    (tmp_path / "images").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (32, 16), "red").save(tmp_path / "images" / "a.jpg", exif=exif)
    project = make_project(tmp_path / "project", tmp_path / "images", task="detection")
    file = coco(tmp_path / "l.json", {"a.jpg": [BOX]}, size=(32, 16))
    refused(project, file, "did not turn it as its EXIF data say")
    assert take(project, coco(tmp_path / "m.json", {"a.jpg": [BOX]}, size=(16, 32))).added == 1


# --- 7, 8: empty, missing, skipped; several answers -------------------------------------------------------------------


def test_an_image_without_objects_is_an_answer_only_if_somebody_says_so(project, tmp_path):
    file = coco(tmp_path / "l.json", {"0001.png": [BOX], "0002.png": []})
    result = take(project, file)
    assert result.added == 1
    assert any("empty" in what for what in result.notes)
    again = take(project, file, options={"empty": "true"})  # the same bytes, read in another way
    assert (again.earlier, again.added, again.unchanged) == (None, 1, 1)
    assert objects_of(project)[3] == ()


def test_an_option_is_remembered_by_the_project(project, tmp_path):
    take(project, coco(tmp_path / "l.json", {"0001.png": [BOX], "0002.png": []}), options={"empty": "true"})
    again = take(project, coco(tmp_path / "m.json", {"0004.png": [BOX], "0005.png": []}))
    assert again.options == {"empty": "true"}
    assert again.added == 2


def test_a_dry_run_remembers_no_option(project, tmp_path):
    file = coco(tmp_path / "l.json", {"0001.png": [BOX]})
    take(project, file, options={"empty": "true"})
    take(project, coco(tmp_path / "m.json", {"0002.png": [BOX]}), options={"empty": "false"})
    assert take(project, file, options={"empty": "true"}, dry_run=True).earlier == 1
    assert take(project, file).options == {"empty": "false"}


def test_every_annotators_answer_is_kept(project, tmp_path):
    for n, who in enumerate(("ann", "bob")):
        take(project, coco(tmp_path / f"{who}.json", {"0001.png": [[n, n, 2, 2]]}), annotator=who)
    with project.reading() as connection:
        rows = connection.execute(label_table.select()).mappings().all()
    assert [row["annotator"] for row in rows] == ["ann", "bob"]


# --- 9: again ---------------------------------------------------------------------------------------------------------


def test_the_same_objects_in_another_order_are_no_change(project, tmp_path):
    other = [1.0, 1.0, 9.0, 9.0]
    take(project, coco(tmp_path / "l.json", {"0001.png": [BOX, other]}))
    assert take(project, coco(tmp_path / "m.json", {"0001.png": [other, BOX]})).unchanged == 1


def test_a_moved_box_is_a_new_row_and_the_old_one_stays(project, tmp_path):
    take(project, coco(tmp_path / "l.json", {"0001.png": [BOX]}))
    assert take(project, coco(tmp_path / "m.json", {"0001.png": [[2.5, 3.0, 4.0, 5.0]]})).changed == 1
    assert objects_of(project)[2][0].bbox == (2.5, 3.0, 4.0, 5.0)
    with project.reading() as connection:
        assert len(connection.execute(label_table.select()).all()) == 2


def test_the_noise_of_a_division_is_no_change_of_a_label(project, tmp_path):
    from alctl.labels.annotation import LabeledImage
    from alctl.labels.formats.yolo import Yolo

    boxes = [[x / 7, x / 3, 1 + x / 9, 2 + x / 11] for x in range(1, 9)]
    take(project, coco(tmp_path / "l.json", {"0001.png": [[round(n, 6) for n in box] for box in boxes]}))
    held = LabeledImage("0001.png", objects_of(project)[2], width=16, height=16)
    with project.reading() as connection:
        Yolo().write([held], tmp_path / "yolo", categories.as_categories(connection))
    assert take(project, tmp_path / "yolo").unchanged == 1


# --- 10: files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [0.1, 0.5, 0.9, 0.999])
def test_a_file_that_is_cut_off_is_an_error_and_nothing_is_taken(project, tmp_path, cut):
    whole = coco(tmp_path / "l.json", {f"000{n}.png": [BOX] for n in range(6)}).read_bytes()
    (tmp_path / "l.json").write_bytes(whole[: int(len(whole) * cut)])
    with pytest.raises(AlctlError, match=r"l\.json"):
        take(project, tmp_path / "l.json", format="coco")
    assert status(project).imports == []


@pytest.mark.parametrize(
    "name", ["0001.png", ".\\0001.png", "C:\\data\\0001.png", "images/0001.png", "/x/y/0001.png"]
)
def test_paths_of_any_system_are_understood(project, tmp_path, name):
    assert take(project, coco(tmp_path / "l.json", {name: [BOX]})).added == 1


def test_a_byte_order_mark_is_no_reason_to_fail(project, tmp_path):
    file = coco(tmp_path / "l.json", {"0001.png": [BOX]})
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert take(project, file).added == 1


# --- the task, and what a file is -------------------------------------------------------------------------------------


def test_what_a_file_was_taken_for_is_said(project, tmp_path):
    result = take(project, coco(tmp_path / "l.json", {"0001.png": [BOX]}))
    assert (result.format, "COCO" in result.recognised) == ("coco", True)


def test_boxes_for_a_project_of_whole_images_are_refused(tmp_path):
    make_images(tmp_path / "images", 2, size=16)
    plain = make_project(tmp_path / "plain", tmp_path / "images")
    refused(
        plain, coco(tmp_path / "l.json", {"0001.png": [BOX]}), "the task of this project is classification"
    )


def test_whole_images_for_a_project_of_boxes_are_refused(project, tmp_path):
    refused(
        project,
        write_csv(tmp_path / "l.csv", [(1, "cat")]),
        "not where; the task of this project is detection",
    )


def test_outlines_get_boxes_where_boxes_are_asked_for(project, tmp_path):
    polygon = {"segmentation": [[1, 2, 9, 2, 9, 8]]}
    take(project, coco(tmp_path / "l.json", {"0001.png": [polygon]}))
    (found,) = objects_of(project)[2]
    assert (found.bbox, found.segmentation) == ((1.0, 2.0, 8.0, 6.0), ((1.0, 2.0, 9.0, 2.0, 9.0, 8.0),))


def test_a_pose_needs_the_keypoints_that_the_class_has(tmp_path):
    project = small_project(tmp_path, 3, size=16, task="pose", classes=("person",))
    person = {"bbox": BOX, "keypoints": [1, 1, 2, 2, 2, 1], "num_keypoints": 2}
    names = [{"id": 1, "name": "person", "keypoints": ["nose", "tail"], "skeleton": [[1, 2]]}]
    file = coco(tmp_path / "l.json", {"0001.png": [person]}, classes=("person",), categories=names)
    refused(project, file, "no keypoints in this project")
    take(project, file, add_classes=True)
    assert objects_of(project)[2][0].keypoints == ((1.0, 1.0, 2), (2.0, 2.0, 1))
    other = [{"id": 1, "name": "person", "keypoints": ["tail", "nose"]}]
    turned = coco(tmp_path / "m.json", {"0002.png": [person]}, classes=("person",), categories=other)
    refused(project, turned, "keypoints tail, nose in the file, and nose, tail in this project")


def test_what_is_none_of_the_formats_lists_them(tmp_path):
    (tmp_path / "x.json").write_text('{"a": 1}')
    with pytest.raises(AlctlError, match=r"none of the formats that alctl knows.*coco"):
        recognised(tmp_path / "x.json")
