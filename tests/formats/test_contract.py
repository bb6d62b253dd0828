"""What every label format promises."""

from typing import Any

import pytest

from alctl.annotation import Annotation, LabeledImage, Refusal
from alctl.errors import AlctlError
from alctl.format import FORMATS

CATEGORIES = ("cat", "dög", "a b,c")
PARTS: dict[str, dict[str, Any]] = {
    "category": {},
    "bbox": {"bbox": (1.5, 2.0, 30.25, 40.0)},
    "keypoints": {"keypoints": ((1.0, 2.0, 2), (3.5, 4.0, 1), (0.0, 0.0, 0))},
    "segmentation": {"segmentation": ((1.0, 1.0, 9.0, 1.0, 9.0, 9.0),)},
}


@pytest.fixture(params=FORMATS.names())
def kind(request):
    return FORMATS.load(request.param)


def images_of(carries: frozenset[str]) -> list[LabeledImage]:
    """Return images with everything that a format carries."""
    detail = {key: value for part in carries for key, value in PARTS[part].items()}
    return [
        LabeledImage(path, (Annotation(category, **detail),), width=64, height=64)
        for path, category in zip(("a.png", "deep/b c.jpg", "ünï/猫.webp"), CATEGORIES, strict=True)
    ]


def test_what_a_format_carries_is_a_known_part(kind):
    assert kind.carries
    assert kind.carries <= PARTS.keys()


def test_what_a_format_carries_comes_back(kind, tmp_path):
    written = images_of(kind.carries)
    kind().write(written, tmp_path / "labels", CATEGORIES)
    found = list(kind().read(tmp_path / "labels"))
    assert not [row for row in found if isinstance(row, Refusal)]
    assert [(row.path, row.annotations, row.status) for row in found] == [
        (image.path, image.annotations, "labeled") for image in written
    ]


def test_writing_twice_gives_the_same_bytes(kind, tmp_path):
    for name in ("first", "second"):
        kind().write(images_of(kind.carries), tmp_path / name, CATEGORIES)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


@pytest.mark.parametrize("content", [b"", b"\0\1\2\xff\xfe garbage", b"\x89PNG\r\n\x1a\n", b"{", b"hello"])
def test_a_file_that_is_not_this_format_at_all_is_a_sentence(kind, tmp_path, content):
    (tmp_path / "labels").write_bytes(content)
    with pytest.raises(AlctlError, match="labels"):
        list(kind().read(tmp_path / "labels"))


def test_an_unknown_format_lists_the_choices():
    with pytest.raises(AlctlError, match="did you mean 'csv'"):
        FORMATS.load("cvs")
