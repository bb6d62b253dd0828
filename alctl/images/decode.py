"""Decode image files, and gather what is wrong with those that cannot be decoded or are not there."""

import hashlib
import os
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from alctl.errors import AlctlError
from alctl.images import formats, levels
from alctl.images.levels import Levels
from alctl.progress import Progress

warnings.filterwarnings(
    "ignore", module=r"PIL\."
)  # here, because `catch_warnings` is not safe within threads

_LOOK = 128
"""Pixels of the shorter side that are enough to see that an image decodes."""
_NAMED = 20
ADVICE = (
    "if they have moved, run `alctl relink NEW_FOLDER`; if they are gone for good, `alctl remove --missing` takes them "
    "out of the project"
)
"""What to do about images that are not there."""
_LOOK_AHEAD = 1_000
"""Images whose decoding is planned at once."""


class Source(NamedTuple):
    """Where the pixels of an item are."""

    id: int
    path: str
    """Absolute."""
    digest: bytes | None
    """SHA-256 that the file had when it was indexed."""


class BrokenImages(Exception):  # noqa: N818 - it names what it carries
    """Some images cannot be decoded; ``reasons`` says why, by item id. The pool quarantines them."""

    def __init__(self, reasons: Mapping[int, str]) -> None:
        super().__init__(f"{len(reasons)} images cannot be decoded")
        self.reasons = dict(reasons)


class MissingImages(AlctlError):  # noqa: N818 - it names what it carries
    """Some files are not there, or may not be read: no fault of the images. The message names all of them."""

    def __init__(self, reasons: Mapping[int, str]) -> None:
        rows = [f"  item {item}, {why}" for item, why in sorted(reasons.items())]
        more = [f"  … and {len(rows) - _NAMED:,} more"] if len(rows) > _NAMED else []
        many = f"{len(rows):,} {'image is' if len(rows) == 1 else 'images are'} not there:"
        super().__init__(many, *rows[:_NAMED], *more, ADVICE)
        self.reasons = dict(reasons)


class Unreadable(Exception):  # noqa: N818 - a reason, gathered into BrokenImages
    """Why one image cannot be decoded."""


class Missing(Exception):  # noqa: N818 - a reason, gathered into MissingImages
    """Where one image is not."""


def is_gone(path: str) -> bool:
    """Tell whether there is no such file; one that may not be read, or that a disk fails to tell of, is not gone."""
    try:
        os.stat(path)  # noqa: PTH116 - millions of them
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def gone(sources: Sequence[Source]) -> dict[int, str]:
    """Return where the images should be that are not there, by item id."""
    return {source.id: f"{source.path}: it is gone" for source in sources if is_gone(source.path)}


def allow_missing(missing: Mapping[int, str], of: int) -> None:
    """Raise MissingImages where more than a tenth of some images are missing: their folder has rather moved.

    One image may always be missing, unless there is no other.
    """
    if len(missing) > max(1, of // 10) or (missing and len(missing) == of):
        raise MissingImages(missing)


def read_image(source: Source, size: int = 0, ranges: Levels = levels.FULL) -> Image.Image:
    """Decode an image: upright (EXIF orientation applied), RGB, transparency over white.

    With ``size`` a JPEG is decoded at 1/2, 1/4 or 1/8, and any other large image is made smaller, when its shorter side
    stays at least ``size`` pixels. Of an image of more than 8 bits ``ranges`` says what is black and white.
    A file that cannot be decoded, or is not the one that was indexed, raises `BrokenImages`; one that is not there or
    may not be read raises `MissingImages`, because that is no fault of the image.
    """
    try:
        return decode(source, size, ranges)
    except Unreadable as error:
        raise BrokenImages({source.id: str(error)}) from error
    except Missing as error:
        raise MissingImages({source.id: str(error)}) from error


def decode(source: Source, size: int, ranges: Levels) -> Image.Image:
    """Do what `read_image` does; `Unreadable` or `Missing` if that fails."""
    try:
        data = Path(source.path).read_bytes()
    except OSError as error:
        raise Missing(f"{source.path}: {error.strerror}") from error
    if source.digest is not None and hashlib.sha256(data).digest() != source.digest:
        raise Unreadable("the file is not the one that was indexed: its bytes have changed")
    try:
        with formats.opened(data) as image:
            if size:
                scale = size / min(image.size)
                image.draft("RGB", (round(image.width * scale), round(image.height * scale)))
            copies = 0 if levels.reduction(image, size) > 1 else 8 * image.width * image.height
            with formats.MEMORY.taken(formats.bytes_of(image) + copies):
                return levels.to_rgb(image, ranges, size)
    except Exception as error:
        raise Unreadable(f"broken: {error or type(error).__name__}") from error


class Faults:
    """What is wrong with images that are read together, until all of it can be told at once."""

    def __init__(self) -> None:
        self.broken: dict[int, str] = {}
        self.missing: dict[int, str] = {}

    def note(self, source: Source, error: "Unreadable | Missing") -> None:
        """Keep why this one could not be read."""
        (self.broken if isinstance(error, Unreadable) else self.missing)[source.id] = str(error)

    def tell(self) -> None:
        """Raise what there is to say: what is missing before what is broken."""
        if self.missing:
            raise MissingImages(self.missing)
        if self.broken:
            raise BrokenImages(self.broken)


def check_decodable(sources: Sequence[Source], progress: Progress) -> None:
    """Decode every image once, to see that it can be.

    Raises:
        MissingImages: Some are not there; it names all of them.
        BrokenImages: Some cannot be decoded; it names all of them.
    """
    faults = Faults()

    def look(source: Source) -> None:
        try:
            decode(source, _LOOK, levels.FULL)
        except (Unreadable, Missing) as error:
            faults.note(source, error)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(sources), _LOOK_AHEAD):
            for done, _ in enumerate(pool.map(look, sources[start : start + _LOOK_AHEAD]), start=start + 1):
                progress("looking at images", done, len(sources))
    faults.tell()
