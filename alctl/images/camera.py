"""Which camera took an image, from its EXIF data."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from alctl.images.decode import Source

_MAKE, _MODEL = 0x010F, 0x0110
_CHUNK = 256


def cameras(sources: Sequence[Source]) -> Iterator[str]:
    """Yield make and model of the camera of each image, in order; empty where the file does not say."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(sources), _CHUNK):  # so that an error, or Ctrl-C, need not wait for all
            yield from pool.map(lambda source: camera(Path(source.path)), sources[start : start + _CHUNK])


def camera(file: Path) -> str:
    """Return make and model of the camera, such as "Canon EOS 80D"; empty where the file does not say."""
    try:
        with Image.open(file) as image:
            if image.format == "PNG" and "exif" not in image.info:
                return ""  # Pillow would decode the whole image to look behind it
            exif = image.getexif()
    except Exception:  # what cannot be read is found out, with its reason, where images are decoded
        return ""
    make, model = (" ".join(str(exif.get(tag) or "").replace("\0", " ").split()) for tag in (_MAKE, _MODEL))
    return model if model.lower().startswith(make.lower()) else f"{make} {model}".strip()
