"""Whether a photograph is stored on its side, from its EXIF data."""

from pathlib import Path

from PIL import Image

_ORIENTATION = 0x0112
_SIDEWAYS = range(5, 9)
"""Orientations whose upright image has width and height exchanged."""


def is_sideways(path: Path) -> bool:
    """Tell whether an image has an orientation that exchanges its width and height; one that cannot be read has none."""
    try:
        with Image.open(path) as image:
            return image.getexif().get(_ORIENTATION) in _SIDEWAYS
    except Exception:  # whatever a broken file makes of Pillow
        return False
