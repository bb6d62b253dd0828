"""Files from outside: folders and archives whose members may lie about where they go and how large they are, and XML."""

import io
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any
from xml.etree.ElementTree import Element, ParseError

from alctl.errors import AlctlError

LARGEST = 1 << 34
"""Bytes that a member of an archive may unpack to."""
RATIO = 1_000
"""How many times its packed size a member may be, once it is larger than `SMALL`; no honest label packs better."""
SMALL = 1 << 24
DEEPEST = 200
"""Levels of XML."""


class Members:
    """The files of a folder or of a zip, by their path with forward slashes; nothing is ever unpacked to disk.

    Links are not followed out of the folder, and a member with an absolute path or ``..`` is an error.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._zip: zipfile.ZipFile | None = None
        if path.is_dir():
            self.names = sorted(self._of_folder())
        else:
            self._zip = _opened(path)
            self.names = sorted(_name(path, info) for info in self._zip.infolist() if not info.is_dir())

    def _of_folder(self) -> Iterator[str]:
        root = self.path.resolve()
        for file in self.path.rglob("*"):
            if file.is_file() and file.resolve().is_relative_to(root):
                yield file.relative_to(self.path).as_posix()

    def open(self, name: str) -> IO[bytes]:
        """Open a member for reading its bytes, seekable only in a folder."""
        try:
            if self._zip is None:
                return (self.path / name).open("rb")
            return _Counted(self._zip.open(name), self._limit(name), f"{self.path}: {name}")
        except (OSError, RuntimeError, KeyError, zipfile.BadZipFile, NotImplementedError) as error:
            raise AlctlError(f"cannot read {name} in {self.path}: {error}") from error

    def _limit(self, name: str) -> int:
        assert self._zip is not None
        return min(LARGEST, max(SMALL, RATIO * self._zip.getinfo(name).compress_size))

    def text(self, name: str) -> str:
        """Return a small member as UTF-8 text, without a byte order mark."""
        try:
            with self.open(name) as stream:
                return stream.read().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise AlctlError(f"{self.path}: {name} is not UTF-8 text: {error.reason}") from error

    def close(self) -> None:
        """Close the archive."""
        if self._zip is not None:
            self._zip.close()


@contextmanager
def members(path: Path) -> Iterator[Members]:
    """Open a folder or a zip; AlctlError if it is neither, or if a member's path is unsafe."""
    opened = Members(path)
    try:
        yield opened
    finally:
        opened.close()


def is_archive(path: Path) -> bool:
    """Tell whether a file is a zip."""
    try:
        return path.is_file() and zipfile.is_zipfile(path)
    except OSError:
        return False


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise AlctlError(f"{path} is neither a folder nor a zip that can be read: {error}") from error


def _name(path: Path, info: zipfile.ZipInfo) -> str:
    name = info.filename.replace("\\", "/")
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or ":" in parts[0]:
        raise AlctlError(
            f"{path} holds {info.filename!r}, a path that leads out of the archive; nothing was read"
        )
    if stat.S_ISLNK(info.external_attr >> 16):
        raise AlctlError(f"{path} holds {info.filename!r}, a symbolic link; nothing was read")
    return info.filename


class _Counted(io.RawIOBase):
    """A member that may not unpack to more than its limit."""

    def __init__(self, stream: IO[bytes], limit: int, name: str) -> None:
        self._stream, self._left, self._name = stream, limit, name

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            part = self._stream.read(len(buffer))
        except (zipfile.BadZipFile, OSError, EOFError, RuntimeError) as error:
            raise AlctlError(f"{self._name} is damaged: {error}") from error
        except Exception as error:  # zlib.error and lzma.LZMAError have no common base
            raise AlctlError(f"{self._name} cannot be unpacked: {error}") from error
        self._left -= len(part)
        if self._left < 0:
            raise AlctlError(f"{self._name} unpacks to far more than it should; nothing was read")
        buffer[: len(part)] = part
        return len(part)

    def close(self) -> None:
        self._stream.close()
        super().close()


def xml_elements(stream: IO[bytes], name: str, tag: str) -> Iterator[tuple[Element, tuple[Element, ...]]]:
    """Yield each element called ``tag`` when it is complete, with the ones it stands in, outermost first.

    An element and what was before it are forgotten once the next one is asked for. Entities, external or not, and
    broken XML raise AlctlError with the line.
    """
    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import iterparse

    try:
        yield from _complete(iterparse(stream, events=("start", "end")), name, tag)
    except ParseError as error:
        raise AlctlError(f"{name} is not XML: {error}") from error
    except DefusedXmlException as error:
        raise AlctlError(f"{name} declares entities, which no label file needs; nothing was read") from error
    except (ValueError, LookupError) as error:
        raise AlctlError(f"{name} is not XML that can be read: {error}") from error


def _complete(
    events: Iterator[tuple[str, Element]], name: str, tag: str
) -> Iterator[tuple[Element, tuple[Element, ...]]]:
    open_: list[Element] = []
    for event, element in events:
        if event == "start":
            open_.append(element)
            if len(open_) > DEEPEST:
                raise AlctlError(f"{name} is nested too deep for labels")
            continue
        open_.pop()
        if element.tag == tag:
            yield element, tuple(open_)
            element.clear()
            if open_:
                open_[-1].remove(element)
