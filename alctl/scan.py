"""Find image files and read what identifies them: digest, upright size, and whether they are whole."""

import hashlib
import io
import os
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import chain, islice
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

from PIL import Image, UnidentifiedImageError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"})
PROJECT_MARK = "alctl.toml"

_CHUNK = 256
_WORTH_PROCESSES = 4_000
_EXIF_ORIENTATION = 0x0112
_SIDEWAYS = range(5, 9)  # EXIF orientations whose upright image has width and height exchanged


class Probe(NamedTuple):
    """What one file is; ``problem`` says why it cannot be used, and then the rest may be missing."""

    digest: bytes | None
    width: int | None
    height: int | None
    problem: str | None


class Skipped(NamedTuple):
    """A file or folder that was passed over, and why."""

    path: str
    reason: str


def walk(root: Path, skipped: list[Skipped] | None = None) -> Iterator[str]:
    """Yield the image files below ``root``, relative, with forward slashes, sorted within each folder.

    Hidden names and alctl projects are passed over; symbolic links are followed, a folder never twice.
    """
    notes: list[Skipped] = [] if skipped is None else skipped
    visited: set[tuple[int, int]] = set()
    stack = [""]
    while stack:
        folder = stack.pop()
        try:
            status = (root / folder).stat()
            with os.scandir(root / folder) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            notes.append(Skipped(folder or ".", error.strerror or "cannot be read"))
            continue
        if (status.st_dev, status.st_ino) in visited:
            continue
        visited.add((status.st_dev, status.st_ino))
        if folder and any(entry.name == PROJECT_MARK for entry in found):
            continue
        folders = []
        for entry in found:
            path = f"{folder}/{entry.name}" if folder else entry.name
            if entry.name.startswith("."):
                continue
            if not _is_utf8(entry.name):
                notes.append(Skipped(os.fsencode(path).decode("utf-8", "replace"), "name is not valid UTF-8"))
            elif (kind := _kind(entry)) == "folder":
                folders.append(path)
            elif os.path.splitext(entry.name)[1].lower() not in SUFFIXES:  # noqa: PTH122 - per file, and 10x faster
                notes.append(Skipped(path, "not an image file"))
            elif kind == "file":
                yield path
            else:
                notes.append(Skipped(path, "a link to nothing, or not a regular file"))
        stack.extend(reversed(folders))


def _kind(entry: os.DirEntry[str]) -> str:
    """Return what an entry, or what it links to, is; reading a pipe or a device would never end."""
    try:
        return "folder" if entry.is_dir() else "file" if entry.is_file() else "other"
    except OSError:  # a link to itself
        return "other"


def _is_utf8(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def probe(path: str, *, verify: bool = False) -> Probe:
    """Read one file whole; decode it too if ``verify``, or if it ends where its format does not."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - per file, and faster
            data = file.read()
    except OSError as error:
        return Probe(None, None, None, error.strerror or "cannot be read")
    if not data:
        return Probe(None, None, None, "empty file")
    digest = hashlib.sha256(data).digest()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as image:
                width, height = image.size
                if verify or not ends_whole(image.format, data):
                    image.load()
                if image.getexif().get(_EXIF_ORIENTATION) in _SIDEWAYS:
                    width, height = height, width
    except UnidentifiedImageError:
        return Probe(None, None, None, "not an image, or a format that Pillow cannot read")
    except Exception as error:
        return Probe(
            None, None, None, f"broken: {error}" if str(error) else f"broken: {type(error).__name__}"
        )
    return Probe(digest, width, height, None)


def ends_whole(kind: str | None, data: bytes) -> bool:
    """Tell whether the file ends as its format does; if not, only decoding can say whether it is truncated."""
    if kind == "JPEG":
        return data.rstrip(b"\0").endswith(b"\xff\xd9")
    if kind == "PNG":
        return data.endswith(b"IEND\xaeB`\x82")
    if kind == "GIF":
        return data.endswith(b";")
    if kind == "WEBP":
        return len(data) >= int.from_bytes(data[4:8], "little") + 8
    return False


def probe_all(root: str, paths: Iterable[str], *, verify: bool = False) -> Iterator[tuple[str, Probe]]:
    """Probe files in order; many of them on every core. The paths are relative to ``root``."""
    rest = iter(paths)
    first = list(islice(rest, _WORTH_PROCESSES))
    workers = os.cpu_count() or 1
    if len(first) < _WORTH_PROCESSES or workers == 1:
        for path in chain(first, rest):
            yield path, probe(os.path.join(root, path), verify=verify)  # noqa: PTH118
        return
    pending: deque[tuple[Sequence[str], Future[list[Probe]]]] = deque()
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for chunk in _chunks(chain(first, rest)):
            pending.append((chunk, pool.submit(_probe_chunk, root, chunk, verify)))
            if len(pending) > 4 * workers:
                done, future = pending.popleft()
                yield from zip(done, future.result(), strict=True)
        for done, future in pending:
            yield from zip(done, future.result(), strict=True)


def _chunks(paths: Iterable[str]) -> Iterator[list[str]]:
    iterator = iter(paths)
    while chunk := list(islice(iterator, _CHUNK)):
        yield chunk


def _probe_chunk(root: str, paths: Sequence[str], verify: bool) -> list[Probe]:  # noqa: FBT001 - pickled call
    return [probe(os.path.join(root, path), verify=verify) for path in paths]  # noqa: PTH118
