"""COCO's JSON, as tools write it and as nobody should."""

import copy
import itertools
import json
import math
import re
import tracemalloc
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycocotools import mask as peer_masks
from pycocotools.coco import COCO

from alctl.errors import AlctlError
from alctl.labels import rle
from alctl.labels.annotation import RLE, Annotation, Assignment, Category, LabeledImage, Note, Record, Refusal
from alctl.labels.formats.coco import Coco
from alctl.labels.parsing import json_stream
from alctl.labels.parsing.coco import file as cocofile
from alctl.labels.parsing.units import STATED
from alctl.labels.parsing.unlabeled import UNLABELED
from alctl.labels.shapes import problem
from tests.data import real_data
from tests.examples import examples

pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation:DeprecationWarning"
)  # in pycocotools

DOCUMENT: dict[str, Any] = {
    "info": {"year": 2026, "date_created": "yesterday"},
    "licenses": [{"id": 1}],
    "images": [
        {"id": 9, "file_name": "a.jpg", "width": 640, "height": 480, "date_captured": 0},
        {"id": 3, "file_name": "sub\\b.jpg", "width": 100, "height": 50},
        {"id": 4, "file_name": "c.jpg"},
    ],
    "categories": [
        {
            "id": 7,
            "name": "person",
            "supercategory": "x",
            "keypoints": ["nose", "tail"],
            "skeleton": [[1, 2]],
        },
        {"id": 90, "name": "dög"},
    ],
    "annotations": [
        {"id": 17, "image_id": 9, "category_id": 90, "bbox": [1, 2.5, 30, 40], "area": 1200, "iscrowd": 0},
        {
            "id": 2,
            "image_id": 3,
            "category_id": 7,
            "bbox": [1, 2, 3, 4],
            "keypoints": [1, 2, 2, 0, 0, 0],
            "num_keypoints": 5,
        },
        {
            "id": 5,
            "image_id": 9,
            "category_id": 90,
            "segmentation": [[1, 1, 9, 1, 9, 9.5], [20, 20, 30, 20, 30, 30]],
        },
    ],
}


def read(document: object, **options) -> list[Record]:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "labels.json"
        file.write_bytes(document if isinstance(document, bytes) else json.dumps(document).encode())
        return list(Coco(**options).read(file))


def answers(rows: list[Record]) -> dict[str, LabeledImage]:
    """Return the answers by path; there must be no refusal."""
    assert not [row for row in rows if isinstance(row, Refusal)]
    return {row.path: row for row in rows if isinstance(row, LabeledImage)}


def refusals(document: object, **options) -> list[tuple[str, str]]:
    return [(row.where, row.problem) for row in read(document, **options) if isinstance(row, Refusal)]


def notes(document: object, **options) -> dict[str, int]:
    return {row.what: row.times for row in read(document, **options) if isinstance(row, Note)}


def changed(place: str, value: object) -> dict[str, Any]:
    """Return the document with one value replaced, such as at ``annotations.0.bbox``."""
    document = copy.deepcopy(DOCUMENT)
    *path, last = place.split(".")
    inside: object = document
    for step in path:
        inside = inside[int(step) if step.isdigit() else step]  # type: ignore[index]
    inside[int(last) if last.isdigit() else last] = value  # type: ignore[index]
    return document


# --- what comes out ---------------------------------------------------------------------------------------------------


def test_a_file_becomes_classes_and_complete_images_in_the_order_of_its_images():
    assert read(DOCUMENT) == [
        Category("person", ("nose", "tail"), ((0, 1),)),
        Category("dög"),
        LabeledImage(
            "a.jpg",
            (
                Annotation("dög", (1.0, 2.5, 30.0, 40.0)),
                Annotation(
                    "dög", segmentation=((1.0, 1.0, 9.0, 1.0, 9.0, 9.5), (20.0, 20.0, 30.0, 20.0, 30.0, 30.0))
                ),
            ),
            width=640,
            height=480,
            where="image id 9",
        ),
        LabeledImage(
            "sub\\b.jpg",
            (Annotation("person", (1.0, 2.0, 3.0, 4.0), ((1.0, 2.0, 2), (0.0, 0.0, 0))),),
            width=100,
            height=50,
            where="image id 3",
        ),
        Note(UNLABELED, 1),
    ]


def test_images_without_annotations_are_taken_as_looked_at_if_the_user_says_so():
    rows = read(DOCUMENT, empty=True)
    assert answers(rows)["c.jpg"].annotations == ()
    assert not [row for row in rows if isinstance(row, Note)]


@pytest.mark.parametrize("order", list(itertools.permutations(["images", "categories", "annotations"])))
def test_the_parts_may_come_in_any_order(order):
    assert read({key: DOCUMENT[key] for key in order}) == read(DOCUMENT)


@pytest.fixture
def small_steps(monkeypatch):
    monkeypatch.setattr(json_stream, "BLOCK", 64)
    monkeypatch.setattr(cocofile, "BATCH", 200)


@pytest.mark.usefixtures("small_steps")
@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.integers(-3, 12) | st.sampled_from(["a", "3", "é"]), min_size=1, unique=True),
    st.lists(st.integers(0, 8), min_size=1, max_size=30),
    st.sampled_from([None, 1]),
)
def test_annotations_scattered_over_the_file_find_their_images(images, owners, indent):
    rows = [
        {"id": n, "image_id": images[owner % len(images)], "category_id": 1, "bbox": [0, 0, n + 1, 5]}
        for n, owner in enumerate(owners)
    ]
    document = {
        "annotations": rows,
        "images": [{"id": id_, "file_name": f"{number}.png"} for number, id_ in enumerate(images)],
        "categories": [{"id": 1, "name": "x"}],
    }
    found = answers(read(json.dumps(document, indent=indent).encode(), empty=True))
    for number, id_ in enumerate(images):
        widths = [annotation.bbox[2] for annotation in found[f"{number}.png"].annotations if annotation.bbox]
        assert widths == [row["id"] + 1 for row in rows if row["image_id"] == id_]
    assert list(found) == [f"{number}.png" for number in range(len(images))]


@pytest.mark.slow
def test_a_file_four_times_as_large_takes_hardly_more_memory(tmp_path):
    peaks = []
    for count in (4_000, 16_000):
        polygon = [number / 7 for number in range(40)]
        document = {
            "images": [{"id": n, "file_name": f"{n}.png"} for n in range(count // 8)],
            "annotations": [
                {"id": n, "image_id": n * 7919 % (count // 8), "category_id": 1, "segmentation": [polygon]}
                for n in range(count)
            ],
            "categories": [{"id": 1, "name": "x"}],
        }
        (tmp_path / "x.json").write_text(json.dumps(document))
        del document
        tracemalloc.start()
        assert sum(isinstance(row, LabeledImage) for row in Coco().read(tmp_path / "x.json")) == count // 8
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert (tmp_path / "x.json").stat().st_size > 12e6
    assert peaks[1] < 1.3 * peaks[0]


@pytest.mark.parametrize(
    ("crowd", "read_as"),
    [
        (0, False),
        (1, True),
        ("false", False),
        ("true", True),
        (True, True),
        (False, False),
        (None, False),
        (1.0, True),
    ],
)
def test_iscrowd_is_understood_as_tools_write_it(crowd, read_as):
    assert answers(read(changed("annotations.0.iscrowd", crowd)))["a.jpg"].annotations[0].crowd is read_as
    (first, *_) = answers(read(changed("annotations.0.difficult", crowd)))["a.jpg"].annotations
    assert first.difficult is read_as


@pytest.mark.parametrize("counts", [[12, 8, 4980], "<8dk4"])
def test_masks_in_either_spelling_are_the_same(counts):
    mask = {"size": [50, 100], "counts": counts}
    found = answers(read(changed("annotations.1.segmentation", mask)))["sub\\b.jpg"].annotations[0]
    assert found.segmentation == RLE((50, 100), "<8dk4")
    assert problem(found) == ""


@pytest.mark.parametrize(
    ("skeleton", "read_as"), [([[1, 2]], ((0, 1),)), ([[0, 1]], ((0, 1),)), ([], ()), (None, ())]
)
def test_skeletons_count_from_one_unless_they_hold_a_zero(skeleton, read_as):
    first = read(changed("categories.0.skeleton", skeleton))[0]
    assert first == Category("person", ("nose", "tail"), read_as)


@pytest.mark.parametrize(
    "skeleton", [[[0, 2]], [[1, 3]], [[-1, 1]], [[1]], [["nose", "tail"]], 5, [[1, True]]]
)
def test_a_skeleton_that_does_not_fit_is_left_out_and_counted(skeleton):
    document = changed("categories.0.skeleton", skeleton)
    assert read(document)[0] == Category("person", ("nose", "tail"))
    assert notes(document)["classes have a skeleton that does not fit their keypoints; it was left out"] == 1


@pytest.mark.parametrize("nothing", [None, []])
def test_an_annotation_without_a_shape_is_a_class_of_the_whole_image(nothing):
    row = {
        "id": 1,
        "image_id": 9,
        "category_id": 90,
        "bbox": nothing,
        "segmentation": nothing,
        "keypoints": nothing,
    }
    assert answers(read({**DOCUMENT, "annotations": [row]}))["a.jpg"].annotations == (Annotation("dög"),)


def test_attributes_are_left_out_and_counted_but_not_those_that_say_nothing():
    document = changed("annotations.0.attributes", {"occluded": False, "rotation": 0.0})
    assert notes(document) == notes(DOCUMENT)
    document["annotations"][0]["attributes"] = {"occluded": True}
    assert notes(document)["annotations have attributes, which were left out"] == 1
    document["annotations"][0]["attributes"] = {"rotation": 90.0}
    assert "rotated boxes became their upright hulls" in notes(document)


def test_a_class_that_only_groups_others_is_no_class():
    rows = [
        {"id": 0, "name": "animals", "supercategory": "none"},
        {"id": 90, "name": "dog", "supercategory": "animals"},
    ]
    document = {**DOCUMENT, "categories": rows, "annotations": DOCUMENT["annotations"][:1]}
    assert [row for row in read(document) if isinstance(row, Category)] == [Category("dog")]
    assert notes(document)["classes only group others and have no annotation; they were left out"] == 1
    document["annotations"] = [{**DOCUMENT["annotations"][0], "category_id": 0}]
    assert [row for row in read(document) if isinstance(row, Category)] == [
        Category("animals"),
        Category("dog"),
    ]


def test_two_ids_of_one_name_are_one_class():
    document = changed("categories.1.name", "person")
    assert [row.name for row in read(document) if isinstance(row, Category)] == ["person"]
    assert notes(document)["classes share their name with another and were taken for one"] == 1


def test_what_alctl_wrote_about_an_image_comes_back():
    document = changed("images.0.alctl_item", 12)
    document["images"][0]["sha256"] = "AB" * 32
    found = answers(read(document))["a.jpg"]
    assert (found.item, found.digest) == (12, "ab" * 32)


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "value", "where", "sentence"),
    [
        ("annotations.0.bbox", [1, 2, 3], "image id 9", "annotation id 17: its bbox has 3 numbers"),
        ("annotations.0.bbox", [1, 2, "3", 4], "image id 9", "annotation id 17: its bbox holds '3', which is not a number"),
        ("annotations.0.bbox", [1, 2, True, 4], "image id 9", "its bbox holds True"),
        ("annotations.0.bbox", [1, 2, None, 4], "image id 9", "its bbox holds None"),
        ("annotations.0.bbox", {"x": 1}, "image id 9", "its bbox is {'x': 1}, not a list"),
        ("annotations.0.bbox", "1,2,3,4", "image id 9", "its bbox is '1,2,3,4', not a list"),
        ("annotations.0.category_id", 91, "image id 9", "annotation id 17: category id 91 is not in the file"),
        ("annotations.0.category_id", "90", "image id 9", "category id '90' is not in the file"),
        ("annotations.0.category_id", True, "image id 9", "category id True is not"),
        ("annotations.0.category_id", [90], "image id 9", r"category id \[90\] is not"),
        ("annotations.0.iscrowd", 2, "image id 9", "its iscrowd is 2, neither 0 nor 1"),
        ("annotations.0.iscrowd", [1], "image id 9", "its iscrowd is"),
        ("annotations.0.difficult", "hard", "image id 9", "its difficult is 'hard', neither 0 nor 1"),
        ("annotations.2.segmentation", [[1, 1, "9", 1]], "image id 9", "annotation id 5: its polygon holds '9'"),
        ("annotations.2.segmentation", [1, 2, 3, 4, 5, 6], "image id 9", "its polygon is 1, not a list"),
        ("annotations.2.segmentation", "RLE", "image id 9", "neither polygons nor a mask"),
        ("annotations.2.segmentation", {"counts": "5"}, "image id 9", "the size of its mask is None"),
        ("annotations.2.segmentation", {"size": [2, 2]}, "image id 9", "the counts of its mask are None"),
        ("annotations.2.segmentation", {"size": [2, 2], "counts": [1, 2]}, "image id 9", "do not add up to its 4 pixels"),
        ("annotations.2.segmentation", {"size": [2, 2], "counts": [1.5]}, "image id 9", "the counts of its mask"),
        ("annotations.2.segmentation", {"size": [2, 2], "counts": [10**18]}, "image id 9", "a run that is too long"),
        ("annotations.2.segmentation", {"size": [2**40, 2], "counts": "0"}, "image id 9", "a mask of 2 × 1099511627776"),
        ("annotations.2.segmentation", {"size": [2, 2], "counts": "13"}, "image id 9", "a mask of 2 × 2 pixels in an image"),
        ("annotations.1.keypoints", [1, 2, 2], "image id 3", "it has 1 keypoints, but class 'person' has 2"),
        ("annotations.1.keypoints", [1, 2, 2, 0], "image id 3", "its keypoints are 4 numbers"),
        ("annotations.1.keypoints", [1, 2, 3, 0, 0, 0], "image id 3", "a keypoint's visibility is 3"),
        ("annotations.1.keypoints", [1, 2, 0.5, 0, 0, 0], "image id 3", "a keypoint's visibility is 0.5"),
        ("annotations.1.keypoints", [1, None, 2, 0, 0, 0], "image id 3", "its keypoints holds None"),
        ("annotations.1.id", 17, "image id 3", "annotation id 17 is given to several annotations"),
        ("annotations.0.image_id", 99, "annotation id 17", "image id 99 is not in the file"),
        ("annotations.0.image_id", "9", "annotation id 17", "image id '9' is not in the file"),
        ("annotations.0.image_id", None, "annotation id 17", "its image_id is None"),
        ("annotations.0.image_id", 9.0, "annotation id 17", "its image_id is 9.0"),
        ("images.0.id", 3, "image id 3", "other images of the file have the same id"),
        ("images.0.id", None, "image id None", "its id is neither a whole number nor text"),
        ("images.0.file_name", None, "image id 9", "its file_name is None"),
        ("images.0.file_name", " ", "image id 9", "its file_name is ' '"),
        ("images.0.width", "640", "image id 9", "its width is '640', not a number of pixels"),
        ("images.0.width", 640.5, "image id 9", "its width is 640.5"),
        ("images.0.height", True, "image id 9", "its height is True"),
        ("images.0.height", 10**30, "image id 9", r"its height is 1e\+30"),
        ("images.0.alctl_item", "12", "image id 9", "its alctl_item '12' is not a number that alctl gave out"),
        ("images.0.alctl_item", 10**12, "image id 9", "is not a number that alctl gave out"),
        ("images.0.sha256", "12", "image id 9", "its sha256 '12' is not a digest"),
    ],
)  # fmt: skip
def test_a_bad_object_is_refused_with_the_image_that_it_is_on(place, value, where, sentence):
    document = changed(place, value)
    document["images"].append({"id": 50, "file_name": "good.jpg"})
    document["annotations"].append({"id": 51, "image_id": 50, "category_id": 90})
    found = refusals(document)
    assert (where, True) in [(w, bool(re.search(sentence, p))) for w, p in found], found
    taken = [row.path for row in read(document) if isinstance(row, LabeledImage)]
    assert "good.jpg" in taken
    assert len(taken) < 3 or where.startswith("annotation")


@pytest.mark.parametrize("element", [None, 5, "x", [], [{"id": 1}], True, 1.5])
@pytest.mark.parametrize("key", ["images", "annotations"])
def test_elements_that_are_not_objects_are_refused_and_the_others_taken(key, element):
    document = {**DOCUMENT, key: [element, *DOCUMENT[key][:1], element, *DOCUMENT[key][1:]]}
    assert refusals(document) == [(key, f"2 elements of {key!r} are not objects")]
    assert [row for row in read(document) if not isinstance(row, Refusal)] == read(DOCUMENT)


def small(**info: str) -> dict[str, Any]:
    """Return a document whose only object is within the first pixel."""
    document = {**DOCUMENT, "images": DOCUMENT["images"][:1], "info": info}
    owner, class_ = (DOCUMENT[key][0]["id"] for key in ("images", "categories"))
    row = {"id": 1, "image_id": owner, "category_id": class_, "bbox": [0, 2.5e-139, 1, 1]}
    return {**document, "annotations": [row]}


def test_whether_coordinates_are_fractions_is_asked_and_never_guessed():
    with pytest.raises(
        AlctlError, match=r"labels\.json, image id .* units=pixels or --option units=fractions"
    ):
        read(small())
    for units, relative in (("pixels", False), ("fractions", True)):
        ((found,),) = [answers(read(small(), units=units)).values()]
        assert (found.annotations[0].bbox, found.relative) == ((0, 2.5e-139, 1, 1), relative)
    assert any("is not a fraction" in problem for _, problem in refusals(DOCUMENT, units="fractions"))


def test_what_alctl_wrote_is_pixels_whatever_the_option():
    for units in ("", "pixels", "fractions"):
        rows = read(small(description="alctl: labels"), units=units)
        assert [found.relative for found in answers(rows).values()] == [False]
        assert [row.what for row in rows if isinstance(row, Note)] == (
            [STATED] if units == "fractions" else []
        )


def test_pixels_of_an_image_that_is_one_pixel_are_no_fractions():
    document = small()
    document["images"] = [{**document["images"][0], "width": 1, "height": 1}]
    assert not refusals(document)


def without(*keys: str) -> dict[str, Any]:
    return {key: value for key, value in DOCUMENT.items() if key not in keys}


JOINTS = ["nose", "left eye", "right eye", "left ear", "right ear", "neck"]
GONE_WRONG = {
    "images": [{"id": n, "file_name": f"{n}.jpg", "width": 9, "height": 9} for n in range(3133)],
    "categories": [{"id": n, "name": name, "keypoints": [], "skeleton": []} for n, name in enumerate(JOINTS)],
    "annotations": [],
}


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ({}, "has no list of 'images'"),
        ({"a": 1, "b": [2]}, "has no list of 'images'; its keys are 'a', 'b'"),
        ([], "it is a list, without 'images' and 'annotations'"),
        ([1, 2], "it is a list, without"),
        ([{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}], r"a list of detections \(predictions\), not"),
        (without("images"), "has no list of 'images'"),
        (without("categories"), "has no 'categories'"),
        ({**DOCUMENT, "categories": []}, "has no 'categories'"),
        (without("annotations"), r"3 images and 2 classes \(person, dög\), but not a single annotation; if annotators looked"),
        ({**DOCUMENT, "annotations": []}, "not a single annotation"),
        (without("annotations", "categories"), "lists 3 images without annotations and classes"),
        ({"images": [], "annotations": [], "categories": []}, "holds no images"),
        (GONE_WRONG, r"3,133 images and 6 classes \(nose, left eye, .*, …\), but not a single annotation: the export lost"),
        ({**DOCUMENT, "images": {"a": 1}}, "its 'images' is not a list"),
        ({**DOCUMENT, "annotations": None}, "its 'annotations' is not a list"),
        ({**DOCUMENT, "categories": "x"}, "its 'categories' is not a list"),
        (changed("categories.0", 5), "category 1 of its list: 5 is not an object"),
        (changed("categories.0.id", None), "category 1 of its list: its id is None"),
        (changed("categories.0.name", ""), "its name is ''"),
        (changed("categories.0.name", 5), "its name is 5"),
        (changed("categories.0.keypoints", [1]), r"its keypoints are \[1\], not a list of names"),
        (changed("categories.0.keypoints", "nose"), "its keypoints are 'nose'"),
        (changed("categories.0.id", 90), "two categories have the id 90"),
        (changed("annotations.0.segments_info", []), "is COCO panoptic"),
        (b'{"images": [], "images": []}', "has 'images' twice"),
        ({**DOCUMENT, "annotations": [{"id": 1, "image_id": 9, "caption": "two dogs"}]}, "holds captions"),
        (json.dumps(DOCUMENT)[:-30].encode(), "is it cut off"),
        (b'{"images": [{"id": NaN}]}', "lists 1 images without annotations"),
    ],
)  # fmt: skip
def test_a_file_without_labels_is_a_sentence_that_says_what_it_is(document, sentence):
    with pytest.raises(AlctlError, match=sentence) as raised:
        read(document)
    assert "labels.json" in str(raised.value)


def test_a_file_cut_off_at_any_byte_is_a_sentence():
    content = json.dumps(DOCUMENT).encode()
    for end in range(len(content)):
        with pytest.raises(AlctlError, match=r"labels.json"):
            read(content[:end])


def test_a_file_that_changes_while_it_is_read_is_a_sentence(tmp_path):
    file = tmp_path / "labels.json"
    file.write_text(json.dumps(DOCUMENT))
    rows = Coco().read(file)
    next(rows)
    file.write_text("{}")
    with pytest.raises(AlctlError, match=r"labels\.json"):
        list(rows)


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
FIELDS = [
    f"{key}.0.{field}"
    for key, fields in {
        "images": ["id", "file_name", "width", "height", "alctl_item", "sha256"],
        "annotations": [
            "id", "image_id", "category_id", "bbox", "segmentation", "keypoints", "iscrowd", "attributes", "num_keypoints",
            "caption", "area", "segmentation.0", "segmentation.size", "segmentation.counts", "keypoints.2", "bbox.0",
        ],
        "categories": ["id", "name", "keypoints", "skeleton", "supercategory", "skeleton.0", "keypoints.0"],
    }.items()
    for field in fields
]  # fmt: skip
FULL = changed("annotations.0.segmentation", {"size": [480, 640], "counts": [640 * 480], "0": 1})
FULL["annotations"][0].update(category_id=7, keypoints=[1, 2, 2, 3, 4, 1])


def put(inside: object, path: list[str], value: object) -> None:
    """Replace a value, if an earlier change has left its place there."""
    step: object = path[0] if isinstance(inside, dict) else int(path[0]) if path[0].isdigit() else -1
    if isinstance(inside, list) and not 0 <= int(str(step)) < len(inside):
        return
    if isinstance(inside, dict | list) and len(path) == 1:
        inside[step] = value  # type: ignore[call-overload]
    elif isinstance(inside, list) or (isinstance(inside, dict) and step in inside):
        put(inside[step], path[1:], value)  # type: ignore[call-overload]


@settings(max_examples=examples(300), suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(st.sampled_from([*FIELDS, "images.0", "annotations.0", "categories.0", "info"]), ANYTHING),
        max_size=3,
    )
)
def test_any_json_anywhere_is_taken_or_refused(changes):
    document = copy.deepcopy(FULL)
    for place, value in changes:
        put(document, place.split("."), value)
    try:
        rows = read(document)
    except AlctlError as error:
        assert "labels.json" in str(error)  # noqa: PT017 - either is right
        return
    for row in rows:
        if isinstance(row, LabeledImage):
            row.path.encode()
            assert all(isinstance(problem(annotation), str) for annotation in row.annotations)
            numbers = [n for a in row.annotations for n in (*(a.bbox or ()), *itertools.chain(*a.keypoints))]
            assert all(math.isfinite(number) for number in numbers)


# --- folders and archives ---------------------------------------------------------------------------------------------


@pytest.fixture(params=["folder", "zip"])
def packed(request, tmp_path: Path):
    def make(files: dict[str, object]) -> Path:
        content = {name: json.dumps(value) for name, value in files.items()}
        if request.param == "zip":
            with zipfile.ZipFile(tmp_path / "export.zip", "w", zipfile.ZIP_DEFLATED) as archive:
                for name, text in content.items():
                    archive.writestr(name, text)
            return tmp_path / "export.zip"
        for name, text in content.items():
            (tmp_path / "export" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "export" / name).write_text(text)
        return tmp_path / "export"

    return make


def test_the_one_annotation_file_of_an_export_is_found(packed):
    path = packed({"annotations/instances_default.json": DOCUMENT, "images/x.json": {"a": 1}})
    assert Coco().recognise(path) == "COCO, annotations/instances_default.json"
    assert list(Coco().read(path)) == read(DOCUMENT)


@pytest.mark.parametrize(
    "names",
    [
        ("train/_annotations.coco.json", "valid/_annotations.coco.json"),
        ("annotations/instances_train.json", "annotations/instances_val.json"),
    ],
)
def test_subsets_of_one_kind_are_read_one_after_the_other(packed, names):
    image = {**DOCUMENT["images"][0], "file_name": "z.jpg"}
    other = {**DOCUMENT, "images": [image], "annotations": DOCUMENT["annotations"][:1]}
    rows = list(Coco().read(packed(dict(zip(names, (DOCUMENT, other), strict=True)))))
    assert list(answers(rows)) == ["a.jpg", "sub\\b.jpg", "z.jpg"]
    assert [row.name for row in rows if isinstance(row, Category)] == ["person", "dög"]


def test_files_that_may_label_the_same_images_twice_must_be_named(packed):
    path = packed(
        {"annotations/instances_val.json": DOCUMENT, "annotations/person_keypoints_val.json": DOCUMENT}
    )
    with pytest.raises(
        AlctlError, match=r"2 annotation files of several kinds, .* --option file=annotations/instances_val"
    ):
        list(Coco().read(path))
    assert list(Coco(file="*instances*").read(path)) == read(DOCUMENT)
    with pytest.raises(AlctlError, match=r"no COCO file called 'x'; it has annotations/inst"):
        list(Coco(file="x").read(path))


def test_an_export_without_any_annotation_file_is_a_sentence(packed):
    path = packed({"x.json": {"a": 1}})
    assert Coco().recognise(path) == ""
    with pytest.raises(AlctlError, match="holds no COCO file"):
        list(Coco().read(path))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (json.dumps(DOCUMENT), "COCO keypoints"),
        ('{"annotations": [{"segmentation": [[1.5, 2', "COCO"),
        ('\ufeff {"categories": [], "images": []}', "COCO"),
        ('[{"image_id": 1, "bbox": [1, 2, 3, 4]}]', "COCO detection results"),
        ('[{"id": 1, "data": {"image": "a.jpg"}, "annotations": []}]', ""),
        ('{"classes": ["a"], "labels": {"x": 0}}', ""),
        ('{"version": "5.0", "shapes": [], "imagePath": "a.jpg"}', ""),
        ("", ""),
    ],
)
def test_the_beginning_of_a_file_tells_whether_it_is_coco(content, said, tmp_path):
    (tmp_path / "x.json").write_text(content, encoding="utf-8")
    assert Coco().recognise(tmp_path / "x.json") == said


# --- writing ----------------------------------------------------------------------------------------------------------

CATEGORIES = (Category("cat", ("nose", "tail"), ((0, 1),)), Category("dög"))
MASK = rle.of_mask(np.arange(48).reshape(6, 8) % 5 == 0)
IMAGES = (
    LabeledImage(
        "a/b.jpg",
        (
            Annotation("dög", (1.0, 2.0, 3.25, 4.0), difficult=True),
            Annotation("cat", (1.0, 2.0, 3.0, 4.0), ((1.5, 2.0, 2), (0.0, 0.0, 0))),
            Annotation("dög", (0.0, 0.0, 8.0, 6.0), segmentation=MASK, crowd=True),
        ),
        item=7,
        width=8,
        height=6,
        digest="ab" * 32,
    ),
    LabeledImage("ünï.png", (), width=5, height=5),
    LabeledImage("skipped.png", (), status="skip"),
    LabeledImage(
        "c.png", (Annotation("cat"), Annotation("dög", segmentation=((0.0, 0.0, 4.0, 0.0, 4.0, 3.0),)))
    ),
)


def test_what_is_written_comes_back_but_images_that_were_skipped(tmp_path):
    Coco().write(iter(IMAGES), tmp_path / "x.json", CATEGORIES)
    rows = list(Coco(empty=True).read(tmp_path / "x.json"))
    assert tuple(row for row in rows if isinstance(row, Category)) == CATEGORIES
    found = [row._replace(where="") for row in rows if isinstance(row, LabeledImage)]
    boxed = Annotation("dög", (0.0, 0.0, 4.0, 3.0), segmentation=((0.0, 0.0, 4.0, 0.0, 4.0, 3.0),))
    assert found == [IMAGES[0], IMAGES[1], IMAGES[3]._replace(annotations=(Annotation("cat"), boxed))]


def test_pycocotools_reads_what_is_written(tmp_path, capsys):
    Coco().write(iter(IMAGES), tmp_path / "x.json", CATEGORIES)
    peer = COCO(str(tmp_path / "x.json"))
    assert capsys.readouterr().out
    assert [peer.imgs[n]["file_name"] for n in sorted(peer.imgs)] == ["a/b.jpg", "ünï.png", "c.png"]
    assert [(row["id"], row["name"], row.get("skeleton")) for row in peer.cats.values()] == [
        (1, "cat", [[1, 2]]),
        (2, "dög", None),
    ]
    rows = [peer.anns[n] for n in sorted(peer.anns)]
    assert [row["image_id"] for row in rows] == [1, 1, 1, 3, 3]
    assert [row.get("area") for row in rows] == [13.0, 12.0, 10, None, 6.0]
    assert [row.get("num_keypoints") for row in rows] == [None, 1, None, None, None]
    assert np.array_equal(peer.annToMask(rows[2]), rle.to_mask(MASK))
    assert (rows[2]["iscrowd"], rows[4]["bbox"]) == (1, [0.0, 0.0, 4.0, 3.0])


def test_a_number_that_is_none_is_never_written(tmp_path):
    with pytest.raises(ValueError, match="Out of range"):
        Coco().write(
            [LabeledImage("a", (Annotation("cat", (1.0, math.nan, 2.0, 3.0)),))],
            tmp_path / "x.json",
            CATEGORIES,
        )


def test_images_that_annotators_were_given_have_not_been_looked_at(tmp_path):
    given = Assignment(1, "a.jpg", "images/1_a.jpg", 9, 9, 1, "ab" * 32)
    Coco().hand_out([given], tmp_path / "x.json", CATEGORIES, "detection")
    with pytest.raises(AlctlError, match="the file that annotators were given"):
        list(Coco(empty=True).read(tmp_path / "x.json"))
    back = json.loads((tmp_path / "x.json").read_text())
    back["annotations"] = [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}]
    assert answers(read(back))["images/1_a.jpg"].item == 1


# --- real exports -----------------------------------------------------------------------------------------------------

DATUMARO = "datumaro/tests/assets/coco_dataset"
REAL = [
    *(
        f"{DATUMARO}/{folder}/annotations/{kind}_{subset}.json"
        for kind in ("instances", "person_keypoints", "labels", "stuff")
        for folder in ("coco", f"coco_{kind}")
        for subset in ("train", "val")
    ),
    "ls_converter_generated/bbox/coco/result.json",
    "label_studio_sdk/tests/custom/converter/data/test_import_coco/coco_import_input.json",
]


@pytest.mark.parametrize("name", REAL)
def test_real_files_are_what_pycocotools_makes_of_them(name, capsys):
    path = real_data("exports.tar.xz") / name
    found = answers(list(Coco(empty=True).read(path)))
    peer = COCO(str(path))
    assert capsys.readouterr().out
    assert list(found) == [row["file_name"] for row in peer.dataset["images"]]
    for row in peer.dataset["images"]:
        image = found[row["file_name"]]
        assert (image.width, image.height) == (row["width"], row["height"])
        theirs = [a for a in peer.dataset["annotations"] if a["image_id"] == row["id"]]
        assert len(image.annotations) == len(theirs)
        for ours, their in zip(image.annotations, theirs, strict=True):
            assert_same(ours, their, peer, row)


def assert_same(ours: Annotation, their: dict[str, Any], peer: COCO, image: dict[str, Any]) -> None:
    assert ours.category == peer.cats[their["category_id"]]["name"]
    assert list(ours.bbox or []) == their.get("bbox", [])
    assert [n for point in ours.keypoints for n in point] == their.get("keypoints", [])
    assert ours.crowd is (their.get("iscrowd") == 1)
    assert problem(ours) == ""
    if not their.get("segmentation"):
        assert ours.segmentation is None
        return
    size = (image["height"], image["width"])
    if isinstance(ours.segmentation, RLE):
        assert np.array_equal(rle.to_mask(ours.segmentation), peer.annToMask(their))
    else:
        drawn = peer_masks.frPyObjects([list(polygon) for polygon in ours.segmentation or ()], *size)
        assert np.array_equal(peer_masks.decode(peer_masks.merge(drawn)), peer.annToMask(their))


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("coco_captions/annotations/captions_val.json", "holds captions"),
        (
            "coco_panoptic/annotations/panoptic_train.json",
            "is COCO panoptic: its labels are in the PNG files",
        ),
        ("coco_image_info/annotations/image_info_val.json", "lists 1 images without annotations and classes"),
        ("coco", "14 annotation files of several kinds"),
    ],
)
def test_real_files_without_labels_are_a_sentence(name, sentence):
    path = real_data("exports.tar.xz") / DATUMARO / name
    assert Coco().recognise(path)
    with pytest.raises(AlctlError, match=sentence):
        list(Coco().read(path))


def test_real_folders_are_read_whole_and_by_kind():
    folder = real_data("exports.tar.xz") / DATUMARO
    assert list(answers(list(Coco().read(folder / "coco_instances")))) == ["a.jpg", "b.jpg"]
    assert list(Coco(file="*instances*").read(folder / "coco")) == list(
        Coco().read(folder / "coco_instances")
    )
