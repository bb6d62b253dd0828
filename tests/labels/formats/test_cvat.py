"""CVAT for images 1.1: real exports, every shape, and files that are wrong in every way."""

import json
import math
import re
import tracemalloc
import xml.etree.ElementTree as ET  # the independent reader
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alctl.errors import AlctlError
from alctl.labels import rle
from alctl.labels.annotation import RLE, Annotation, Assignment, Category, LabeledImage, Note, Record, Refusal
from alctl.labels.formats.cvat import ATTRIBUTES, GROUPED, OCCLUDED, OUTSIDE, Cvat
from alctl.labels.parsing.units import STATED, UnitsOption
from alctl.labels.parsing.unlabeled import UNLABELED
from alctl.labels.shapes import TURNED
from tests.data import real_data
from tests.examples import examples

SKELETON = """<label><name>person</name><type>skeleton</type><svg>{svg}</svg></label>
<label><name>nose</name><type>points</type><parent>person</parent></label>
<label><name>tail</name><type>points</type><parent>person</parent></label>"""


def document(images: str, labels: str = "<label><name>car</name></label>") -> str:
    return f"""<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version><meta><task><labels>{labels}</labels></task></meta>
{images}
</annotations>"""


class Read(NamedTuple):
    """What a file holds, by kind of record."""

    images: list[LabeledImage]
    refused: list[Refusal]
    notes: dict[str, int]
    categories: list[Category]

    @property
    def objects(self) -> tuple[Annotation, ...]:
        """The objects of the only image of a file without problems."""
        ((found,), refused) = self.images, self.refused
        assert not refused
        return found.annotations


def sorted_out(records: list[Record]) -> Read:
    return Read(
        [record for record in records if isinstance(record, LabeledImage)],
        [record for record in records if isinstance(record, Refusal)],
        {record.what: record.times for record in records if isinstance(record, Note)},
        [record for record in records if isinstance(record, Category)],
    )


def read(content: str, kind: Cvat = Cvat()) -> Read:  # noqa: B008 - frozen
    with TemporaryDirectory() as folder:
        file = Path(folder) / "annotations.xml"
        file.write_text(content, encoding="utf-8")
        return sorted_out(list(kind.read(file)))


def image(
    inside: str, width: int = 100, height: int = 80, labels: str = "<label><name>car</name></label>"
) -> Read:
    """Read one image with these shapes on it."""
    return read(
        document(f'<image id="0" name="a.jpg" width="{width}" height="{height}">{inside}</image>', labels)
    )


def problem(inside: str, **given) -> str:
    found = image(inside, **given)
    assert not found.images
    (refusal,) = found.refused
    assert refusal.where == "image 'a.jpg'"
    return refusal.problem


def box(**changed: object) -> str:
    given = {"label": "car", "xtl": 10, "ytl": 20, "xbr": 30, "ybr": 50} | changed
    attributes = " ".join(f'{key}="{value}"' for key, value in given.items())
    return f"<box {attributes}/>"


# --- real exports -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exports() -> Path:
    return real_data("exports.tar.xz") / "datumaro" / "tests" / "assets" / "cvat_dataset"


def test_a_real_export_has_its_classes_and_their_points(exports):
    for path in (exports / "for_images" / "train.xml", exports / "for_images"):
        assert Cvat().recognise(path) == "CVAT for images 1.1"
        found = sorted_out(list(Cvat().read(path)))
        assert found.categories == [
            Category("label1"),
            Category("label2"),
            Category("skeleton", ("1", "2", "3", "4"), ((2, 1), (0, 3))),
        ]


def test_a_real_export_with_shapes_that_are_no_labels_says_which(exports):
    found = sorted_out(list(Cvat().read(exports / "for_images" / "train.xml")))
    assert found.refused == [
        Refusal(0, "<polyline> without a label", "image 'img0.jpg'"),
        Refusal(0, "<polygon> without a label", "image 'img1.jpg'"),
    ]
    assert not found.images


def test_every_coordinate_of_a_real_export_is_read(exports):
    text = (exports / "for_images" / "train.xml").read_text()
    text = re.sub("<polyline[^>]*>", "", text).replace('polygon label=""', 'polygon label="label1"')
    found = read(text)
    expected = {element.get("name", ""): element for element in ET.fromstring(text).iter("image")}
    assert [one.path for one in found.images] == list(expected)
    for one in found.images:
        element = expected[one.path]
        assert (one.width, one.height) == (int(element.get("width", "")), int(element.get("height", "")))
        assert len(one.annotations) == len(element)
        shapes = sorted(element, key=lambda shape: int(shape.get("z_order", "0")))
        for annotation, shape in zip(one.annotations, shapes, strict=True):
            assert (annotation.category, numbers(annotation)) == (shape.get("label"), expected_numbers(shape))
    assert found.notes == {ATTRIBUTES: 4, OCCLUDED: 1}


def numbers(annotation: Annotation) -> list[float]:
    """Return what a shape has in the file: corners, points, and points that are in the image."""
    if annotation.bbox:
        x, y, width, height = annotation.bbox
        return [x, y, x + width, y + height]
    if annotation.keypoints:
        return [number for x, y, seen in annotation.keypoints for number in (x, y) if seen]
    assert isinstance(annotation.segmentation, tuple)
    return list(annotation.segmentation[0])


def expected_numbers(shape: ET.Element) -> list[float]:
    if shape.tag == "box":
        return [float(shape.attrib[side]) for side in ("xtl", "ytl", "xbr", "ybr")]
    points = [shape.get("points", "")]
    if shape.tag == "skeleton":
        points = [point.attrib["points"] for point in shape if point.get("outside") == "0"]
    return [float(number) for number in ";".join(points).replace(";", ",").split(",")]


def test_a_real_skeleton_has_the_points_outside_the_image_as_not_labeled(exports):
    text = re.sub("<poly[^>]*>", "", (exports / "for_images" / "train.xml").read_text())
    skeletons = [one.annotations[0].keypoints for one in read(text).images]
    assert skeletons == [
        ((0, 0, 0), (2, 2, 2), (3, 3, 2), (4, 4, 2)),
        ((3, 3, 2), (4, 4, 2), (0, 0, 0), (6, 6, 2)),
    ]


def test_a_real_export_for_video_says_how_to_export_it(exports):
    for path in (exports / "for_video", exports / "for_video" / "annotations.xml"):
        assert Cvat().recognise(path)
        with pytest.raises(AlctlError, match=r"annotations\.xml is .* export it as 'CVAT for images 1\.1'"):
            list(Cvat().read(path))


@pytest.mark.parametrize("inside", ["annotations.xml", "task 1/annotations.xml", "any.xml"])
def test_a_zip_and_a_folder_hold_the_same_as_their_xml(tmp_path, inside):
    text = document(f'<image id="0" name="a.jpg" width="100" height="80">{box()}</image>')
    with zipfile.ZipFile(tmp_path / "export.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(inside, text)
        archive.writestr("images/a.jpg", b"\xff\xd8")
    file = tmp_path / "folder" / inside
    file.parent.mkdir(parents=True)
    file.write_text(text)
    for path in (tmp_path / "export.zip", tmp_path / "folder", file):
        assert Cvat().recognise(path) == "CVAT for images 1.1"
        assert sorted_out(list(Cvat().read(path))) == read(text)


def test_a_folder_without_annotations_or_with_several_is_a_sentence(tmp_path):
    with pytest.raises(AlctlError, match=r"holds no annotations\.xml"):
        list(Cvat().read(tmp_path))
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "annotations.xml").write_text(document(""))
    with pytest.raises(AlctlError, match=r"several XML files: one/annotations\.xml, two/annotations\.xml"):
        list(Cvat().read(tmp_path))
    assert Cvat().recognise(tmp_path) == ""


# --- what a file is ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        "<annotations><version>1.1</version>",
        '\ufeff<?xml version="1.0"?>\n<!-- a --><!-- b -->\n<annotations>\n <version> 1.1 </version>',
        "<annotations><meta><project>",
        "<annotations>\n<meta>\n<job>",
    ],
)
def test_cvat_is_recognised_by_its_head(tmp_path, content):
    (tmp_path / "a.xml").write_text(content, encoding="utf-8")
    assert Cvat().recognise(tmp_path / "a.xml")


@pytest.mark.parametrize(
    "content",
    [
        "<annotation><version>1.1</version></annotation>",
        "<annotations><image/></annotations>",
        "<annotations><version>2.0</version>",
        "<a><annotations><version>1.1</version></annotations></a>",
        "<!-- <annotations><version>1.1</version> -->",
        "<!---->" * 5000,
        "",
    ],
)
def test_other_xml_is_not(tmp_path, content):
    (tmp_path / "a.xml").write_text(content)
    assert Cvat().recognise(tmp_path / "a.xml") == ""


def test_another_root_is_a_sentence():
    with pytest.raises(AlctlError, match=r"annotations\.xml begins with <annotation> and not"):
        read("<annotation/>")


@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
def test_a_file_that_is_cut_off_is_a_sentence(share):
    whole = document(f'<image name="a.jpg" width="100" height="80">{box()}</image>' * 50)
    with pytest.raises(AlctlError, match=r"annotations\.xml is not XML, or is cut off"):
        read(whole[: int(len(whole) * share)])


# --- shapes -----------------------------------------------------------------------------------------------------------


def test_a_tag_is_the_class_of_the_image():
    assert image('<tag label="good" source="manual"/>').objects == (Annotation("good"),)


def test_a_box_is_a_pair_of_corners():
    assert image(box()).objects == (Annotation("car", bbox=(10, 20, 20, 30)),)


@pytest.mark.parametrize(
    ("degrees", "hull"),
    [
        ("90", (5, 25, 30, 20)),
        ("180.00", (10, 20, 20, 30)),
        ("-90", (5, 25, 30, 20)),
        ("45", (20 - 25 / math.sqrt(2), 35 - 25 / math.sqrt(2), 50 / math.sqrt(2), 50 / math.sqrt(2))),
    ],
)
def test_a_turned_box_becomes_its_hull_about_its_center(degrees, hull):
    found = image(box(rotation=degrees))
    assert found.objects[0].bbox == pytest.approx(hull)
    assert found.notes == {TURNED: 1}


@pytest.mark.parametrize("degrees", ["0", "0.00", "360"])
def test_a_box_that_is_not_turned_is_no_hull(degrees):
    found = image(box(rotation=degrees))
    assert found.objects == (Annotation("car", bbox=(10, 20, 20, 30)),)
    assert not found.notes


def test_a_hull_ends_where_the_image_does():
    found = image(box(xtl=0, ytl=30, xbr=40, ybr=34, rotation=90))
    assert found.objects[0].bbox == pytest.approx((18, 12, 4, 40))
    found = image(box(xtl=0, ytl=0, xbr=40, ybr=4, rotation=90))
    assert found.objects[0].bbox == pytest.approx((18, 0, 4, 22))


def test_a_polygon_is_its_points():
    found = image('<polygon label="car" points="1.5,2;3,4.25;5,6" occluded="0" z_order="1"/>')
    assert found.objects == (Annotation("car", segmentation=((1.5, 2, 3, 4.25, 5, 6),)),)


@pytest.mark.parametrize(("occluded", "seen"), [("0", 2), ("1", 1)])
def test_points_are_the_keypoints_of_one_object(occluded, seen):
    found = image(f'<points label="car" points="1,2;3,4" occluded="{occluded}"/>')
    assert found.objects == (Annotation("car", keypoints=((1, 2, seen), (3, 4, seen))),)
    assert not found.notes


def point(name: str, place: str = "30,40", *, outside: int = 0, occluded: int = 0) -> str:
    return f'<points label="{name}" outside="{outside}" occluded="{occluded}" points="{place}"/>'


def person(*points: str) -> str:
    return f'<skeleton label="person" z_order="0">{"".join(points)}</skeleton>'


def test_the_points_of_a_skeleton_come_in_the_declared_order():
    found = image(person(point("tail", "1,2"), point("nose", "3,4", occluded=1)), labels=SKELETON)
    assert found.objects == (Annotation("person", keypoints=((3, 4, 1), (1, 2, 2))),)
    assert found.categories == [Category("person", ("nose", "tail"))]


def test_a_point_outside_or_missing_is_not_labeled():
    found = image(person(point("tail", "1,2"), point("nose", "what", outside=1)), labels=SKELETON)
    assert found.objects == (Annotation("person", keypoints=((0, 0, 0), (1, 2, 2))),)
    assert image(person(point("nose", "1,2")), labels=SKELETON).objects[0].keypoints == ((1, 2, 2), (0, 0, 0))


def test_a_skeleton_that_nobody_declared_must_be_numbered():
    numbered = [point(str(n), f"{n},{n}") for n in (10, 2, 9, 1, 3, 8, 4, 5, 6, 7)]
    assert [x for x, _, _ in image(person(*numbered)).objects[0].keypoints] == list(range(1, 11))
    assert problem(person(point("nose"), point("tail"))) == (
        "a 'person' skeleton: a point 'nose', but the points of this skeleton are not declared in the file"
    )
    assert "a point '3'" in problem(person(point("1"), point("3")))
    plain = "<label><name>person</name></label>"
    assert problem(person(point("nose")), labels=plain).endswith("are not declared in the file")


@pytest.mark.parametrize(
    ("points", "what"),
    [
        ((point("ear"),), "a point 'ear', but the points of this skeleton are nose, tail"),
        ((point("nose"), point("nose")), "points 'nose', where one point of each name should be"),
        ((point("nose", "1,2;3,4"),), "2 points where one should be"),
        (('<box label="nose"/>',), "box 'nose', where one point"),
        ((point("nose", outside=2),), "outside is '2', neither 0 nor 1"),
        ((), "it has no points"),
    ],
)
def test_a_skeleton_that_is_not_what_was_declared_refuses_the_image(points, what):
    assert what in problem(person(*points) + box(), labels=SKELETON)


def test_a_skeleton_without_a_point_in_the_image_is_left_and_counted():
    found = image(person(point("nose", outside=1), point("tail", outside=1)) + box(), labels=SKELETON)
    assert found.objects == (Annotation("car", bbox=(10, 20, 20, 30)),)
    assert found.notes == {OUTSIDE: 1}


@pytest.mark.parametrize("tag", ["polyline", "cuboid", "ellipse", "cube"])
def test_a_shape_that_can_be_no_label_refuses_the_image(tag):
    found = problem(f'{box()}<{tag} label="car" points="1,2;3,4"/>')
    assert found.startswith(f"a 'car' {tag}: no shape that can be a label here")


def test_what_is_drawn_on_top_comes_last():
    drawn = "".join(box(label=name, z_order=z) for name, z in (("top", 4), ("low", -1), ("a", 0), ("b", 0)))
    assert [found.category for found in image(drawn).objects] == ["low", "a", "b", "top"]


# --- masks ------------------------------------------------------------------------------------------------------------


def mask(runs: str, left: object, top: object, width: object, height: object) -> str:
    return f'<mask label="car" rle="{runs}" left="{left}" top="{top}" width="{width}" height="{height}"/>'


def pixels(found: Read) -> np.ndarray:
    (annotation,) = found.objects
    assert isinstance(annotation.segmentation, RLE)
    return rle.to_mask(annotation.segmentation)


def test_the_runs_of_a_mask_go_row_by_row_from_background():
    """A disc of 13 by 15 pixels as CVAT packs it: only row by row do the runs make one."""
    disc = [sum((x - 6) ** 2 / 42 + (y - 7) ** 2 / 56 <= 1 for x in range(13)) for y in range(15)]
    runs, background = [], 0
    for count in disc:
        before = (13 - count) // 2
        runs += [background + before, count]
        background = 13 - count - before
    runs.append(background)
    assert sum(runs) == 13 * 15
    found = pixels(image(mask(", ".join(map(str, runs)), 7, 8, 13, 15)))
    assert found.shape == (80, 100)
    window = found[8:23, 7:20]
    assert window.sum() == found.sum() == sum(disc)
    assert window.sum(axis=1).tolist() == disc
    assert np.array_equal(window, window[::-1])
    assert np.array_equal(window, window[:, ::-1])


@settings(max_examples=examples(100))
@given(data=st.data())
def test_a_mask_is_where_its_window_is(data):
    width, height = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9))
    left, top = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    across, down = data.draw(st.integers(1, width - left)), data.draw(st.integers(1, height - top))
    flat = data.draw(st.lists(st.booleans(), min_size=across * down, max_size=across * down).filter(any))
    runs, last = [0], False
    for value in flat:  # the slow and obvious way
        if value != last:
            runs.append(0)
            last = value
        runs[-1] += 1
    expected = np.zeros((height, width), dtype=bool)
    expected[top : top + down, left : left + across] = np.array(flat).reshape(down, across)
    found = image(mask(",".join(map(str, runs)), left, top, across, down), width, height)
    (annotation,) = found.objects
    assert annotation.segmentation == rle.of_mask(expected)


@pytest.mark.parametrize(
    ("shape", "what"),
    [
        (mask("1, 2", 0, 0, 2, 2), "do not add up to the window of 2 × 2"),
        (mask("1, 4", 0, 0, 2, 2), "do not add up"),
        (mask("4", 0, 0, 2, 2), "it has no pixels"),
        (mask("0, 4", 99, 0, 2, 2), "is not inside the image of 100 × 80"),
        (mask("0, 4", 0, 79, 2, 2), "is not inside the image"),
        (mask("0, 4", -1, 0, 2, 2), "is not inside the image"),
        (mask("0, 4", 0, 0, -2, -2), "is not inside the image"),
        (mask("0, 0", 0, 0, 0, 0), "it has no pixels"),
        (mask("0, 4", "1.5", 0, 2, 2), "left is '1.5', not a whole number"),
        (mask("0, 4", "", 0, 2, 2), "left is '', not a whole number"),
        (mask("", 0, 0, 2, 2), "not whole numbers with commas"),
        (mask("0 4", 0, 0, 2, 2), "not whole numbers"),
        (mask("0, -1, 5", 0, 0, 2, 2), "not whole numbers"),
        (mask("0, 4,", 0, 0, 2, 2), "not whole numbers"),
        (mask("0,, 4", 0, 0, 2, 2), "not whole numbers"),
        (mask("0, 4_0", 0, 0, 2, 2), "not whole numbers"),
        (mask("0, ٤", 0, 0, 2, 2), "not whole numbers"),
        (mask("0, 4.0", 0, 0, 2, 2), "not whole numbers"),
        (mask("0, 99999999999999999999", 0, 0, 2, 2), "not whole numbers"),
        (mask("0, 999999999999, 999999999999", 0, 0, 2, 2), "do not add up"),
    ],
)
def test_a_mask_that_does_not_fill_its_window_in_the_image_refuses_the_image(shape, what):
    assert what in problem(shape)


def test_a_mask_in_an_absurdly_large_image_does_not_fill_the_memory():
    huge = 900_000_000
    assert "do not add up" in problem(mask(f"0, {10**11}", 0, 0, huge, huge), width=huge, height=huge)
    (annotation,) = image(mask("0, 4", 5, 6, 2, 2), width=1_000_000, height=1_000_000).objects
    assert isinstance(annotation.segmentation, RLE)
    assert rle.unpacked(annotation.segmentation).tolist() == [5_000_006, 2, 999_998, 2, 10**12 - 6_000_008]


def test_a_mask_needs_the_size_of_its_image():
    found = read(document(f'<image name="a.jpg">{mask("0, 4", 0, 0, 2, 2)}</image>'))
    assert [refusal.problem for refusal in found.refused] == [
        "a 'car' mask: the image has no width and height"
    ]


# --- what is wrong, and what is left ----------------------------------------------------------------------------------

HOSTILE = [
    "nan",
    "inf",
    "-inf",
    "1e999",
    "",
    " ",
    "1_0",
    "٣",
    "0x10",
    "1,5",
    "1 2",
    "one",
    "--1",
    "1e",
    "NaN",
    "½",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_no_number_refuses_the_image(text):
    assert "xbr is " in problem(box(xbr=text))
    assert "rotation is " in problem(box(rotation=text))
    assert "its points are not" in problem(f'<polygon label="car" points="1,2;{text},4;5,6"/>')
    assert "z_order is " in problem(box(z_order=text))
    assert "width is " in read(document(f'<image name="a" width="{text}" height="9"/>')).refused[0].problem


@pytest.mark.parametrize("text", [" 12.5 ", "+12.5", "1.25e1", "1.25E+1", "12.50", "0012.5"])
def test_a_number_may_be_written_in_many_ways(text):
    assert image(box(xtl=text)).objects[0].bbox == (12.5, 20, 17.5, 30)


@pytest.mark.parametrize("points", ["", "1", "1,2,3", "1,2;", ";1,2", "1,2;3", "1;2;3;4", "1,2 3,4"])
def test_points_that_are_not_pairs_refuse_the_image(points):
    for tag in ("polygon", "points"):
        assert "its points are not" in problem(f'<{tag} label="car" points="{points}"/>')


@settings(max_examples=examples(120))
@given(
    tag=st.sampled_from(["box", "polygon", "points", "mask", "skeleton", "tag", "ellipse", "attribute"]),
    attributes=st.dictionaries(
        st.sampled_from(
            ["xtl", "ytl", "xbr", "ybr", "points", "rle", "left", "top", "width", "height", "label", "rotation",
             "occluded", "outside", "z_order", "group_id"]
        ),
        st.one_of(
            st.sampled_from([*HOSTILE, "0", "1", "5", "0, 4", "1,2;3,4;5,6", "-3", "1e308", "9" * 400]),
            st.text(max_size=5),
            st.floats().map(str),
        ),
    ),
)  # fmt: skip
def test_hostile_attributes_are_read_or_refused(tag, attributes):
    root = ET.Element("annotations")
    holder = ET.SubElement(root, "image", name="a", width="100", height="80")
    kept = {key: re.sub(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd]", "", value) for key, value in attributes.items()}
    ET.SubElement(ET.SubElement(holder, tag, kept), "points", kept)
    ET.SubElement(holder, "box", label="car", xtl="10", ytl="20", xbr="30", ybr="50")
    found = read(ET.tostring(root, encoding="unicode"))
    assert len(found.images) + len(found.refused) == 1
    assert all(math.isfinite(n) for one in found.images for a in one.annotations for n in (a.bbox or ())[:2])


@pytest.mark.parametrize("name", ["width", "height"])
@pytest.mark.parametrize("size", ["0", "-5", "1.5", "99999999999"])
def test_an_image_of_no_size_is_refused(name, size):
    sizes = {"width": "9", "height": "9"} | {name: size}
    found = read(
        document(f'<image name="a" width="{sizes["width"]}" height="{sizes["height"]}">{box()}</image>')
    )
    assert found.refused[0].problem.startswith(f"{name} is ")


def test_an_image_need_not_declare_its_size():
    (found,) = read(document(f'<image name="a.jpg">{box(rotation=90)}</image>')).images
    assert (found.width, found.height) == (None, None)
    assert found.annotations[0].bbox == pytest.approx((5, 25, 30, 20))


def test_an_image_without_a_name_is_told_by_its_place():
    found = read(document(f"<image>{box()}</image>" * 2))
    assert [refusal.where for refusal in found.refused] == ["image 1", "image 2"]


def test_a_shape_without_a_label_refuses_the_image():
    for label in ("", "  "):
        assert problem(box(label=label)) == "<box> without a label"


def test_one_bad_image_leaves_the_others():
    good, bad = (f'<image name="{name}" width="99" height="99">{{}}</image>' for name in ("good", "bad"))
    found = read(document(good.format(box()) + bad.format(box() + box(xtl="x")) + good.format(box())))
    assert [one.path for one in found.images] == ["good", "good"]
    assert [refusal.where for refusal in found.refused] == ["image 'bad'"]


@pytest.mark.parametrize(
    "inside",
    [
        box(xtl="0.1", ytl="0.2", xbr="0.5", ybr="0.9"),
        '<polygon label="car" points="0.1,0.1;0.5,0.1;0.5,1"/>',
        '<points label="car" points="0.25,0.75"/>',
        '<tag label="car"/>' + box(xtl=0, ytl=0, xbr="1.0", ybr="0.5"),
    ],
)
def test_whether_coordinates_are_fractions_is_asked_and_never_guessed(inside):
    text = document(f'<image id="0" name="a.jpg" width="100" height="80">{inside}</image>')
    with pytest.raises(
        AlctlError, match=r"image 'a\.jpg': no coordinate .* units=pixels or .* units=fractions"
    ):
        read(text)
    told: list[tuple[UnitsOption, bool]] = [("pixels", False), ("fractions", True)]
    for units, relative in told:
        (found,) = read(text, Cvat(units=units)).images
        assert (len(found.annotations) > 0, found.relative) == (True, relative)


def test_coordinates_beyond_fractions_are_pixels_and_contradict_fractions():
    inside = box(xtl="0.1", ytl="0.2", xbr="0.5", ybr="1.5")
    assert len(image(inside).objects) == 1
    text = document(f'<image id="0" name="a.jpg" width="100" height="80">{inside}</image>')
    assert "1.5 is not a fraction" in read(text, Cvat(units="fractions")).refused[0].problem


@pytest.mark.parametrize("said", ["<dumped>2026-01-01</dumped>", "<alctl_units>pixels</alctl_units>"])
def test_what_cvat_or_alctl_wrote_is_pixels_whatever_the_option(said):
    text = document(
        f'<image id="0" name="a.jpg" width="9" height="9">{box(xtl=0, ytl=0, xbr=1, ybr=1)}</image>'
    )
    text = text.replace("</meta>", f"{said}</meta>")
    told: list[tuple[UnitsOption, dict[str, int]]] = [("", {}), ("pixels", {}), ("fractions", {STATED: 1})]
    for units, notes in told:
        found = read(text, Cvat(units=units))
        assert (found.images[0].relative, found.notes) == (False, notes)


def test_the_only_pixel_of_an_image_is_the_same_in_both_units():
    assert len(image(box(xtl=0, ytl=0, xbr=1, ybr=1), width=1, height=1).objects) == 1


BOMBS = {
    "entities of entities": '<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;">',
    "a file of ours": '<!ENTITY c SYSTEM "file:///etc/passwd">',
    "a file of another": '<!ENTITY c PUBLIC "x" "http://127.0.0.1:9/b">',
    "a parameter": '<!ENTITY % p SYSTEM "http://127.0.0.1:9/b"> %p; <!ENTITY c "">',
    "nothing": "",
}


@pytest.mark.parametrize("declared", BOMBS.values(), ids=BOMBS.keys())
def test_a_document_type_refuses_the_file_before_an_entity_is_expanded(declared):
    text = document(f'<image id="0" name="a.jpg">{box(label="&c;" if declared else "car")}</image>')
    text = text.replace("<annotations>", f"<!DOCTYPE annotations [{declared}]>\n<annotations>", 1)
    with pytest.raises(AlctlError, match="line 2: a document type or entities are declared"):
        read(text)


def test_what_is_left_out_is_counted():
    marked = '<box label="car" xtl="1" ytl="2" xbr="30" ybr="40" occluded="1"><attribute name="a">1</attribute></box>'
    found = image(marked * 2 + '<polygon label="car" points="1,2;3,4;5,6" occluded="1" group_id="3"/>')
    assert found.notes == {ATTRIBUTES: 2, OCCLUDED: 3}


def test_grouped_objects_stay_apart_and_are_counted():
    polygon = '<polygon label="car" points="1,2;3,4;5,6" group_id="{}"/>'
    found = image("".join(polygon.format(group) for group in (7, 7, 0, 0, 8)))
    assert len(found.objects) == 5
    assert found.notes == {GROUPED: 2}


def test_what_was_counted_of_a_refused_image_does_not_count():
    assert image(box(rotation=90, occluded=1) + box(xtl="x")).notes == {}


def test_images_without_shapes_are_looked_at_only_if_someone_says_so():
    text = document(
        f'<image name="a" width="9" height="9"/><image name="b" width="100" height="80">{box()}</image>'
        '<image name="c" width="9" height="9"></image>'
    )
    found = read(text)
    assert [one.path for one in found.images] == ["b"]
    assert found.notes == {UNLABELED: 2}
    found = read(text, Cvat(empty=True))
    assert [(one.path, len(one.annotations)) for one in found.images] == [("a", 0), ("b", 1), ("c", 0)]
    assert not found.notes


def test_labels_of_a_project_are_its_classes():
    text = document("", SKELETON.format(svg="") + "<label><name>\n car \n</name></label>")
    for kind in ("task", "project", "job"):
        found = read(text.replace("task>", f"{kind}>"))
        assert found.categories == [Category("person", ("nose", "tail")), Category("car")]


@pytest.mark.slow
def test_a_large_file_is_never_in_memory(tmp_path):
    shapes = box() * 8 + f'<polygon label="car" points="{";".join(["12.25,34.75"] * 60)}"/>' * 3
    one = f'<image name="a.jpg" width="100" height="80">{shapes}</image>\n'
    with (tmp_path / "a.xml").open("w") as stream:
        stream.write(document(one * 6_000))
    assert (tmp_path / "a.xml").stat().st_size > 15 << 20
    tracemalloc.start()
    try:
        count = sum(isinstance(record, LabeledImage) for record in Cvat().read(tmp_path / "a.xml"))
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    assert count == 6_000


# --- writing ----------------------------------------------------------------------------------------------------------

CATEGORIES = (
    Category("car"),
    Category("a \"b\" <c> & 'd'"),
    Category("person", ("nöse", "<tail>", 'l"e'), ((2, 0), (0, 1))),
)


def written(images: list[LabeledImage], categories: tuple[Category, ...] = CATEGORIES) -> str:
    with TemporaryDirectory() as folder:
        Cvat().write(images, Path(folder) / "a.xml", categories)
        return (Path(folder) / "a.xml").read_text(encoding="utf-8")


def again(*annotations: Annotation) -> tuple[Annotation, ...]:
    return read(written([LabeledImage("a.jpg", annotations, width=100, height=80)])).objects


SQUARE = (1.0, 2.0, 30.0, 2.0, 30.0, 40.5)
DOTS = rle.of_mask(np.random.default_rng(1).random((80, 100)) < 0.2)


@pytest.mark.parametrize(
    "annotation",
    [
        Annotation("car"),
        Annotation("car", bbox=(0.1, 1 / 3, 168.19 / 3, 0.7)),
        Annotation("car", bbox=(797.33, 0.1, 168.19, 1e-5)),
        Annotation("car", segmentation=(SQUARE,)),
        Annotation("car", segmentation=(SQUARE, (50.0, 50.0, 60.0, 50.0, 60.0, 60.0), SQUARE)),
        Annotation("car", bbox=(1.0, 2.0, 3.0, 4.0), segmentation=(SQUARE, SQUARE), crowd=True),
        Annotation("car", segmentation=DOTS),
        Annotation("car", bbox=(1.0, 2.0, 3.0, 4.0), segmentation=DOTS, crowd=True),
        Annotation("car", bbox=(1.0, 2.0, 3.0, 4.0), crowd=True),
        Annotation("car", bbox=(1.0, 2.0, 3.0, 4.0), difficult=True),
        Annotation("car", keypoints=((1.5, 2.5, 2), (3.0, 4.0, 2))),
        Annotation("car", keypoints=((1.5, 2.5, 1), (3.0, 4.0, 1))),
        Annotation("car", keypoints=((1.5, 2.5, 1), (3.0, 4.0, 2), (0.0, 0.0, 0))),
        Annotation("person", keypoints=((1.5, 2.5, 1), (0.0, 0.0, 0), (3.0, 4.0, 2))),
        Annotation("person", bbox=(1.1, 2.2, 3.3, 4.4), keypoints=((0.0, 0.0, 0),) * 3),
        Annotation(
            "person", (1.0, 2.0, 9.0, 9.0), ((1.5, 2.5, 1), (0.0, 0.0, 0), (3.0, 4.0, 2)), (SQUARE, SQUARE)
        ),
        Annotation("person", (1.0, 2.0, 9.0, 9.0), ((1.5, 2.5, 1), (0.0, 0.0, 0), (3.0, 4.0, 2)), DOTS),
        Annotation("a \"b\" <c> & 'd'", bbox=(1.0, 2.0, 3.0, 4.0)),
    ],
)
def test_an_object_comes_back_to_the_last_digit(annotation):
    other = Annotation("car", bbox=(50.0, 50.0, 9.0, 9.0))
    assert again(annotation, other, annotation) == (annotation, other, annotation)


@settings(max_examples=examples(120))
@given(st.tuples(*[st.floats(0, 1e6, allow_subnormal=False)] * 2, *[st.floats(1e-6, 1e6)] * 2))
def test_a_box_comes_back_to_the_last_digit(given_box):
    assert again(Annotation("car", bbox=given_box), Annotation("car", bbox=(9, 9, 9, 9)))[0].bbox == given_box


def test_a_box_that_was_moved_after_it_was_written_is_where_it_was_moved():
    text = written([LabeledImage("a.jpg", (Annotation("car", bbox=(797.33, 0.1, 168.19, 1 / 3)),))])
    assert "alctl_box" in text
    moved = read(re.sub('xtl="[^"]*"', 'xtl="700.0"', text)).objects[0].bbox
    assert moved is not None
    assert moved[0] == 700


def test_what_is_written_declares_its_classes():
    assert read(written([])).categories == list(CATEGORIES)


@pytest.mark.parametrize(
    "path",
    [
        "a b.jpg",
        "ü/猫.png",
        "a&b<c>\"d'.jpg",
        "a\nb\tc\rd.jpg",
        "a\u2028b\x85c.jpg",
        "images/0000023_cat.jpg",
    ],
)
def test_every_name_comes_back(path):
    (found,) = read(written([LabeledImage(path, (Annotation("car"),), width=3, height=4)])).images
    assert (found.path, found.width, found.height, found.where) == (path, 3, 4, f"image {path!r}")


@pytest.mark.parametrize("path", ["a\x00.jpg", "a\x1b.jpg", "a\udc80.jpg", "a\ufffe.jpg"])
def test_a_name_that_xml_cannot_hold_is_a_sentence(path):
    with pytest.raises(AlctlError, match="which XML cannot"):
        written([LabeledImage(path)])


def test_what_annotators_skipped_is_not_written_as_looked_at():
    images = [
        LabeledImage("a.jpg", status="skip"),
        LabeledImage("b.jpg", status="unusable"),
        LabeledImage("c.jpg"),
    ]
    assert [one.path for one in read(written(images), Cvat(empty=True)).images] == ["c.jpg"]


def test_what_is_written_has_all_that_cvat_asks_for():
    """CVAT's own importer takes these attributes without a default."""
    annotations = (
        Annotation("car"), Annotation("car", bbox=(1, 2, 3, 4)), Annotation("car", segmentation=(SQUARE,)),
        Annotation("car", segmentation=DOTS), Annotation("person", keypoints=((1, 2, 2), (3, 4, 1), (0, 0, 0))),
    )  # fmt: skip
    root = ET.fromstring(written([LabeledImage("a.jpg", annotations, width=100, height=80)]))
    assert (root.tag, root.findtext("version")) == ("annotations", "1.1")
    (element,) = root.iter("image")
    assert element.attrib == {"id": "0", "name": "a.jpg", "width": "100", "height": "80"}
    needed = {
        "tag": "label", "box": "label occluded xtl ytl xbr ybr", "polygon": "label occluded points",
        "mask": "label occluded rle left top width height", "skeleton": "label", "points": "label occluded outside points",
    }  # fmt: skip
    assert [shape.tag for shape in element] == ["tag", "box", "polygon", "mask", "skeleton"]
    for shape in (*element, *element[-1]):
        assert set(needed[shape.tag].split()) <= set(shape.keys())
    assert [p.get("outside", "") + p.get("occluded", "") for p in element[-1]] == ["00", "01", "10"]
    runs = list(map(int, element[3].attrib["rle"].split(",")))
    assert sum(runs) == int(element[3].attrib["width"]) * int(element[3].attrib["height"])


# --- handing out ------------------------------------------------------------------------------------------------------


def handed_out(tmp_path: Path, predictions: tuple[Annotation, ...] | None) -> Path:
    given_out = [
        Assignment(23, "deep/cat.jpg", "images/0000023_cat.jpg", 100, 80, 3, "ab", predictions=predictions)
    ]
    Cvat().hand_out(given_out, tmp_path / "tasks.xml", CATEGORIES, "detection")
    return tmp_path / "tasks.xml"


def test_images_are_handed_out_by_the_name_that_cvat_gives_them(tmp_path):
    root = ET.parse(handed_out(tmp_path, (Annotation("car", bbox=(1, 2, 3, 4)),)))
    (element,) = root.iter("image")
    assert element.attrib == {"id": "0", "name": "0000023_cat.jpg", "width": "100", "height": "80"}
    assert [(shape.tag, shape.get("source")) for shape in element] == [("box", "auto")]


@pytest.mark.parametrize("predictions", [None, (), (Annotation("car", bbox=(1, 2, 3, 4)),)])
@pytest.mark.parametrize("empty", [False, True])
def test_what_was_handed_out_is_not_an_answer(tmp_path, predictions, empty):
    path = handed_out(tmp_path, predictions)
    with pytest.raises(AlctlError, match=r"tasks\.xml is what alctl handed out"):
        list(Cvat(empty=empty).read(path))


def test_what_cvat_makes_of_it_is_an_answer(tmp_path):
    path = handed_out(tmp_path, (Annotation("car", bbox=(1, 2, 3, 4)),))
    text = re.sub("<source>.*</source>", "<dumped>2024</dumped>", path.read_text(encoding="utf-8"))
    assert [one.path for one in read(text).images] == ["0000023_cat.jpg"]


def test_the_labels_for_a_task_are_handed_out_beside(tmp_path):
    handed_out(tmp_path, None)
    labels = json.loads((tmp_path / "tasks-labels.json").read_text(encoding="utf-8"))
    assert [label["name"] for label in labels] == [category.name for category in CATEGORIES]
    assert [label.get("type", "any") for label in labels] == ["any", "any", "skeleton"]
    assert [point["name"] for point in labels[2]["sublabels"]] == list(CATEGORIES[2].keypoints)
    assert ET.fromstring(f"<svg>{labels[2]['svg']}</svg>")[0].attrib["data-node-from"] == "3"


def test_only_what_alctl_wrote_joins_shapes():
    text = written(
        [LabeledImage("a.jpg", (Annotation("car", segmentation=(SQUARE, SQUARE)),), width=100, height=80)]
    )
    assert len(read(text).objects) == 1
    assert len(read(re.sub("<attribute.*?</attribute>", "", text)).objects) == 2
    clash = text.replace("<polygon", '<box xtl="1" ytl="2" xbr="3" ybr="4"').replace("</polygon", "</box")
    assert "one object with another shape" in read(clash).refused[0].problem
