"""Pixels of every mode that Pillow knows, and of more than 8 bits: the colours are known, and so is what must come out."""

import io
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alctl.images import levels
from alctl.images.decode import Source, read_image
from alctl.images.levels import FULL, Levels, Range, measured, to_rgb
from alctl.images.pixels import made_by


def source(file: Path) -> Source:
    return Source(1, str(file), None)


def gray(image: Image.Image) -> list[int]:
    """Return the gray values of an RGB image, row by row; an image with colours fails."""
    pixels = np.asarray(image)
    assert image.mode == "RGB"
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0].ravel().tolist()


def tiff(
    path: Path, rows: np.ndarray | bytes, bits: int, kind: int, *, white_is_zero: bool = False
) -> Source:
    """Write one row of gray pixels as a TIFF file: ``kind`` 1 unsigned, 2 signed, 3 floating point (TIFF 6.0)."""
    data = rows if isinstance(rows, bytes) else rows.tobytes()
    width = len(data) * 8 // bits
    tags = [
        (256, 3, width), (257, 3, 1), (258, 3, bits), (259, 3, 1), (262, 3, 0 if white_is_zero else 1),
        (273, 4, 8 + 2 + 10 * 12 + 4), (277, 3, 1), (278, 3, 1), (279, 4, len(data)), (339, 3, kind),
    ]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, type_, 1, value) for tag, type_, value in tags)
    path.write_bytes(b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + b"\0\0\0\0" + data)
    return source(path)


# --- every mode -------------------------------------------------------------------------------------------------------

RED, WHITE = (255, 0, 0), (255, 255, 255)
MODES: Sequence[tuple[str, object, tuple[int, int, int]]] = [
    ("1", 1, WHITE),
    ("1", 0, (0, 0, 0)),
    ("L", 77, (77, 77, 77)),
    ("RGB", (10, 20, 30), (10, 20, 30)),
    ("RGBX", (10, 20, 30, 40), (10, 20, 30)),
    ("RGBA", (10, 20, 30, 255), (10, 20, 30)),
    ("RGBA", (0, 0, 0, 51), (204, 204, 204)),  # a fifth of black over white
    ("RGBa", (0, 0, 0, 51), (204, 204, 204)),
    ("LA", (77, 255), (77, 77, 77)),
    ("LA", (0, 51), (204, 204, 204)),
    ("La", (0, 51), (204, 204, 204)),
    ("CMYK", (0, 255, 255, 0), RED),
    ("YCbCr", (76, 85, 255), (254, 0, 0)),  # red in JFIF's conversion, rounded
    ("HSV", (0, 255, 255), RED),
    ("LAB", (255, 128, 128), (254, 255, 254)),  # white as LittleCMS has it
    ("I;16", 257 * 77, (77, 77, 77)),
    ("I;16L", 257 * 77, (77, 77, 77)),
    ("I;16B", 257 * 77, (77, 77, 77)),
    ("I", 257 * 77, (77, 77, 77)),
    ("F", 0.2, (51, 51, 51)),
]


@pytest.mark.parametrize(("mode", "colour", "expected"), MODES)
def test_every_mode_becomes_rgb(mode, colour, expected):
    image = Image.new(mode, (3, 2), colour)
    assert to_rgb(image, FULL).getpixel((1, 1)) == expected


@pytest.mark.parametrize("mode", ["P", "PA"])
def test_palettes_become_rgb(mode):
    image = Image.new("P", (3, 2), 1)
    image.putpalette([0, 0, 0, 10, 200, 30])
    assert to_rgb(image.convert(mode), FULL).getpixel((1, 1)) == (10, 200, 30)


def test_every_mode_of_pillow_has_a_test():
    from PIL import ImageMode

    known = {mode for mode, *_ in MODES} | {
        "P",
        "PA",
        "I;16N",
    }  # the last is only a name for one of its two neighbours
    ImageMode.getmode("L")
    assert {mode for mode in Image.MODES if not mode.startswith("BGR")} <= known


# --- more than 8 bits -------------------------------------------------------------------------------------------------


def test_16_bits_are_the_same_whatever_else_is_in_the_image(tmp_path):
    """A dark frame came out bright where its brightest pixel was 255, and black where it was 256."""
    found = []
    for brightest in (255, 256, 65535):
        Image.fromarray(np.array([[100, 200, brightest]], np.uint16)).save(tmp_path / "a.png")
        found.append(gray(read_image(source(tmp_path / "a.png")))[:2])
    assert found == [[0, 1]] * 3


def test_12_bits_in_16_keep_their_levels_in_a_project_that_has_measured_them(tmp_path):
    ramp = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    Image.fromarray(ramp).save(tmp_path / "a.png")
    ranges: Levels = {"16-bit": Range(0, 4095)}
    found = gray(read_image(source(tmp_path / "a.png"), ranges=ranges))
    assert found == np.rint(ramp.ravel().astype(float) * 255 / 4095).astype(int).tolist()
    assert len(set(found)) == 256


def test_12_bits_that_a_file_declares_are_scaled_by_what_it_says(tmp_path):
    packed = bytes([0x00, 0x0F, 0xFF])  # 0 and 4095
    assert gray(read_image(tiff(tmp_path / "a.tif", packed, 12, 1))) == [0, 255]


@pytest.mark.parametrize(
    ("bits", "kind", "dtype", "values", "negative"),
    [
        (16, 1, "<u2", [0, 257 * 10, 65535], True),
        (32, 3, "<f4", [0, 10 / 255, 1], True),
    ],
)
def test_where_white_is_zero_the_image_is_turned_round(tmp_path, bits, kind, dtype, values, negative):
    assert negative
    row = np.array(values, dtype)
    assert gray(read_image(tiff(tmp_path / "a.tif", row, bits, kind))) == [0, 10, 255]
    assert gray(read_image(tiff(tmp_path / "b.tif", row, bits, kind, white_is_zero=True))) == [255, 245, 0]


def test_signed_and_unsigned_32_bits_are_what_they_are(tmp_path):
    ranges: Levels = {"32-bit": Range(0, 2**32 - 1)}
    row = np.array([0, 2**31, 2**32 - 1], "<u4")
    assert gray(read_image(tiff(tmp_path / "a.tif", row, 32, 1), ranges=ranges)) == [0, 128, 255]
    hounsfield: Levels = {"32-bit": Range(-1000, 1000)}
    for bits, dtype in ((16, "<i2"), (32, "<i4")):
        row = np.array([-2000, -1000, 0, 1000, 2000], dtype)
        found = gray(read_image(tiff(tmp_path / "b.tif", row, bits, 2), ranges=hounsfield))
        assert found == [0, 0, 128, 255, 255]


def test_floating_point_goes_from_0_to_1_and_what_is_no_number_is_black(tmp_path):
    row = np.array([-1, 0, 0.2, 1, 7, np.nan, np.inf, -np.inf], "<f4")
    assert gray(read_image(tiff(tmp_path / "a.tif", row, 32, 3))) == [0, 0, 51, 255, 255, 0, 255, 0]


def test_floating_point_of_a_project_has_the_project_s_range(tmp_path):
    warm: Levels = {"floating point": Range(20, 40)}
    row = np.array([20, 24, 40, 400], "<f4")
    assert gray(read_image(tiff(tmp_path / "a.tif", row, 32, 3), ranges=warm)) == [0, 51, 255, 255]


def test_a_depth_that_a_pgm_declares_is_its_white(tmp_path):
    pixels = b"".join(value.to_bytes(2, "big") for value in (0, 819, 4095))
    (tmp_path / "a.pgm").write_bytes(b"P5 3 1 4095\n" + pixels)
    measured_on_others: Levels = {"32-bit": Range(0, 7), "16-bit": Range(0, 7)}
    assert gray(read_image(source(tmp_path / "a.pgm"), ranges=measured_on_others)) == [0, 51, 255]


# --- measuring --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "found", "expected"),
    [
        ("16-bit", [(0, 200)], (0, 255)),
        ("16-bit", [(17, 255), (300, 4000)], (0, 4095)),
        ("16-bit", [(0, 4096)], (0, 16383)),
        ("16-bit", [(0, 65535)], (0, 65535)),
        ("32-bit", [(0, 900), (0, 1023)], (0, 1023)),
        ("32-bit", [(0, 70_000)], (0, 70_000)),
        ("32-bit", [(-1024, 300), (-900, 3071)], (-1024, 3071)),
        ("floating point", [(0.2, 0.9)], (0, 1)),
        ("floating point", [(0, 0.4), (20.5, 36.5)], (0, 36.5)),
        ("floating point", [(5, 5)], (5, 6)),
    ],
)
def test_a_range_follows_from_a_sample(kind, found, expected):
    assert measured(kind, [Range(*one) for one in found]) == expected


def test_the_cache_keeps_pixels_of_different_rules_apart():
    names = {made_by({}), made_by({"16-bit": Range(0, 4095)}), made_by({"16-bit": Range(0, 1023)})}
    assert len(names) == 3
    assert all(f"-{levels.RULE}-" in name for name in names)


# --- making large images smaller ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["1", "P", "RGBA", "I;16"])
def test_a_large_image_is_made_smaller_band_by_band_as_if_at_once(mode):
    side = 5200  # above 24 million pixels, at which `to_rgb` begins to shrink
    small = Image.fromarray(np.random.default_rng(0).integers(0, 2, (52, 52), dtype=np.uint8) * 255)
    large = small.resize((side, side), Image.Resampling.NEAREST)
    image = {"1": lambda: large.convert("1"), "I;16": lambda: Image.fromarray(np.asarray(large).astype(np.uint16) * 257),
             "F": lambda: Image.fromarray(np.asarray(large) / np.float32(255))}.get(mode, lambda: large.convert(mode))()  # fmt: skip
    assert image.mode == mode
    found = to_rgb(image, FULL, 26)
    assert found.size == (52, 52)
    assert np.abs(np.asarray(found)[..., 0].astype(int) - np.asarray(small)).max() <= 1


def test_a_large_image_keeps_its_orientation(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    image = Image.new("1", (6000, 4500))
    image.paste(1, (0, 0, 3000, 4500))
    file = io.BytesIO()
    image.save(file, "PNG", exif=exif)
    (tmp_path / "a.png").write_bytes(file.getvalue())
    found = read_image(source(tmp_path / "a.png"), 100)
    assert found.size == (205, 273)
    assert (found.getpixel((100, 10)), found.getpixel((100, 260))) == (WHITE, (0, 0, 0))
