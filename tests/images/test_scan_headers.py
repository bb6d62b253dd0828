"""The quick look at JPEG and PNG headers: what it says is what Pillow says, and it asks Pillow when in doubt."""

import io
import zlib
from pathlib import Path

import pytest
from PIL import Image, UnidentifiedImageError

from alctl.images.scan import plain_size, probe, probe_all
from tests.data import real_data

PACKS = (
    "clothing_dev.zip",
    "coco128_train.tar.xz",
    "exif_portrait.zip",
    "openmmlab_samples.tar.xz",
    "bccd.tar.xz",
)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def sideways() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


JPEG = encoded(Image.new("RGB", (30, 20), "teal"), "JPEG")
PNG = encoded(Image.new("RGB", (30, 20), "teal"), "PNG")


@pytest.mark.parametrize("pack", PACKS)
def test_real_photographs_have_the_size_that_pillow_gives_them(pack):
    paths = sorted(path for path in real_data(pack).rglob("*") if path.suffix in {".jpg", ".jpeg", ".png"})
    quick = 0
    for path in paths[:300]:
        found = plain_size(path.read_bytes())
        if found:
            quick += 1
            with Image.open(path) as image:
                assert (found, image.getexif().get(0x0112, 1)) == (image.size, 1)
    assert quick or pack == "exif_portrait.zip"


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_every_kind_of_png_is_plain(mode):
    assert plain_size(encoded(Image.new(mode, (30, 20)), "PNG")) == (30, 20)


@pytest.mark.parametrize(
    ("mode", "options"),
    [("L", {}), ("RGB", {"progressive": True}), ("CMYK", {}), ("RGB", {"comment": "a dog"})],
)
def test_every_kind_of_jpeg_is_plain(mode, options):
    assert plain_size(encoded(Image.new(mode, (30, 20)), "JPEG", **options)) == (30, 20)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_an_orientation_in_the_file_turns_the_size(kind, tmp_path):
    (tmp_path / "a").write_bytes(encoded(Image.new("RGB", (30, 20)), kind, exif=sideways()))
    assert probe(str(tmp_path / "a"))[1:4] == (20, 30, None)


def chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def test_an_orientation_behind_the_pixels_of_a_png_turns_the_size(tmp_path):
    late = PNG[:-12] + chunk(b"eXIf", sideways().tobytes()[6:]) + PNG[-12:]
    (tmp_path / "a.png").write_bytes(late)
    assert probe(str(tmp_path / "a.png"))[1:4] == (20, 30, None)


def test_an_orientation_in_the_xmp_of_a_png_turns_the_size(tmp_path):
    xmp = b"XML:com.adobe.xmp\0\0\0\0\0<x:xmpmeta xmlns:x='adobe:ns:meta/'>tiff:Orientation=\"6\"</x:xmpmeta>"
    (tmp_path / "a.png").write_bytes(PNG[:33] + chunk(b"iTXt", xmp) + PNG[33:])
    assert probe(str(tmp_path / "a.png"))[1:4] == (20, 30, None)


@pytest.mark.parametrize("data", [JPEG, PNG])
def test_a_file_that_was_cut_is_never_plain(data):
    assert plain_size(data) == (30, 20)
    assert {plain_size(data[:length]) for length in range(len(data))} == {None}


@pytest.mark.parametrize("data", [JPEG, PNG])
def test_a_damaged_header_never_gives_another_size_than_pillow_would(data):
    """Every byte of the header is changed once; Pillow may refuse the file, but may not see another picture."""
    for position in range(min(len(data), 400)):
        damaged = data[:position] + bytes([data[position] ^ 0x41]) + data[position + 1 :]
        found = plain_size(damaged)
        try:
            with Image.open(io.BytesIO(damaged)) as image:
                assert found in (None, image.size)
        except (UnidentifiedImageError, SyntaxError, OSError, ValueError):
            continue


def test_a_picture_of_no_pixels_or_too_many_is_left_to_pillow():
    frame = JPEG.index(b"\xff\xc0")
    for height in (0, 65_000):
        changed = JPEG[: frame + 5] + height.to_bytes(2, "big") + b"\xff\xff" + JPEG[frame + 9 :]
        assert plain_size(changed) is None


def test_many_files_are_probed_in_order(tmp_path):
    names = [f"{number:03d}.png" for number in range(300)]
    for number, name in enumerate(names):
        (tmp_path / name).write_bytes(encoded(Image.new("L", (number + 1, 1)), "PNG"))
    (tmp_path / names[7]).write_bytes(b"")
    found = list(probe_all(str(tmp_path), names))
    assert [path for path, _ in found] == names
    assert [result.width for _, result in found] == [None if n == 7 else n + 1 for n in range(300)]


@pytest.mark.skipif(
    not Path("/proc/self/status").is_file(), reason="no file here says it is empty and is not"
)
def test_a_file_that_grows_while_it_is_read_is_read_to_its_end():
    assert probe("/proc/self/status").problem == "not an image, or a format that Pillow cannot read"
    assert Path("/proc/self/status").stat().st_size == 0
