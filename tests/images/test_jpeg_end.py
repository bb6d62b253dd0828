"""JPEG files that lost pixels and have an end marker all the same."""

import io
import random

import pytest
from PIL import Image

from alctl.images.jpeg_end import is_cut_off
from alctl.images.scan import probe
from tests.data import real_data


def encoded(mode: str = "RGB", *, size: tuple[int, int] = (130, 90), **options: object) -> bytes:
    """Return a JPEG file of smooth noise."""
    bands = len(Image.new(mode, (1, 1)).getbands())
    small = Image.frombytes(mode, (13, 9), random.Random(0).randbytes(117 * bands))
    stream = io.BytesIO()
    small.resize(size, Image.Resampling.BICUBIC).save(stream, "JPEG", quality=90, **options)
    return stream.getvalue()


KINDS = [
    {},
    {"progressive": True},
    {"subsampling": 0},
    {"restart_marker_blocks": 1},
    {"restart_marker_rows": 1},
    {"optimize": True},
]


def cut_off(data: bytes) -> bool:
    with Image.open(io.BytesIO(data)) as image:
        try:
            image.load()
        except OSError:
            return True  # cut within the header of a scan, which any decoder notices
        return is_cut_off(data, image)


@pytest.mark.parametrize("options", KINDS)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_whole_files_are_whole_and_cut_ones_are_not(mode, options):
    data = encoded(mode, **options)
    assert not cut_off(data)
    start = data.index(b"\xff\xda")
    for part in (0.1, 0.5, 0.9, 0.97):
        end = start + 20 + int((len(data) - start - 20) * part)
        while data[end - 1] == 0xFF:
            end -= 1
        assert cut_off(data[:end] + b"\xff\xd9"), part


@pytest.mark.parametrize("after", [b"", b"\0" * 50, b"SEFT trailer of a phone", encoded(size=(40, 40))])
def test_what_comes_behind_the_end_does_not_matter(after):
    assert not cut_off(encoded() + after)


def test_a_gray_picture_is_whole():
    stream = io.BytesIO()
    Image.new("RGB", (64, 64), (128, 128, 128)).save(stream, "JPEG")
    assert not cut_off(stream.getvalue())


def test_only_verify_finds_it_and_it_says_so(tmp_path):
    data = encoded()
    (tmp_path / "a.jpg").write_bytes(data[: len(data) * 2 // 3] + b"\xff\xd9")
    assert probe(str(tmp_path / "a.jpg")).problem is None
    found = probe(str(tmp_path / "a.jpg"), verify=True)
    assert found.problem == "broken: it ends before its last pixels, which are gray"


def test_real_photographs_are_whole():
    files = [
        *sorted(real_data("clothing_dev.zip").rglob("*.jpg"))[:60],
        *real_data("exif_portrait.zip").rglob("*.jpg"),
    ]
    assert len(files) == 69
    assert [file.name for file in files if cut_off(file.read_bytes())] == []
