"""The first step of an import: which format a file has, how it is read, and whether it was imported before."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from alctl.annotators.untouched_files import PHOTOGRAPHS, untouched
from alctl.database import labels, rounds_out, settings
from alctl.database.labels import ImportBatch
from alctl.errors import AlctlError
from alctl.files import readable, sha256_of
from alctl.labels.annotation import LabeledImage, Note, Record
from alctl.labels.foreign import told
from alctl.labels.format import FORMATS, LabelFormat
from alctl.labels.text import as_text
from alctl.plugins import configured
from alctl.project import Project

AUTO = "auto"
"""The format of a file whose format is to be recognised."""
UNTOUCHED = "files are as they were handed out and were left: nobody has worked in them yet"


@dataclass(frozen=True)
class LabelFile:
    """A file or folder of labels, and how it is read."""

    path: Path
    format: str
    recognised: str
    """What the format says that the file is; empty if the format was given."""
    reader: LabelFormat
    options: Mapping[str, str]
    """Those of the format: given now, or remembered by the project."""
    given: bool
    """Whether options were given now."""
    digest: str
    """SHA-256 of the file and of how it is read, hexadecimal: the same answers of two people are two imports."""
    stamp: tuple[int, int]
    """Size and time of the last change, when the digest was made."""
    untouched: frozenset[str]
    """Files of a folder or zip that are as annotators got them: what a model said in them is no answer."""

    @property
    def name(self) -> str:
        """The path as it may be written down: a file's name may hold bytes that are no text."""
        return as_text(str(self.path))

    def records(self) -> Iterator[Record]:
        """Yield what the file says; AlctlError at the end if it was written to meanwhile."""
        left = 0
        for record in self.reader.read(self.path):
            if isinstance(record, LabeledImage) and record.where in self.untouched:
                left += 1
            else:
                yield record
        if stamp_of(self.path) != self.stamp:
            raise AlctlError(f"{self.path} changed while it was read; nothing was imported, import it again")
        if left:
            yield Note(UNTOUCHED, left)


def label_file(
    project: Project, file: Path, kind: str, given: Mapping[str, str], annotator: str
) -> LabelFile:
    """Find out what a file is; ``kind`` is its format or AUTO, ``given`` are options of the format.

    AlctlError if it is no file or folder, if nobody has worked in it, or if none or several formats take it for
    theirs.
    """
    if file.exists() and not (file.is_file() or file.is_dir()):
        raise AlctlError(f"{file} is neither a file nor a folder; save what it gives to a file first")
    with project.reading() as connection:
        left = untouched(connection, file)
    said = ""
    if kind == AUTO:
        kind, said = recognised(file, given)
    with project.reading() as connection:
        remembered: Mapping[str, str] = settings.read(connection, _setting(kind)) or {}
    options = {**remembered, **{name: _absolute(value) for name, value in given.items()}}
    reader = _reader_of(kind, options)
    stamp = stamp_of(file)
    digest = digest_of(file, {"annotator": annotator, "format": kind, **options})
    return LabelFile(file, kind, said, reader, options, bool(given), digest, stamp, frozenset(left))


def remember_options(connection: Connection, source: LabelFile) -> None:
    """Make the options that were given now those of the project for this format."""
    if source.given:
        settings.write(connection, _setting(source.format), source.options)


def _setting(kind: str) -> str:
    """Return the name under which the project remembers the options of a format."""
    return f"format.{kind}"


def imported_before(connection: Connection, source: LabelFile) -> ImportBatch | None:
    """Return the import in force that took everything of a file with the same bytes; None if there is none.

    None, too, if it left something over, leaned on an import that was undone since, or if a later round asks again:
    the same answers may be the answers to that.
    """
    earlier = labels.earlier_import(connection, source.digest)
    if earlier is None:
        return None
    counts = earlier.counted
    if counts.rejected or counts.outside or counts.unknown or rounds_out.asked_since(connection, earlier.id):
        return None
    leans = counts.unchanged or counts.outdated
    if leans and any(batch.undone_at for batch in labels.imports(connection)):
        return None
    return earlier


def recognised(file: Path, options: Mapping[str, str] | None = None) -> tuple[str, str]:
    """Return the name of a file's format, and what that format says it is; AlctlError if none or several do.

    A format that does not have one of the ``options`` is not meant.
    """
    if not file.exists():
        raise AlctlError(f"cannot read {file}: there is no such file or folder")
    meant = [name for name in FORMATS.names() if set(options or ()) <= options_of(name)]
    found = {name: said for name in meant if (said := _reader_of(name, options or {}).recognise(file))}
    if len(found) == 1:
        return next(iter(found.items()))
    if found:
        several = "; or ".join(f"--format {name}: {said}" for name, said in found.items())
        raise AlctlError(f"{file} may be {several}")
    if foreign := told(file):
        raise AlctlError(foreign)
    if file.suffix.lower() in {".csv", ".tsv", ".txt"}:
        return "csv", ""
    choices = ", ".join(FORMATS.names())
    raise AlctlError(
        f"{file} is none of the formats that alctl knows ({choices}); --format says which it is meant to be"
    )


def options_of(name: str) -> set[str]:
    """Return the options of a format."""
    kind: Any = FORMATS.load(name)
    return {option.name for option in fields(kind)} if is_dataclass(kind) else set()


def _reader_of(name: str, options: Mapping[str, Any]) -> LabelFormat:
    return configured(FORMATS.load(name), options, f"format {name!r}")


def _absolute(value: str) -> str:
    """Return the absolute path of what is a file, since it is remembered for imports from other folders."""
    return str(Path(value).absolute()) if "." in value and Path(value).is_file() else value


def digest_of(file: Path, reading: Mapping[str, str]) -> str:
    """Return the digest of a file and of how it is read.

    Of a folder, of the names of all its files, the sizes of photographs, and the bytes of the others.
    """
    with readable(file):
        digest = _digest_of_folder(file) if file.is_dir() else sha256_of(file)
        told = {name: value for name, value in reading.items() if value}
        if told:
            digest.update(json.dumps(told, sort_keys=True).encode())
        for value in map(str, told.values()):
            if "." in value and Path(value).is_file():
                digest.update(sha256_of(Path(value)).digest())
        return str(digest.hexdigest())


def stamp_of(file: Path) -> tuple[int, int]:
    """Return what tells that a file was written to: its size, and when; of a folder, nothing does."""
    with readable(file):
        found = file.stat()
    return (0, 0) if file.is_dir() else (found.st_size, found.st_mtime_ns)


def _digest_of_folder(folder: Path) -> Any:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            named = f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0"
            digest.update(named.encode(errors="surrogateescape"))
            if path.suffix.lower() not in PHOTOGRAPHS:
                digest.update(sha256_of(path).digest())
    return digest
