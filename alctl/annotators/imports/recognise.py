"""What a file of labels is: its format, the options it is read with, and the digest that tells it from others."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from alctl.annotators.untouched_files import PHOTOGRAPHS
from alctl.database import settings
from alctl.errors import AlctlError
from alctl.files import readable, sha256_of
from alctl.labels.annotation import Record
from alctl.labels.format import FORMATS, LabelFormat
from alctl.plugins import configured


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


def reader_for(
    connection: Connection, name: str, given: Mapping[str, str]
) -> tuple[LabelFormat, dict[str, Any]]:
    """Return the format with the options given now, or else those that the project remembers."""
    remembered = settings.read(connection, f"format.{name}") or {}
    options = {**remembered, **{option: _absolute(value) for option, value in given.items()}}
    reader = _reader_of(name, options)
    if given:
        settings.write(connection, f"format.{name}", options)
    return reader, options


def _absolute(value: str) -> str:
    """Return the absolute path of what is a file, since it is remembered for imports from other folders."""
    return str(Path(value).absolute()) if "." in value and Path(value).is_file() else value


def digest_of(file: Path, reading: Mapping[str, Any]) -> str:
    """Return the digest of a file and of how it is read: the same answers of two people are two imports.

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


def unchanged(records: Iterable[Record], file: Path, stamp: tuple[int, int]) -> Iterator[Record]:
    """Yield a file's records; AlctlError at their end if the file is not as it was."""
    yield from records
    if stamp_of(file) != stamp:
        raise AlctlError(f"{file} changed while it was read; nothing was imported, import it again")


def _digest_of_folder(folder: Path) -> Any:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            named = f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0"
            digest.update(named.encode(errors="surrogateescape"))
            if path.suffix.lower() not in PHOTOGRAPHS:
                digest.update(sha256_of(path).digest())
    return digest
