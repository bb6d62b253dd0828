"""What annotators drew in Label Studio: shapes, points and their labels."""

import re
from typing import Any

import numpy as np
import pytest

from alctl.errors import AlctlError
from alctl.labels import rle
from alctl.labels.annotation import Annotation, Category, LabeledImage, Note, Refusal
from tests.studio import answers, box, near, notes, only, point, read, refusal, region, stroke, task

# --- shapes   ---------------------------------------------------------------------------------------------------------


def test_a_box_turned_by_a_right_angle_is_where_it_is_and_not_where_the_converter_puts_it():
    records = read(task(box("ant", x=40, y=20, width=30, height=20, rotation=90)))
    assert only(records).bbox == near((300, 100, 100, 300))
    assert notes(records) == {"rotated boxes became their upright hulls": 1}


def test_a_rotated_box_whose_hull_reaches_over_the_edge_is_cut_off_there():
    found = only(read(task(box("ant", x=2, y=2, width=20, height=10, rotation=45)))).bbox
    assert found is not None
    assert found[0] == 0
    assert found[1] == near(10)


def test_a_rotated_box_far_outside_or_without_an_area_is_refused():
    assert "without an area" in refusal(read(task(box("ant", width=0, height=0, rotation=10))))
    assert "middle of a rotated box" in refusal(read(task(box("ant", x=400, rotation=10))))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"x": 102}, "x is 102, but Label Studio counts in percent"),
        ({"x": 90, "width": 12}, "x \\+ width is 102"),
        ({"y": -1.5}, "y is -1.5"),
        ({"height": 300}, "y \\+ height is 310"),
        ({"x": None}, "x is missing"),
        ({"x": "10"}, "x is '10'"),
        ({"x": True}, "x is True"),
        ({"x": 1e300}, "x is 1e\\+300"),
        ({"x": [1]}, "x is a list"),
        ({"rotation": "much"}, "rotation is 'much'"),
        ({"image_rotation": 90}, "turned by 90 degrees"),
        ({"original_width": 0}, "an image of 0 × 500"),
        ({"original_width": 10.5}, "an image of 10.5 × 500"),
        ({"original_height": None}, "original_height is missing"),
        ({"item_index": 1}, "one of several images"),
    ],
)
def test_a_box_that_makes_no_sense_is_refused(change, problem):
    assert re.search(problem, refusal(read(task(box("ant", **change)))))


def test_small_numbers_are_percent_like_others():
    first, second = box("ant", x=0.5, y=0.5, width=0.4, height=0.3), box("bee", x=0, y=0, width=1, height=1)
    (answer,) = answers(read(task(first, second)))
    assert [a.bbox for a in answer.annotations] == [
        near((5, 2.5, 4, 1.5)),
        near((0, 0, 10, 5)),
    ]
    assert not answer.relative


NO_SIZE: dict[str, Any] = {"original_width": None, "original_height": None}


def test_without_the_size_of_the_image_coordinates_are_fractions():
    polygon = region("polygonlabels", {"points": [[1, 2], [3, 4], [50, 100]]}, "bee", **NO_SIZE)
    (answer,) = answers(read(task(box("ant", **NO_SIZE), polygon)))
    assert (answer.relative, answer.width) == (True, None)
    assert answer.annotations[0].bbox == near((0.1, 0.1, 0.2, 0.4))
    assert answer.annotations[1].segmentation == (near((0.01, 0.02, 0.03, 0.04, 0.5, 1)),)


@pytest.mark.parametrize(
    "shape", [box("ant", rotation=3, **NO_SIZE), stroke(np.eye(3, dtype=bool), **NO_SIZE)]
)
def test_what_needs_the_size_of_the_image_is_refused_without(shape):
    assert "whose size the file does not say" in refusal(read(task(shape)))


def test_regions_that_disagree_about_the_size_are_refused():
    assert "1000 × 500 and 1000 × 600" in refusal(read(task(box("ant"), box("ant", original_height=600))))


def test_brush_strokes_of_one_class_stay_apart():
    masks = [np.eye(4, 5, dtype=bool), np.ones((4, 5), dtype=bool)]
    (answer,) = answers(read(task(*map(stroke, masks))))
    found = [annotation.segmentation for annotation in answer.annotations]
    assert found == [rle.of_mask(mask) for mask in masks]


@pytest.mark.parametrize(
    ("change", "problem"),
    [({"rle": [0] * 9}, "0 values"), ({"rle": "x"}, "run lengths"), ({"format": "png"}, "run lengths")],
)
def test_a_broken_brush_stroke_is_refused(change, problem):
    broken = stroke(np.eye(4, dtype=bool))
    broken["value"].update(change)
    assert problem in refusal(read(task(broken)))


@pytest.mark.parametrize("points", [None, 7, [1, 2], [[1, 2, 3]], [["a", 2]], [[1, 200]]])
def test_a_broken_polygon_is_refused(points):
    assert refusal(read(task(region("polygonlabels", {"points": points}, "ant"))))


def test_a_polygon_that_nobody_closed_is_counted():
    records = read(
        task(region("polygonlabels", {"points": [[1, 2], [3, 4], [5, 9]], "closed": False}, "ant"))
    )
    assert only(records).segmentation
    assert notes(records) == {"polygons that nobody closed were closed": 1}


# --- keypoints --------------------------------------------------------------------------------------------------------

ORDER = {"keypoints": "nose, tail"}


def test_points_of_two_objects_stay_apart():
    records = read(
        task(
            point("tail", 1, 2, parentID="second"),
            box("cat", id="first"),
            box("dog", id="second"),
            point("nose", 3, 4, parentID="first"),
            point("nose", 5, 6, parentID="second", hidden=True),
        ),
        ORDER,
    )
    (answer,) = answers(records)
    found = {a.category: a.keypoints for a in answer.annotations}
    assert list(found["dog"]) == [near((50, 30, 2)), near((10, 10, 2))]
    assert list(found["cat"]) == [near((30, 20, 2)), near((0, 0, 0))]
    assert [r for r in records if isinstance(r, Category)] == [
        Category("dog", ("nose", "tail")),
        Category("cat", ("nose", "tail")),
    ]


def test_a_point_that_is_hidden_has_visibility_1():
    hidden = point("nose")
    hidden["value"]["hidden"] = True
    assert only(read(task(box("cat"), hidden), ORDER)).keypoints[0] == (100, 50, 1)


def test_points_without_a_box_are_one_object_of_the_class_that_is_said():
    found = only(read(task(point("tail"), point("nose", 20)), {**ORDER, "category": "cat"}))
    assert (found.category, found.bbox, found.keypoints) == ("cat", None, ((200, 50, 2), (100, 50, 2)))


@pytest.mark.parametrize(
    ("results", "problem"),
    [
        ([point("nose")], "--option category=NAME"),
        ([box("cat"), box("cat"), point("nose")], "none of 2 boxes"),
        ([box("cat"), point("ear")], "'ear' is none of: nose, tail"),
        ([box("cat"), point("nose"), point("nose")], "twice"),
        ([box("cat"), point("nose", parentID="gone")], "missing"),
        ([box("cat"), point("nose", id="n"), point("tail", parentID="n")], "another keypoint"),
        ([box("cat"), point("nose", 300)], "x is 300"),
    ],
)
def test_points_whose_object_or_name_is_unclear_are_refused(results, problem):
    assert problem in refusal(read(task(*results), ORDER))


@pytest.mark.parametrize("names", ["nose,", "nose,nose"])
def test_an_order_of_keypoints_with_a_mistake_is_refused(names):
    with pytest.raises(AlctlError, match="empty or there twice"):
        read(task(), {"keypoints": names})


CONFIG = """<View><Image name="img" value="$photo"/>
  <RectangleLabels name="b" toName="img"><Label value="cat"/><Label value="dog"/></RectangleLabels>
  <KeyPointLabels name="k" toName="img"><Label value="tail" model_index="1"/><Label value="nose" model_index="0"/>
  </KeyPointLabels></View>"""


def test_a_configuration_beside_the_file_tells_the_order_and_which_value_is_the_image():
    results = [box("cat", id="c"), point("tail", 20, parentID="c"), box("dog", id="d")]
    records = read(task(*results, data={"image": "thumb.jpg", "photo": "a.jpg"}), config=CONFIG)
    (answer,) = answers(records)
    assert answer.path == "a.jpg"
    assert [a.keypoints for a in answer.annotations] == [((0, 0, 0), (200, 50, 2)), ((0, 0, 0), (0, 0, 0))]
    assert [record for record in records if isinstance(record, Category)] == [
        Category("cat", ("nose", "tail")),
        Category("dog", ("nose", "tail")),
    ]


def test_a_region_that_stands_under_another_one_is_read_and_counted():
    records = read(task(box("ant", id="a"), box("bee", parentID="a", meta={"text": ["torn"]})))
    assert len(answers(records)[0].annotations) == 2
    assert notes(records) == {
        "regions stood under another one, which was left out": 1,
        "notes on regions were left out": 1,
    }


@pytest.mark.parametrize(
    ("results", "problem"),
    [
        ([box("ant"), box("bee")], "different labels"),
        ([box("ant"), box("ant")], "two boxes"),
        (
            [stroke(np.ones((500, 1000), dtype=bool)), stroke(np.ones((500, 1000), dtype=bool))],
            "two outlines",
        ),
    ],
)
def test_regions_of_one_object_that_contradict_each_other_are_refused(results, problem):
    joined = [{**result, "meta": {"alctl_object": 1}} for result in results]
    assert problem in refusal(read(task(*joined)))


# --- labels -----------------------------------------------------------------------------------------------------------


def test_choices_are_classes_of_the_image():
    (answer,) = answers(read(task({"type": "choices", "value": {"choices": ["a", "b"]}})))
    assert answer.annotations == (Annotation("a"), Annotation("b"))


def test_a_choice_about_a_region_is_not_a_class_of_the_image():
    about = [
        {"type": "choices", "id": "r", "value": {"choices": ["occluded"]}},
        {"type": "choices", "value": {"x": 1, "y": 2, "choices": ["blurred"]}},
        {"type": "taxonomy", "id": "r", "value": {"taxonomy": [["a", "b"]]}},
        {"type": "textarea", "id": "r", "value": {"text": ["?"]}},
    ]
    records = read(task(box("ant", id="r"), *about))
    assert only(records).category == "ant"
    assert notes(records) == {
        "attributes of regions were left out": 3,
        "relations, texts, ratings, numbers and dates were left out": 1,
    }


def test_a_region_and_its_labels_may_be_two_results():
    shape = region("rectangle", {"x": 10, "y": 10, "width": 20, "height": 40}, id="r")
    labels = {"id": "r", "type": "labels", "value": {"x": 10, "y": 10, "labels": ["ant"]}}
    for results in ([shape, labels], [labels, shape]):
        assert only(read(task(*results))) == Annotation("ant", bbox=(100, 50, 200, 200))


@pytest.mark.parametrize(
    ("results", "problem"),
    [
        ([box()], "without a label"),
        ([region("rectanglelabels", {"x": 1, "rectanglelabels": []})], "without a label"),
        ([region("rectanglelabels", {"x": 1, "rectanglelabels": "ant"})], "without a label"),
        ([box("ant", "bee")], "'ant' and 'bee'"),
        ([box("ant", id="r"), box("bee", id="r")], "'ant' and 'bee'"),
        ([box("ant", id="r"), box("ant", id="r", x=30)], "two regions with the id 'r'"),
        ([region("rectangle", {"x": 1, "y": 1, "width": 1, "height": 1})], "no label"),
        ([{"id": "r", "type": "labels", "value": {"labels": ["ant"]}}], "region is missing"),
        ([{"type": "choices", "value": {"choices": []}}], "choice of nothing"),
        ([{"type": "choices", "value": {"choices": [""]}}], "not a text"),
        ([{"type": "choices", "value": {"choices": ["a\0"]}}], "no text has"),
        ([region("ellipselabels", {"x": 1, "radiusX": 2}, "ant")], "'ellipselabels'"),
        ([{"type": "taxonomy", "value": {"taxonomy": [["a"]]}}], "'taxonomy'"),
        ([{"type": "rectanglelabels"}], "without a value"),
        ([{"value": {}}], "without a type"),
        ([3], "without a type"),
    ],
)
def test_labels_that_are_missing_double_or_of_another_kind_cost_their_image_only(results, problem):
    tasks = [*task(*results), *task(box("ant"))]
    found = [record for record in read(tasks) if not isinstance(record, Note)]
    assert isinstance(found[0], Refusal)
    assert problem in found[0].problem
    assert found[0].where == "task 12, annotation 40"
    assert isinstance(found[1], LabeledImage)
