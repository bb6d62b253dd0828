"""Folders of classes: images are told by their bytes, whatever they are called by the time they are sorted."""

import hashlib
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from alctl.errors import AlctlError
from alctl.labels.annotation import Annotation, Assignment, Category, LabeledImage, Note, Refusal
from alctl.labels.formats.folders import LINKS, OUTSIDE, STRAY, Folders
from tests.data import PACKS, real_data

CLASSES = [Category("cat"), Category("dog")]


def touch(folder: Path, *names: str) -> Path:
    """Make files whose bytes are their names."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


def zipped(folder: Path) -> Path:
    """Pack a folder with itself around everything, as file managers do."""
    with zipfile.ZipFile(folder.with_suffix(".zip"), "w") as archive:
        for file in folder.rglob("*"):
            archive.write(file, file.relative_to(folder.parent))
    return folder.with_suffix(".zip")


def sorted_into(path: Path) -> dict[str, tuple[str, str]]:
    """Return the class and the path of each answer by where it stands."""
    found = [row for row in Folders().read(path) if isinstance(row, LabeledImage)]
    return {row.where: (row.annotations[0].category, row.path) for row in found}


def notes(path: Path) -> dict[str, int]:
    return {row.what: row.times for row in Folders().read(path) if isinstance(row, Note)}


def test_the_clothes_are_of_the_class_whose_folder_they_are_in():
    folder = real_data("clothing_dev.zip") / "clothing_dev" / "validation"
    assert Folders().recognise(folder) == "a folder for each class"
    files = sorted(folder.glob("*/*.jpg"))
    assert len(files) == 341
    assert [row for row in Folders().read(folder) if isinstance(row, LabeledImage)] == [
        LabeledImage(
            file.name,
            (Annotation(file.parent.name),),
            digest=hashlib.sha256(file.read_bytes()).hexdigest(),
            where=f"{file.parent.name}/{file.name}",
        )
        for file in files
    ]
    classes = [row.name for row in Folders().read(folder) if isinstance(row, Category)]
    assert classes == sorted(entry.name for entry in folder.iterdir())


def test_a_zip_around_a_split_around_the_classes_reads_like_the_folders_of_the_classes():
    folder = real_data("clothing_dev.zip") / "clothing_dev" / "validation"
    inside = {f"clothing_dev/validation/{where}": found for where, found in sorted_into(folder).items()}
    assert sorted_into(PACKS / "clothing_dev.zip") == inside


def test_the_classification_layout_of_ultralytics_is_read():
    folder = (
        real_data("exports.tar.xz")
        / "datumaro"
        / "tests"
        / "assets"
        / "yolo_dataset"
        / "yolov8_classification"
    )
    assert Folders().recognise(folder)
    assert sorted_into(folder) == {
        "train/label_0/1.jpg": ("label_0", "1.jpg"),
        "train/label_0/2.jpg": ("label_0", "2.jpg"),
        "train/label_1/3.jpg": ("label_1", "3.jpg"),
    }


def test_folders_in_a_class_are_part_of_the_path(tmp_path):
    touch(tmp_path, "cat/x/a.jpg", "cat/b.PNG", "dog/x/y/a.jpg")
    assert sorted_into(tmp_path) == {
        "cat/b.PNG": ("cat", "b.PNG"),
        "cat/x/a.jpg": ("cat", "x/a.jpg"),
        "dog/x/y/a.jpg": ("dog", "x/y/a.jpg"),
    }


def test_a_class_may_be_called_like_a_split(tmp_path):
    touch(tmp_path, "train/1/a.jpg", "bus/1/b.jpg")
    assert set(sorted_into(tmp_path).values()) == {("train", "1/a.jpg"), ("bus", "1/b.jpg")}
    touch(tmp_path / "direct", "train/a.jpg", "test/b.jpg")
    assert set(sorted_into(tmp_path / "direct").values()) == {("train", "a.jpg"), ("test", "b.jpg")}


def test_what_is_not_in_a_class_is_counted_and_left(tmp_path):
    touch(
        tmp_path,
        "cat/a.jpg",
        "cat/notes.txt",
        "readme.md",
        "b.jpg",
        "_unlabeled/c.jpg",
        ".cache/d.jpg",
        "cat/.e.jpg",
    )
    assert list(sorted_into(tmp_path)) == ["cat/a.jpg"]
    assert notes(tmp_path) == {STRAY: 2, OUTSIDE: 2}


def test_links_out_of_the_folder_are_counted_and_left(tmp_path):
    touch(tmp_path, "elsewhere/a.jpg", "sorted/cat/b.jpg")
    (tmp_path / "sorted" / "cat" / "a.jpg").symlink_to(tmp_path / "elsewhere" / "a.jpg")
    (tmp_path / "sorted" / "cat" / "c.jpg").symlink_to(tmp_path / "sorted" / "cat" / "b.jpg")
    assert list(sorted_into(tmp_path / "sorted")) == ["cat/b.jpg", "cat/c.jpg"]
    assert notes(tmp_path / "sorted") == {LINKS: 1}


def test_an_image_in_two_folders_is_yielded_twice_for_the_exchange_to_report(tmp_path):
    for name in ("cat/a.jpg", "dog/renamed.jpg"):
        touch(tmp_path, name).joinpath(name).write_bytes(b"the same")
    found = [row for row in Folders().read(tmp_path) if isinstance(row, LabeledImage)]
    assert Counter(row.digest for row in found) == {hashlib.sha256(b"the same").hexdigest(): 2}


@pytest.mark.parametrize("above", ["", "train/"])
def test_a_zip_reads_like_the_folder_that_was_packed(tmp_path, above):
    folder = touch(
        tmp_path / "round", *(f"{above}{name}" for name in ("cat/a.jpg", "dog/b.jpg", "dog/x/c.jpg"))
    )
    file = zipped(folder)
    assert Folders().recognise(file)
    assert {where.removeprefix("round/"): found for where, found in sorted_into(file).items()} == sorted_into(
        folder
    )


def test_a_damaged_member_of_a_zip_costs_only_its_image(tmp_path):
    folder = touch(tmp_path / "round", "cat/a.jpg", "dog/b.jpg")
    (folder / "dog" / "b.jpg").write_bytes(b"pixels of a dog")
    file = zipped(folder)
    file.write_bytes(file.read_bytes().replace(b"pixels", b"pixelz"))
    refused = [row for row in Folders().read(file) if isinstance(row, Refusal)]
    assert [row.where for row in refused] == ["round/dog/b.jpg"]
    assert list(sorted_into(file)) == ["round/cat/a.jpg"]


@pytest.mark.parametrize(
    "names",
    [
        ["data.yaml", "images/a.jpg"],
        ["images/a.jpg", "labels/a.txt"],
        ["JPEGImages/a.jpg", "Annotations/a.xml"],
        ["annotations.xml", "images/a.jpg"],
        ["SegmentationClass/a.png"],
        ["train/images/a.jpg", "train/labels/a.txt"],
        ["labelmap.txt", "x/a.png"],
        ["a.jpg", "b.jpg"],
        ["cat/a.txt"],
        ["cat/.hidden.jpg"],
    ],
)
def test_other_layouts_are_not_taken_for_classes(tmp_path, names):
    folder = touch(tmp_path / "set", *names)
    assert Folders().recognise(folder) == ""
    assert Folders().recognise(zipped(folder)) == ""


def test_a_folder_without_images_is_a_sentence(tmp_path):
    touch(tmp_path, "cat/a.txt")
    with pytest.raises(AlctlError, match="no images"):
        list(Folders().read(tmp_path))


# --- writing ----------------------------------------------------------------------------------------------------------


def image(path: str, *classes: str) -> LabeledImage:
    return LabeledImage(path, tuple(map(Annotation, classes)))


def test_images_are_linked_into_the_folders_of_their_classes(tmp_path):
    root = touch(tmp_path / "root", "x/a.jpg", "b.jpg", "c.jpg")
    skipped = LabeledImage("c.jpg", status="skip")
    Folders(root=str(root)).write(
        [image("x/a.jpg", "dog"), image("b.jpg", "cat"), skipped], tmp_path / "out", CLASSES
    )
    assert set(sorted_into(tmp_path / "out").values()) == {("dog", "x/a.jpg"), ("cat", "b.jpg")}
    assert (tmp_path / "out" / "cat" / "b.jpg").samefile(root / "b.jpg")
    assert not list((tmp_path / "out").rglob("c.jpg"))


def test_an_image_behind_a_link_is_put_there_itself(tmp_path):
    touch(tmp_path, "elsewhere/a.jpg")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "a.jpg").symlink_to(tmp_path / "elsewhere" / "a.jpg")
    Folders(root=str(tmp_path / "root")).write([image("a.jpg", "cat")], tmp_path / "out", CLASSES)
    assert not (tmp_path / "out" / "cat" / "a.jpg").is_symlink()
    assert list(sorted_into(tmp_path / "out")) == ["cat/a.jpg"]


@pytest.mark.parametrize(
    ("images", "classes", "sentence"),
    [
        ([image("gone.jpg", "cat")], ["cat"], "gone.jpg"),
        ([image("../root/a.jpg", "cat")], ["cat"], "not a path inside"),
        ([image("a.jpg", "cat", "dog")], ["cat", "dog"], "2 classes"),
        ([image("a.jpg")], ["cat"], "0 classes"),
        ([image("a.jpg", "cat"), image("a.jpg", "cat")], ["cat"], "written twice"),
        ([], ["a/b"], "cannot be the name of a folder"),
        ([], [".."], "cannot be the name of a folder"),
        ([], ["_unlabeled"], "cannot be the name of a folder"),
        ([], ["Cat", "cat"], "would share a folder"),
        ([], ["train", "test"], "taken for splits"),
    ],
)
def test_what_folders_cannot_hold_is_a_sentence(tmp_path, images, classes, sentence):
    root = touch(tmp_path / "root", "a.jpg")
    with pytest.raises(AlctlError, match=sentence):
        Folders(root=str(root)).write(images, tmp_path / "out", [Category(name) for name in classes])


def test_without_the_images_nothing_can_be_written(tmp_path):
    with pytest.raises(AlctlError, match="--option root=FOLDER"):
        Folders().write([image("a.jpg", "cat")], tmp_path / "out", CLASSES)


def test_nothing_is_written_among_other_files(tmp_path):
    touch(tmp_path, "out/cat/b.jpg")
    with pytest.raises(AlctlError, match="not empty"):
        Folders(root=str(tmp_path)).write([], tmp_path / "out", CLASSES)


def test_annotators_get_an_empty_folder_for_each_class(tmp_path):
    given = [Assignment(1, "x/a.jpg", "images/0000001_a.jpg", 4, 4, 1, "ab" * 32)]
    Folders().hand_out(given, tmp_path / "folders", CLASSES, "classification")
    assert sorted(entry.name for entry in (tmp_path / "folders").iterdir()) == ["cat", "dog"]
    touch(tmp_path, "folders/dog/0000001_a.jpg")
    assert Folders().recognise(tmp_path / "folders")
    assert sorted_into(tmp_path / "folders") == {"dog/0000001_a.jpg": ("dog", "0000001_a.jpg")}
    with pytest.raises(AlctlError, match="detection"):
        Folders().hand_out(given, tmp_path / "other", CLASSES, "detection")
