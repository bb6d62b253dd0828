"""Geometry that every format shares."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from alctl.labels import rle, shapes
from alctl.labels.annotation import RLE, Annotation

WIDTH, HEIGHT = 60, 40
NUMBERS = st.floats(-200, 200)
SIZES = st.floats(0.01, 200)
BOXES = st.tuples(NUMBERS, NUMBERS, SIZES, SIZES)
POINTS = st.lists(st.tuples(NUMBERS, NUMBERS), min_size=3, max_size=6)
POLYGONS = POINTS.map(lambda points: tuple(n for point in points for n in point))
KEYPOINTS = st.lists(st.tuples(NUMBERS, NUMBERS, st.sampled_from([0, 1, 2])), max_size=4).map(tuple)
OBJECTS = st.builds(
    Annotation,
    st.just("cat"),
    bbox=st.none() | BOXES,
    keypoints=KEYPOINTS,
    segmentation=st.none() | st.lists(POLYGONS, min_size=1, max_size=2).map(tuple),
    crowd=st.booleans(),
    difficult=st.booleans(),
)
SQUARE = (0.0, 0.0, 4.0, 0.0, 4.0, 4.0)


@given(OBJECTS)
def test_finite_shapes_with_an_area_have_no_problem(annotation):
    assert shapes.problem(annotation) == ""


@pytest.mark.parametrize(
    ("annotation", "said"),
    [
        (Annotation("cat", (1, 2, 0, 4)), "a 'cat' box of 0 × 4 pixels"),
        (Annotation("cat", (1, 2, 3, -4)), "a 'cat' box of 3 × -4 pixels"),
        (Annotation("cat", (1, math.nan, 3, 4)), "a 'cat' box that is not finite: 1, nan, 3, 4"),
        (Annotation("cat", (1, 2, math.inf, 4)), "a 'cat' box that is not finite: 1, 2, inf, 4"),
        (Annotation("cat", keypoints=((1, 2, 3),)), "a 'cat' keypoint with visibility 3, which is none of 0, 1, 2"),
        (Annotation("cat", keypoints=((1, math.inf, 2),)), "a 'cat' keypoint that is not finite: 1, inf"),
        (Annotation("cat", segmentation=((1, 2, 3, 4),)), "a 'cat' polygon of 4 numbers; three points, six numbers, are"),
        (Annotation("cat", segmentation=(SQUARE, (*SQUARE, 1.0))), "a 'cat' polygon of 7 numbers"),
        (Annotation("cat", segmentation=((*SQUARE[:5], math.nan),)), "a 'cat' polygon that is not finite: 0, 0, 4, 0"),
        (Annotation("cat", segmentation=RLE((2, 2), "9")), "'cat': a mask whose run lengths do not add up to its 4 pixels"),
    ],
)  # fmt: skip
def test_what_is_no_shape_is_a_sentence(annotation, said):
    assert shapes.problem(annotation).startswith(said)


def test_how_far_an_image_s_objects_reach():
    objects = [
        Annotation("cat", (-3, 5, 10, 2)),
        Annotation("cat", keypoints=((50, 1, 2), (-999, 999, 0))),
        Annotation("cat", segmentation=((0, -2, 4, 0, 4, 9.5),)),
    ]
    assert shapes.extent(objects) == (-3, -2, 50, 9.5)
    assert shapes.extent([Annotation("cat", segmentation=rle.of_mask(np.ones((5, 7), bool)))]) == (0, 0, 7, 5)
    assert shapes.extent([Annotation("cat")]) is None
    assert shapes.extent([Annotation("cat", keypoints=((1, 2, 0),))]) is None


def test_a_shape_may_reach_over_the_edge_by_a_hundredth_and_at_least_a_pixel():
    assert [shapes.slack(side) for side in (1, 50, 100, 640)] == [1, 1, 1, 6.4]


@given(OBJECTS)
def test_what_is_cut_off_lies_within_the_image_and_what_lies_within_is_not_cut(annotation):
    cut = shapes.clipped(annotation, WIDTH, HEIGHT)
    if cut is None:
        assert annotation.bbox is not None
        x, y, width, height = annotation.bbox
        assert x >= WIDTH or y >= HEIGHT or x + width <= 0 or y + height <= 0
        return
    found = shapes.extent([cut])
    assert found is None or (min(found[:2]) >= 0 and found[2] <= WIDTH + 1e-9 and found[3] <= HEIGHT + 1e-9)
    before = shapes.extent([annotation])
    if before is None or (min(before[:2]) >= 0 and before[2] <= WIDTH and before[3] <= HEIGHT):
        assert cut.keypoints == annotation.keypoints
        assert cut.segmentation == annotation.segmentation
        assert cut.bbox == pytest.approx(annotation.bbox, abs=1e-9)
    marks = annotation.category, annotation.crowd, annotation.difficult
    assert (cut.category, cut.crowd, cut.difficult) == marks


@given(BOXES)
def test_a_box_is_cut_off_where_the_image_ends(box):
    cut = shapes.clipped(Annotation("cat", box), WIDTH, HEIGHT)
    assume(cut is not None)
    assert cut is not None
    assert cut.bbox is not None
    left, top = max(box[0], 0), max(box[1], 0)
    right, bottom = min(box[0] + box[2], WIDTH), min(box[1] + box[3], HEIGHT)
    assert cut.bbox == pytest.approx((left, top, right - left, bottom - top))


def test_keypoints_that_are_not_labeled_stay_where_they_are():
    cut = shapes.clipped(Annotation("cat", keypoints=((-5, 99, 0), (-5, 99, 1))), WIDTH, HEIGHT)
    assert cut is not None
    assert cut.keypoints == ((-5, 99, 0), (0, 40, 1))


@given(OBJECTS)
def test_fractions_become_pixels_and_back(annotation):
    there = shapes.scaled(annotation, WIDTH, HEIGHT)
    back = shapes.scaled(there, 1 / WIDTH, 1 / HEIGHT)
    assert numbers_of(back) == pytest.approx(numbers_of(annotation), abs=1e-9)
    if annotation.bbox is not None and there.bbox is not None:
        assert there.bbox[0] == annotation.bbox[0] * WIDTH
        assert there.bbox[3] == annotation.bbox[3] * HEIGHT


def numbers_of(annotation: Annotation) -> list[float]:
    assert not isinstance(annotation.segmentation, RLE)
    polygons = [n for polygon in annotation.segmentation or () for n in polygon]
    return [*(annotation.bbox or ()), *(n for point in annotation.keypoints for n in point), *polygons]


def test_a_mask_has_pixels_of_its_own_and_is_not_scaled():
    mask = rle.of_mask(np.eye(3, dtype=bool))
    assert shapes.scaled(Annotation("cat", segmentation=mask), 9, 9).segmentation == mask


@given(POLYGONS)
def test_the_box_around_points_touches_the_outermost(polygon):
    x, y, width, height = shapes.box_around(polygon)
    assert (x, y) == (min(polygon[::2]), min(polygon[1::2]))
    assert (x + width, y + height) == pytest.approx((max(polygon[::2]), max(polygon[1::2])))


def test_a_quarter_turn_about_a_corner_and_about_the_center():
    box = (100.0, 100.0, 300.0, 100.0)
    about_corner = shapes.box_around(shapes.rotated(box, 90, (100, 100)))
    assert about_corner == pytest.approx((0, 100, 100, 300))  # clockwise as seen, y pointing down
    about_center = shapes.box_around(shapes.rotated(box, 90, (250, 150)))
    assert about_center == pytest.approx((200, 0, 100, 300))


@given(BOXES, st.floats(-720, 720), NUMBERS, NUMBERS)
def test_turning_keeps_sides_and_turning_back_is_as_before(box, degrees, x, y):
    corners = shapes.rotated(box, degrees, (x, y))
    points = [complex(*corners[i : i + 2]) for i in range(0, 8, 2)]
    sides = [abs(b - a) for a, b in zip(points, points[1:] + points[:1], strict=True)]
    assert sides == pytest.approx([box[2], box[3], box[2], box[3]], abs=1e-6)
    back = [
        (p - complex(x, y)) * complex(math.cos(a := math.radians(-degrees)), math.sin(a)) + complex(x, y)
        for p in points
    ]
    assert back[0] == pytest.approx(complex(box[0], box[1]), abs=1e-6)


def test_an_object_without_a_box_gets_the_one_around_its_shape():
    polygons = Annotation("cat", segmentation=(SQUARE, (9.0, 1.0, 10.0, 1.0, 10.0, 2.0)))
    assert shapes.boxed(polygons).bbox == (0, 0, 10, 4)
    mask = np.zeros((5, 7), bool)
    mask[1:3, 2:6] = True
    assert shapes.boxed(Annotation("cat", segmentation=rle.of_mask(mask))).bbox == (2, 1, 4, 2)
    given_box = Annotation("cat", (1, 1, 2, 2), segmentation=(SQUARE,))
    assert shapes.boxed(given_box) is given_box
    assert shapes.boxed(Annotation("cat")) == Annotation("cat")
    assert shapes.boxed(Annotation("cat", segmentation=rle.of_mask(mask & False))).bbox is None
