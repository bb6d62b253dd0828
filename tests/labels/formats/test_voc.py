"""Pascal VOC: the boxes of real files by an independent count, both origins, and files that say nothing true."""

import re
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alctl.errors import AlctlError
from alctl.labels.annotation import Annotation, Assignment, Category, LabeledImage, Note, Refusal
from alctl.labels.formats.voc import STATED_ORIGIN, Voc
from alctl.labels.parsing.units import UnitsOption
from alctl.labels.parsing.unlabeled import UNLABELED
from tests.data import real_data
from tests.examples import examples

CLASSES = (Category("cat"), Category("dog"))


def annotation(
    *objects: str, filename: str = "a.jpg", size: str = "<width>640</width><height>480</height>"
) -> str:
    inside = f"<folder>x</folder><filename>{filename}</filename><size>{size}</size>{''.join(objects)}"
    return f"<annotation>{inside}</annotation>"


def thing(*corners: object, name: str = "cat", more: str = "") -> str:
    tags = ("xmin", "ymin", "xmax", "ymax")
    box = "".join(f"<{tag}>{value}</{tag}>" for tag, value in zip(tags, corners, strict=True))
    return f"<object><name>{name}</name>{more}<bndbox>{box}</bndbox></object>"


def saved(folder: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


Read = tuple[list[LabeledImage], list[Refusal], dict[str, int]]


def read(path: Path, origin: int | None = 0, units: UnitsOption = "") -> Read:
    rows = list(Voc(origin, units, empty=True).read(path))
    answers = [row for row in rows if isinstance(row, LabeledImage)]
    refused = [row for row in rows if isinstance(row, Refusal)]
    notes = {row.what: row.times for row in rows if isinstance(row, Note)}
    assert len(answers) + len(refused) + len(notes) == len(rows)
    return answers, refused, notes


def one(content: str, origin: int = 0, name: str = "Annotations/a.xml") -> LabeledImage:
    with TemporaryDirectory() as folder:
        (answer,), refused, _ = read(saved(Path(folder), {name: content}), origin)
    assert not refused
    return answer


def refusal(content: str | bytes, origin: int | None = 0) -> str:
    """Return why a file among good ones is refused; the good ones are read."""
    with TemporaryDirectory() as folder:
        path = saved(Path(folder), {"Annotations/a.xml": content, "Annotations/b.xml": annotation()})
        answers, (refused,), _ = read(path, origin)
    assert len(answers) == 1
    assert refused.where == "Annotations/a.xml"
    return refused.problem


# --- real files -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cells() -> Path:
    return real_data("bccd.tar.xz") / "bccd" / "BCCD"


def counted(path: Path) -> list[tuple[str, int, int, int, int]]:
    """Return class and corners of every object of an XML file, by a search through its text."""
    text = path.read_text()
    names = re.findall(r"<object>\s*<name>(\w+)</name>", text)
    corners = [
        map(int, re.findall(rf"<{tag}>(\d+)</{tag}>", text)) for tag in ("xmin", "ymin", "xmax", "ymax")
    ]
    return list(zip(names, *corners, strict=True))


@pytest.mark.parametrize("origin", [0, 1])
def test_every_blood_cell_is_read_where_it_is(cells, origin):
    answers, refused, _ = read(cells, origin)
    by_name = {answer.path: answer for answer in answers}
    total = 0
    for xml in sorted((cells / "Annotations").glob("*.xml")):
        objects = counted(xml)
        total += len(objects)
        if f"{xml.stem}.jpg" not in by_name:
            continue
        answer = by_name[f"{xml.stem}.jpg"]
        assert (answer.width, answer.height, answer.where) == (640, 480, f"Annotations/{xml.name}")
        expected = [
            (n, (left - origin, t - origin, r - left + origin, b - t + origin))
            for n, left, t, r, b in objects
        ]
        assert [(a.category, a.bbox) for a in answer.annotations] == expected
    assert total == 4888
    assert len(answers) + len(refused) == 364


def test_the_two_images_with_a_box_of_no_area_are_refused_as_a_whole(cells):
    answers, refused, notes = read(cells)
    assert [(r.where, r.problem.split(":")[0]) for r in refused] == [
        ("Annotations/BloodImage_00338.xml", "object 13 ('RBC')"),
        ("Annotations/BloodImage_00343.xml", "object 4 ('RBC')"),
    ]
    assert sum(len(answer.annotations) for answer in answers) == 4888 - 13 - 4 - len(
        counted(cells / "Annotations/BloodImage_00338.xml")[13:]
    ) - len(counted(cells / "Annotations/BloodImage_00343.xml")[4:])
    assert [what.split(",")[0] for what in notes] == ["objects are marked as truncated"]


def test_the_blood_cells_that_end_where_they_begin_are_one_pixel_if_counted_from_1_and_are_told(cells):
    answers, refused, notes = read(cells, 1)
    assert not refused
    assert sum(len(answer.annotations) for answer in answers) == 4888
    assert [count for what, count in notes.items() if "stray clicks" in what] == [2]


def test_without_an_origin_the_blood_cells_ask_for_it(cells):
    with pytest.raises(
        AlctlError, match=r"origin=0 .* origin=1 .* lowest coordinate .* is 1, .* proves nothing"
    ):
        read(cells, None)


def test_a_zip_is_read_like_its_folder(cells, tmp_path):
    with zipfile.ZipFile(tmp_path / "labels.zip", "w") as packed:
        for xml in sorted((cells / "Annotations").glob("*.xml"))[:20]:
            packed.write(xml, f"BCCD/Annotations/{xml.name}")
    assert Voc().recognise(tmp_path / "labels.zip")
    answers, _, _ = read(tmp_path / "labels.zip")
    whole, _, _ = read(cells)
    assert [a._replace(where="") for a in answers] == [a._replace(where="") for a in whole[:20]]


def exported(name: str) -> Path:
    return next(real_data("exports.tar.xz").rglob(name))


def test_boxes_of_label_studio_keep_their_pixels():
    path = exported("ls_converter_generated") / "bbox" / "voc"
    answers, refused, _ = read(path)
    assert not refused
    assert len(answers) == 5
    for answer in answers:
        objects = counted(path / answer.where)
        assert objects
        assert [(a.category, a.bbox) for a in answer.annotations] == [
            (name, (left, top, right - left, bottom - top)) for name, left, top, right, bottom in objects
        ]
        assert answer.path == f"{Path(answer.where).stem}.jpg"


def test_datumaro_files_with_parts_actions_and_no_size_are_read():
    (answer,), _, notes = read(exported("voc_dataset1"), 1)
    assert [(a.category, a.bbox) for a in answer.annotations] == [
        ("cat", (0, 1, 3, 3)),
        ("person", (3, 4, 3, 3)),
    ]
    assert (answer.width, answer.height) == (20, 10)
    assert {what.rpartition(",")[0]: count for what, count in notes.items()} == {
        "objects are marked as truncated": 1,
        "objects have parts, actions, attributes or other elements": 1,
    }
    answers, _, notes = read(exported("voc_dataset2"), 0)
    assert [answer.path for answer in answers] == ["@.jpg", "a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    assert answers[0].annotations == ()
    assert answers[0].width is None
    assert [a.bbox for a in answers[3].annotations] == [(3, 1, 8, 5)]
    assert notes == {"objects are marked as occluded, which was left out": 2}


# --- where pixels begin -----------------------------------------------------------------------------------------------


def test_the_right_edge_is_xmax_in_both_origins():
    for origin, left, top in ((0, 11, 21), (1, 10, 20)):
        (found,) = one(annotation(thing(11, 21, 31, 41)), origin).annotations
        assert found.bbox == (left, top, 31 - left, 41 - top)


def test_a_coordinate_of_0_is_shown_as_proof_and_not_used(tmp_path):
    path = saved(tmp_path, {"Annotations/a.xml": annotation(thing(0, 5, 31, 41))})
    with pytest.raises(AlctlError, match=r"is 0, in Annotations/a.xml, so it is 0"):
        read(path, None)


def test_a_coordinate_of_0_contradicts_an_origin_of_1():
    assert "a coordinate of 0, although the first pixel is 1" in refusal(annotation(thing(0, 5, 31, 41)), 1)


def test_files_without_boxes_do_not_need_an_origin(tmp_path):
    (answer,), _, _ = read(saved(tmp_path, {"a.xml": annotation()}), None)
    assert answer.annotations == ()


def test_a_file_without_an_object_is_no_answer_unless_the_user_says_so(tmp_path):
    path = saved(tmp_path, {"a.xml": annotation(), "b.xml": annotation(thing(1, 1, 9, 9))})
    answer, note = Voc(0).read(path)
    assert isinstance(answer, LabeledImage)
    assert answer.where == "b.xml"
    assert note == Note(UNLABELED, 1)
    segmented = annotation("<segmented>1</segmented>")
    (refused, *_) = Voc(0, empty=True).read(saved(tmp_path, {"a.xml": segmented}))
    assert isinstance(refused, Refusal)
    assert "left out its polygons or masks" in refused.problem


def test_a_stray_file_beside_labels_of_another_format_is_not_recognised(tmp_path):
    lone = saved(tmp_path / "lone", {"cat/a.jpg": b"", "dog/b.jpg": b"", "old.xml": annotation()})
    few = saved(tmp_path / "few", {"a.json": "{}", "b.json": "{}", "old.xml": annotation()})
    beside = saved(tmp_path / "beside", {"a.jpg": b"", "a.xml": annotation(), "classes.txt": "cat"})
    assert [bool(Voc().recognise(path)) for path in (lone, few, beside)] == [False, False, True]


def test_a_box_that_comes_after_the_first_files_is_not_guessed_either(tmp_path):
    files: dict[str, str | bytes] = {f"Annotations/{n:03}.xml": annotation() for n in range(60)}
    path = saved(tmp_path, {**files, "Annotations/x.xml": annotation(thing(1, 1, 9, 9))})
    with pytest.raises(AlctlError, match=r"origin=0 .* origin=1 .* is 1, in Annotations/x\.xml"):
        read(path, None)


def test_what_alctl_writes_says_its_origin_and_units_so_that_nobody_is_asked(tmp_path):
    image = LabeledImage("a.jpg", (Annotation("cat", bbox=(0.0, 2.5e-139, 1.0, 1.0)),), width=9, height=9)
    for origin in (0, 1):
        Voc(origin).write([image], tmp_path / str(origin), [Category("cat")])
        for told in (Voc(), Voc(0), Voc(1), Voc(units="fractions")):
            rows = list(told.read(tmp_path / str(origin)))
            (answer,) = (row for row in rows if isinstance(row, LabeledImage))
            assert not answer.relative
            assert answer.annotations[0].bbox == pytest.approx((0, 0, 1, 1))
            ignored = told.origin not in (None, origin) or told.units == "fractions"
            noted = any(isinstance(row, Note) and row.what == STATED_ORIGIN for row in rows)
            assert noted == ignored


def test_a_folder_in_which_a_tool_has_rewritten_some_files_is_asked_about_those(tmp_path):
    image = LabeledImage("a.jpg", (Annotation("cat", bbox=(1.0, 2.0, 3.0, 4.0)),), width=9, height=9)
    Voc().write([image], tmp_path, [Category("cat")])
    (tmp_path / "Annotations/b.xml").write_text(annotation(thing(1, 2, 3, 4)))
    with pytest.raises(AlctlError, match=r"origin=0 .* the lowest .* is 1, in Annotations/b\.xml"):
        read(tmp_path, None)
    answers, _, _ = read(tmp_path, 1)
    assert [answer.annotations[0].bbox for answer in answers] == [(1, 2, 3, 4), (0, 1, 3, 3)]


def test_a_statement_that_says_nothing_known_refuses_its_file():
    for stated in (
        '<alctl units="pixels"/>',
        '<alctl units="percent" origin="0"/>',
        '<alctl units="pixels" origin="2"/>',
    ):
        assert "an origin of 0 or 1" in refusal(annotation(thing(1, 2, 3, 4) + stated))


def test_whether_coordinates_are_fractions_is_asked_and_never_guessed(tmp_path):
    path = saved(tmp_path, {"Annotations/a.xml": annotation(thing(0.1, 0.2, 0.9, 1))})
    with pytest.raises(
        AlctlError, match=r"Annotations/a\.xml: no coordinate .* units=pixels or .* units=fractions"
    ):
        read(path)
    told: list[tuple[UnitsOption, bool]] = [("pixels", False), ("fractions", True)]
    for units, relative in told:
        (answer,) = Voc(0, units).read(path)
        assert isinstance(answer, LabeledImage)
        assert answer.relative == relative
        assert answer.annotations[0].bbox == pytest.approx((0.1, 0.2, 0.8, 0.8))
    saved(tmp_path, {"Annotations/b.xml": annotation(thing(1, 2, 3, 4))})
    (_, refused) = Voc(0, "fractions").read(path)
    assert isinstance(refused, Refusal)
    assert "3 is not a fraction" in refused.problem or "2 is not a fraction" in refused.problem


# --- paths ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filename", "xml", "path"),
    [
        ("a.jpg", "Annotations/a.xml", "a.jpg"),
        ("a.jpg", "Annotations/sub/a.xml", "sub/a.jpg"),
        ("sub/a.jpg", "Annotations/sub/a.xml", "sub/a.jpg"),
        ("sub/a.jpg", "Annotations/a.xml", "sub/a.jpg"),
        ("/home/me/x/a.jpg", "Annotations/a.xml", "a.jpg"),
        ("C:\\photos\\a.jpg", "Annotations/a.xml", "a.jpg"),
        ("../../a.jpg", "Annotations/a.xml", "a.jpg"),
        ("other.PNG", "Annotations/a.xml", "other.PNG"),
        ("\n  a.jpg\n  ", "Annotations/a.xml", "a.jpg"),
        (" a.dng", "Annotations/ a.xml", " a.dng"),
        ("IMG_1", "Annotations/sub/a.v2.xml", "sub/a.v2"),
        ("", "Annotations/a.xml", "a"),
        ("..", "Annotations/a.xml", "a"),
        ("a", "Annotations/a.xml", "a"),
        ("a.jpg", "deep/annotations/sub/a.xml", "sub/a.jpg"),
        ("a.jpg", "train/a.xml", "train/a.jpg"),
    ],
)
def test_the_path_is_the_place_of_the_file_and_the_name_in_it(filename, xml, path):
    content = annotation(thing(1, 2, 3, 4), filename=filename).replace(
        "<size>", "<path>/far/away.jpg</path><size>"
    )
    assert one(content, name=xml).path == path


def test_two_folders_of_annotations_stay_apart_and_other_xml_is_left(tmp_path):
    content = annotation(thing(1, 2, 3, 4))
    names = (
        "VOC2007/Annotations/a.xml",
        "VOC2012/Annotations/a.xml",
        "VOC2012/Annotations/._a.xml",
        "x/other.xml",
    )
    answers, _, _ = read(saved(tmp_path, dict.fromkeys(names, content)))
    assert [answer.path for answer in answers] == ["VOC2007/a.jpg", "VOC2012/a.jpg"]


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (annotation(thing(5, 5, 5, 9)), "object 1 ('cat'): a box without an area"),
        (annotation(thing(1, 2, 3, 4), thing(9, 5, 5, 9)), "object 2 ('cat'): a box without an area"),
        (annotation(thing(1, 2, 3, "nan")), "ymax is 'nan', which is not a number"),
        (annotation(thing(1, 2, 3, "1e999")), "ymax is '1e999', which is not a number"),
        (annotation(thing(1, 2, "1_0", 5)), "xmax is '1_0', which is not a number"),
        (annotation(thing(1, 2, "٣", 5)), "xmax is '٣', which is not a number"),
        (annotation(thing(1, 2, "", 5)), "xmax is '', which is not a number"),
        (annotation(thing(1, 2, 3, 4, name=" ")), "it has no <name>"),
        (annotation("<object><name>cat</name></object>"), "it has 0 <bndbox>"),
        (annotation("<object><name>cat</name><polygon/></object>"), "other shapes are not VOC's"),
        (annotation("<object><name>c</name><bndbox/><bndbox/></object>"), "it has 2 <bndbox>"),
        (annotation("<objects>" + thing(1, 2, 3, 4) + "</objects>"), "no empty Pascal VOC file either"),
        ("<annotation/>", "no empty Pascal VOC file either"),
        (annotation(size="<width>wide</width>"), "width is 'wide', which is not a number"),
        (annotation(size="<width>10</width><height>-3</height>"), "the image's height is -3"),
        ("<annotations><image/></annotations>", "begins with <annotations>"),
        ("<annotation><object>", "is not XML"),
        (annotation() + annotation(), "is not XML"),
        ("", "is not XML"),
        (annotation() + "<annotation>", "is not XML"),
        (b"\xff\xfe\x00garbage", "is not XML"),
        (
            '<!DOCTYPE a [<!ENTITY x "boom">]>' + annotation(filename="&x;"),
            "a document type or entities are declared",
        ),
        (
            '<!DOCTYPE a [<!ENTITY x SYSTEM "/etc/passwd">]>' + annotation(filename="&x;"),
            "a document type or entities are declared",
        ),
        ("<annotation>" + "<a>" * 5000, "nested too deep"),
        (b"<annotation>" + b" " * (65 << 20), "holds more in one place"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_file_that_says_nothing_true_is_refused_and_the_others_are_read(content, problem):
    assert problem in refusal(content)


def test_one_file_alone_that_is_no_voc_is_a_sentence(tmp_path):
    (tmp_path / "a.xml").write_text("<annotations/>")
    assert not Voc().recognise(tmp_path / "a.xml")
    with pytest.raises(AlctlError, match=r"a\.xml begins with <annotations> and not with <annotation>"):
        read(tmp_path / "a.xml")


def test_one_file_alone_is_read(tmp_path):
    (tmp_path / "a.xml").write_text(annotation(thing(1, 2, 3, 4)))
    assert Voc().recognise(tmp_path / "a.xml")
    (answer,), _, _ = read(tmp_path / "a.xml")
    assert (answer.path, answer.annotations) == ("a.jpg", (Annotation("cat", bbox=(1, 2, 2, 2)),))


def test_a_folder_without_xml_is_a_sentence(tmp_path):
    assert not Voc().recognise(tmp_path)
    with pytest.raises(AlctlError, match="holds no XML files"):
        read(tmp_path)


def test_a_zip_that_leads_out_of_itself_is_not_read(tmp_path):
    with zipfile.ZipFile(tmp_path / "labels.zip", "w") as packed:
        packed.writestr("Annotations/../../a.xml", annotation())
    assert not Voc().recognise(tmp_path / "labels.zip")
    with pytest.raises(AlctlError, match="leads to no place inside it"):
        read(tmp_path / "labels.zip")


def test_a_label_of_labelme_or_many_comments_is_not_recognised(tmp_path):
    labelme = "<annotation><filename>a.jpg</filename><object><name>c</name><polygon/></object></annotation>"
    for content in (labelme, "<!-- x -->" * 5000 + "<b/>", "<annotations><size/></annotations>"):
        (tmp_path / "a.xml").write_text(content)
        assert not Voc().recognise(tmp_path / "a.xml")


def test_floats_and_an_unknown_size_are_fine():
    answer = one(annotation(thing("1.5", " 2e0 ", "3.25", "+4"), size="<width>0</width><height>0</height>"))
    assert answer.annotations[0].bbox == (1.5, 2.0, 1.75, 2.0)
    assert (answer.width, answer.height) == (None, None)


VALUES = st.one_of(
    st.floats().map(repr),
    st.integers(-3, 700).map(str),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=5),
)


@settings(max_examples=examples(150), suppress_health_check=[HealthCheck.too_slow])
@given(corners=st.tuples(VALUES, VALUES, VALUES, VALUES), origin=st.sampled_from([0, 1]), filename=VALUES)
def test_whatever_the_values_are_an_answer_has_boxes_with_an_area(corners, origin, filename):
    escaped = [text.replace("&", "&amp;").replace("<", "&lt;") for text in (*corners, filename)]
    with TemporaryDirectory() as folder:
        path = saved(Path(folder), {"a.xml": annotation(thing(*escaped[:4]), filename=escaped[4])})
        answers, refused, _ = read(path, origin, "pixels")
    assert len(answers) + len(refused) == 1
    for answer in answers:
        x, y, width, height = answer.annotations[0].bbox or (0, 0, 0, 0)
        assert min(width, height) > 0
        assert (x + origin, y + origin) == (float(corners[0]), float(corners[1]))
        assert not answer.path.startswith("/")
        assert ".." not in answer.path.split("/")


# --- writing ----------------------------------------------------------------------------------------------------------

SIDES = st.floats(0, 5000)
EXTENTS = st.floats(1, 5000)


@settings(max_examples=examples(100))
@given(box=st.tuples(SIDES, SIDES, EXTENTS, EXTENTS), origin=st.sampled_from([0, 1]))
def test_boxes_come_back_in_the_origin_in_which_they_were_written(box, origin):
    image = LabeledImage("deep/a.png", (Annotation("c&t <x>", bbox=box),), width=9999, height=9999)
    with TemporaryDirectory() as folder:
        Voc(origin).write([image], Path(folder), CLASSES)
        (answer,), refused, _ = read(Path(folder), origin)
    assert not refused
    assert answer.path == "deep/a.png"
    assert answer.annotations[0].category == "c&t <x>"
    assert answer.annotations[0].bbox == pytest.approx(box, abs=1e-6)


def test_without_an_origin_pixels_are_written_from_0(tmp_path):
    Voc().write([LabeledImage("a.jpg", (Annotation("cat", bbox=(0, 2, 10.5, 20)),))], tmp_path, CLASSES)
    assert counted_floats(tmp_path / "Annotations/a.xml") == ["0", "2", "10.5", "22"]


def counted_floats(path: Path) -> list[str]:
    return re.findall(r"<[xy]m\w\w>(.*?)<", path.read_text())


def test_images_that_differ_in_their_suffix_keep_their_own_labels(tmp_path):
    paths = ["a.jpg", "a.png", "a.png.jpg", "sub/a.jpg"]
    images = [LabeledImage(p, (Annotation("cat", bbox=(n, 0, 5, 5)),)) for n, p in enumerate(paths)]
    Voc(0).write(images, tmp_path, CLASSES)
    answers, _, _ = read(tmp_path)
    assert {a.path: a.annotations[0].bbox for a in answers} == {p: (n, 0, 5, 5) for n, p in enumerate(paths)}
    with pytest.raises(AlctlError, match="twice"):
        Voc(0).write([images[0]] * 4, tmp_path / "other", CLASSES)


def test_only_submitted_answers_are_written(tmp_path):
    Voc(0).write([LabeledImage("a.jpg", status="skip"), LabeledImage("b.jpg")], tmp_path, CLASSES)
    answers, _, _ = read(tmp_path)
    assert [(answer.path, answer.annotations) for answer in answers] == [("b.jpg", ())]


@pytest.mark.parametrize("path", ["/etc/a.jpg", "../a.jpg", "x/../../a.jpg", "", "a\x01.jpg", "\ud800.jpg"])
def test_a_path_that_has_no_place_in_the_labels_is_a_sentence(path, tmp_path):
    with pytest.raises(AlctlError):
        Voc(0).write([LabeledImage(path)], tmp_path / "labels", CLASSES)
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]


def test_old_labels_in_the_folder_are_not_mixed_with_new_ones(tmp_path):
    Voc(0).write([LabeledImage("a.jpg")], tmp_path, CLASSES)
    with pytest.raises(AlctlError, match="is not empty"):
        Voc(0).write([LabeledImage("b.jpg")], tmp_path, CLASSES)


def test_keypoints_have_no_place_in_voc(tmp_path):
    with pytest.raises(AlctlError, match="'cat' without a box"):
        Voc(0).write([LabeledImage("a.jpg", (Annotation("cat", keypoints=((1, 2, 2),)),))], tmp_path, CLASSES)


def test_polygons_are_written_as_the_box_around_them(tmp_path):
    polygon = Annotation("cat", segmentation=((1.0, 2.0, 9.0, 2.0, 9.0, 12.0),))
    Voc(0).write([LabeledImage("a.jpg", (polygon,))], tmp_path, CLASSES)
    assert counted_floats(tmp_path / "Annotations/a.xml") == ["1", "2", "9", "12"]


def test_annotators_get_the_class_list_and_the_predictions_beside_the_names_of_their_images(tmp_path):
    boxes = (Annotation("cat", bbox=(1, 2, 3, 4)),)
    given_out = [
        Assignment(n, f"x/{n}.jpg", f"images/{n:07}_x.jpg", 64, 48, 1, "ab" * 32, predictions=predictions)
        for n, predictions in enumerate((None, (), boxes))
    ]
    Voc().hand_out(given_out, tmp_path, CLASSES, "detection")
    assert (tmp_path / "predefined_classes.txt").read_text() == "cat\ndog\n"
    assert [file.name for file in (tmp_path / "Annotations").iterdir()] == ["0000002_x.xml"]
    (answer,), _, _ = read(tmp_path)
    assert (answer.path, answer.annotations) == ("0000002_x.jpg", boxes)
