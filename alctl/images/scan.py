"""Find image files and read what identifies them: digest, upright size, and whether they are whole."""

import hashlib
import os
import struct
import warnings
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from PIL import UnidentifiedImageError

from alctl.images import formats
from alctl.images.jpeg_end import is_cut_off
from alctl.images.levels import Kind, kind_of

PROJECT_MARK = "alctl.toml"
THUMBNAILS = "a folder of thumbnails or deleted files"
_NOT_PHOTOGRAPHS = frozenset(
    {"@eadir", "@recycle", "#recycle", "@recently-snapshot", "$recycle.bin", "__macosx", "lost+found",
     "system volume information"}
)  # fmt: skip
"""Folders that storage devices and operating systems make, in lower case; hidden ones are left out anyway."""

_CHUNK = 64
_MOST_THREADS = 8
_EXIF_ORIENTATION = 0x0112
_PLAIN_PIXELS = 80_000_000  # Pillow, which warns of larger images, decides on them
_JPEG_FRAMES = frozenset({0xFFC0, 0xFFC1, 0xFFC2})  # baseline, extended, progressive
_JPEG_SCAN = 0xFFDA
_JPEG_HARMLESS = frozenset({0xFFC4, 0xFFDB, 0xFFDD, 0xFFE0, 0xFFEE, 0xFFFE})  # tables, JFIF, Adobe, comment
_SEGMENT, _FRAME = struct.Struct(">HH"), struct.Struct(">BHHB")
_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_PNG_HARMLESS = frozenset(
    {
        b"IHDR",
        b"PLTE",
        b"IDAT",
        b"IEND",
        b"bKGD",
        b"cHRM",
        b"gAMA",
        b"iCCP",
        b"pHYs",
        b"sBIT",
        b"sRGB",
        b"tIME",
        b"tRNS",
    }
)
_PNG_TEXTS, _PNG_PROFILES = (
    (b"tEXt", b"zTXt", b"iTXt"),
    (b"Raw profile", b"XML:"),
)  # which may hold EXIF or XMP
_HEADER, _CHUNK_START = struct.Struct(">IIBB"), struct.Struct(">I4s")
_SIDEWAYS = range(5, 9)  # EXIF orientations whose upright image has width and height exchanged


class Probe(NamedTuple):
    """What one file is; ``problem`` says why it cannot be used, and then the rest may be missing."""

    digest: bytes | None
    width: int | None
    height: int | None
    problem: str | None
    kind: Kind | None = None
    """Of an image whose file does not say what white is."""
    several: bool = False
    """Whether it has several pages or frames, of which the first counts."""


@dataclass(frozen=True)
class Skipped:
    """A file or folder that was passed over, and why."""

    path: str
    reason: str
    image: bool = False
    """Whether it is an image, in a format that cannot be read here; the reason then says what to do."""


def walk(root: Path, skipped: list[Skipped] | None = None) -> Iterator[str]:
    """Yield the image files below ``root``, relative, with forward slashes, sorted within each folder.

    Hidden names and alctl projects are passed over; symbolic links are followed, a folder never twice.
    """
    notes: list[Skipped] = [] if skipped is None else skipped
    visited: set[tuple[int, int]] = set()
    stack = [""]
    while stack:
        folder = stack.pop()
        folders = []
        for entry in _listing(root, folder, visited, notes):
            path = f"{folder}/{entry.name}" if folder else entry.name
            kind = _kind(entry)
            if kind == "image":
                yield path
            elif kind == "folder":
                folders.append(path)
            elif kind:
                name = os.fsencode(path).decode("utf-8", "replace")
                notes.append(Skipped(name, kind, image=kind in formats.unread().values()))
        stack.extend(reversed(folders))


def _listing(
    root: Path, folder: str, visited: set[tuple[int, int]], notes: list[Skipped]
) -> list[os.DirEntry[str]]:
    """Return the entries of a folder by name; none of one that was visited before or holds an alctl project."""
    try:
        status = (root / folder).stat()
        with os.scandir(root / folder) as entries:
            found = sorted(entries, key=attrgetter("name"))
    except OSError as error:
        notes.append(Skipped(folder or ".", error.strerror or "cannot be read"))
        return []
    if (status.st_dev, status.st_ino) in visited:
        return []
    visited.add((status.st_dev, status.st_ino))
    return [] if folder and PROJECT_MARK in map(attrgetter("name"), found) else found


def _kind(entry: os.DirEntry[str]) -> str:
    """Return "image", "folder", "" for a hidden entry, or why it is passed over."""
    name = entry.name
    if name.startswith("."):
        return ""
    if not (name.isascii() or _is_utf8(name)):
        return "name is not valid UTF-8"
    try:
        if entry.is_dir():
            return THUMBNAILS if name.lower() in _NOT_PHOTOGRAPHS else "folder"
        regular = entry.is_file()  # reading a pipe or a device would never end
    except OSError:  # a link to itself
        regular = False
    suffix = name[name.rfind(".") :].lower()
    if suffix not in formats.readable():
        return formats.unread().get(suffix, "not an image file")
    return "image" if regular else "a link to nothing, or not a regular file"


def _is_utf8(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def probe(path: str, *, verify: bool = False) -> Probe:
    """Read one file whole; decode it too if ``verify``, or if it ends where its format does not."""
    try:
        data = _read(path)
    except OSError as error:
        return Probe(None, None, None, error.strerror or "cannot be read")
    except formats.TooLarge as error:
        return Probe(None, None, None, str(error))
    if not data:
        return Probe(None, None, None, "empty file")
    digest = hashlib.sha256(data).digest()
    if not verify and (size := plain_size(data)):
        return Probe(digest, *size, None, "16-bit" if _is_deep_png(data) else None)
    try:
        return _looked_at(data, digest, verify=verify)
    except UnidentifiedImageError:
        problem = "not an image, or a format that Pillow cannot read"
    except formats.TooLarge as error:
        problem = str(error)
    except Exception as error:
        problem = f"broken: {error}" if str(error) else f"broken: {type(error).__name__}"
    return Probe(None, None, None, problem)


def _looked_at(data: bytes, digest: bytes, *, verify: bool) -> Probe:
    """Return what Pillow says of a file; any exception if it is broken."""
    with formats.opened(data) as image, formats.MEMORY.taken(formats.bytes_of(image)):
        width, height = image.size
        kind = kind_of(image)
        several = image.format != "MPO" and bool(getattr(image, "is_animated", False))
        if verify or not ends_whole(image.format, data):
            image.load()
        if verify and image.format in {"JPEG", "MPO"} and is_cut_off(data, image):
            return Probe(None, None, None, "broken: it ends before its last pixels, which are gray")
        if image.getexif().get(_EXIF_ORIENTATION) in _SIDEWAYS:
            width, height = height, width
    return Probe(digest, width, height, None, kind, several)


def _is_deep_png(data: bytes) -> bool:
    """Tell whether a plain file is a PNG of 16 bits in one channel; Pillow gives those of several only 8."""
    return data.startswith(_PNG_START) and data[24:26] == b"\x10\0"


def _read(path: str) -> bytes:
    """Return a file's bytes; it costs half of what a file object does, which shows with a million small images."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        size = os.fstat(descriptor).st_size
        if problem := formats.too_large_file(size):
            raise formats.TooLarge(problem)
        data = os.read(descriptor, size + 1)
        if len(data) == size:
            return data
        with open(descriptor, "rb", closefd=False) as file:  # it grows while it is read, or is beyond 2 GB
            return data + file.read()
    finally:
        os.close(descriptor)


def plain_size(data: bytes) -> tuple[int, int] | None:
    """Return width and height of a plain JPEG or PNG file; None for one that Pillow has to look at.

    Pillow is asked wherever there may be more to it: EXIF, several pictures, an odd header, an end that is missing.
    It takes ten times as long, and decodes the whole of a PNG file that has no EXIF.
    """
    try:
        if data.startswith(b"\xff\xd8\xff") and ends_whole("JPEG", data):
            size = _plain_jpeg(data)
        elif data.startswith(_PNG_START) and ends_whole("PNG", data):
            size = _plain_png(data)
        else:
            return None
    except struct.error:  # a length points behind the end
        return None
    return size if size and 0 < size[0] * size[1] <= _PLAIN_PIXELS else None


def _plain_jpeg(data: bytes) -> tuple[int, int] | None:
    """Read the segments up to the first scan (ITU T.81, annex B): a marker and a length, big-endian."""
    at, size = 2, None
    while True:
        marker, length = _SEGMENT.unpack_from(data, at)
        if marker in _JPEG_FRAMES and not size:
            precision, height, width, components = _FRAME.unpack_from(data, at + 4)
            if precision != 8 or components not in (1, 3, 4):
                return None
            size = width, height
        elif marker == _JPEG_SCAN:
            return size
        elif marker not in _JPEG_HARMLESS:
            return None
        at += 2 + length


def _plain_png(data: bytes) -> tuple[int, int] | None:
    """Read the chunks: a length, a type, that many bytes and a checksum."""
    width, height, depth, color = _HEADER.unpack_from(data, 16)
    at, kinds = 8, set()
    while at < len(data):
        length, kind = _CHUNK_START.unpack_from(data, at)
        if kind not in _PNG_HARMLESS and not (
            kind in _PNG_TEXTS and not data.startswith(_PNG_PROFILES, at + 8)
        ):
            return None
        kinds.add(kind)
        at += 12 + length
    whole = data.startswith(b"\0\0\0\rIHDR", 8) and at == len(data) and b"IDAT" in kinds
    return (width, height) if whole and depth in _PNG_DEPTHS.get(color, ()) else None


def ends_whole(kind: str | None, data: bytes) -> bool:
    """Tell whether the file ends as its format does; if not, only decoding can say whether it is truncated."""
    if kind in {"JPEG", "MPO"}:
        return data.rstrip(b"\0").endswith(b"\xff\xd9")
    if kind == "PNG":
        return data.endswith(b"IEND\xaeB`\x82")
    if kind == "GIF":
        return data.endswith(b";")
    if kind == "WEBP":
        return len(data) >= int.from_bytes(data[4:8], "little") + 8
    return False


def probe_all(
    root: str, paths: Iterable[str], *, verify: bool = False, doubted: Collection[str] = ()
) -> Iterator[tuple[str, Probe]]:
    """Probe files in order; the paths are relative to ``root``. Those that are ``doubted`` are decoded in any case.

    Threads are enough to use every core, because reading, hashing and decoding let the others run.
    """
    workers = min(os.cpu_count() or 1, _MOST_THREADS)
    pending: deque[tuple[Sequence[str], Future[list[Probe]]]] = deque()
    pool = ThreadPoolExecutor(workers)
    try:
        with warnings.catch_warnings():  # here, because it is not safe within a thread
            warnings.simplefilter("ignore")
            for chunk in _chunks(paths):
                pending.append((chunk, pool.submit(_probe_chunk, root, chunk, verify, doubted)))
                if len(pending) > 2 * workers:
                    done, future = pending.popleft()
                    yield from zip(done, future.result(), strict=True)
            for done, future in pending:
                yield from zip(done, future.result(), strict=True)
    finally:
        pool.shutdown(cancel_futures=True)


def _chunks(paths: Iterable[str]) -> Iterator[list[str]]:
    iterator = iter(paths)
    while chunk := list(islice(iterator, _CHUNK)):
        yield chunk


def _probe_chunk(root: str, paths: Sequence[str], verify: bool, doubted: Collection[str]) -> list[Probe]:  # noqa: FBT001
    return [probe(os.path.join(root, path), verify=verify or path in doubted) for path in paths]  # noqa: PTH118
