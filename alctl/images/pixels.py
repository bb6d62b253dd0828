"""From image files to uint8 arrays: decoded ahead of their use, and a cache of decoded, resized images on disk."""

import hashlib
import os
import re
import tempfile
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
from PIL import Image

from alctl.files import READ_ONLY, whole_file
from alctl.images import levels
from alctl.images.decode import Faults, Missing, Source, Unreadable, decode
from alctl.images.levels import Levels
from alctl.progress import Progress

Pixels = NDArray[np.uint8]
Encode = Callable[[Image.Image], Pixels]

BATCH = 512
BATCH_BYTES = 2**28
"""What a batch takes at most: 256 MiB."""
_AHEAD = 3  # batches whose images are being decoded while one is in use


def made_by(ranges: Levels) -> str:
    """Name what decodes images here: another one gives other pixels of the same files."""
    known = [f"{kind}-{range_.black:g}-{range_.white:g}" for kind, range_ in sorted(ranges.items())]
    own = hashlib.sha256(",".join(known).encode()).hexdigest()[:8]
    return f"pillow-{PIL.__version__}-{levels.RULE}-{own}"


class ImageCache:
    """Encoded images of one shape on disk, (3, height, width) uint8 each, decoded by threads when first asked for.

    It can be deleted at any time. Rows are only ever appended, and counted as there once they are safely on disk, so
    a killed process leaves no half image. While another process is filling it, or where it cannot be written, this one
    decodes without storing.
    """

    def __init__(
        self,
        folder: Path,
        frame: tuple[int, int],
        encode: Encode,
        limit_gb: float,
        ranges: Levels = levels.FULL,
        *,
        made_for: str,
    ) -> None:
        """Keep at most ``limit_gb`` of images that ``encode`` makes, (height, width) as in ``frame``.

        ``ranges`` says what is black and white in images of more than 8 bits, ``made_for`` whose way of encoding it is:
        others make other pixels of the same files.
        """
        self.size = max(frame)
        self.encode = encode
        self.shape = (3, *frame)
        self.row = int(np.prod(self.shape))
        self.capacity = int(limit_gb * 2**30) // self.row
        self.ranges = ranges
        whose = re.sub(r"[^\w.-]", "_", made_for)
        self.folder = folder / f"{whose}-{frame[1]}x{frame[0]}px-{made_by(ranges)}"

    def load(self, sources: Sequence[Source], progress: Progress) -> Pixels:
        """Return all images, (N, 3, height, width): in memory, or in a temporary file if they are very many."""
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
        """Yield the images in order, up to ``size`` at a time as far as `BATCH_BYTES` allow, decoding ahead of their use.

        At the end `MissingImages` names all that are not there, or else `BrokenImages` all that could not be decoded;
        their pixels were zeros.
        """
        faults, size = Faults(), max(1, min(size, BATCH_BYTES // self.row))
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
                yield self._collect(store, part, futures, faults)
                done += len(part)
                progress("reading images", done, len(sources))
        faults.tell()

    def _pixels(self, source: Source) -> Pixels:
        return self.encode(decode(source, self.size, self.ranges))

    def _collect(
        self,
        store: "_Store",
        part: Sequence[Source],
        futures: Mapping[int, Future[Pixels]],
        faults: Faults,
    ) -> Pixels:
        """Put one batch together from stored rows and decoded images."""
        images = np.zeros((len(part), *self.shape), np.uint8)
        stored = [i for i in range(len(part)) if i not in futures]
        if stored:
            images[stored] = store.read([part[i].id for i in stored])
        for i, future in futures.items():
            try:
                images[i] = future.result()
            except (Unreadable, Missing) as error:
                faults.note(part[i], error)
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
        self.lock = FileLock(folder / "lock")
        self.read_only = False
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.lock.acquire(timeout=0)
            self.writes = True
        except Timeout:
            self.writes = False
        except OSError as error:
            if error.errno not in READ_ONLY:
                raise
            self.writes, self.read_only = False, True
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
        if self.read_only:
            file = folder / "pixels.u8"
            self.file = (file if file.exists() else Path(os.devnull)).open("rb", buffering=0)
        else:
            handle = os.open(folder / "pixels.u8", os.O_RDWR | os.O_CREAT, 0o666)
            self.file = os.fdopen(handle, "r+b", buffering=0)
        try:
            known = np.load(folder / "slots.npy", allow_pickle=False)
        except (OSError, ValueError, EOFError):  # not there yet, or damaged with the machine
            known = np.empty(0, np.int64)
        self.slots = np.full(max(self.highest + 1, len(known)), -1, np.int64)
        self.slots[: len(known)] = known
        self.slots[self.slots >= os.fstat(self.file.fileno()).st_size // self.cache.row] = -1
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
    """One batch of images, those left out that cannot be decoded or are not there."""

    sources: Sequence[Source]
    pixels: Pixels
    """(B, 3, S, S)."""
    broken: Mapping[int, str]
    """Why some cannot be decoded, by item id."""
    missing: Mapping[int, str]
    """Where others are not, by item id."""


def decode_ahead(
    sources: Sequence[Source], encode: Encode, size: int, batch: int, ranges: Levels = levels.FULL
) -> Iterator[Decoded]:
    """Yield all images in order, up to ``batch`` at a time, decoded by threads ahead of their use; nothing is stored.

    An image may be decoded smaller, as in `read_image`, with at least ``size`` pixels on its shorter side.
    """

    def pixels_of(source: Source) -> Pixels | Unreadable | Missing:
        try:
            return encode(decode(source, size, ranges))
        except (Unreadable, Missing) as error:
            return error

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        parts = iter([sources[start : start + batch] for start in range(0, len(sources), batch)])
        waiting = deque((part, [pool.submit(pixels_of, s) for s in part]) for part in islice(parts, _AHEAD))
        while waiting:
            part, futures = waiting.popleft()
            waiting.extend((more, [pool.submit(pixels_of, s) for s in more]) for more in islice(parts, 1))
            faults, whole = Faults(), list[tuple[Source, Pixels]]()
            for source, future in zip(part, futures, strict=True):
                if isinstance(found := future.result(), Exception):
                    faults.note(source, found)
                else:
                    whole.append((source, found))
            pixels = np.stack([found for _, found in whole]) if whole else np.empty((0, 3, 1, 1), np.uint8)
            yield Decoded([source for source, _ in whole], pixels, faults.broken, faults.missing)
