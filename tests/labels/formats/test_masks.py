"""Segmentation masks: every pixel of real masks is counted, and what a mask does not say is refused."""

import io
import itertools
import json
import struct
import zipfile
import zlib
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from alctl.errors import AlctlError
from alctl.labels import rle
from alctl.labels.annotation import RLE, Annotation, Assignment, Category, LabeledImage, Note, Refusal
from alctl.labels.formats.masks import VOID_ALONE, Masks
from alctl.labels.parsing.masks import label_map
from alctl.labels.parsing.unlabeled import UNLABELED
from tests.data import real_data
from tests.examples import examples

CLASSES = (Category("cat"), Category("dog"))
COLOURED = "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:128,0,0:head,paw:\ndog:0,128,0::run\n"


def png(values: object, mode: str | None = None, palette: list[int] | None = None) -> bytes:
    image = (
        Image.fromarray(np.asarray(values), mode)
        if mode != "P"
        else Image.fromarray(np.asarray(values, np.uint8))
    )
    if mode == "P":
        image = Image.fromarray(np.asarray(values, np.uint8)).convert("L")
        image.putpalette(
            palette or list(itertools.chain.from_iterable(rgb(label_map.colour(n)) for n in range(256)))
        )
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def grey(values: object) -> bytes:
    return png(np.asarray(values, np.uint8))


def rgb(code: int) -> tuple[int, int, int]:
    return code >> 16, code >> 8 & 255, code & 255


def colours(codes: list[list[int]]) -> bytes:
    return png(np.array([[rgb(code) for code in row] for row in codes], np.uint8))


def saved(folder: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


class Read:
    """What a folder of masks says."""

    def __init__(self, path: Path, kind: Masks) -> None:
        rows = list(kind.read(path))
        self.classes = [row.name for row in rows if isinstance(row, Category)]
        self.answers = {row.path: row for row in rows if isinstance(row, LabeledImage)}
        self.refused = {row.where: row.problem for row in rows if isinstance(row, Refusal)}
        self.notes = {row.what: row.times for row in rows if isinstance(row, Note)}
        assert len(rows) == sum(map(len, (self.classes, self.answers, self.refused, self.notes)))


def read(path: Path, **options: str) -> Read:
    return Read(path, Masks(empty=True, **options))  # type: ignore[arg-type]


def of(mask: bytes, labels: str = COLOURED, objects: bytes | None = None, **options: str) -> Read:
    """Return what one mask among others says."""
    files: dict[str, str | bytes] = {"labelmap.txt": labels, "SegmentationClass/a.png": mask}
    if objects is not None:
        files["SegmentationObject/a.png"] = objects
    with TemporaryDirectory() as folder:
        return read(saved(Path(folder), files), **options)


def found(
    mask: bytes, labels: str = COLOURED, objects: bytes | None = None, **options: str
) -> list[tuple[str, object]]:
    """Return class and pixels of what is in one mask."""
    got = of(mask, labels, objects, **options)
    assert not got.refused
    return [(a.category, pixels(a).astype(int).tolist()) for a in got.answers["a"].annotations]


def refusal(mask: bytes, labels: str = COLOURED, objects: bytes | None = None, **options: str) -> str:
    got = of(mask, labels, objects, **options)
    assert not got.answers
    return got.refused["SegmentationClass/a.png"]


def pixels(annotation: Annotation) -> np.ndarray:
    assert isinstance(annotation.segmentation, RLE)
    mask = rle.to_mask(annotation.segmentation)
    x, y, width, height = annotation.bbox or (0, 0, 0, 0)
    assert mask[int(y) : int(y + height), int(x) : int(x + width)].sum() == mask.sum()
    assert mask[int(y)].any()
    assert mask[int(y + height) - 1].any()
    assert mask[:, int(x)].any()
    return mask


# --- real files -------------------------------------------------------------------------------------------------------

CAMVID = [
    "Sky", "Building", "Pole", "Road", "Pavement", "Tree", "SignSymbol", "Fence", "Car", "Pedestrian", "Bicyclist",
]  # fmt: skip


@pytest.mark.parametrize(
    ("pack", "masks"), [("camvid_native_train.zip", 19), ("camvid_half_trainval.zip", 468)]
)
def test_every_pixel_of_camvid_has_its_class(pack, masks):
    folder = next(real_data(pack).glob("camvid*"))
    got = read(folder, void="11")
    assert got.classes == CAMVID
    assert not got.refused
    assert len(got.answers) == masks
    assert got.notes == {"masks have void pixels, which belong to no class": masks}
    counted, expected = Counter[str](), Counter[str]()
    for answer in got.answers.values():
        with Image.open(folder / answer.where) as image:
            values = np.asarray(image)
        assert (answer.height, answer.width) == values.shape
        assert answer.path == answer.where.replace("annot/", "/").removesuffix(".png")
        expected.update({name: int((values == value).sum()) for value, name in enumerate(CAMVID)})
        for annotation in answer.annotations:
            mask = pixels(annotation)
            counted[annotation.category] += int(mask.sum())
            assert np.array_equal(mask, values == CAMVID.index(annotation.category))
    assert counted == +expected
    assert len(counted) == 11


def test_a_folder_of_camvid_masks_alone_needs_a_label_map():
    folder = next(real_data("camvid_native_train.zip").glob("camvid*"))
    with pytest.raises(AlctlError, match=r"no label map, so its pixels mean nothing: --option labels=FILE"):
        read(folder / "trainannot")
    got = read(folder / "trainannot", labels=str(folder / "classes.txt"), void="Unlabelled (ignore)")
    assert got.classes == CAMVID
    assert "0001TP_006690" in got.answers


def exported(name: str) -> Path:
    return next(real_data("exports.tar.xz").rglob(name))


def test_pascal_voc_without_a_label_map_has_its_own_classes():
    assert Masks().recognise(exported("voc_dataset1"))
    with pytest.raises(AlctlError, match="labels=voc"):
        read(exported("voc_dataset1"))
    (answer,) = read(exported("voc_dataset1"), labels="voc").answers.values()
    (only,) = answer.annotations
    assert (answer.path, only.category, only.bbox) == ("2007_000001", "bicycle", (0, 0, 20, 10))
    (answer,) = read(
        exported("voc_dataset1"), labels=str(exported("voc_dataset2") / "labelmap.txt")
    ).answers.values()
    assert [a.category for a in answer.annotations] == ["bicycle"]


def test_datumaros_semantic_segmentation_brings_its_label_map():
    folder = exported("common_semantic_segmentation_dataset")
    assert Masks().recognise(folder / "dataset")
    got = read(folder / "dataset")
    assert got.classes == ["Animal", "Archway", "Bicyclist", "Child", "Road"]
    assert {
        path: {a.category: int(pixels(a).sum()) for a in answer.annotations}
        for path, answer in got.answers.items()
    } == {
        "0001": {"Bicyclist": 4, "Road": 1},
        "0002": {"Animal": 3, "Child": 2},
    }
    with pytest.raises(AlctlError, match="holds different label maps"):
        read(folder)


def test_camvid_colours_that_a_label_map_does_not_have_are_refused_with_their_pixels():
    labels = exported("common_semantic_segmentation_dataset") / "dataset" / "dataset_meta.json"
    got = read(exported("camvid_dataset"), labels=str(labels))
    assert got.answers.keys() == {"train/0001TP_006690", "val/0016E5_07959"}
    assert got.refused["testannot/0001TP_008550.png"].startswith("colour #808080 (pixels: 2): not in ")
    assert "colour #808000 (pixels: 2), #008040 (pixels: 1)" in got.refused["testannot/0001TP_008580.png"]


@pytest.fixture
def samples() -> Path:
    return real_data("openmmlab_samples.tar.xz") / "mmseg_samples"


@pytest.fixture
def forty(tmp_path) -> str:
    (tmp_path / "labels.txt").write_text("".join(f"class {n}\n" for n in range(40)))
    return str(tmp_path / "labels.txt")


def test_empty_files_are_refused_one_by_one(samples, forty):
    got = read(samples / "pseudo_isaid_dataset", labels=forty)
    assert set(got.refused.values()) == {"it is empty (0 bytes)"}
    assert len(got.refused) == 4
    assert not got.answers


def test_masks_of_16_bits_are_read_and_their_large_values_refused(samples, forty):
    folder = samples / "pseudo_cityscapes_dataset" / "gtFine"
    got = read(folder, labels=forty)
    (large,) = got.refused.values()
    assert large.startswith("pixel value 26002 (pixels: 1,572), 26001")
    values = np.asarray(Image.open(next(folder.rglob("*_labelIds.png"))))
    by_name = {Path(path).name.rpartition("_")[2]: answer for path, answer in got.answers.items()}
    assert {a.category: int(pixels(a).sum()) for a in by_name["labelIds"].annotations} == {
        f"class {value}": int((values == value).sum()) for value in np.unique(values)
    }
    assert got.notes == {"masks have void pixels, which belong to no class": 1}


@pytest.mark.parametrize(
    "folder",
    [
        "pseudo_dataset/gts",
        "pseudo_refuge_dataset/ann_dir",
        "pseudo_potsdam_dataset/ann_dir",
        "pseudo_lip_dataset",
    ],
)
def test_palettes_three_equal_channels_and_grey_are_the_same_numbers(samples, forty, folder):
    got = read(samples / folder, labels=forty)
    assert not got.refused
    for answer in got.answers.values():
        with Image.open(samples / folder / answer.where) as image:
            values = np.asarray(image)
        values = values[..., 0] if values.ndim == 3 else values
        assert {a.category: int(pixels(a).sum()) for a in answer.annotations} == {
            f"class {value}": int((values == value).sum()) for value in np.unique(values)
        }


# --- what a pixel says ------------------------------------------------------------------------------------------------

CAT, DOG = 0x800000, 0x008000


@pytest.mark.parametrize(
    "mask",
    [
        grey([[0, 1], [2, 1]]),
        png([[0, 1], [2, 1]], "P"),
        png(np.array([[0, 1], [2, 1]], np.uint16)),
        colours([[0, CAT], [DOG, CAT]]),
        png(np.array([[[0, 0, 0, 255], [128, 0, 0, 255]], [[0, 128, 0, 255], [128, 0, 0, 255]]], np.uint8)),
        png(np.array([[[0, 255], [1, 255]], [[2, 255], [1, 255]]], np.uint8)),
    ],
    ids=["grey", "palette", "16 bits", "colours", "colours and alpha", "grey and alpha"],
)
def test_a_pixel_says_the_same_in_every_kind_of_png(mask):
    assert found(mask) == [("cat", [[0, 1], [0, 1]]), ("dog", [[0, 0], [1, 0]])]


def raw(bits: int, row: bytes, width: int, kind: int = 0) -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    header = struct.pack(">IIBBBBB", width, 1, bits, kind, 0, 0, 0)
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            chunk(b"IDAT", zlib.compress(b"\0" + row)),
            chunk(b"IEND", b""),
        )
    )


@pytest.mark.parametrize(
    ("bits", "row", "values"),
    [(1, b"\x50", [0, 1, 0, 1]), (2, b"\x18", [0, 1, 2, 0]), (4, b"\x01\x20", [0, 1, 2, 0])],
)
def test_grey_values_of_few_bits_are_not_stretched(bits, row, values):
    expected = [
        (name, [[int(v == n) for v in values]]) for n, name in ((1, "cat"), (2, "dog")) if n in values
    ]
    assert found(raw(bits, row, 4)) == expected


def test_only_background_means_nothing_there():
    for mask in (grey([[0, 0]]), colours([[0, 0]])):
        assert found(mask) == []


def test_without_a_class_a_mask_is_no_answer_unless_the_user_says_so_and_never_with_void(tmp_path):
    masks = {"a": grey([[0, 0]]), "b": grey([[0, 255]])}
    files = {f"SegmentationClass/{name}.png": mask for name, mask in masks.items()}
    folder = saved(tmp_path, {**files, "labelmap.txt": COLOURED})
    for empty, answers, notes in (
        (False, [], {UNLABELED: 1, VOID_ALONE: 1}),
        (True, ["a"], {VOID_ALONE: 1}),
    ):
        got = Read(folder, Masks(empty=empty))
        assert (list(got.answers), got.notes) == (answers, notes)


def test_255_is_void_only_where_nothing_names_it():
    white = "background:0,0,0::\ncat:255,255,255::\n"
    assert found(grey([[0, 255]]), white) == [("cat", [[0, 1]])]
    assert found(colours([[0, 0xFFFFFF]]), white) == [("cat", [[0, 1]])]
    assert found(grey([[0, 1]]), white) == [("cat", [[0, 1]])]  # by its line
    assert found(grey([[1, 255]]), COLOURED) == [("cat", [[1, 0]])]  # which names no white
    assert found(colours([[0, 0xE0E0C0]]), "background:0,0,0::\ncat:224,224,192::\n") == [("cat", [[0, 1]])]


def test_black_is_background_in_colours_and_the_first_class_in_numbers():
    assert found(colours([[0, CAT]]), "cat:128,0,0::\n") == [("cat", [[0, 1]])]
    assert found(grey([[0, 1]]), "cat\ndog\n") == [("cat", [[1, 0]]), ("dog", [[0, 1]])]


def test_void_is_ignored_by_value_colour_and_name_and_is_told():
    told = {"masks have void pixels, which belong to no class": 1}
    cases: list[tuple[bytes, dict[str, str]]] = [
        (grey([[255, 1]]), {}),
        (colours([[0xE0E0C0, CAT]]), {}),
        (grey([[7, 1]]), {"void": "7"}),
        (grey([[2, 1]]), {"void": "7, 2"}),
        (grey([[2, 1]]), {"void": "dog"}),
        (colours([[DOG, CAT]]), {"void": "#008000"}),
        (colours([[0x123456, CAT]]), {"void": "#123456, 255"}),
    ]
    for mask, options in cases:
        got = of(mask, COLOURED, None, **options)
        assert [a.category for a in got.answers["a"].annotations] == ["cat"]
        assert got.notes == told


def test_a_mask_that_is_void_from_end_to_end_is_no_answer():
    assert refusal(grey([[255, 255]])) == "all of it is void, so it says nothing"


def test_255_is_a_class_where_the_label_map_has_so_many():
    labels = "".join(f"class {n}\n" for n in range(300))
    assert found(png(np.array([[255, 256]], np.uint16)), labels) == [
        ("class 255", [[1, 0]]),
        ("class 256", [[0, 1]]),
    ]


def test_background_is_what_the_user_says():
    assert found(grey([[0, 1, 2]]), background="dog") == [("background", [[1, 0, 0]]), ("cat", [[0, 1, 0]])]
    with pytest.raises(AlctlError, match=r"'dgo' is none of the classes .* did you mean 'dog'"):
        of(grey([[0]]), background="dgo")
    with pytest.raises(AlctlError, match="'dgo' is none of the classes"):
        of(grey([[0]]), void="dgo")


def test_a_class_on_two_lines_is_one_class():
    assert found(grey([[1, 2]]), "x\ncat\ncat\n") == [("cat", [[1, 1]])]


SWAPPED = [0, 0, 0, 0, 128, 0, 128, 0, 0]


def test_a_palette_in_another_order_than_the_label_map_is_not_guessed():
    mask = png([[0, 1], [2, 1]], "P", SWAPPED)
    assert "pixel value 1 is 'cat' by its line in the label map and 'dog' by its colour" in refusal(mask)
    assert found(mask, palette="index") == [("cat", [[0, 1], [0, 1]]), ("dog", [[0, 0], [1, 0]])]
    assert found(mask, palette="colour") == [("cat", [[0, 0], [1, 0]]), ("dog", [[0, 1], [0, 1]])]
    assert "pixel value 2" in refusal(png([[2]], "P", [0, 0, 0, 0, 128, 0, 9, 9, 9]), palette="colour")


def test_a_palette_of_other_colours_is_for_the_eye():
    assert found(png([[0, 1], [2, 1]], "P", [0, 0, 0, 9, 9, 9, 7, 7, 7])) == found(grey([[0, 1], [2, 1]]))
    assert found(png([[0, 1]], "P", [0, 0, 0, 128, 0, 0]), "cat:9,9,9::\ndog:128,0,0::\n", palette="index")


# --- what is refused --------------------------------------------------------------------------------------------------


def animation() -> bytes:
    frames = [Image.fromarray(np.full((2, 2), n, np.uint8)) for n in range(2)]
    stream = io.BytesIO()
    frames[0].save(stream, "PNG", save_all=True, append_images=frames[1:])
    return stream.getvalue()


def jpeg() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(stream, "JPEG")
    return stream.getvalue()


def bomb() -> bytes:
    whole = bytearray(raw(8, b"\0" * 4, 4))
    whole[16:24] = struct.pack(">II", 100_000, 100_000)
    return bytes(whole)


@pytest.mark.parametrize(
    ("mask", "problem"),
    [
        (
            grey([[0, 7], [7, 9]]),
            "pixel value 7 (pixels: 2), 9 (pixels: 1): not in labelmap.txt, which has 3 classes",
        ),
        (colours([[0, 0x7F0000]]), "colour #7f0000 (pixels: 1): not in labelmap.txt"),
        (colours([list(range(1, 40))]), "were its edges smoothed"),
        (png(np.array([[[0, 0, 0, 0], [128, 0, 0, 255]]], np.uint8)), "1 pixels are transparent"),
        (b"", "it is empty (0 bytes)"),
        (b"GIF89a", "it is not a PNG"),
        (jpeg(), "it is not a PNG"),
        (grey([[0, 1]])[:40], "it cannot be decoded"),
        (grey(np.zeros((50, 50)))[:-30], "it cannot be decoded"),
        (grey([[0, 1]])[:20], "it is not a PNG"),
        (bomb(), "100000 × 100000 pixels"),
        (raw(16, b"\0" * 6, 1, kind=2), "16 bits a channel"),
        (animation(), "an animation of 2 pictures"),
    ],
    ids=lambda value: str(value)[:25],
)
def test_a_mask_that_says_nothing_sure_is_refused(mask, problem):
    assert problem in refusal(mask)


def test_colours_need_a_label_map_with_colours():
    assert "it has colours, and labelmap.txt has none" in refusal(colours([[0, CAT]]), "background\ncat\n")


def test_a_jpeg_among_the_masks_is_refused_and_photos_beside_them_are_left(tmp_path):
    files: dict[str, str | bytes] = {
        "labelmap.txt": COLOURED,
        "SegmentationClass/a.png": grey([[1]]),
        "SegmentationClass/b.jpg": jpeg(),
        "SegmentationClass/._a.png": b"of macOS",
        "JPEGImages/a.jpg": jpeg(),
        "JPEGImages/c.png": grey([[1]]),
    }
    got = read(saved(tmp_path, files))
    assert got.answers.keys() == {"a"}
    assert got.refused == {
        "SegmentationClass/b.jpg": "it is not a PNG; other files, above all JPEG, change the values of pixels"
    }


def test_masks_in_folders_of_several_kinds_keep_their_folders(tmp_path):
    mask = grey([[1]])
    cases = {
        "x/SegmentationClass/sub/a.v2.png": "sub/a.v2",
        "x/masks/sub/a.PNG": "sub/a",
        "x/trainannot/a.png": "train/a",
        "sub/a.png": "sub/a",
    }
    for number, (name, path) in enumerate(cases.items()):
        folder = saved(tmp_path / str(number), {"labelmap.txt": COLOURED, name: mask})
        assert list(read(folder).answers) == [path]
        assert Masks().recognise(folder)
    two = saved(tmp_path / "two", {"labelmap.txt": COLOURED, "x/masks/a.png": mask, "y/masks/a.png": mask})
    assert list(read(two).answers) == ["x/a", "y/a"]


def test_folders_that_are_no_masks_are_not_recognised(tmp_path):
    photo = colours([[0, CAT]])
    cases: list[dict[str, str | bytes]] = [
        {"labelmap.txt": COLOURED},
        {"a.png": grey([[1]])},
        {"labelmap.txt": COLOURED, "a.png": photo},
        {"labelmap.txt": COLOURED, "JPEGImages/a.png": grey([[1]]), "Annotations/a.xml": "<annotation/>"},
        {"labelmap.txt": COLOURED, "a.png": b""},
    ]
    for number, files in enumerate(cases):
        assert not Masks().recognise(saved(tmp_path / str(number), files))
    with pytest.raises(AlctlError, match="holds no masks"):
        read(tmp_path / "0")


def test_a_zip_is_read_like_its_folder(tmp_path):
    with zipfile.ZipFile(tmp_path / "masks.zip", "w") as packed:
        packed.writestr("SegmentationClass/a.png", grey([[0, 1]]))
        packed.writestr("labelmap.txt", COLOURED)
    assert Masks().recognise(tmp_path / "masks.zip")
    assert list(read(tmp_path / "masks.zip").answers) == ["a"]


# --- objects ----------------------------------------------------------------------------------------------------------


def test_objects_of_one_class_are_told_apart():
    classes, objects = grey([[1, 1, 0, 2, 255]]), grey([[1, 2, 0, 3, 255]])
    expected = [("cat", [[1, 0, 0, 0, 0]]), ("cat", [[0, 1, 0, 0, 0]]), ("dog", [[0, 0, 0, 1, 0]])]
    assert found(classes, objects=objects) == expected
    coloured = colours([[0x800000, 0x008000, 0, 0x808000, 0xE0E0C0]])
    assert sorted(found(classes, objects=coloured)) == sorted(expected)


def test_a_region_in_no_object_is_one_object_a_class_and_is_told():
    got = of(grey([[1, 1, 2, 0]]), objects=grey([[5, 0, 0, 0]]))
    assert [a.category for a in got.answers["a"].annotations] == ["cat", "dog", "cat"]
    assert got.notes == {"regions of a class are in no object and became one object a class": 2}


@pytest.mark.parametrize(
    ("objects", "problem"),
    [
        (grey([[1, 1, 0]]), "object 1 has pixels of two classes, 'cat' and 'dog'"),
        (grey([[1, 2, 3]]), "object 3 has 1 pixels that are background in the mask of classes"),
        (grey([[1, 2]]), "it has 3 × 1 pixels, and SegmentationObject/a.png has 2 × 1"),
        (b"", "SegmentationObject/a.png: it is empty"),
    ],
)
def test_objects_that_contradict_their_classes_are_refused(objects, problem):
    assert problem in refusal(grey([[1, 2, 0]]), objects=objects)


def test_objects_without_classes_are_refused(tmp_path):
    files: dict[str, str | bytes] = {"labelmap.txt": COLOURED, "SegmentationClass/a.png": grey([[1]])}
    got = read(saved(tmp_path, {**files, "SegmentationObject/b.png": grey([[1]])}))
    assert list(got.refused) == ["SegmentationObject/b.png"]


# --- label maps -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "names", "codes"),
    [
        (COLOURED, ["background", "cat", "dog"], {0: 0, CAT: 1, DOG: 2}),
        ("a:b:1,2,3::\r\n#x:4,5,6::\r\n\r\ny:::\r\n", ["a:b", "#x", "y"], {0x010203: 0, 0x040506: 1}),
        ("cat:1,2,3\ndog : 4, 5, 6\n", ["cat", "dog"], {0x010203: 0, 0x040506: 1}),
        ("64 128 64\tAnimal\n192 0 128 Big Archway\n", ["Animal", "Big Archway"], {0x408040: 0, 0xC00080: 1}),
        ("0 Sky\n1 Building\n", ["Sky", "Building"], {}),
        ("2 door car\n4 door car\n", ["2 door car", "4 door car"], {}),
        ("Sky\n\tTall Building \n\n\n", ["Sky", "Tall Building"], {}),
    ],
)
def test_label_maps_of_several_tools_are_read(text, names, codes):
    read_back = label_map.parse(text, "x.txt")
    assert [read_back.names[n] for n in range(len(names))] == names
    assert read_back.colours == codes


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "of 0 classes"),
        ("cat:1,2,3::\ndog\n", "line 2: 'dog' is not label:R,G,B:parts:actions"),
        ("cat:1,2,300::\n", "three numbers from 0 to 255, not 1,2,300"),
        ("cat:1,2,3::\ndog:1,2,3::\n", "'cat' and 'dog' the same colour #010203"),
        ("cat\n\ndog\n", "line 2 is empty"),
    ],
)
def test_a_label_map_that_is_not_sure_is_a_sentence(text, problem):
    with pytest.raises(AlctlError, match=problem.replace("(", r"\(")):
        label_map.parse(text, "x.txt")


@settings(max_examples=examples(100))
@given(
    text=st.text(st.sampled_from('ab0123:,# \n\t{}[]"'), max_size=60),
    suffix=st.sampled_from([".txt", ".json"]),
)
def test_any_text_is_a_label_map_or_a_sentence(text, suffix):
    try:
        got = label_map.parse(text, f"x{suffix}")
    except AlctlError:
        return
    assert got.names
    assert set(got.colours.values()) <= set(got.names)


META = {
    "label_map": {"0": "Void", "5": "cat"},
    "segmentation_colors": [[0, 0, 0], [9, 9, 9]],
    "background_label": 0,
}


def test_a_dataset_meta_is_read_by_its_numbers():
    got = label_map.parse(json.dumps(META), "dataset_meta.json")
    assert (got.names, got.colours, got.background) == ({0: "Void", 5: "cat"}, {0: 0, 0x090909: 5}, "Void")


@pytest.mark.parametrize(
    "change",
    [
        {"label_map": []},
        {"label_map": {}},
        {"label_map": {"x": "cat"}},
        {"label_map": {"-1": "cat"}},
        {"segmentation_colors": [[1, 2, 3]]},
        {"segmentation_colors": [[1, 2], [3, 4]]},
        {"segmentation_colors": [[1, 2, -3], [3, 4, 5]]},
        {"background_label": "9"},
    ],
)
def test_a_dataset_meta_that_is_none_is_a_sentence(change):
    with pytest.raises(AlctlError, match="dataset_meta"):
        label_map.parse(json.dumps({**META, **change}), "dataset_meta.json")


def test_a_label_map_that_cannot_be_read_is_a_sentence(tmp_path):
    saved(tmp_path, {"a.png": grey([[1]]), "bad.txt": b"\xff\xfe"})
    for name in ("none.txt", "bad.txt"):
        with pytest.raises(AlctlError, match=f"cannot read the label map .*{name}"):
            read(tmp_path, labels=str(tmp_path / name))


# --- writing ----------------------------------------------------------------------------------------------------------


def a(name: str, mask: object) -> Annotation:
    return Annotation(name, segmentation=rle.of_mask(np.asarray(mask, dtype=bool)))


def test_masks_objects_and_paths_come_back(tmp_path):
    images = [
        LabeledImage(
            "deep/a b.v2.jpg", (a("cat", [[1, 0, 0]]), a("cat", [[0, 0, 1]]), a("dog", [[0, 1, 0]]))
        ),
        LabeledImage("deep/a b.v2.png", (), width=3, height=1),
        LabeledImage("skip.png", (), status="skip"),
    ]
    Masks().write(images, tmp_path, CLASSES)
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == [
        "a b.v2.png", "a b.v2.png", "a b.v2.png.png", "alctl_paths.jsonl", "default.txt", "labelmap.txt",
    ]  # fmt: skip
    with Image.open(tmp_path / "SegmentationClass/deep/a b.v2.png") as image:
        assert image.mode == "P"
        assert np.asarray(image.convert("RGB")).tolist() == [[[128, 0, 0], [0, 128, 0], [128, 0, 0]]]
    got = read(tmp_path)
    assert {path: answer.annotations for path, answer in got.answers.items()} == {
        "deep/a b.v2.jpg": tuple(a_with_box(x) for x in images[0].annotations),
        "deep/a b.v2.png": (),
    }
    assert (tmp_path / "labelmap.txt").read_text() == COLOURED.replace("head,paw", "").replace("run", "")
    assert (tmp_path / "ImageSets/Segmentation/default.txt").read_text() == "deep/a b.v2\ndeep/a b.v2.png\n"


def a_with_box(annotation: Annotation) -> Annotation:
    assert isinstance(annotation.segmentation, RLE)
    return Annotation(
        annotation.category, bbox=rle.box(annotation.segmentation), segmentation=annotation.segmentation
    )


def test_without_the_list_of_paths_the_images_go_by_their_names(tmp_path):
    Masks().write([LabeledImage("deep/a.jpg", (a("cat", [[1]]),))], tmp_path, CLASSES)
    (tmp_path / "alctl_paths.jsonl").unlink()
    assert list(read(tmp_path).answers) == ["deep/a"]


def test_a_mask_that_the_list_of_paths_names_and_is_gone_is_told(tmp_path):
    Masks().write([LabeledImage(p, (a("cat", [[1]]),)) for p in ("a.jpg", "b.jpg")], tmp_path, CLASSES)
    (tmp_path / "SegmentationClass/b.png").unlink()
    got = read(tmp_path)
    assert list(got.answers) == ["a.jpg"]
    assert list(got.refused) == ["SegmentationClass/b.png"]
    (tmp_path / "alctl_paths.jsonl").write_text("[1]\n")
    with pytest.raises(AlctlError, match=r"alctl_paths.jsonl, line 1"):
        read(tmp_path)


def test_many_classes_and_many_objects_need_16_bits_and_come_back(tmp_path):
    many = [Category(f"class {n}") for n in range(300)]
    row = tuple(a(f"class {n}", np.arange(300)[None] == n) for n in range(300))
    cats = tuple(a("class 7", np.arange(300)[None] == n) for n in range(300))
    Masks().write([LabeledImage("a.png", row), LabeledImage("b.png", cats)], tmp_path, many)
    got = read(tmp_path).answers
    assert [x.category for x in got["a.png"].annotations] == [x.category for x in row]
    assert [x.segmentation for x in got["b.png"].annotations] == [x.segmentation for x in cats]


def test_overlapping_classes_are_the_users_choice(tmp_path):
    image = LabeledImage("x/a.png", (a("cat", [[1, 1, 0]]), a("dog", [[0, 1, 1]])))
    with pytest.raises(AlctlError, match=r"x/a.png: a 'dog' covers .* overlap=last"):
        Masks().write([image], tmp_path / "one", CLASSES)
    Masks(overlap="last").write([image], tmp_path / "two", CLASSES)
    got = read(tmp_path / "two").answers["x/a.png"].annotations
    assert [(x.category, pixels(x).tolist()) for x in got] == [
        ("cat", [[True, False, False]]),
        ("dog", [[False, True, True]]),
    ]


def test_a_class_called_background_is_still_a_class(tmp_path):
    classes = [Category("Background"), Category("cat")]
    images = [LabeledImage("a.png", (a("Background", [[1, 0, 0]]), a("cat", [[0, 1, 0]])))]
    Masks().write(images, tmp_path, classes)
    got = read(tmp_path)
    assert got.classes == ["Background", "cat"]
    assert [x.category for x in got.answers["a.png"].annotations] == ["Background", "cat"]


def test_polygons_become_the_pixels_whose_centres_they_hold(tmp_path):
    two_parts = ((1.0, 1.0, 3.0, 1.0, 3.0, 3.0, 1.0, 3.0), (4.4, 0.0, 6.0, 0.0, 6.0, 0.6, 4.4, 0.6))
    image = LabeledImage("a.png", (Annotation("cat", segmentation=two_parts),), width=6, height=4)
    Masks().write([image], tmp_path, CLASSES)
    (only,) = read(tmp_path).answers["a.png"].annotations
    assert pixels(only).astype(int).tolist() == [
        [0, 0, 0, 0, 1, 1],
        [0, 1, 1, 0, 0, 0],
        [0, 1, 1, 0, 0, 0],
        [0, 0, 0, 0, 0, 0],
    ]


def even_odd(x: float, y: float, points: list[tuple[float, float]]) -> bool:
    """Tell whether a ray to the left of a point crosses a polygon an odd number of times."""
    inside = False
    for (x1, y1), (x2, y2) in zip(points, points[1:] + points[:1], strict=True):
        if (y1 <= y) != (y2 <= y) and x1 + (y - y1) / (y2 - y1) * (x2 - x1) <= x:
            inside = not inside
    return inside


@settings(max_examples=examples(100))
@given(points=st.lists(st.tuples(st.floats(-5, 15), st.floats(-5, 15)), min_size=3, max_size=8))
def test_a_polygon_is_filled_as_a_ray_from_each_pixel_tells(points):
    mask = rle.inside([number for point in points for number in point], (8, 10))
    rays = np.array([[even_odd(x + 0.5, y + 0.5, points) for x in range(10)] for y in range(8)])
    assert mask.any()
    if rays.any():
        assert np.array_equal(mask, rays)


@pytest.mark.parametrize(
    ("image", "problem"),
    [
        (LabeledImage("a.png", (a("cow", [[1]]),)), "a.png: 'cow' is none of the classes: cat, dog"),
        (LabeledImage("a.png"), "a.png: its width and height are unknown"),
        (LabeledImage("a.png", (a("cat", [[1]]),), width=2, height=2), "a mask of 1 × 1 in 2 × 2 pixels"),
        (
            LabeledImage("a.png", (Annotation("cat", bbox=(0, 0, 1, 1)),), width=2, height=2),
            "without a mask or an outline",
        ),
        (LabeledImage("../a.png", width=1, height=1), "not a path inside the dataset"),
        (LabeledImage("/a.png", width=1, height=1), "not a path inside the dataset"),
        (LabeledImage("a\n.png", width=1, height=1), "not a path inside the dataset"),
        (LabeledImage("\udcff.png", width=1, height=1), "not a path inside the dataset"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_masks_cannot_hold_is_a_sentence(image, problem, tmp_path):
    with pytest.raises(AlctlError, match=problem):
        Masks().write([image], tmp_path, CLASSES)


def test_class_names_that_a_label_map_cannot_hold_are_a_sentence(tmp_path):
    for number, name in enumerate(("", " cat", "a\nb", "_background_")):
        with pytest.raises(AlctlError, match="class"):
            Masks().write([], tmp_path / str(number), [Category(name)])


def test_old_masks_in_the_folder_are_not_mixed_with_new_ones(tmp_path):
    Masks().write([], tmp_path, CLASSES)
    with pytest.raises(AlctlError, match="is there already"):
        Masks().write([], tmp_path, CLASSES)


def test_annotators_get_the_label_map_and_the_predictions_beside_the_names_of_their_images(tmp_path):
    seen = (a("cat", [[1, 0]]),)
    given_out = [
        Assignment(n, f"x/{n}.jpg", f"images/{n:07}_x.jpg", 2, 1, 1, "ab" * 32, predictions=predictions)
        for n, predictions in enumerate((None, (), seen))
    ]
    Masks().hand_out(given_out, tmp_path, CLASSES, "segmentation")
    got = read(tmp_path)
    assert got.classes == ["cat", "dog"]
    assert list(got.answers) == ["0000002_x.jpg"]


NAMES = st.sampled_from(["cat", "dog", "a:b", "#c"])


@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.too_slow])
@given(values=st.lists(st.lists(st.integers(0, 4), min_size=3, max_size=3), min_size=1, max_size=4))
def test_any_mask_comes_back_pixel_by_pixel(values):
    names = ["cat", "dog", "a:b", "#c"]
    objects = tuple(
        a(name, np.array(values) == n) for n, name in enumerate(names, 1) if (np.array(values) == n).any()
    )
    with TemporaryDirectory() as folder:
        Masks().write(
            [LabeledImage("a.jpg", objects, width=3, height=len(values))],
            Path(folder),
            list(map(Category, names)),
        )
        got = read(Path(folder)).answers["a.jpg"].annotations
    assert [(x.category, x.segmentation) for x in got] == [(x.category, x.segmentation) for x in objects]


@settings(max_examples=examples(80))
@given(at=st.integers(8, 90), value=st.integers(0, 255), cut=st.integers(0, 100))
@example(at=61, value=94, cut=0)  # within the pixels, which still decompress
def test_a_damaged_mask_is_refused_or_says_what_it_said(at, value, cut):
    whole = grey(np.arange(40).reshape(5, 8) % 3)
    damaged = bytearray(whole)
    damaged[at % len(whole)] = value
    got = of(bytes(damaged[: len(whole) - cut] if cut < 30 else damaged))
    assert len(got.answers) + len(got.refused) == 1
    for answer in got.answers.values():
        assert answer == of(whole).answers["a"]
