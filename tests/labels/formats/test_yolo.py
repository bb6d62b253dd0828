"""YOLO's layouts and rows: real data sets against a plain second reading, and what is refused with a sentence."""

import hashlib
import zipfile
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from alctl.errors import AlctlError
from alctl.labels import rle
from alctl.labels.annotation import Annotation, Assignment, Category, LabeledImage, Note, Refusal
from alctl.labels.formats.yolo import WITHOUT, Yolo
from alctl.labels.parsing.plain_yaml import LARGEST
from alctl.labels.parsing.unlabeled import UNLABELED
from tests.data import real_data
from tests.examples import examples

NAMES = "names: [cat, dog]\ntrain: images\n"
POSE = "names: [cat]\nkpt_shape: [2, 3]\ntrain: images\n"


def data_set(folder: Path, **files: str) -> Path:
    """Write files, such as ``data_yaml`` for data.yaml or ``labels__a`` for labels/a.txt."""
    for name, text in files.items():
        path = folder / {"data_yaml": "data.yaml"}.get(name, f"{name.replace('__', '/')}.txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def of_row(row: str, config: str = NAMES, **options) -> Annotation | Refusal:
    """Return what becomes of a single row."""
    with TemporaryDirectory() as folder:
        data_set(Path(folder), data_yaml=config, labels__a=f"{row}\n")
        (found,) = (r for r in Yolo(**options).read(Path(folder)) if isinstance(r, LabeledImage | Refusal))
    return found if isinstance(found, Refusal) else found.annotations[0]


def problem(row: str, config: str = NAMES, **options) -> str:
    found = of_row(row, config, **options)
    assert isinstance(found, Refusal)
    assert (found.where, found.line) == ("labels/a.txt", 1)
    return found.problem


def answers(path: Path, **options) -> dict[str, LabeledImage]:
    """Return the answers by path; there must be no refusal, and no path twice."""
    rows = list(Yolo(**options).read(path))
    assert not [row for row in rows if isinstance(row, Refusal)]
    found = [row for row in rows if isinstance(row, LabeledImage)]
    assert len({answer.path for answer in found}) == len(found)
    return {answer.path: answer for answer in found}


def notes(path: Path, **options) -> dict[str, int]:
    return {row.what: row.times for row in Yolo(**options).read(path) if isinstance(row, Note)}


def plain_rows(file: Path) -> list[list[float]]:
    return [[float(cell) for cell in line.split()] for line in file.read_text().splitlines() if line.strip()]


def centered(annotation: Annotation) -> list[float]:
    assert annotation.bbox is not None
    x, y, width, height = annotation.bbox
    return pytest.approx([x + width / 2, y + height / 2, width, height], abs=1e-12)  # type: ignore[return-value]


# --- real data sets ---------------------------------------------------------------------------------------------------


def test_the_boxes_of_coco128_are_those_of_a_plain_reading():
    folder = real_data("coco128_train.tar.xz") / "coco128" / "object_detection"
    names = yaml.safe_load((folder / "config.yaml").read_text())["names"]
    found = answers(folder)
    files = sorted((folder / "labels" / "train2017").glob("*.txt"))
    assert len(found) == len(files) == 128
    for file in files:
        answer = found[f"train2017/{file.stem}"]
        assert answer.relative
        assert answer.where == f"labels/train2017/{file.name}"
        assert [[names[int(row[0])], row[1:]] for row in plain_rows(file)] == [
            [annotation.category, centered(annotation)] for annotation in answer.annotations
        ]
    classes = Counter(a.category for answer in found.values() for a in answer.annotations)
    assert (sum(classes.values()), len(classes)) == (941, 71)


def test_the_outlines_of_coco128_keep_their_points_and_their_own_class_indices():
    folder = real_data("coco128_train.tar.xz") / "coco128" / "instance_segmentation"
    names = yaml.safe_load((folder / "config.yaml").read_text())["names"]
    assert 12 not in names  # its indices have gaps
    found = answers(folder, empty=True)
    files = sorted((folder / "labels" / "train2017").glob("*.txt"))
    assert len(found) == len(files) == 100
    for file in files:
        assert [(names[int(row[0])], (tuple(row[1:]),)) for row in plain_rows(file)] == [
            (annotation.category, annotation.segmentation)
            for annotation in found[f"train2017/{file.stem}"].annotations
        ]
    assert notes(folder) == {UNLABELED: 2}


def test_images_and_label_files_of_coco128_that_have_no_counterpart(tmp_path):
    pack = real_data("coco128_train.tar.xz") / "coco128"
    (tmp_path / "data.yaml").write_bytes((pack / "object_detection" / "config.yaml").read_bytes())
    for name in ("labels", "images"):
        (tmp_path / name / "train2017").mkdir(parents=True)
    for file in (pack / "object_detection" / "labels" / "train2017").iterdir():
        (tmp_path / "labels" / "train2017" / file.name).hardlink_to(file)
    for file in (pack / "images" / "train2017").iterdir():
        (tmp_path / "images" / "train2017" / file.name).hardlink_to(file)
    found = answers(tmp_path)
    assert sorted(path for path in found if not path.endswith(".jpg")) == [
        "train2017/000000000656",
        "train2017/000000000659",
    ]
    assert len(found) == 128
    assert "images/train2017/000000000250.jpg" not in found
    assert notes(tmp_path) == {WITHOUT: 2}


def test_two_schemes_of_class_indices_in_one_folder_are_not_mixed():
    folder = real_data("coco128_train.tar.xz") / "coco128"
    with pytest.raises(
        AlctlError, match=r"two lists of classes that differ.*config.yaml and in .*config.yaml"
    ):
        list(Yolo().read(folder))


DATUMARO = {
    "yolo": "obj_train_data",
    "yolov8_detection": "labels/train",
    "yolov8_detection_with_list_of_imgs": "labels/train",
    "yolov8_detection_with_list_of_names": "labels/train",
    "yolov8_detection_with_subset_txt": "labels/train",
    "yolov8_segmentation": "labels/train",
    "yolov8_pose": "labels/train",
    "yolov8_pose_two_values_per_point": "labels/train",
}


@pytest.fixture
def datumaro() -> Path:
    return real_data("exports.tar.xz") / "datumaro" / "tests" / "assets" / "yolo_dataset"


@pytest.mark.parametrize(("name", "labels"), DATUMARO.items())
def test_every_layout_of_datumaro_is_recognised_and_read(datumaro, name, labels):
    folder = datumaro / name
    assert Yolo().recognise(folder)
    place = "obj_train_data/1.jpg" if name == "yolo" else "images/train/1.jpg"
    (answer,) = answers(folder).values()
    assert answer.path == place
    rows = plain_rows(folder / labels / "1.txt")
    for row, annotation in zip(rows, answer.annotations, strict=True):
        expected = "skeleton_label" if "pose" in name else f"label_{int(row[0])}"
        assert annotation.category == expected
        if "segmentation" in name:
            assert annotation.segmentation == (tuple(row[1:]),)
        else:
            assert row[1:5] == centered(annotation)
    if "pose" in name:
        assert answer.annotations[0].keypoints == ((0.1, 0.2, 2), (0.3, 0.4, 2), (0.5, 0.6, 2))
    assert notes(folder) == {}


@pytest.mark.parametrize("name", DATUMARO)
def test_the_file_that_describes_a_data_set_stands_for_its_folder(datumaro, name):
    file = datumaro / name / ("obj.data" if name == "yolo" else "data.yaml")
    assert Yolo().recognise(file)
    assert list(Yolo().read(file)) == list(Yolo().read(file.parent))


def test_a_list_leads_to_labels_whose_images_are_not_there(datumaro, tmp_path):
    for name in ("obj.data", "obj.names", "train.txt"):
        (tmp_path / name).write_bytes((datumaro / "yolo" / name).read_bytes())
    (tmp_path / "obj_train_data").mkdir()
    (tmp_path / "obj_train_data" / "1.txt").write_bytes(
        (datumaro / "yolo" / "obj_train_data" / "1.txt").read_bytes()
    )
    assert list(answers(tmp_path)) == ["obj_train_data/1.jpg"]


def test_nine_numbers_in_every_row_are_never_guessed_at(datumaro):
    folder = datumaro / "yolov8_oriented_boxes"
    with pytest.raises(AlctlError, match="kind=obb or --option kind=segment"):
        list(Yolo().read(folder))
    (hulls,) = answers(folder, kind="obb").values()
    (outlines,) = answers(folder, kind="segment").values()
    for row, hull, outline in zip(
        plain_rows(folder / "labels/train/1.txt"), hulls.annotations, outlines.annotations, strict=True
    ):
        left, top = min(row[1::2]), min(row[2::2])
        assert hull.bbox == (left, top, max(row[1::2]) - left, max(row[2::2]) - top)
        assert outline.segmentation == (tuple(row[1:]),)
    assert notes(folder, kind="obb") == {"oriented boxes became their upright hulls": 2}


def test_folders_of_classes_are_not_yolo(datumaro):
    folder = datumaro / "yolov8_classification"
    assert Yolo().recognise(folder) == ""
    with pytest.raises(AlctlError, match="--format folders"):
        list(Yolo().read(folder))


@pytest.mark.parametrize(
    ("folder", "count"),
    [
        ("label_studio_sdk/tests/custom/converter/data/test_import_yolo_data", 7),
        ("label_studio_sdk/tests/custom/converter/data/test_import_yolo_data_unif_dims", 5),
        ("ls_converter_generated/bbox/yolo", 6),
    ],
)
def test_exports_of_label_studio_have_their_names_in_classes_txt(folder, count):
    folder = real_data("exports.tar.xz") / folder
    names = (folder / "classes.txt").read_text().split()
    assert Yolo().recognise(folder)
    found = answers(folder, empty=True)
    files = list((folder / "labels").iterdir())
    assert len(found) == len(files) == count
    by_stem = {Path(path).stem: answer for path, answer in found.items()}
    for file in files:
        assert [(names[int(row[0])], row[1:]) for row in plain_rows(file)] == [
            (annotation.category, centered(annotation)) for annotation in by_stem[file.stem].annotations
        ]


def test_an_empty_label_file_is_not_an_answer_unless_the_user_says_so():
    folder = real_data("exports.tar.xz") / "ls_converter_generated" / "bbox" / "yolo"
    assert "0d2f89ed-BloodImage_00197" not in answers(folder)
    assert notes(folder) == {UNLABELED: 1}
    assert answers(folder, empty=True)["0d2f89ed-BloodImage_00197"].annotations == ()


# --- layouts ----------------------------------------------------------------------------------------------------------

BOX = "0 0.5 0.5 0.2 0.2\n"


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())


def test_splits_stand_above_or_below_images(tmp_path):
    data_set(tmp_path, data_yaml=NAMES, train__labels__a=BOX, labels__val__b=BOX)
    touch(tmp_path, "train/images/a.jpg", "images/val/b.png")
    assert set(answers(tmp_path)) == {"train/images/a.jpg", "images/val/b.png"}


def test_the_same_name_in_two_folders_is_two_images(tmp_path):
    data_set(tmp_path, data_yaml=NAMES, labels__a__001=BOX, labels__b__001="1 0.5 0.5 0.1 0.1\n")
    touch(tmp_path, "images/a/001.jpg", "images/b/001.jpg")
    found = answers(tmp_path)
    assert found["images/a/001.jpg"].annotations[0].category == "cat"
    assert found["images/b/001.jpg"].annotations[0].category == "dog"


def test_only_the_last_folder_of_images_is_exchanged(tmp_path):
    data_set(tmp_path, data_yaml=NAMES, images__x__labels__a=BOX)
    touch(tmp_path, "images/x/images/a.jpg")
    assert list(answers(tmp_path)) == ["images/x/images/a.jpg"]


def test_one_label_file_for_two_images_is_refused(tmp_path):
    data_set(tmp_path, data_yaml=NAMES, labels__a=BOX)
    touch(tmp_path, "images/a.jpg", "images/a.png")
    (refusal,) = (row for row in Yolo().read(tmp_path) if isinstance(row, Refusal))
    assert refusal == Refusal(0, "it may be about 'images/a.jpg' or about 'images/a.png'", "labels/a.txt")


@pytest.mark.parametrize("lead", ["", "./", "data/", "/home/me/set/", "C:\\sets\\", "../"])
def test_a_list_may_come_from_another_root(tmp_path, lead):
    data_set(tmp_path, obj=f"{lead}obj/a.jpg\n{lead}obj/b.jpg\n", obj__a=BOX, obj__b=BOX)
    (tmp_path / "obj.txt").rename(tmp_path / "train.txt")
    (tmp_path / "obj.names").write_text("cat\n")
    assert set(answers(tmp_path)) == {"obj/a.jpg", "obj/b.jpg"}


def test_spaces_in_a_list_belong_to_names_where_something_is_called_so(tmp_path):
    """Lists that people typed have spaces at their line ends; which of them are meant, the images or the labels tell."""
    data_set(tmp_path, obj=" a.jpg\n b.jpg\nc.jpg \r\nd.jpg \n", obj__none=BOX)
    (tmp_path / "obj.txt").rename(tmp_path / "train.txt")
    (tmp_path / "obj" / "none.txt").unlink()
    (tmp_path / "obj.names").write_text("cat\n")
    for name in (" a", "b", "c", "d"):
        (tmp_path / f"{name}.txt").write_text(BOX)
    touch(tmp_path, "c.jpg")
    assert set(answers(tmp_path)) == {" a.jpg", "b.jpg", "c.jpg", "d.jpg "}


def test_a_listed_image_does_not_take_the_labels_of_another_folder(tmp_path):
    data_set(tmp_path, data_yaml=NAMES, train="./images/b/001.jpg\n./images/001.jpg\n", labels__001=BOX)
    assert list(answers(tmp_path)) == ["images/001.jpg"]
    assert notes(tmp_path) == {WITHOUT: 1}


def test_a_zip_with_a_folder_around_everything_reads_like_the_folder(tmp_path):
    folder = data_set(
        tmp_path / "set", data_yaml=NAMES, train="./images/a.jpg\n", labels__a=BOX, labels__b=BOX
    )
    touch(folder, "images/c.jpg")
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for file in folder.rglob("*"):
            archive.write(file, file.relative_to(tmp_path))
    assert Yolo().recognise(tmp_path / "set.zip")
    zipped = answers(tmp_path / "set.zip")
    assert [answer._replace(where="") for answer in zipped.values()] == [
        answer._replace(where="") for answer in answers(folder).values()
    ]
    assert set(zipped) == {"images/a.jpg", "b"}
    assert notes(tmp_path / "set.zip") == notes(folder) == {WITHOUT: 1}


def test_label_files_beside_images_and_a_list_of_classes(tmp_path):
    data_set(tmp_path, a=BOX, classes="cat\n", readme="not labels", b="")
    touch(tmp_path, "a.jpg", "b.jpg")
    assert Yolo().recognise(tmp_path)
    assert list(answers(tmp_path)) == ["a.jpg"]
    assert notes(tmp_path) == {UNLABELED: 1}


def test_label_files_alone_take_their_names_from_the_user(tmp_path):
    (tmp_path / "names").write_text("cat\ndog\n")
    data_set(tmp_path / "labels", a=BOX)
    with pytest.raises(AlctlError, match="--option names=FILE"):
        answers(tmp_path / "labels")
    (answer,) = answers(tmp_path / "labels", names=str(tmp_path / "names")).values()
    assert (answer.path, answer.annotations[0].category) == ("a", "cat")


def test_remembered_names_never_override_those_of_a_data_set(tmp_path):
    (tmp_path / "names").write_text("dog\ncat\n")
    folder = data_set(tmp_path / "set", data_yaml=NAMES, labels__a=BOX)
    with pytest.raises(AlctlError, match="others than in"):
        answers(folder, names=str(tmp_path / "names"))
    with pytest.raises(AlctlError, match=r"cannot read .*gone"):
        answers(folder, names=str(tmp_path / "gone"))


def test_a_class_list_that_a_tool_has_rewritten_is_noticed(tmp_path):
    data_set(tmp_path, data_yaml=NAMES, classes="dog\ncat\n", labels__a=BOX)
    with pytest.raises(AlctlError, match=r"in data.yaml and in classes.txt"):
        answers(tmp_path)
    assert answers(tmp_path / "data.yaml")["a"].annotations[0].category == "cat"


def test_digests_are_of_the_images_themselves(tmp_path):
    data_set(tmp_path, data_yaml=NAMES, labels__a=BOX, labels__b=BOX)
    touch(tmp_path, "images/a.jpg")
    found = answers(tmp_path, digests=True)
    assert found["images/a.jpg"].digest == hashlib.sha256(b"images/a.jpg").hexdigest()
    assert found["b"].digest == ""
    assert answers(tmp_path)["images/a.jpg"].digest == ""


def test_a_label_file_that_is_no_text_costs_only_its_image(tmp_path):
    data_set(tmp_path, data_yaml=NAMES, labels__a=BOX)
    (tmp_path / "labels" / "b.txt").write_bytes(b"\xff\xfe0\0")
    answer, refusal = (row for row in Yolo().read(tmp_path) if isinstance(row, LabeledImage | Refusal))
    assert isinstance(answer, LabeledImage)
    assert isinstance(refusal, Refusal)
    assert "UTF-8" in refusal.problem


def test_a_data_set_declares_its_classes_and_their_keypoints(tmp_path):
    config = "names: {0: cat, 2: dog}\nkpt_shape: [2, 3]\nkpt_names: {0: [nose, tail]}\n"
    data_set(tmp_path, data_yaml=config, labels__a="0 .5 .5 .2 .2 .5 .5 2 .4 .4 1\n")
    found = [row for row in Yolo().read(tmp_path) if isinstance(row, Category)]
    assert found == [Category("cat", ("nose", "tail")), Category("dog")]


# --- names and YAML ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("names: [no, yes, 1, 2.50, ~, 012]", ["no", "yes", "1", "2.50", "~", "012"]),
        ('names: {1: "a: b", 0: x}\nnc: 2', ["x", "a: b"]),
        ("nc: 1\nnames: [ünï]\n# &a comment", ["ünï"]),
        ("names:\n- cat\ndownload: |\n  import os\n", ["cat"]),
    ],
)
def test_names_are_what_stands_in_the_file(tmp_path, text, names):
    data_set(tmp_path, data_yaml=text, labels__a=BOX)
    assert [row.name for row in Yolo().read(tmp_path) if isinstance(row, Category)] == names


ALIASES = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\nnames: [cat]\n"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("nc: 2\ntrain: images\n", "gives no names"),
        ("names:\n", "gives no names"),
        ("names: cat\n", "neither a list nor a mapping"),
        ("names: [cat, cat]\n", "classes 0 and 1 are both called 'cat'"),
        ("names: [cat, '']\n", "class 1 has no name"),
        ("names: [[cat]]\n", "class 0 has no plain name"),
        ("names: {-1: cat}\n", "'-1' where a class index belongs"),
        ("names: {a: cat}\n", "'a' where a class index belongs"),
        ("names: {0: cat, 00: dog}\n", "a class index twice"),
        ("names: {0: cat, 0: dog}\n", "a key twice"),
        ("names: [cat]\nnames: [dog]\n", "a key twice"),
        ("names: [cat]\nnc: 3\n", "nc is 3, and there are 1 names"),
        ("names: [cat]\nkpt_shape: [17, 4]\n", "kpt_shape must be"),
        ("names: [cat]\nkpt_shape: 17\n", "kpt_shape must be"),
        (ALIASES, "alias"),
        ("names: [cat\ntrain: x", r"line \d+: it is not YAML"),
        ('names: ["\\UFFFFFFFF"]', "not YAML"),
        (f"names: {'[' * 50_000}", "nested too deep"),
        (f"names: [cat]\n{'- ' * 5_000}", "not YAML"),
        (f"names: [cat]\n# {'x' * LARGEST}", "larger than"),
    ],
)
def test_a_data_yaml_that_means_nothing_certain_is_a_sentence(tmp_path, text, sentence):
    data_set(tmp_path, data_yaml=text, labels__a=BOX)
    assert Yolo().recognise(tmp_path) in {"", "YOLO, with its classes in data.yaml"}
    with pytest.raises(AlctlError, match=sentence) as error:
        list(Yolo().read(tmp_path))
    assert "data.yaml" in str(error.value)


def test_a_tag_in_a_data_yaml_makes_no_object(tmp_path):
    marker = tmp_path / "made"
    data_set(tmp_path, data_yaml=f"names: !!python/object/apply:os.mkdir [{marker}]\n", labels__a=BOX)
    assert answers(tmp_path)["a"].annotations[0].category == str(marker)
    assert not marker.exists()


def test_a_class_count_that_differs_in_obj_data_is_a_sentence(tmp_path):
    data_set(tmp_path, obj__a=BOX)
    (tmp_path / "obj.data").write_text("classes = 2\nnames = data/obj.names\n")
    (tmp_path / "obj.names").write_text("cat\n")
    with pytest.raises(AlctlError, match="classes is 2, and there are 1 names"):
        answers(tmp_path)


@settings(max_examples=examples(200))
@given(st.text(st.sampled_from("names: [],{}\n-'\"&*!|>0a#?\t"), max_size=60))
def test_odd_yaml_is_read_or_refused(text):
    with TemporaryDirectory() as folder:
        path = data_set(Path(folder), data_yaml=text, labels__a=BOX)
        Yolo().recognise(path)
        try:
            list(Yolo().read(path))
        except AlctlError as error:
            assert str(path) in str(error)  # noqa: PT017


# --- rows -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ("2 .5 .5 .2 .2", "class 2 has no name among the 2 names, 0 to 1"),
        ("-1 .5 .5 .2 .2", "'-1' is not a whole number"),
        ("1.5 .5 .5 .2 .2", "'1.5' is not a whole number"),
        ("cat .5 .5 .2 .2", "'cat' is not a whole number"),
        ("0 .5 nan .2 .2", "'nan' is not a number"),
        ("0 .5 inf .2 .2", "'inf' is not a number"),
        ("0 .5 1e999 .2 .2", "'1e999' is not a number"),
        ("0 .5 1_0 .2 .2", "'1_0' is not a number"),
        ("0 .5 x .2 .2", "'x' is not a number"),
        ("0 320 240 100 50", "320 is not a fraction of the image; are these pixels?"),
        ("0 1.02 .5 .2 .2", "1.02 is not a fraction"),
        ("0 .5 .5 0 .2", "a box without an area"),
        ("0 .5 .5 .2 -.1", "a box without an area"),
        ("0 .5 .5 .2", "4 numbers in a row"),
        ("0", "1 numbers in a row"),
        ("0 .1 .1 .2 .2 .3 .3 .9", "8 numbers in a row"),
        ("0 .1 .1 .2 .2 .3 3", "3 is not a fraction"),
        ("0 .5 .5 .2 .2 .97", "--option sixth=confidence or sixth=track"),
    ],
)
def test_a_row_that_cannot_be_right_is_refused_with_its_place(row, sentence):
    assert sentence in problem(row)


def test_a_bad_row_costs_its_image_and_no_other(tmp_path):
    data_set(tmp_path, data_yaml=NAMES, labels__a=f"{BOX}\n9 .5 .5 .2 .2\n", labels__b=BOX)
    rows = [row for row in Yolo().read(tmp_path) if isinstance(row, LabeledImage | Refusal)]
    assert [(type(row), row.where, row.line) for row in rows] == [
        (Refusal, "labels/a.txt", 3),
        (LabeledImage, "labels/b.txt", 0),
    ]


def test_a_little_overshoot_is_left_to_the_exchange():
    assert of_row("0 1.005 .5 .2 .2").bbox == pytest.approx((0.905, 0.4, 0.2, 0.2))  # type: ignore[union-attr]
    assert of_row("0 .5 .5 1.004 1").bbox == pytest.approx((-0.002, 0, 1.004, 1))  # type: ignore[union-attr]
    assert of_row("0 -.005 0 1 0 1 1").segmentation == ((-0.005, 0, 1, 0, 1, 1),)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("sixth", "row", "note"),
    [
        ("confidence", "0 .5 .5 .2 .2 .97", "confidences were left out"),
        ("track", "0 .5 .5 .2 .2 17", "numbers of tracks were left out"),
    ],
)
def test_a_sixth_number_is_left_out_once_the_user_says_what_it_is(tmp_path, sixth, row, note):
    assert of_row(row, sixth=sixth) == of_row("0 .5 .5 .2 .2")
    data_set(tmp_path, data_yaml=NAMES, labels__a=f"{row}\n{row}\n")
    assert notes(tmp_path, sixth=sixth) == {note: 2}


def test_boxes_and_outlines_may_be_mixed(tmp_path):
    data_set(tmp_path, data_yaml=NAMES, labels__a=BOX + "1 .1 .1 .2 .1 .2 .2 .1 .2\n")
    box, outline = answers(tmp_path)["a"].annotations
    assert box.bbox
    assert outline.segmentation == ((0.1, 0.1, 0.2, 0.1, 0.2, 0.2, 0.1, 0.2),)


def test_many_rows_of_the_same_length_may_be_poses(tmp_path):
    row = "0 .5 .5 .2 .2 .1 .1 .2 .2 .3 .3\n"
    data_set(tmp_path, data_yaml=NAMES, labels__a=row * 9)
    assert len(answers(tmp_path)["a"].annotations) == 9
    data_set(tmp_path, labels__b=row)
    with pytest.raises(AlctlError, match="as poses have"):
        answers(tmp_path)
    assert len(answers(tmp_path, kind="segment")) == 2


def test_a_kind_that_the_user_names_is_kept_to():
    assert "a box has 5" in problem("0 .1 .1 .2 .1 .2 .2", kind="detect")
    assert "an oriented box has 9" in problem("0 .5 .5 .2 .2", kind="obb")
    assert "without an area" in problem("0 .5 .1 .5 .2 .5 .3 .5 .4", kind="obb")


def test_a_remembered_kind_never_overrides_a_data_yaml(tmp_path):
    data_set(tmp_path, data_yaml=POSE, labels__a="0 .5 .5 .2 .2 .5 .5 2 .4 .4 1\n")
    with pytest.raises(AlctlError, match="of kind pose, not segment"):
        answers(tmp_path, kind="segment")


def test_poses_need_the_number_of_their_keypoints(tmp_path):
    data_set(tmp_path, data_yaml=NAMES, labels__a="0 .5 .5 .2 .2 .5 .5 2\n")
    with pytest.raises(AlctlError, match="kpt_shape"):
        answers(tmp_path, kind="pose")


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ("0 .5 .5 .2 .2", "5 numbers; with kpt_shape [2, 3] a row has 11"),
        ("0 .5 .5 .2 .2 .5 .5 .98 .4 .4 1", "visibility 0.98"),
        ("0 .5 .5 .2 .2 .5 .5 3 .4 .4 1", "visibility 3"),
        ("0 .5 .5 .2 .2 50 .5 2 .4 .4 1", "50 is not a fraction"),
    ],
)
def test_a_pose_that_cannot_be_right_is_refused(row, sentence):
    assert sentence in problem(row, POSE)


def test_keypoints_that_are_not_labeled_may_lie_anywhere():
    found = of_row("0 .5 .5 .2 .2 .5 .5 2.0 -7 9 0", POSE)
    assert isinstance(found, Annotation)
    assert found.keypoints == ((0.5, 0.5, 2), (-7, 9, 0))


def test_without_visibilities_a_keypoint_in_the_corner_is_a_missing_one():
    found = of_row("0 .5 .5 .2 .2 .5 0 0 0", POSE.replace("3]", "2]"))
    assert isinstance(found, Annotation)
    assert found.keypoints == ((0.5, 0, 2), (0, 0, 0))


finite = st.floats(0, 1, allow_nan=False)
sizes = st.floats(1e-6, 1)


@settings(max_examples=examples(150))
@given(st.lists(st.tuples(st.integers(0, 1), finite, finite, sizes, sizes), min_size=1, max_size=5))
def test_boxes_are_what_their_rows_say(rows):
    with TemporaryDirectory() as folder:
        text = "\n".join(" ".join(map(repr, row)) for row in rows)
        path = data_set(Path(folder), data_yaml=NAMES, labels__a=text)
        found = answers(path)["a"].annotations
    assert [(["cat", "dog"].index(a.category), centered(a)) for a in found] == [
        (row[0], list(row[1:])) for row in rows
    ]


@settings(max_examples=examples(200))
@given(
    st.lists(
        st.sampled_from(["0", "1", "7", "-1", ".5", "1.0", "nan", "2", "", "x", "1e-9", "\x00"]), max_size=12
    ),
    st.sampled_from(["auto", "detect", "segment", "obb"]),
)
def test_odd_rows_are_read_or_refused(cells, kind):
    with TemporaryDirectory() as folder:
        path = data_set(Path(folder), data_yaml=NAMES, labels__a=" ".join(cells))
        try:
            rows = [row for row in Yolo(kind=kind).read(path) if isinstance(row, LabeledImage | Refusal)]
        except AlctlError as error:
            assert "nine numbers" in str(error)  # noqa: PT017
        else:
            assert len(rows) == (1 if any(cells) else 0)


# --- writing ----------------------------------------------------------------------------------------------------------

CLASSES = [Category("cat", ("nose", "tail")), Category("no", ("nose", "tail"))]


def image(path: str, *annotations: Annotation, **rest) -> LabeledImage:
    return LabeledImage(path, annotations, **{"width": 200, "height": 100, **rest})


def written(tmp_path: Path, *images: LabeledImage, **options) -> Path:
    Yolo(**options).write(images, tmp_path / "out", CLASSES)
    return tmp_path / "out"


def test_what_is_written_is_a_data_set_to_train_on(tmp_path):
    out = written(tmp_path, image("deep/a.b.jpg", Annotation("no", bbox=(20, 10, 40, 20))), image("e.png"))
    config = yaml.safe_load((out / "data.yaml").read_text())
    assert config["names"] == {0: "cat", 1: "no"}
    assert (out / config["train"]).read_text() == "./images/deep/a.b.jpg\n./images/e.png\n"
    assert (out / "labels" / "deep" / "a.b.txt").read_text() == "1 0.2 0.2 0.2 0.2\n"
    assert (out / "labels" / "e.txt").read_text() == ""
    assert list(answers(out)) == ["deep/a.b.jpg"]
    assert set(answers(out, empty=True)) == {"deep/a.b.jpg", "e.png"}


def test_what_is_written_reads_back_with_the_images_beside_it(tmp_path):
    out = written(tmp_path, image("images/x/a.jpg", Annotation("no", bbox=(20, 10, 40, 20))))
    touch(out, "images/images/x/a.jpg")
    assert list(answers(out)) == ["images/x/a.jpg"]


def test_a_skipped_image_gets_no_label_file(tmp_path):
    out = written(
        tmp_path, image("a.jpg", Annotation("cat", bbox=(1, 1, 2, 2))), image("b.jpg", status="skip")
    )
    assert sorted(path.name for path in (out / "labels").iterdir()) == ["a.txt"]
    assert notes(out, empty=True) == {WITHOUT: 1}


def test_poses_are_written_with_the_names_of_their_keypoints(tmp_path):
    pose = Annotation("cat", bbox=(0, 0, 50, 50), keypoints=((10, 20, 2), (0, 0, 0)))
    out = written(tmp_path, image("a.jpg", pose))
    config = yaml.safe_load((out / "data.yaml").read_text())
    assert config["kpt_shape"] == [2, 3]
    assert config["kpt_names"] == {0: ["nose", "tail"], 1: ["nose", "tail"]}
    assert [row for row in Yolo().read(out) if isinstance(row, Category)] == CLASSES
    assert answers(out)["a.jpg"].annotations[0].keypoints == ((0.05, 0.2, 2), (0, 0, 0))


def test_several_polygons_of_an_object_become_one_of_the_same_area(tmp_path):
    squares = ((0.0, 0.0, 10.0, 0.0, 10.0, 10.0, 0.0, 10.0), (50.0, 50.0, 60.0, 50.0, 60.0, 60.0, 50.0, 60.0))
    third = (80.0, 0.0, 90.0, 0.0, 90.0, 10.0)
    out = written(tmp_path, image("a.jpg", Annotation("cat", segmentation=(*squares, third))))
    (annotation,) = answers(out)["a.jpg"].annotations
    assert isinstance(annotation.segmentation, tuple)
    (joined,) = annotation.segmentation
    points = [(x * 200, y * 100) for x, y in zip(joined[::2], joined[1::2], strict=True)]
    ahead = [*points[1:], points[0]]
    area = sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in zip(points, ahead, strict=True)) / 2
    assert area == pytest.approx(100 + 100 + 50)


def test_outlines_of_four_points_are_not_ambiguous_in_what_alctl_writes(tmp_path):
    outline = (0.0, 0.0, 10.0, 0.0, 10.0, 10.0, 0.0, 10.0)
    out = written(tmp_path, image("a.jpg", Annotation("cat", segmentation=(outline,))))
    assert answers(out)["a.jpg"].annotations[0].segmentation == ((0, 0, 0.05, 0, 0.05, 0.1, 0, 0.1),)


def test_the_boxes_of_all_kinds_can_be_written(tmp_path):
    mask = rle.of_mask(np.ones((100, 200), dtype=bool))
    outline = Annotation("cat", segmentation=((0.0, 0.0, 10.0, 0.0, 10.0, 10.0),))
    pose = Annotation("cat", bbox=(0, 0, 50, 50), keypoints=((10, 20, 2), (0, 0, 0)))
    out = written(tmp_path, image("a.jpg", outline, pose), kind="detect")
    assert [a.bbox for a in answers(out)["a.jpg"].annotations] == [
        pytest.approx((0, 0, 0.05, 0.1)),
        pytest.approx((0, 0, 0.25, 0.5)),
    ]
    with pytest.raises(AlctlError, match="with a mask"):
        Yolo().write([image("a.jpg", Annotation("cat", segmentation=mask))], tmp_path / "mask", CLASSES)


SQUARE = Annotation("cat", bbox=(0, 0, 10, 10))
POINTS = Annotation("cat", keypoints=((1, 1, 2), (2, 2, 2)))


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        ([image("a.jpg", SQUARE), image("a.png", SQUARE)], "'a.png' and an image before it"),
        ([image("a.jpg", SQUARE), image("a.jpg", SQUARE)], "two annotators"),
        ([image("/a.jpg", SQUARE)], "rename it"),
        ([image("../a.jpg", SQUARE)], "rename it"),
        ([image("a\nb.jpg", SQUARE)], "rename it"),
        ([image("a\\b.jpg", SQUARE)], "rename it"),
        ([image("", SQUARE)], "rename it"),
        ([image("a.jpg", SQUARE, width=None)], "width and height are not known"),
        ([image("a.jpg", Annotation("cat", bbox=(0, 0, 9, 9), crowd=True))], "drop_crowds=true"),
        ([image("a.jpg", SQUARE, POINTS)], "a 'cat' for YOLO pose, after objects for YOLO detect"),
        ([image("a.jpg", POINTS)], "without a box"),
        ([image("a.jpg", Annotation("cat", bbox=(0, 0, 1, 1), keypoints=((1, 1, 2),)))], "with 1 keypoints"),
        ([image("a.jpg", Annotation("cat"))], "without a box"),
    ],
)
def test_what_yolo_cannot_hold_is_a_sentence(tmp_path, images, sentence):
    with pytest.raises(AlctlError, match=sentence):
        written(tmp_path, *images)


def test_crowds_are_left_out_where_the_user_says_so(tmp_path):
    crowd = Annotation("cat", bbox=(0, 0, 9, 9), crowd=True)
    out = written(tmp_path, image("a.jpg", crowd, SQUARE), drop_crowds=True)
    assert len(answers(out)["a.jpg"].annotations) == 1


def test_nothing_is_written_among_other_files(tmp_path):
    data_set(tmp_path / "out", labels__a=BOX)
    with pytest.raises(AlctlError, match="not empty"):
        written(tmp_path, image("a.jpg", SQUARE))


# --- for annotators ---------------------------------------------------------------------------------------------------


def assigned(number: int, predictions: tuple[Annotation, ...] | None = None) -> Assignment:
    return Assignment(
        number,
        f"x/{number}.jpg",
        f"images/{number:07}_x.jpg",
        200,
        100,
        3,
        "ab" * 32,
        predictions=predictions,
    )


def test_annotators_get_the_classes_and_the_predictions(tmp_path):
    given = [assigned(1), assigned(2, (SQUARE,)), assigned(3, ())]
    Yolo().hand_out(given, tmp_path / "yolo", CLASSES, "detection")
    assert (tmp_path / "yolo" / "classes.txt").read_text() == "cat\nno\n"
    assert [path.name for path in (tmp_path / "yolo" / "labels").iterdir()] == ["0000002_x.txt"]
    assert list(answers(tmp_path / "yolo")) == ["images/0000002_x.jpg"]
    assert notes(tmp_path / "yolo") == {WITHOUT: 2}


def test_a_pose_project_hands_out_its_keypoints(tmp_path):
    Yolo().hand_out([assigned(1)], tmp_path / "yolo", CLASSES, "pose")
    assert yaml.safe_load((tmp_path / "yolo" / "data.yaml").read_text())["kpt_shape"] == [2, 3]


def test_whole_image_classes_are_no_yolo(tmp_path):
    with pytest.raises(AlctlError, match="classification"):
        Yolo().hand_out([assigned(1)], tmp_path / "yolo", CLASSES, "classification")
