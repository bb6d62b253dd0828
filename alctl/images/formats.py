"""Which image files can be read here, and opening them within bounds of memory.

Pillow reads them; AVIF and JPEG 2000 where it was built with them, HEIC with pillow-heif (the extra ``heic``).
"""

import io
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec

from PIL import Image, features

from alctl.labels.annotation import IMAGE_SUFFIXES

MOST_FILE = 2**30
"""Bytes of a file that is read."""
_BUDGET = 2**30  # bytes of decoded pixels that all threads hold together, one image excepted
_HEIC, _AVIF, _JPEG_2000 = frozenset({".heic", ".heif"}), frozenset({".avif"}), frozenset({".jp2", ".j2k"})
_FOREIGN = frozenset(
    {
        *(".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2", ".pef", ".srw"),  # cameras
        *(
            ".dcm",
            ".nii",
            ".svs",
            ".ndpi",
            ".mrxs",
            ".czi",
            ".nd2",
            ".lif",
            ".fits",
        ),  # medicine, microscopes, telescopes
        *(".jxl", ".jxr", ".psd", ".exr", ".hdr", ".tga", ".svg", ".eps", ".ico", ".icns", ".qoi", ".pcx"),
        *(".heics", ".avifs", ".j2c", ".jpx", ".jpf"),
    }
)
_CONVERT = "alctl does not read this format; convert it to PNG or JPEG, then `alctl add`"
_NARROW = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2}
_TOO_LARGE = "too large: {what}; save it smaller or cut it into tiles, then `alctl add`"


class TooLarge(Exception):  # noqa: N818 - a reason, such as those of Pillow
    """An image that would take more memory than it may; the text says how much it has and what to do."""


@cache
def readable() -> frozenset[str]:
    """Return the suffixes of the files that can be read here, in lower case."""
    unread = set(_FOREIGN)
    if find_spec("pillow_heif") is None:
        unread |= _HEIC
    if "avif" not in features.modules or not features.check(
        "avif"
    ):  # Pillow 11.2 and older do not know the word
        unread |= _AVIF
    if not features.check("jpg_2000"):
        unread |= _JPEG_2000
    return frozenset(IMAGE_SUFFIXES) - unread


@cache
def unread() -> Mapping[str, str]:
    """Return what to do about an image file that cannot be read here, by its suffix."""
    advice = dict.fromkeys([*IMAGE_SUFFIXES, *_FOREIGN], _CONVERT)
    advice |= dict.fromkeys(
        _HEIC, "HEIC takes one more package: `pip install 'alctl[heic]'`, then `alctl add`"
    )
    advice |= dict.fromkeys(
        _AVIF, "AVIF takes Pillow 11.3 or newer: `pip install -U pillow`, then `alctl add`"
    )
    return {suffix: text for suffix, text in advice.items() if suffix not in readable()}


@cache
def _register() -> None:
    """Teach Pillow the formats of its plugins that are installed."""
    if find_spec("pillow_heif") is not None:
        from pillow_heif import register_heif_opener

        register_heif_opener()


@contextmanager
def opened(data: bytes) -> Iterator[Image.Image]:
    """Open the bytes of a file; nothing is decoded yet.

    Raises:
        TooLarge: It has more pixels than Pillow takes, about 179 million.
        Exception: What else Pillow says of a file that is no image or broken.
    """
    _register()
    try:
        image = Image.open(io.BytesIO(data))
    except Image.DecompressionBombError as error:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise TooLarge(_TOO_LARGE.format(what=f"it has more than {most:,} pixels")) from error
    with image:
        yield image


def too_large_file(size: int) -> str:
    """Return why a file of this many bytes is not read; empty if it is."""
    return _TOO_LARGE.format(what=f"the file has {size / 2**30:,.1f} GB") if size > MOST_FILE else ""


def bytes_of(image: Image.Image) -> int:
    """Return how many bytes the pixels of an opened image take once they are decoded."""
    return image.width * image.height * _NARROW.get(image.mode, 4)


class _Budget:
    """Memory that threads share: whoever wants more than is left waits, and more than there is gets all of it."""

    def __init__(self, total: int) -> None:
        self._total = self._left = total
        self._freed = threading.Condition()

    @contextmanager
    def taken(self, size: int) -> Iterator[None]:
        """Hold this many bytes."""
        size = min(size, self._total)
        with self._freed:
            self._freed.wait_for(lambda: self._left >= size)
            self._left -= size
        try:
            yield
        finally:
            with self._freed:
                self._left += size
                self._freed.notify_all()


MEMORY = _Budget(_BUDGET)
"""What all threads of this process may hold in decoded pixels."""
