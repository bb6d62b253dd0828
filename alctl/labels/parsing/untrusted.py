"""Open folders, zips and XML from outside safely: their contents may lie about names and sizes, or be made to harm.

XML is read with the standard library's expat and a rule of one line: a document type is refused. Entities can only be
declared in one, so none can be expanded or fetched. What is left to guard is memory, and `xml_elements` counts it.
"""

import hashlib
import io
import os
import re
import stat
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import IO, Any, NoReturn
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from alctl.errors import AlctlError

LARGEST = 1 << 34
"""Bytes that a member of an archive may unpack to."""
RATIO = 1_000
"""How many times its packed size a member may be, once it is larger than `SMALL`; no honest label packs better."""
SMALL = 1 << 24
"""Bytes of a file that is taken into memory whole."""
DEEPEST = 50
"""Levels of XML."""
LARGEST_ELEMENT = 1 << 26
"""Bytes of XML that are held at once, such as all labels of one image."""
MOST_ELEMENTS = 1 << 20
"""How many elements are held at once."""
BLOCK = 1 << 20
"""Bytes of XML read at once; expat looks at an unfinished attribute anew with every block, so they are large."""
_DRIVE = re.compile("[A-Za-z]:")
_LOCAL_HEADER = 30
"""Bytes before a zip member's name and data."""


class Members:
    """The files of a folder or of a zip, by their path with forward slashes; nothing is ever unpacked to disk.

    Links in a folder are followed to files inside it and nowhere else. An archive is refused as a whole if a member
    has an absolute path or ``..``, is a link, has another's name, or shares another's bytes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._zip: zipfile.ZipFile | None = None
        self._infos: dict[str, zipfile.ZipInfo] = {}
        if stat.S_ISDIR(_mode(path)):
            self.names = sorted(_of_folder(path))
        else:
            self._zip = _opened(path)
            try:
                self._infos = _checked(path, self._zip)
            except BaseException:
                self._zip.close()
                raise
            self.names = sorted(self._infos)
        self._known = frozenset(self.names)

    def open(self, name: str) -> IO[bytes]:
        """Open one of ``names`` for reading its bytes, seekable only in a folder."""
        if name not in self._known:
            raise AlctlError(f"{self.path} holds no {name!r}")
        if self._zip is None:
            try:
                return (self.path / name).open("rb")
            except OSError as error:
                raise AlctlError(f"cannot read {self.path / name}: {error.strerror}") from error
        info = self._infos[name]
        if info.flag_bits & 1:
            raise AlctlError(f"{self.path}: {name} is encrypted; pack it again without a password")
        try:
            stream = self._zip.open(info)
        except Exception as error:  # whatever a broken header makes of zipfile
            raise AlctlError(f"cannot read {name} in {self.path}: {error}") from error
        return io.BufferedReader(_Counted(stream, info, f"{self.path}: {name}"))

    def text(self, name: str) -> str:
        """Return a small member as UTF-8 text, without a byte order mark."""
        try:
            with self.open(name) as stream:
                content = stream.read(SMALL + 1)
        except OSError as error:
            raise AlctlError(f"cannot read {name} in {self.path}: {error.strerror or error}") from error
        if len(content) > SMALL:
            raise AlctlError(f"{self.path}: {name} is larger than {SMALL >> 20} MiB; that is no label file")
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise AlctlError(f"{self.path}: {name} is not UTF-8 text: {error.reason}") from error

    def digest(self, name: str) -> str:
        """Return the SHA-256 of a member, hexadecimal."""
        found = hashlib.sha256()
        try:
            with self.open(name) as stream:
                while block := stream.read(BLOCK):
                    found.update(block)
        except OSError as error:
            raise AlctlError(f"cannot read {name} in {self.path}: {error.strerror or error}") from error
        return found.hexdigest()

    def close(self) -> None:
        """Close the archive."""
        if self._zip is not None:
            self._zip.close()


@contextmanager
def members(path: Path) -> Iterator[Members]:
    """Open a folder or a zip; AlctlError if it is neither, or if a member is unsafe."""
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


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode
    except (OSError, ValueError) as error:
        raise AlctlError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error


def _of_folder(root: Path) -> Iterator[str]:
    """Yield the files under a folder; one that cannot be listed is an error, since its labels would be missing."""
    inside = root.resolve()
    folders = [root]
    try:
        while folders:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_symlink():
                        ours = _leads_inside(entry.path, inside)
                    elif entry.is_dir(follow_symlinks=False):
                        folders.append(Path(entry.path))
                        continue
                    else:
                        ours = entry.is_file(follow_symlinks=False)
                    if ours:
                        yield Path(entry.path).relative_to(root).as_posix()
    except OSError as error:
        raise AlctlError(f"cannot read {error.filename or root}: {error.strerror}") from error


def _leads_inside(link: str, folder: Path) -> bool:
    target = Path(os.path.realpath(link))  # Path.resolve raises where links go round in a circle
    return target.is_relative_to(folder) and os.path.isfile(target)  # noqa: PTH113 - this one never raises


def _opened(path: Path) -> zipfile.ZipFile:
    if not stat.S_ISREG(_mode(path)):
        raise AlctlError(f"{path} is neither a folder nor a file")
    try:
        return zipfile.ZipFile(path)
    except Exception as error:  # whatever a broken directory makes of zipfile
        raise AlctlError(f"{path} is neither a folder nor a zip that can be read: {error}") from error


def _checked(path: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Return an archive's files by their names, if all of its members are what they seem to be."""
    _refuse_overlaps(path, archive)
    names = [(_name(path, info), info) for info in archive.infolist()]
    found = [(name, info) for name, info in names if name and not info.filename.endswith(("/", "\\"))]
    if doubled := [name for name, count in Counter(name for name, _ in found).items() if count > 1]:
        raise AlctlError(f"{path} holds {doubled[0]!r} twice; nothing was read")
    return {name: info for name, info in found if not name.startswith("__MACOSX/")}  # Finder's own records


def _refuse_overlaps(path: Path, archive: zipfile.ZipFile) -> None:
    """Refuse members that share bytes, or that have more than there are.

    A small file could unpack to anything, with each of its members within its ratio.
    """
    spans = sorted(
        (info.header_offset, info.header_offset + _LOCAL_HEADER + info.compress_size)
        for info in archive.infolist()
    )
    spans.append((archive.start_dir, archive.start_dir))
    if any(end > start for (_, end), (start, _) in pairwise(spans)):
        raise AlctlError(f"{path} holds members that overlap, which no packer writes; nothing was read")


def _name(path: Path, info: zipfile.ZipInfo) -> str:
    """Return a member's path, with forward slashes, as its packer meant it."""
    given = info.orig_filename
    if not info.flag_bits & 0x800 and not given.isascii():  # macOS writes UTF-8 and does not say so
        with suppress(UnicodeError):
            given = given.encode("cp437").decode("utf-8")
    name = given.replace("\\", "/")
    if name.startswith("/") or ".." in name.split("/") or _DRIVE.match(name) or "\0" in name:
        raise AlctlError(f"{path} holds {given!r}, a path that leads to no place inside it; nothing was read")
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        what = "a symbolic link" if kind == stat.S_IFLNK else "neither a file nor a folder"
        raise AlctlError(f"{path} holds {given!r}, {what}; nothing was read")
    return "/".join(PurePosixPath(name).parts)


class _Counted(io.RawIOBase):
    """A member that may not unpack to more than is believable, nor to less than it says."""

    def __init__(self, stream: IO[bytes], info: zipfile.ZipInfo, name: str) -> None:
        self._stream, self._name = stream, name
        self._limit = min(LARGEST, max(SMALL, RATIO * info.compress_size))
        self._size, self._read = info.file_size, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            part = self._stream.read(len(buffer))
        except Exception as error:  # zlib.error, LZMAError, BadZipFile and EOFError have no common base
            raise AlctlError(f"{self._name} is damaged: {error}") from error
        self._read += len(part)
        if not part and self._read != self._size:
            raise AlctlError(f"{self._name} is damaged: it has {self._read:,} bytes and says {self._size:,}")
        if self._read > self._limit:
            raise AlctlError(f"{self._name} unpacks to far more than it should; it was not read to its end")
        buffer[: len(part)] = part
        return len(part)

    def close(self) -> None:
        self._stream.close()
        super().close()


Found = tuple[Element, tuple[Element, ...]]


def xml_elements(stream: IO[bytes], name: str, *tags: str, root: str = "") -> Iterator[Found]:
    """Yield each element called one of ``tags``, whole, with those it stands in, outermost first.

    The latter have their attributes only, and whatever else stands in the file is never kept. An element inside
    another of them is a part of it. A root that is not called ``root``, a document type, broken XML, and more in one
    element than `LARGEST_ELEMENT` raise AlctlError, with the line where there is one.
    """
    elements = _Elements(name, tags, root)
    try:
        while block := stream.read(BLOCK):
            elements.parse(block)
            yield from elements.taken()
        elements.parse(b"", last=True)
        yield from elements.taken()
    except expat.ExpatError as error:
        raise AlctlError(f"{name} is not XML, or is cut off: {error}") from error
    except (ValueError, LookupError) as error:  # of a declared encoding
        raise AlctlError(f"{name} is not XML that can be read: {error}") from error
    except OSError as error:
        raise AlctlError(f"cannot read {name}: {error.strerror or error}") from error


class _Elements:
    """Builds the wanted elements while expat reads, and no others: a tree of the file would be the whole file."""

    def __init__(self, name: str, tags: Iterable[str], root: str) -> None:
        self.name, self.tags, self.root = name, frozenset(tags), root
        self.around: list[Element] = []
        self.builder: TreeBuilder | None = None
        self.levels = 0
        """Of the element that is being built."""
        self.held = self.held_bytes = 0
        self.found: list[Found] = []
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartDoctypeDeclHandler = self.refuse_document_type
        self.parser.StartElementHandler = self.start
        self.parser.EndElementHandler = self.end
        self.parser.CharacterDataHandler = self.data

    def parse(self, block: bytes, *, last: bool = False) -> None:
        self.held_bytes += len(block)
        self.parser.Parse(block, last)
        if self.held_bytes > LARGEST_ELEMENT:
            self.refuse("holds more in one place than any image has labels")

    def taken(self) -> list[Found]:
        found, self.found = self.found, []
        return found

    def refuse(self, problem: str) -> NoReturn:
        raise AlctlError(f"{self.name}, line {self.parser.CurrentLineNumber:,}: {problem}")

    def refuse_document_type(self, *_: object) -> None:
        self.refuse("a document type or entities are declared, which no label file needs")

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self.held += 1
        if len(self.around) + self.levels >= DEEPEST:
            self.refuse("nested too deep for labels")
        if self.held > MOST_ELEMENTS:
            self.refuse("holds more elements in one place than any image has labels")
        if self.root and not self.around and not self.levels and tag != self.root:
            raise AlctlError(f"{self.name} begins with <{tag[:40]}> and not with <{self.root}>")
        if self.builder is None and tag in self.tags:
            self.builder = TreeBuilder()
        if self.builder is None:
            self.around.append(Element(tag, attributes))
        else:
            self.builder.start(tag, attributes)
            self.levels += 1

    def data(self, text: str) -> None:
        if self.builder is not None:
            self.builder.data(text)

    def end(self, tag: str) -> None:
        if self.builder is None:
            self.around.pop()
        else:
            self.builder.end(tag)
            self.levels -= 1
            if self.levels:
                return
            self.found.append((self.builder.close(), tuple(self.around)))
            self.builder = None
        self.held = self.held_bytes = 0
