"""From image files to uint8 arrays: decoding, and a cache of decoded, resized images on disk."""

import hashlib
import io
import os
import tempfile
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from PIL import Image, ImageOps

from alctl.errors import AlctlError
from alctl.files import whole_file
from alctl.progress import Progress

warnings.filterwarnings(
    "ignore", module=r"PIL\."
)  # here, because `catch_warnings` is not safe within threads

Pixels = NDArray[np.uint8]
Encode = Callable[[Image.Image], Pixels]

BATCH = 512
_LOOK = 128
"""Pixels of the shorter side that are enough to see that an image decodes."""
_LOOK_AHEAD = 1_000
"""Images whose decoding is planned at once."""
_AHEAD = 3  # batches whose images are being decoded while one is in use


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


class _Unreadable(Exception):  # noqa: N818 - a reason, gathered into BrokenImages
    pass


def read_image(source: Source, size: int = 0) -> Image.Image:
    """Decode an image: upright (EXIF orientation applied), RGB, transparency over white.

    With ``size`` a JPEG is decoded at 1/2, 1/4 or 1/8 when its shorter side stays at least ``size`` pixels. A file
    that cannot be decoded, or is not the one that was indexed, raises `BrokenImages`; one that is not there or may
    not be read raises AlctlError, because that is no fault of the image.
    """
    try:
        return _decode(source, size)
    except _Unreadable as error:
        raise BrokenImages({source.id: str(error)}) from error


def _decode(source: Source, size: int) -> Image.Image:
    try:
        data = Path(source.path).read_bytes()
    except OSError as error:
        raise AlctlError(
            f"item {source.id}: cannot read {source.path}: {error.strerror}; "
            "if the images have moved, run `alctl relink NEW_FOLDER`"
        ) from error
    if source.digest is not None and hashlib.sha256(data).digest() != source.digest:
        raise _Unreadable("the file is not the one that was indexed: its bytes have changed")
    try:
        with Image.open(io.BytesIO(data)) as image:
            if size:
                scale = size / min(image.size)
                image.draft("RGB", (round(image.width * scale), round(image.height * scale)))
            return _to_rgb(ImageOps.exif_transpose(image))
    except Exception as error:
        raise _Unreadable(f"broken: {error or type(error).__name__}") from error


def _to_rgb(image: Image.Image) -> Image.Image:
    """Return 8-bit RGB of any mode: 16-bit values are scaled, not clipped; transparency shows white."""
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.float64)
        top = 65535 if values.max(initial=0) > 255 else 255
        image = Image.fromarray((values * (255 / top)).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def check_decodable(sources: Sequence[Source], progress: Progress) -> None:
    """Decode every image once, to see that it can be; `BrokenImages` names all that cannot."""
    reasons: dict[int, str] = {}

    def look(source: Source) -> None:
        try:
            _decode(source, _LOOK)
        except _Unreadable as error:
            reasons[source.id] = str(error)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(sources), _LOOK_AHEAD):
            for done, _ in enumerate(pool.map(look, sources[start : start + _LOOK_AHEAD]), start=start + 1):
                progress("looking at images", done, len(sources))
    if reasons:
        raise BrokenImages(reasons)


class ImageCache:
    """Encoded images of one size on disk, (3, size, size) uint8 each, decoded by threads when first asked for.

    It can be deleted at any time. Rows are only ever appended, and counted as there once they are safely on disk, so
    a killed process leaves no half image. While another process is filling it, this one decodes without storing.
    """

    def __init__(self, folder: Path, size: int, encode: Encode, limit_gb: float) -> None:
        """Keep at most ``limit_gb`` of images for a network whose input is ``size`` pixels."""
        self.size = size
        self.encode = encode
        self.shape = (3, size, size)
        self.row = int(np.prod(self.shape))
        self.capacity = int(limit_gb * 2**30) // self.row
        self.folder = folder / f"{size}px-pillow-{PIL.__version__}"  # another decoder gives other pixels

    def load(self, sources: Sequence[Source], progress: Progress) -> Pixels:
        """Return all images, (N, 3, size, size): in memory, or in a temporary file if they are very many."""
        shape = (len(sources), *self.shape)
        if len(sources) * self.row <= _memory() // 4:
            images: Pixels = np.empty(shape, np.uint8)
        else:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder) as file:
                images = np.memmap(file, np.uint8, "w+", shape=shape)
        done = 0
        for batch in self.batches(sources, progress):
            images[done : done + len(batch)] = batch
            done += len(batch)
        return images

    def batches(self, sources: Sequence[Source], progress: Progress, size: int = BATCH) -> Iterator[Pixels]:
        """Yield the images in order, ``size`` at a time, decoding ahead of their use.

        At the end `BrokenImages` names all that could not be decoded; their pixels were zeros.
        """
        reasons: dict[int, str] = {}
        with _Store(self, sources) as store, ThreadPoolExecutor(os.cpu_count()) as pool:
            waiting: deque[tuple[Sequence[Source], dict[int, Future[Pixels]]]] = deque()
            starts = deque(range(0, len(sources), size))
            done = 0
            while starts or waiting:
                while starts and len(waiting) < _AHEAD:
                    start = starts.popleft()
                    part = sources[start : start + size]
                    missing = [i for i, source in enumerate(part) if not store.has(source.id)]
                    waiting.append((part, {i: pool.submit(self._pixels, part[i]) for i in missing}))
                part, futures = waiting.popleft()
                yield self._collect(store, part, futures, reasons)
                done += len(part)
                progress("reading images", done, len(sources))
        if reasons:
            raise BrokenImages(reasons)

    def _pixels(self, source: Source) -> Pixels:
        return self.encode(_decode(source, self.size))

    def _collect(
        self,
        store: "_Store",
        part: Sequence[Source],
        futures: Mapping[int, Future[Pixels]],
        reasons: dict[int, str],
    ) -> Pixels:
        """Put one batch together from stored rows and decoded images."""
        images = np.zeros((len(part), *self.shape), np.uint8)
        stored = [i for i in range(len(part)) if i not in futures]
        if stored:
            images[stored] = store.read([part[i].id for i in stored])
        for i, future in futures.items():
            try:
                images[i] = future.result()
            except _Unreadable as error:
                reasons[part[i].id] = str(error)
            else:
                store.append(part[i].id, images[i])
        return images


class _Store:
    """The file behind an `ImageCache`, open for one pass: row numbers by item id, and the rows."""

    def __init__(self, cache: ImageCache, sources: Sequence[Source]) -> None:
        self.cache = cache
        self.wanted = np.unique(np.array([source.id for source in sources], np.int64))
        self.highest = int(self.wanted.max(initial=0))
        self.fresh: dict[int, int] = {}

    def __enter__(self) -> "_Store":
        folder = self.cache.folder
        folder.mkdir(parents=True, exist_ok=True)
        self.lock = FileLock(folder / "lock")
        try:
            self.lock.acquire(timeout=0)
            self.writes = True
        except Timeout:
            self.writes = False
        self._open()
        if self.writes and self._is_full_of_others():
            (folder / "slots.npy").unlink(missing_ok=True)
            (folder / "pixels.u8").unlink()  # whoever reads the old file keeps it until they close it
            self.file.close()
            self._open()
        return self

    def _is_full_of_others(self) -> bool:
        """Tell whether images are missing that would fit if those were gone that this pass does not ask for."""
        stored = int((self.slots[self.wanted] >= 0).sum())
        missing = len(self.wanted) - stored
        return missing > 0 and stored < self.used and self.used + missing > self.cache.capacity

    def _open(self) -> None:
        """Open the pixels before the row numbers: these are deleted first, so they never belong to an older file."""
        folder = self.cache.folder
        handle = os.open(folder / "pixels.u8", os.O_RDWR | os.O_CREAT, 0o666)
        self.file = os.fdopen(handle, "r+b", buffering=0)
        try:
            known = np.load(folder / "slots.npy", allow_pickle=False)
        except (OSError, ValueError, EOFError):  # not there yet, or damaged with the machine
            known = np.empty(0, np.int64)
        self.slots = np.full(max(self.highest + 1, len(known)), -1, np.int64)
        self.slots[: len(known)] = known
        self.slots[self.slots >= os.fstat(handle).st_size // self.cache.row] = -1
        self.used = int(self.slots.max(initial=-1)) + 1

    def has(self, item_id: int) -> bool:
        """Tell whether the item's row was stored before this pass."""
        return bool(self.slots[item_id] >= 0)

    def read(self, ids: Sequence[int]) -> Pixels:
        """Return the stored rows of these items."""
        rows = np.memmap(self.file, np.uint8, "r", shape=(self.used, *self.cache.shape))
        taken: Pixels = rows[self.slots[list(ids)]]
        return taken

    def append(self, item_id: int, pixels: Pixels) -> None:
        """Add one row, if this pass may write and there is room; it counts once the pass ends."""
        slot = self.used + len(self.fresh)
        if self.writes and slot < self.cache.capacity and item_id not in self.fresh:
            self.file.seek(slot * self.cache.row)
            if self._write(pixels.tobytes()):
                self.fresh[item_id] = slot

    def _write(self, row: bytes) -> bool:
        """Write one row; without room on the disk nothing more is stored, and the work goes on."""
        try:
            self.writes = self.file.write(row) == len(row)
        except OSError:
            self.writes = False
        return self.writes

    def __exit__(self, *_: object) -> None:
        if self.fresh:
            os.fsync(self.file.fileno())
            self.slots[list(self.fresh)] = list(self.fresh.values())
            with whole_file(self.cache.folder / "slots.npy") as partial:
                np.save(partial, self.slots)
        self.file.close()
        self.lock.release()  # nothing, where another process has it


def _memory() -> int:
    """Return the machine's memory in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 8 * 2**30


class Decoded(NamedTuple):
    """One batch of images, those left out that cannot be decoded."""

    sources: Sequence[Source]
    pixels: Pixels
    """(B, 3, S, S)."""
    broken: Mapping[int, str]
    """Why the others cannot be decoded, by item id."""


def decode_ahead(sources: Sequence[Source], encode: Encode, size: int, batch: int) -> Iterator[Decoded]:
    """Yield all images in order, up to ``batch`` at a time, decoded by threads ahead of their use; nothing is stored.

    A JPEG may be decoded smaller, as in `read_image`, with at least ``size`` pixels on its shorter side.
    """

    def decode(source: Source) -> Pixels | str:
        try:
            return encode(_decode(source, size))
        except _Unreadable as error:
            return str(error)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        parts = iter([sources[start : start + batch] for start in range(0, len(sources), batch)])
        waiting = deque((part, [pool.submit(decode, s) for s in part]) for part in islice(parts, _AHEAD))
        while waiting:
            part, futures = waiting.popleft()
            waiting.extend((more, [pool.submit(decode, s) for s in more]) for more in islice(parts, 1))
            results = [(source, future.result()) for source, future in zip(part, futures, strict=True)]
            whole = [(source, found) for source, found in results if not isinstance(found, str)]
            pixels = np.stack([found for _, found in whole]) if whole else np.empty((0, 3, 1, 1), np.uint8)
            broken = {source.id: found for source, found in results if isinstance(found, str)}
            yield Decoded([source for source, _ in whole], pixels, broken)
