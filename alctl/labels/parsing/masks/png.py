"""Segmentation masks as PNG files: exact pixel values in and out, and polygons as pixels.

Pillow stretches grey values of 2 and 4 bits to 8, and cuts colours of 16 bits; the header says where, so that a value
stays what its tool wrote.
"""

import io
import struct
from collections.abc import Sequence
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

LARGEST = 1 << 28
"""Bytes of a file."""
MOST_PIXELS = 80_000_000
"""A little less than what Pillow takes for a decompression bomb."""
GREY, COLOURS, PALETTE, GREY_ALPHA, COLOURS_ALPHA = 0, 2, 3, 4, 6
_STRETCHED = {2: 85, 4: 17}
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER = struct.Struct(">8s4x4sIIBB")

Values = NDArray[np.unsignedinteger[Any]]
Mask = NDArray[np.bool_]


class Pixels(NamedTuple):
    """What a mask says of each pixel."""

    values: Values
    """Shape (height, width): class numbers, or colours as 0xRRGGBB."""
    coloured: bool
    palette: NDArray[np.uint32] | None = None
    """The colour of each value, where the file has a palette."""


def load(stream: IO[bytes]) -> Pixels:
    """Read a mask; ValueError says why it is none."""
    content = stream.read(LARGEST + 1)
    width, height, depth, kind = _header(content)
    if len(content) > LARGEST or width * height > MOST_PIXELS:
        raise ValueError(f"it has {width} × {height} pixels in {len(content):,} bytes, too many for a mask")
    if depth == 16 and kind != GREY:
        raise ValueError("its colours have 16 bits a channel; label maps have 8")
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            image.verify()  # every checksum; loading alone passes over those of the pixels
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            image.load()
            frames = getattr(image, "n_frames", 1)
            found = np.asarray(image)
            palette = np.array(image.getpalette("RGB") or [], dtype=np.uint32).reshape(-1, 3)
    except Exception as error:  # whatever a broken file makes of Pillow
        raise ValueError(f"it cannot be decoded: {error}") from error
    if frames > 1:
        raise ValueError(f"it is an animation of {frames} pictures")
    if kind in (GREY_ALPHA, COLOURS_ALPHA):
        found = _opaque(found)
    if found.ndim == 3:
        return Pixels(_codes(found.astype(np.uint32)), coloured=True)
    if kind == PALETTE:
        return Pixels(found.astype(np.uint8), coloured=False, palette=_codes(palette))
    values = found // _STRETCHED[depth] if kind == GREY and depth in _STRETCHED else found
    return Pixels(values.astype(np.uint16 if depth == 16 else np.uint8), coloured=False)


def one_channel(stream: IO[bytes]) -> bool:
    """Tell from the header alone whether a file may be a mask of class numbers."""
    try:
        return _header(stream.read(_HEADER.size))[3] in (GREY, PALETTE)
    except ValueError:
        return False


def _header(content: bytes) -> tuple[int, int, int, int]:
    """Return width, height, bits of a channel and the kind of channels."""
    if not content:
        raise ValueError("it is empty (0 bytes)")
    if not content.startswith(_SIGNATURE) or len(content) < _HEADER.size:
        raise ValueError("it is not a PNG; other files, above all JPEG, change the values of pixels")
    _, chunk, width, height, depth, kind = _HEADER.unpack_from(content)
    if chunk != b"IHDR" or not width or not height:
        raise ValueError("it is a PNG without a size")
    return width, height, depth, kind


def _opaque(found: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if clear := int((found[..., -1] != 255).sum()):
        raise ValueError(
            f"{clear:,} pixels are transparent; it is no mask, or its tool meant something by them"
        )
    return found[..., 0] if found.shape[-1] == 2 else found[..., :3]


def _codes(channels: NDArray[np.uint32]) -> NDArray[np.uint32]:
    return np.asarray(channels[..., 0] << 16 | channels[..., 1] << 8 | channels[..., 2], dtype=np.uint32)


def save(values: NDArray[np.uint16], target: IO[bytes], palette: Sequence[int]) -> None:
    """Write values below 255 with a palette of colours 0xRRGGBB, larger ones as 16 bits of grey."""
    if len(palette) > 255:
        image = Image.fromarray(values)
    else:
        image = Image.fromarray(values.astype(np.uint8), mode="P")
        image.putpalette([code >> shift & 255 for code in palette for shift in (16, 8, 0)])
    image.save(target, format="PNG")
