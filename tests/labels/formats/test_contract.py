"""What every label format promises."""

import atexit
from functools import cache
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory, mkdtemp

import hypothesis
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from alctl.errors import AlctlError
from alctl.labels import rle
from alctl.labels.annotation import RLE, Annotation, Assignment, Category, LabeledImage, Refusal
from alctl.labels.format import FORMATS
from tests.examples import examples

CATEGORIES = (
    Category("cat", ("nose", "left ear", "tail"), ((0, 1), (1, 2))),
    Category("dög", ("nose", "left ear", "tail"), ((0, 1), (1, 2))),
    Category("a b,c", ("nose", "left ear", "tail"), ((0, 1), (1, 2))),
)
PATHS = ("a.png", "deep/b c.jpg", "ünï/猫.webp", "deep/er/b c.v2.jpg")
WIDTH, HEIGHT = 64, 48
NEEDS = {
    "classification": {"category"},
    "detection": {"bbox"},
    "pose": {"bbox", "keypoints"},
    "segmentation by polygons": {"polygons"},
    "segmentation by masks": {"mask"},
}
CASES = [
    (name, task)
    for name in FORMATS.names()
    for task, parts in NEEDS.items()
    if parts <= FORMATS.load(name).carries
]
at_leisure = settings(max_examples=examples(60), suppress_health_check=[HealthCheck.too_slow])


@cache
def images_at_hand() -> str:
    """Return a folder with a small image at each of the paths, for formats that move the images themselves."""
    root = mkdtemp(prefix="alctl-test-images-")
    atexit.register(rmtree, root)
    for shade, path in enumerate(PATHS):
        Path(root, path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (WIDTH, HEIGHT), 60 * shade).save(Path(root, path))
    return root


def made(name: str):
    """Return a format that takes images without objects for "looked at, nothing there", where it can be told to."""
    kind = FORMATS.load(name)
    options = set(getattr(kind, "__dataclass_fields__", ()))
    # What a format cannot know, it has to be told.
    wanted: dict[str, object] = {"empty": True, "origin": 0}
    if "root" in options:
        wanted["root"] = images_at_hand()
    return kind(**{option: value for option, value in wanted.items() if option in options})


@pytest.fixture(params=FORMATS.names())
def name(request):
    return request.param


names = st.sampled_from([category.name for category in CATEGORIES])
fractions = st.floats(0, 1, allow_nan=False)


@st.composite
def boxes(draw):
    x, y = draw(fractions) * (WIDTH - 2), draw(fractions) * (HEIGHT - 2)
    return x, y, 1 + draw(fractions) * (WIDTH - x - 1), 1 + draw(fractions) * (HEIGHT - y - 1)


@st.composite
def keypoints(draw):
    point = st.tuples(
        fractions.map(lambda f: f * WIDTH), fractions.map(lambda f: f * HEIGHT), st.sampled_from([1, 2])
    )
    found = draw(st.lists(st.one_of(point, st.just((0.0, 0.0, 0))), min_size=3, max_size=3))
    return tuple(found) if any(v for _, _, v in found) else ((1.0, 2.0, 2), *found[1:])


@st.composite
def polygons(draw):
    x, y, width, height = draw(boxes())
    return ((x, y, x + width, y, x + width, y + height),)


@st.composite
def masks(draw) -> RLE:
    x, y, width, height = (int(value) for value in draw(boxes()))
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[y : y + height, x : x + width] = True
    mask[y, x] = draw(st.booleans()) or width * height == 1
    return rle.of_mask(mask)


@st.composite
def objects(draw, task: str) -> Annotation:
    if task == "detection":
        return Annotation(draw(names), bbox=draw(boxes()))
    if task == "pose":
        return Annotation(draw(names), bbox=draw(boxes()), keypoints=draw(keypoints()))
    if task == "segmentation by polygons":
        return Annotation(draw(names), segmentation=draw(polygons()))
    return Annotation(draw(names), segmentation=draw(masks()))


def annotations_for(task: str):
    """Return a strategy of what one image may have; masks of one image do not overlap, since pixels have one class."""
    if task == "classification":
        return names.map(lambda found: (Annotation(found),))
    most = 1 if task == "segmentation by masks" else 4
    return st.lists(objects(task), max_size=most).map(tuple)


@st.composite
def labeled_images(draw, task: str) -> list[LabeledImage]:
    paths = draw(st.lists(st.sampled_from(PATHS), min_size=1, unique=True))
    found = [
        LabeledImage(path, draw(annotations_for(task)), width=WIDTH, height=HEIGHT) for path in sorted(paths)
    ]
    return found if any(image.annotations for image in found) else [*found[1:], example(found[0], task)]


def example(image: LabeledImage, task: str) -> LabeledImage:
    """Return the image with one object: a file without any label is refused."""
    whole = {
        "detection": {"bbox": (1.0, 2.0, 3.0, 4.0)},
        "pose": {"bbox": (1.0, 2.0, 30.0, 40.0), "keypoints": ((1.0, 2.0, 2), (3.0, 4.0, 1), (0.0, 0.0, 0))},
        "segmentation by polygons": {"segmentation": ((1.0, 1.0, 9.0, 1.0, 9.0, 9.0),)},
        "segmentation by masks": {"segmentation": rle.of_mask(np.eye(HEIGHT, WIDTH, dtype=bool))},
    }
    return image._replace(annotations=(Annotation("cat", **whole.get(task, {})),))  # type: ignore[arg-type]


def comparable(annotation: Annotation, task: str) -> object:
    """Return what of an object the task is about, rounded to a millionth of a pixel."""
    segmentation = annotation.segmentation
    if task == "classification":
        return annotation
    if task == "detection":
        return annotation.category, rounded(annotation.bbox)
    if task == "pose":
        return (
            annotation.category,
            rounded(annotation.bbox),
            [rounded(point) for point in annotation.keypoints],
        )
    if isinstance(segmentation, RLE):
        return annotation.category, segmentation
    return annotation.category, [rounded(polygon) for polygon in segmentation or ()]


def rounded(numbers) -> list[object]:
    return [pytest.approx(number, abs=1e-6) for number in numbers or ()]


def in_pixels(image: LabeledImage, size: tuple[int, int] = (WIDTH, HEIGHT)) -> LabeledImage:
    """Return what alctl makes of an answer in fractions once it knows the image."""
    from alctl.labels.shapes import scaled

    if not image.relative:
        return image
    return image._replace(annotations=tuple(scaled(a, *size) for a in image.annotations))


def back(kind, path: Path) -> tuple[dict[str, LabeledImage], list[Refusal]]:
    rows = list(kind.read(path))
    answers = [in_pixels(row) for row in rows if isinstance(row, LabeledImage)]
    assert len({answer.path for answer in answers}) == len(answers)
    return {answer.path: answer for answer in answers}, [row for row in rows if isinstance(row, Refusal)]


@pytest.mark.parametrize(("name", "task"), CASES)
@at_leisure
@given(data=st.data())
def test_what_a_format_carries_comes_back(name, task, data):
    images = data.draw(labeled_images(task))
    kind = made(name)
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"labels{kind.suffix}"
        kind.write(images, path, CATEGORIES)
        assert kind.recognise(path)
        found, refused = back(kind, path)
    assert not refused
    assert found.keys() == {image.path for image in images}
    for image in images:
        assert found[image.path].status == "labeled"
        got = [comparable(a, task) for a in found[image.path].annotations]
        assert got == [comparable(a, task) for a in image.annotations]


SMALL_CASES = [case for case in CASES if case[1] in ("detection", "pose", "segmentation by polygons")]
within = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 5e-324, 2.5e-139, 1e-12, 1.0]))
sides = st.one_of(st.floats(1e-6, 1), st.just(1.0))
"""From a millionth of a pixel on, to which alctl keeps coordinates."""


@pytest.mark.parametrize(("name", "task"), SMALL_CASES)
@at_leisure
@given(box=st.tuples(within, within, sides, sides), size=st.sampled_from([(WIDTH, HEIGHT), (2, 2)]))
@hypothesis.example(box=(0.0, 2.5e-139, 1.0, 1.0), size=(WIDTH, HEIGHT))
@hypothesis.example(box=(0.0, 2.5e-139, 1.0, 1.0), size=(1, 1))
def test_an_object_within_one_pixel_comes_back_without_being_told_its_unit(name, task, box, size):
    x, y, width, height = box
    shapes = {
        "detection": {"bbox": box},
        "pose": {"bbox": box, "keypoints": ((x, y, 2), (width, height, 1), (0.0, 0.0, 0))},
        "segmentation by polygons": {"segmentation": ((x, y, x + width, y, x + width, y + height),)},
    }
    image = LabeledImage("a.png", (Annotation("cat", **shapes[task]),), width=size[0], height=size[1])
    kind = made(name)
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"labels{kind.suffix}"
        kind.write([image], path, CATEGORIES)
        (found,) = (row for row in FORMATS.load(name)().read(path) if isinstance(row, LabeledImage))
    got = in_pixels(found, size).annotations
    assert [comparable(a, task) for a in got] == [comparable(a, task) for a in image.annotations]


@pytest.mark.parametrize(("name", "task"), CASES)
def test_writing_twice_gives_the_same_bytes(name, task, tmp_path):
    images = [example(LabeledImage(path, width=WIDTH, height=HEIGHT), task) for path in PATHS]
    kind = made(name)
    for copy in ("first", "second"):
        (tmp_path / copy).mkdir()
        kind.write(images, tmp_path / copy / f"labels{kind.suffix}", CATEGORIES)
    first, second = (
        {p.relative_to(tmp_path / c): p.read_bytes() for p in files(tmp_path / c)}
        for c in ("first", "second")
    )
    assert first == second
    assert first


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(("name", "task"), CASES)
def test_a_file_of_one_format_is_recognised_by_no_other(name, task, tmp_path):
    images = [example(LabeledImage(path, width=WIDTH, height=HEIGHT), task) for path in PATHS]
    kind = made(name)
    path = tmp_path / f"labels{kind.suffix}"
    kind.write(images, path, CATEGORIES)
    assert [other for other in FORMATS.names() if FORMATS.load(other)().recognise(path)] == [name]


@pytest.mark.parametrize(("name", "task"), CASES)
def test_what_annotators_get_names_every_image_and_is_not_yet_an_answer(name, task, tmp_path):
    kind = FORMATS.load(name)()
    given = [
        Assignment(n, path, f"images/{n:07}_{Path(path).name}", WIDTH, HEIGHT, 3, "ab" * 32, score=0.5)
        for n, path in enumerate(PATHS, 1)
    ]
    path = tmp_path / f"tasks{kind.suffix}"
    kind.hand_out(given, path, CATEGORIES, task.split()[0])
    assert answered(kind, path) == []


def answered(kind, path: Path) -> list[LabeledImage]:
    """Return the answers in a file; one in which there are none may be refused as a whole."""
    try:
        return [row for row in kind.read(path) if isinstance(row, LabeledImage)]
    except AlctlError:
        return []


def test_what_a_format_carries_is_a_known_part(name):
    carries = FORMATS.load(name).carries
    assert carries
    shapes = {"category", "bbox", "keypoints", "polygons", "mask", "crowd", "difficult"}
    assert carries <= shapes | {"status", "annotator"}


CONTENTS = [
    b"",
    b"\0\1\2\xff\xfe garbage",
    b"\x89PNG\r\n\x1a\n",
    b"{",
    b"hello",
    b"[]",
    b"<a>",
    b"PK\x03\x04",
    b"[" * 100_000,
]


@pytest.mark.parametrize("content", CONTENTS, ids=lambda content: repr(content[:12]))
def test_a_file_that_is_not_this_format_at_all_is_a_sentence(name, tmp_path, content):
    file = tmp_path / f"labels{FORMATS.load(name).suffix}"
    file.write_bytes(content)
    kind = FORMATS.load(name)()
    assert kind.recognise(file) == ""
    with pytest.raises(AlctlError, match="labels"):
        list(kind.read(file))


def test_a_file_that_is_not_there_is_a_sentence(name, tmp_path):
    kind = FORMATS.load(name)()
    assert kind.recognise(tmp_path / "labels") == ""
    with pytest.raises(AlctlError, match="labels"):
        list(kind.read(tmp_path / "labels"))


@pytest.mark.parametrize("name", FORMATS.names())
@at_leisure
@given(content=st.binary(max_size=300))
def test_random_bytes_are_read_or_refused(name, content):
    kind = FORMATS.load(name)()
    with TemporaryDirectory() as folder:
        file = Path(folder) / f"labels{kind.suffix}"
        file.write_bytes(content)
        kind.recognise(file)
        assert len(answered(kind, file)) < 300


def test_an_unknown_format_lists_the_choices():
    with pytest.raises(AlctlError, match="did you mean 'csv'"):
        FORMATS.load("cvs")
