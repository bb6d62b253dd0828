"""Tell whether a JPEG file holds all of its pixels, even where an end marker hides that the rest is missing.

A decoder that meets the end marker too early paints the rest gray and says nothing. So the file is decoded twice: as it
is, and with more data in front of the marker. Data that a whole file does not need changes nothing (ITU T.81, B.1.1: a
decoder looks for the next marker), while one that was cut off takes it for its missing pixels.
"""

import hashlib
import io
import re

from PIL import Image

_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])", re.DOTALL)  # ends coded data: no stuffing, no restart
_SCAN, _END = 0xDA, 0xD9
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD9)})


def is_cut_off(data: bytes, image: Image.Image) -> bool:
    """Tell whether the decoded image lacks pixels that the bytes of its JPEG file do not hold."""
    end = _end(data)
    if end is None:
        return False  # the decoder has noticed
    with Image.open(io.BytesIO(data[:end] + _filling() + b"\xff\xd9")) as again:
        try:
            return again.tobytes() != image.tobytes()
        except OSError:
            return True


def _filling() -> bytes:
    """Return data that looks like that of an image, with every restart marker, whichever a decoder waits for."""
    noise = b"".join(hashlib.sha256(bytes([i])).digest() for i in range(8)).replace(b"\xff", b"\xa5")
    return b"".join(noise + bytes([0xFF, 0xD0 + i]) for i in range(8)) + noise


def _end(data: bytes) -> int | None:
    """Return where the end marker of the first image of a JPEG file is; None if there is none."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        kind = data[at + 1]
        if kind == _END:
            return at
        if kind == 0xFF:
            at += 1
            continue
        at += 2 if kind in _STANDALONE else 2 + int.from_bytes(data[at + 2 : at + 4])
        if kind == _SCAN:
            found = _MARKER.search(data, at)
            if found is None:
                return None
            at = found.end() - 2
    return at if data[at : at + 2] == b"\xff\xd9" else None
