"""From pixels of any mode to 8-bit RGB.

Images of 8 bits say what black and white are. Of more bits many do not: 12 bits often come in 16, and floating point has
no white. What a file itself says counts; else one range for the whole project, measured once on a sample, so that two
images of the same brightness come out the same. It is never taken from the image alone.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

Kind = Literal["16-bit", "32-bit", "floating point"]
"""Images whose pixels alone do not say what white is."""
KINDS: tuple[Kind, ...] = get_args(Kind)

RULE = 2
"""Raised whenever the same file gives other pixels than before, so that no cache serves the old ones."""

_LARGE = 24_000_000
"""Pixels from which on an image is made smaller while it is converted, if it is wanted much smaller."""
_BAND = 2_000_000  # pixels that are converted at once
_DEPTHS = (8, 10, 12, 14, 16)
_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339  # of TIFF 6.0
_WHITE_IS_ZERO, _UNSIGNED = 0, 1
_EXIF_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Range(NamedTuple):
    """The values that black and white have."""

    black: float
    white: float


Levels = Mapping[Kind, Range]
"""The range of each kind of image, of a whole project."""
FULL: Levels = {"16-bit": Range(0, 65535), "32-bit": Range(0, 65535), "floating point": Range(0, 1)}
"""What holds where a project has measured nothing."""


class _Deep(NamedTuple):
    """An image of more than 8 bits, and what its file says of them."""

    kind: Kind
    said: Range | None
    negative: bool = False
    """Whether the greatest value is black."""
    unsigned: bool = False
    """Whether 32 bits are unsigned, which Pillow does not know."""


def _deep(image: Image.Image) -> _Deep | None:
    """Return what is known of an opened image of more than 8 bits; None for one of 8."""
    kind: Kind
    if image.mode.startswith("I;16"):
        kind = "16-bit"
    elif image.mode in {"I", "F"}:
        kind = "32-bit" if image.mode == "I" else "floating point"
    else:
        return None
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        bits = int(image.tag_v2.get(_BITS, (16,))[0])
        said = Range(0, 2**bits - 1) if kind == "16-bit" and bits < 16 else None
        negative = image.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO
        unsigned = kind == "32-bit" and bits == 32 and image.tag_v2.get(_SAMPLE_FORMAT, (1,))[0] == _UNSIGNED
        return _Deep(kind, said, negative, unsigned)
    if image.format == "PNG":
        return _Deep("16-bit", None)  # older versions of Pillow give it 32 bits
    if image.format in {"PPM", "JPEG2000"} and kind != "floating point":
        return _Deep(
            kind, Range(0, 65535)
        )  # the file says its depth, and Pillow has scaled its pixels to 16 bits
    return _Deep(kind, None)


def kind_of(image: Image.Image) -> Kind | None:
    """Return the kind of an opened image whose file does not say what white is; None if it does."""
    deep = _deep(image)
    return deep.kind if deep is not None and deep.said is None else None


def extremes(image: Image.Image) -> Range | None:
    """Return the least and the greatest value of an opened image; None if it has no finite one."""
    deep = _deep(image)
    values = _values(image, deep) if deep is not None else np.asarray(image)
    finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    return Range(float(finite.min()), float(finite.max())) if finite.size else None


def measured(kind: Kind, found: Iterable[Range]) -> Range:
    """Return the range of a kind of image that follows from the extremes of a sample.

    Whole numbers from 0 on are taken to have 8, 10, 12, 14 or 16 bits, the fewest that hold all of them; fractions
    from 0 to 1 mean just that. Everything else reaches from the least value to the greatest.
    """
    least, most = (f(column) for f, column in zip((min, max), zip(*found, strict=True), strict=True))
    if least >= 0 and kind == "floating point" and most <= 1:
        return Range(0, 1)
    if least >= 0 and kind != "floating point" and most < 2 ** _DEPTHS[-1]:
        return Range(0, 2 ** next(bits for bits in _DEPTHS if most < 2**bits) - 1)
    return Range(least, most if most > least else least + 1)


def to_rgb(image: Image.Image, levels: Levels, least: int = 0) -> Image.Image:
    """Return an opened image upright, in 8-bit RGB, transparency over white, whatever its mode.

    With ``least`` a large image is made smaller at once, to no less than twice ``least`` pixels on its shorter side.
    """
    convert = _conversion(image, levels)
    image.load()
    upright = _UPRIGHT.get(image.getexif().get(_EXIF_ORIENTATION, 1))
    factor = reduction(image, least)
    made = convert(image) if factor == 1 else _smaller(image, factor, convert)
    return made if upright is None else made.transpose(upright)


def reduction(image: Image.Image, least: int) -> int:
    """Return by how much `to_rgb` makes an image smaller."""
    if not least or image.width * image.height <= _LARGE:
        return 1
    return max(1, min(image.size) // (2 * least))


def _smaller(image: Image.Image, factor: int, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """Convert and shrink an image band by band, so that it is never there twice: each pixel the mean of a square."""
    rows = factor * max(1, _BAND // (image.width * factor))
    made = Image.new("RGB", (-(-image.width // factor), -(-image.height // factor)))
    for top in range(0, image.height, rows):
        band = image.crop((0, top, image.width, min(top + rows, image.height)))
        made.paste(convert(band).reduce(factor), (0, top // factor))
    return made


def _conversion(image: Image.Image, levels: Levels) -> Callable[[Image.Image], Image.Image]:
    """Return what turns any part of this image into RGB."""
    deep = _deep(image)
    if deep is None:
        return _shallow
    range_ = deep.said or levels.get(deep.kind, FULL[deep.kind])
    return lambda part: _scaled(part, deep, range_)


def _shallow(image: Image.Image) -> Image.Image:
    """Return 8-bit RGB of a mode with 8 bits or fewer; transparency shows white."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    rgba = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
    white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, rgba).convert("RGB")


def _values(image: Image.Image, deep: _Deep) -> NDArray[np.generic]:
    values = np.asarray(image)
    return values.view(np.uint32) if deep.unsigned else values


def _scaled(image: Image.Image, deep: _Deep, range_: Range) -> Image.Image:
    """Return 8-bit RGB of a mode with more bits: black to white become 0 to 255, what lies outside is clipped."""
    values = _values(image, deep)
    scaled = np.empty(values.shape, np.uint8)
    step = max(1, _BAND // max(1, image.width))
    for top in range(0, len(values), step):
        part = values[top : top + step].astype(np.float64)
        part = np.nan_to_num((part - range_.black) * (255 / (range_.white - range_.black)), nan=0.0)
        part = np.rint(part.clip(0, 255))
        scaled[top : top + step] = 255 - part if deep.negative else part
    return Image.fromarray(scaled).convert("RGB")
