"""Label Studio files as a whole: damaged in any way, written and read again, and handed out."""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alctl.errors import AlctlError
from alctl.labels import rle
from alctl.labels.annotation import RLE, Annotation, Assignment, Category, LabeledImage, Refusal, Status
from alctl.labels.formats.label_studio import LabelStudio
from alctl.labels.parsing.label_studio.tasks import TaskFile
from tests.examples import examples
from tests.studio import answers, box, near, point, read, region, stroke, task

at_leisure = settings(max_examples=examples(80), suppress_health_check=[HealthCheck.too_slow])

# --- hostile files ----------------------------------------------------------------------------------------------------

WORDS = [
    "ant", "a.jpg", "image", "x", "y", "width", "height", "rotation", "points", "rle", "format", "choices", "type",
    "value", "result", "data", "annotations", "id", "meta", "parentID", "alctl_object", "labels", "rectangle",
    "rectanglelabels", "polygonlabels", "keypointlabels", "brushlabels", "original_width", "original_height",
    "image_rotation", "was_cancelled", "completed_by", "lead_time", "updated_at", "alctl_item", "/data/local-files/?d=%",
    "http://[", "\ud800", "",
]  # fmt: skip
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(WORDS), st.text(max_size=5),
)  # fmt: skip
ANYTHING = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=3), inner)
    ),
    max_leaves=12,
)
GOOD = [
    box("ant", id="r1", rotation=30),
    point("nose", parentID="r1"),
    stroke(np.eye(6, dtype=bool), original_width=6, original_height=6),
    region("polygonlabels", {"points": [[1, 2], [3, 4], [5, 9]]}, "bee"),
    {"type": "choices", "value": {"choices": ["a"]}},
]


@st.composite
def damaged(draw: st.DrawFn) -> Any:
    """Return a file of tasks in which one value, anywhere, is anything."""
    found = json.loads(json.dumps(task(*draw(st.lists(st.sampled_from(GOOD), max_size=3)), completed_by=1)))
    at, key = found, 0
    while True:
        inside = at[key]
        if not inside or not isinstance(inside, dict | list) or draw(st.integers(0, 5)) == 0:
            at[key] = draw(ANYTHING)
            return found
        keys = list(inside) if isinstance(inside, dict) else range(len(inside))
        at, key = inside, draw(st.sampled_from(keys))


def check_harmless(tasks: object) -> None:
    """Read a file: what comes out can be stored, or is a sentence."""
    try:
        records = read(tasks, {"keypoints": "nose,tail", "category": "cat"})
    except AlctlError:
        return
    for record in records:
        repr(record).encode()
        if isinstance(record, LabeledImage):
            (record.path + record.annotator + "".join(a.category for a in record.annotations)).encode()
            bytes.fromhex(record.digest)
        elif isinstance(record, Refusal):
            f"{record.problem}{record.where}".encode()


@at_leisure
@given(tasks=damaged())
def test_a_file_with_one_wrong_value_is_read_or_refused(tasks):
    check_harmless(tasks)


@at_leisure
@given(results=ANYTHING, data=ANYTHING, more=ANYTHING)
def test_any_json_in_the_place_of_anything_is_read_or_refused(results, data, more):
    check_harmless([{"data": data, "annotations": [{"result": results}]}])
    check_harmless([{"data": {"image": "a"}, "annotations": [{"result": [results, more]}, results]}])
    check_harmless([*task(), more])


# --- there and back ---------------------------------------------------------------------------------------------------

CLASSES = (
    Category("cat", ("nose", "tail"), ((0, 1),)),
    Category('$bird <&>"', ("beak", "tail", "$x"), ((0, 1), (1, 2))),
    Category("stone"),
)
WIDTH, HEIGHT = 64, 48
fractions = st.floats(0, 1).map(lambda f: round(f, 6))
corners = st.tuples(fractions.map(lambda f: f * WIDTH), fractions.map(lambda f: f * HEIGHT))
polygons = st.lists(corners, min_size=3, max_size=5).map(lambda ps: tuple(n for p in ps for n in p))
boxes = st.tuples(corners, corners).map(lambda c: (*c[0], 1 + c[1][0] / 9, 1 + c[1][1] / 9))
shapes = st.one_of(
    st.none(),
    st.lists(polygons, min_size=1, max_size=3).map(tuple),
    st.integers(1, 2**32).map(lambda n: rle.of_mask(np.random.default_rng(n).random((HEIGHT, WIDTH)) < 0.1)),
)


@st.composite
def things(draw: st.DrawFn) -> Annotation:
    category = draw(st.sampled_from(CLASSES))
    points = st.tuples(corners, st.sampled_from([1, 2])).map(lambda p: (*p[0], p[1]))
    some = tuple(draw(points) for _ in category.keypoints)
    return Annotation(
        category.name,
        bbox=draw(st.none() | boxes.map(lambda b: (b[0] * 0.8, b[1] * 0.8, *b[2:]))),
        keypoints=some,
        segmentation=draw(shapes),
        crowd=draw(st.booleans()),
        difficult=draw(st.booleans()),
    )


@st.composite
def labeled(draw: st.DrawFn) -> list[LabeledImage]:
    found = []
    for name in draw(
        st.lists(st.sampled_from(["a.jpg", "b c/ü&+%.png", "d/a.jpg"]), min_size=1, unique=True)
    ):
        item, digest = draw(st.none() | st.integers(1, 10**9 - 1)), draw(st.sampled_from(["", "ab" * 32]))
        for who in draw(st.lists(st.sampled_from(["", "7", "07", "a@b.c"]), min_size=1, unique=True)):
            status: Status = draw(st.sampled_from(["labeled", "skip", "unusable"]))
            objects = st.lists(things().filter(lambda thing: not thing.whole_image), max_size=3) | st.just(
                [Annotation("stone"), Annotation("cat")]
            )
            annotations = tuple(draw(objects)) if status == "labeled" else ()
            seconds, made_at = (
                draw(st.none() | st.floats(0, 1e6)),
                draw(st.sampled_from(["", "2026-02-03T04:05:06Z"])),
            )
            found.append(
                LabeledImage(
                    name, annotations, item, who, status, 0, seconds, WIDTH, HEIGHT, digest, "", made_at
                )
            )
    return found


def comparable(image: LabeledImage) -> object:
    """Return all that counts of an answer, coordinates to a millionth."""
    return (
        image.path, image.item, image.annotator, image.status, image.seconds, image.digest, image.made_at,
        [comparable_object(annotation) for annotation in image.annotations],
    )  # fmt: skip


def comparable_object(annotation: Annotation) -> object:
    segmentation = annotation.segmentation
    plain = segmentation if isinstance(segmentation, RLE) else [close(p) for p in segmentation or ()]
    points = [close(p) for p in annotation.keypoints]
    return (
        annotation.category,
        close(annotation.bbox or ()),
        points,
        plain,
        annotation.crowd and not annotation.whole_image,
        annotation.difficult and not annotation.whole_image,
    )


def close(numbers: Iterable[float]) -> list[Any]:
    return [pytest.approx(number, abs=1e-6) for number in numbers]


@at_leisure
@given(images=labeled())
def test_everything_that_is_written_comes_back(images):
    with TemporaryDirectory() as folder:
        path = Path(folder) / "labels.json"
        LabelStudio(root="below").write(images, path, CLASSES)
        records = list(LabelStudio(root="below").read(path))
    images = [
        image._replace(annotations=tuple(sorted(image.annotations, key=lambda a: not a.whole_image)))
        for image in images
    ]
    assert [comparable(image) for image in answers(records)] == [comparable(image) for image in images]
    declared = [record for record in records if isinstance(record, Category)]
    pointed = any(a.keypoints for image in images for a in image.annotations)
    assert [category.name for category in declared] == [category.name for category in CLASSES]
    if pointed:
        assert tuple(declared) == CLASSES


def image(*annotations: Annotation, path: str = "a.jpg", **more: Any) -> LabeledImage:
    return LabeledImage(path, annotations, **{"width": WIDTH, "height": HEIGHT, **more})


def test_the_answers_of_several_annotators_are_one_task(tmp_path):
    images = [
        image(annotator="ann"), image(annotator="7"), image(path="b.jpg"), image(annotator="ben", status="skip"),
    ]  # fmt: skip
    LabelStudio().write(images, tmp_path / "l.json", CLASSES)
    tasks = json.loads((tmp_path / "l.json").read_text())
    assert [[a.get("completed_by") for a in task["annotations"]] for task in tasks] == [
        [{"email": "ann"}, 7],
        [None],
        [{"email": "ben"}],
    ]
    assert [a["id"] for task in tasks for a in task["annotations"]] == [1, 2, 3, 4]


def test_fractions_are_written_as_percent_and_come_back_as_fractions(tmp_path):
    relative = image(Annotation("stone", bbox=(0.1, 0.2, 0.3, 0.4)), width=None, height=None, relative=True)
    LabelStudio().write([relative], tmp_path / "l.json", CLASSES)
    (found,) = answers(LabelStudio().read(tmp_path / "l.json"))
    assert found.relative
    assert found.annotations[0].bbox == near((0.1, 0.2, 0.3, 0.4))


@pytest.mark.parametrize(
    ("annotation", "problem"),
    [
        (Annotation("stone", bbox=(1, 2, 3, 4)), "its size is not known"),
        (Annotation("cat", keypoints=((1, 2, 2),)), "its size is not known"),
        (Annotation("stone", segmentation=RLE((1 << 20, 1 << 20), "0")), "too large for a brush"),
        (Annotation("stone", segmentation=RLE((4, 4), "0")), "do not add up"),
    ],
)
def test_what_label_studio_cannot_hold_is_a_sentence(tmp_path, annotation, problem):
    with pytest.raises(AlctlError, match=problem):
        LabelStudio().write([image(annotation, width=None)], tmp_path / "l.json", CLASSES)
    with pytest.raises(AlctlError, match=r"is not JSON|cut off"):
        list(LabelStudio().read(tmp_path / "l.json"))


def test_keypoints_that_their_class_does_not_have_are_a_sentence(tmp_path):
    with pytest.raises(AlctlError, match="has 1 keypoints, its class 2"):
        LabelStudio().write([image(Annotation("cat", keypoints=((1, 2, 2),)))], tmp_path / "l.json", CLASSES)


def test_a_file_that_is_not_a_configuration_is_not_written_over(tmp_path):
    (tmp_path / "l.xml").write_text("<annotations/>")
    with pytest.raises(AlctlError, match=r"l\.xml is in the way"):
        LabelStudio().write([image()], tmp_path / "l.json", CLASSES)
    assert (tmp_path / "l.xml").read_text() == "<annotations/>"
    assert not (tmp_path / "l.json").exists()


# --- handed out -------------------------------------------------------------------------------------------------------

PREDICTED = {
    "classification": (Annotation("cat"),),
    "detection": (Annotation("cat", bbox=(1, 2, 3, 4)), Annotation("stone", bbox=(1, 2, 3, 4))),
    "pose": (Annotation("cat", bbox=(1, 2, 30, 40), keypoints=((1, 2, 2), (0, 0, 0))),),
    "segmentation": (
        Annotation("cat", bbox=(0, 0, 9, 9), segmentation=((1, 1, 5, 1, 5, 5), (10, 10, 20, 10, 20, 20))),
        Annotation("stone", segmentation=rle.of_mask(np.eye(HEIGHT, WIDTH, dtype=bool))),
    ),
}


def handed_out(folder: Path, task: str, count: int = 2, **more: Any) -> list[dict[str, Any]]:
    given = [
        Assignment(
            n, f"deep/{n} ü.jpg", f"images/{n:07}_{n} ü.jpg", WIDTH, HEIGHT, 3, "ab" * 32,
            **{
                "score": 1.5, "strategy": "learning-loss", "predictions": PREDICTED[task], "model": "run 3",
                "confidence": 0.75, **more,
            },
        )
        for n in range(1, count + 1)
    ]  # fmt: skip
    LabelStudio(root="photos/r 3/").hand_out(given, folder / "label-studio.json", CLASSES, task)
    found: list[dict[str, Any]] = json.loads((folder / "label-studio.json").read_text())
    return found


def test_a_task_tells_the_address_and_whose_it_is(tmp_path):
    first, _ = handed_out(tmp_path, "detection")
    assert first["data"] == {
        "image": "/data/local-files/?d=photos/r%203/images/0000001_1%20%C3%BC.jpg",
        "path": "deep/1 ü.jpg",
        "alctl_item": 1,
        "alctl_sha256": "ab" * 32,
        "alctl_round": 3,
        "predicted_loss": 1.5,
    }
    assert "annotations" not in first


def test_only_a_predicted_loss_is_called_so(tmp_path):
    """Label Studio sorts by what tasks have in their data; a score of another strategy says whose it is."""
    first, _ = handed_out(tmp_path, "classification", strategy="entropy")
    assert "predicted_loss" not in first["data"]
    assert (first["data"]["score"], first["data"]["strategy"]) == (1.5, "entropy")
    random, _ = handed_out(tmp_path, "classification", strategy="random", score=None)
    assert not {"predicted_loss", "score", "strategy"} & random["data"].keys()


def test_a_prediction_has_the_confidence_as_its_score(tmp_path):
    first, _ = handed_out(tmp_path, "classification")
    (prediction,) = first["predictions"]
    assert (prediction["score"], prediction["model_version"]) == (0.75, "run 3")
    without, _ = handed_out(tmp_path, "classification", confidence=None)
    assert "score" not in without["predictions"][0]


def test_a_blind_task_tells_neither_score_nor_prediction(tmp_path):
    first, _ = handed_out(tmp_path, "detection", score=None, predictions=None)
    assert first.keys() == {"data"}
    assert "predicted_loss" not in first["data"]


@pytest.mark.parametrize("task", PREDICTED)
def test_predictions_use_only_the_tools_that_the_configuration_has(tmp_path, task):
    tasks = handed_out(tmp_path, task)
    config = (tmp_path / "label-studio.xml").read_text()
    results = [r for t in tasks for p in t["predictions"] for r in p["result"]]
    assert {p["model_version"] for t in tasks for p in t["predictions"]} == {"run 3"}
    assert all(f'name="{r["from_name"]}"' in config and f'name="{r["to_name"]}"' in config for r in results)
    assert len({r["id"] for r in results}) == len(results)
    assert handed_out(tmp_path, task) == tasks


@pytest.mark.parametrize("task", PREDICTED)
def test_predictions_that_annotators_accept_are_labels(tmp_path, task):
    tasks = handed_out(tmp_path, task)
    accepted = [{**t, "annotations": [{"result": t["predictions"][0]["result"]}]} for t in tasks]
    (tmp_path / "project-1-at-2026.json").write_text(json.dumps(accepted))
    found = answers(LabelStudio().read(tmp_path / "project-1-at-2026.json"))
    assert [(a.path, a.item, a.digest) for a in found] == [
        ("deep/1 ü.jpg", 1, "ab" * 32),
        ("deep/2 ü.jpg", 2, "ab" * 32),
    ]
    kept = [replace(a, bbox=None) if task == "segmentation" else a for a in PREDICTED[task]]
    assert [comparable_object(a) for a in found[0].annotations] == [comparable_object(a) for a in kept]


def test_tasks_beyond_what_label_studio_takes_go_into_further_files(tmp_path):
    with TaskFile(tmp_path / "t.json", most=2) as file:
        for number in range(5):
            file.add({"data": {"image": f"{number}.jpg"}})
    with TaskFile(tmp_path / "b.json", largest=70) as file:
        for number in range(4):
            file.add({"data": {"image": f"{number}.jpg"}})
    read = {path.name: len(json.loads(path.read_text())) for path in tmp_path.iterdir()}
    assert read == {"t.json": 2, "t-2.json": 2, "t-3.json": 1, "b.json": 2, "b-2.json": 2}
