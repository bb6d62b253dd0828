"""Label Studio's JSON: real exports, who said what of which image, and what its own converters lose."""

import json
import math

import numpy as np
import pytest

from alctl.errors import AlctlError
from alctl.labels import rle
from alctl.labels.annotation import Annotation, Category, LabeledImage, Refusal
from alctl.labels.formats.label_studio import LabelStudio
from tests.data import real_data
from tests.studio import answers, box, near, notes, only, read, refusal, stroke, task

SDK = "label_studio_sdk/tests/custom/converter/data"

# --- real exports -----------------------------------------------------------------------------------------------------


def upright(value: dict[str, float], width: int, height: int) -> list[float]:
    """Return the box around a rotated one inside the image, by turning its corners as complex numbers."""
    corner = complex(value["x"] * width, value["y"] * height) / 100
    turn = complex(math.cos(math.radians(value["rotation"])), math.sin(math.radians(value["rotation"])))
    across, down = value["width"] * width / 100, value["height"] * height / 100
    corners = [corner + turn * complex(a, b) for a in (0, across) for b in (0, down)]
    left, right = (max(0.0, min(width, f(c.real for c in corners))) for f in (min, max))
    top, bottom = (max(0.0, min(height, f(c.imag for c in corners))) for f in (min, max))
    return [left, top, right - left, bottom - top]


@pytest.mark.parametrize(
    ("name", "boxes", "rotated"),
    [
        (f"{SDK}/test_export_yolo/data.json", 6, 0),
        (f"{SDK}/test_export_yolo/data_obb.json", 25, 25),
        ("ls_converter_generated/bbox/export.json", 61, 0),
    ],
)
def test_the_boxes_of_real_exports_are_where_annotators_drew_them(name, boxes, rotated):
    file = real_data("exports.tar.xz") / name
    records = list(LabelStudio().read(file))
    annotations = [a for entry in json.loads(file.read_text()) for a in entry["annotations"]]
    found = answers(records)
    assert len(found) == len(annotations)
    for answer, annotation in zip(found, annotations, strict=True):
        results = annotation["result"]
        assert len(answer.annotations) == len(results)
        assert answer.seconds == near(annotation["lead_time"])
        for got, result in zip(answer.annotations, results, strict=True):
            width, height = result["original_width"], result["original_height"]
            assert (answer.width, answer.height) == (width, height)
            assert [got.category] == result["value"]["rectanglelabels"]
            assert got.bbox == near(upright(result["value"], width, height))
    assert sum(len(answer.annotations) for answer in found) == boxes
    assert notes(records).get("rotated boxes became their upright hulls", 0) == rotated


def test_a_real_box_that_reaches_too_far_over_the_edge_costs_its_own_image_only():
    file = real_data("exports.tar.xz") / SDK / "test_export_csv/csv_test.json"
    car, problem = LabelStudio().read(file)
    assert isinstance(car, LabeledImage)
    assert car.path == "open-images/train_0/mini/0030019819f25b28.jpg"
    assert car.annotator == "user1@example.com"
    box = (4.857412088705009 * 7.68, 11.690682128240109 * 5.76, 92.51 * 7.68, 71.76 * 5.76)
    assert car.annotations == (Annotation("Car", bbox=near(box)),)
    assert problem == Refusal(
        0, "y + height is 101.57, but Label Studio counts in percent, from 0 to 100", "task 2, annotation 8"
    )


def test_a_real_classification_keeps_second_annotators_and_skips():
    file = real_data("exports.tar.xz") / "ls_converter_generated/classification/export.json"
    found = answers(LabelStudio().read(file))
    annotations = [(t, a) for t in json.loads(file.read_text()) for a in t["annotations"]]
    assert [(a.status, [x.category for x in a.annotations], a.annotator, a.made_at) for a in found] == [
        (
            "skip" if a["was_cancelled"] else "labeled",
            [choice for result in a["result"] for choice in result["value"]["choices"]],
            str(a["completed_by"]),
            f"{a['updated_at'][:19]}Z",
        )
        for _, a in annotations
    ]
    assert [a.where for a in found] == [f"task {t['id']}, annotation {a['id']}" for t, a in annotations]
    assert [a.path for a in found] == [
        t["data"]["image"].removeprefix("/data/upload/1/")[9:] for t, _ in annotations
    ]
    assert sum(answer.status == "skip" for answer in found) == 2


def test_an_image_that_was_looked_at_and_has_nothing_on_it_is_an_answer():
    found = answers(
        LabelStudio().read(real_data("exports.tar.xz") / "ls_converter_generated/bbox/export.json")
    )
    assert [answer.path for answer in found if not answer.annotations] == ["BloodImage_00197.jpg"]


def test_real_keypoints_belong_to_their_person_in_the_order_of_the_configuration():
    folder = real_data("exports.tar.xz") / SDK / "test_export_yolo"
    reader = LabelStudio(config=str(folder / "label_config_keypoints.xml"))
    records = list(reader.read(folder / "data_keypoints.json"))
    person = only(records)
    assert person.category == "person"
    assert person.bbox == near(
        (38.849487785658 * 2.16, 7.65957446808511 * 1.74, 47.304964539007095 * 2.16, 50.92198581560283 * 1.74)
    )
    assert person.keypoints[0] == (
        near(64.44444444444444 * 2.16),
        near(39.290780141843975 * 1.74),
        2,
    )
    assert [v for _, _, v in person.keypoints] == [2, 2, 2] + [0] * 14
    (category,) = [record for record in records if isinstance(record, Category)]
    assert (category.name, category.keypoints[:3]) == ("person", ("nose", "left_eye", "right_eye"))
    assert len(category.keypoints) == 17
    assert notes(records) == {"relations, texts, ratings, numbers and dates were left out": 5}


def test_real_keypoints_without_an_order_are_refused_with_what_to_do():
    file = real_data("exports.tar.xz") / SDK / "test_export_yolo" / "data_keypoints.json"
    with pytest.raises(AlctlError, match=r"--option config=FILE\.xml"):
        list(LabelStudio().read(file))


def test_real_keypoints_that_belong_to_nothing_are_those_of_the_only_box():
    folder = real_data("exports.tar.xz") / SDK / "test_export_coco"
    (answer,) = answers(LabelStudio(config=str(folder / "label_config.xml")).read(folder / "data.json"))
    rectangle, polygon = answer.annotations
    assert (answer.width, answer.height, answer.annotator) == (500, 320, "")
    assert rectangle.category == "rectangle_label"
    assert rectangle.keypoints == (
        (near(22.595281306715066 * 5), near(31.773049645390074 * 3.2), 2),
        (near(17.78584392014519 * 5), near(28.510638297872344 * 3.2), 2),
    )
    assert polygon.category == "polygon_label"
    assert polygon.segmentation == (
        near([41.742287 * 5, 3.546099 * 3.2, 41.560799 * 5, 12.198582 * 3.2, 45.372051 * 5, 12.48227 * 3.2]),
    )


@pytest.mark.parametrize(
    ("name", "points"),
    [("test_export_yolo/data_polygons.json", 37), ("test_export_json_min/data.json", 3)],
)
def test_real_polygons_are_read_in_pixels(name, points):
    file = real_data("exports.tar.xz") / SDK / name
    (result,) = json.loads(file.read_text())[0]["annotations"][0]["result"]
    annotation = only(LabelStudio().read(file))
    assert isinstance(annotation.segmentation, tuple)
    (polygon,) = annotation.segmentation
    sides = np.array([result["original_width"], result["original_height"]]) / 100
    assert np.array(polygon).reshape(-1, 2) == near(np.array(result["value"]["points"]) * sides)
    assert len(polygon) == 2 * points


@pytest.mark.parametrize(
    ("name", "refused", "taken"),
    [
        ("test_export_json_min/data_repeater.json", 1, 0),
        ("test_export_json_min/chat_data.json", 1, 0),
        ("test_export_csv/csv_test2.json", 1, 0),
        ("test_export_csv/csv_test_colliding_keys_mixed.json", 1, 0),
        ("test_export_csv/csv_test_history.json", 1, 0),
        ("test_export_doclang/data.json", 0, 3),
    ],
)
def test_real_exports_of_other_kinds_of_data_are_refused_task_by_task(name, refused, taken):
    records = list(LabelStudio().read(real_data("exports.tar.xz") / SDK / name))
    assert sum(isinstance(record, Refusal) for record in records) == refused
    assert sum(isinstance(record, LabeledImage) for record in records) == taken


@pytest.mark.parametrize("project", ["bbox", "classification"])
def test_a_real_json_min_export_is_told_from_the_one_that_holds_everything(project):
    file = real_data("exports.tar.xz") / "ls_converter_generated" / project / "json_min" / "result.json"
    assert "JSON-MIN" in LabelStudio().recognise(file)
    with pytest.raises(AlctlError, match="again as 'JSON'"):
        list(LabelStudio().read(file))


# --- answers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("who", "name"),
    [
        (7, "7"),
        ({"id": 7, "email": "a@b.c"}, "a@b.c"),
        ({"id": 7, "email": ""}, "7"),
        ({"email": None}, ""),
        ("ann", "ann"),
        (None, ""),
        (True, ""),
        ([1], ""),
    ],
)
def test_the_annotator_is_an_address_or_a_number(who, name):
    assert answers(read(task(completed_by=who)))[0].annotator == name


@pytest.mark.parametrize(
    ("value", "seconds", "noted"),
    [
        (3.5, 3.5, 0),
        (0, 0, 0),
        ("12.25", 12.25, 0),
        (None, None, 0),
        (-1, None, 1),
        ("x", None, 1),
        (1e99, None, 1),
    ],
)
def test_the_time_an_answer_took_is_kept_where_it_is_one(value, seconds, noted):
    records = read(task(lead_time=value))
    assert answers(records)[0].seconds == seconds
    assert sum(notes(records).values()) == noted


@pytest.mark.parametrize(
    ("times", "made_at"),
    [
        ({"updated_at": "2024-05-06T09:02:54.848973Z"}, "2024-05-06T09:02:54Z"),
        ({"updated_at": "2024-05-06T01:02:54+02:00"}, "2024-05-05T23:02:54Z"),
        ({"updated_at": "soon", "created_at": "2024-05-06T09:02:54"}, "2024-05-06T09:02:54Z"),
        ({"updated_at": 5, "created_at": "0001-01-01T00:00:00+10:00"}, ""),
        ({}, ""),
    ],
)
def test_when_an_answer_was_given_is_told_in_utc(times, made_at):
    assert answers(read(task(**times)))[0].made_at == made_at


def test_skips_empty_answers_drafts_and_open_tasks_are_four_things():
    tasks = [
        *task({"type": "textarea", "value": {"text": ["no"]}}, was_cancelled=True),
        *task(),
        {"id": 3, "data": {"image": "c.jpg"}, "annotations": [], "drafts": [{"result": [box("ant")]}]},
        {"id": 4, "data": {"image": "d.jpg"}, "predictions": [{"result": [box("ant")]}]},
    ]
    records = read(tasks)
    assert [(a.status, a.annotations) for a in answers(records)] == [("skip", ()), ("labeled", ())]
    assert notes(records) == {
        "drafts were left: they were never submitted": 1,
        "tasks are not annotated yet": 2,
    }


@pytest.mark.parametrize(
    ("data", "path"),
    [
        ({"image": "/data/local-files/?d=sub/a%20%26%20b%2B.jpg"}, "sub/a & b+.jpg"),
        ({"image": "/data/local-files?d=sub/a.jpg"}, "sub/a.jpg"),
        ({"image": "http://localhost:8080/data/local-files/?d=sub%5Ca.jpg"}, "sub\\a.jpg"),
        ({"image": "/data/upload/3/abcd1234-my%20name.jpg"}, "my name.jpg"),
        ({"image": "/data/upload/3/abcd1234-name.jpg", "alctl_item": 3}, "/data/upload/3/abcd1234-name.jpg"),
        ({"image": "/data/upload/29/example.png"}, "example.png"),
        ({"image": "https://host/b/a%20b.jpg?sig=1"}, "b/a b.jpg"),
        ({"image": "s3://bucket/b/a b#1.jpg"}, "b/a b#1.jpg"),
        ({"image": "file:///home/me/a%20b.jpg"}, "/home/me/a b.jpg"),
        ({"image": "http://[x/a.jpg"}, "http://[x/a.jpg"),
        ({"image": "C:\\pictures\\a.jpg"}, "C:\\pictures\\a.jpg"),
        ({"image": "plain/a?b#c%20.jpg"}, "plain/a?b#c%20.jpg"),
        ({"text": "no", "photo": "s3://bucket/b/a.JPG", "n": 3}, "b/a.JPG"),
        ({"image": "x.jpg", "path": "y.jpg", "alctl_sha256": "AB" * 32}, "y.jpg"),
        ({"image": "x.jpg", "path": "y.jpg"}, "x.jpg"),
    ],
)
def test_the_path_of_an_image_is_in_its_address(data, path):
    assert answers(read(task(data=data)))[0].path == path


def test_the_folder_below_the_document_root_is_taken_off():
    data = {"image": "/data/local-files/?d=photos/r1/a.jpg"}
    assert answers(read(task(data=data), {"root": "/photos/r1/"}))[0].path == "a.jpg"


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ({"text": "no picture"}, "no values that could be the image"),
        ({"left": "a.jpg", "right": "b.jpg"}, "2 values"),
        ({"image": ""}, "not a text"),
        ({"image": ["a.jpg"]}, "no values"),
        ({"image": "a.jpg", "alctl_item": -3}, "not a number that alctl gave out"),
        ({"image": "a.jpg", "alctl_item": [3]}, "not a number that alctl gave out"),
        ({"image": "a.jpg", "alctl_item": True}, "not a number that alctl gave out"),
        ({"image": "a.jpg", "alctl_sha256": "ab"}, "64 hexadecimal digits"),
    ],
)
def test_a_task_whose_image_nobody_can_tell_is_refused(data, problem):
    assert problem in refusal(read(task(data=data)))


@pytest.mark.parametrize(
    "bad",
    [
        {"data": {"image": "a.jpg"}, "annotations": {}},
        {"data": {"image": "a.jpg"}, "annotations": [3]},
        {"data": {"image": "a.jpg"}, "annotations": [{}]},
        {"data": [], "annotations": []},
        {},
        7,
        None,
    ],
)
def test_a_task_that_is_none_costs_itself_only(bad):
    records = read([*task(), bad])
    assert [type(record) for record in records] == [LabeledImage, Refusal]


@pytest.mark.parametrize(
    "content",
    ["[{}]", '[{"data": {}, "annotations": [', "{}", '{"data": {}}', "[3]", "[[]]", '[{"data": {}, "x": 1}]'],
)
def test_json_that_is_something_else_is_a_sentence(tmp_path, content):
    (tmp_path / "labels.json").write_text(content)
    assert LabelStudio().recognise(tmp_path / "labels.json") == ""
    with pytest.raises(AlctlError, match=r"Label Studio|is not JSON"):
        list(LabelStudio().read(tmp_path / "labels.json"))


def test_a_file_that_is_cut_off_is_a_sentence(tmp_path):
    whole = json.dumps([*task(box("ant")), *task(box("bee"))])
    (tmp_path / "labels.json").write_text(whole[:-20])
    with pytest.raises(AlctlError, match=r"cut off|is not JSON"):
        list(LabelStudio().read(tmp_path / "labels.json"))


def test_an_export_is_recognised_though_its_first_task_is_long(tmp_path):
    mask = np.random.default_rng(0).random((900, 900)) < 0.5
    (tmp_path / "labels.json").write_text(json.dumps(task(stroke(mask))))
    assert (tmp_path / "labels.json").stat().st_size > 1 << 20
    assert LabelStudio().recognise(tmp_path / "labels.json") == "a Label Studio export"
    assert only(LabelStudio().read(tmp_path / "labels.json")).segmentation == rle.of_mask(mask)
