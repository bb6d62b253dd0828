"""Files as annotators got them: they hold no answers yet, whatever a model said in them, and no work that could be lost."""

import hashlib
import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path, PurePosixPath

from sqlalchemy import Connection

from alctl.database import handouts
from alctl.errors import AlctlError
from alctl.files import file_digest, readable
from alctl.labels.parsing.untrusted import is_archive, members

PHOTOGRAPHS = (".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")
"""Files that hold no labels. A PNG may be a mask."""
_OURS = frozenset({"manifest.json", "contact_sheet.jpg", "images"})
"""What of an export is nobody's work."""
_BESIDE = re.compile(r"label-studio\.xml|label-studio-[0-9]+\.json|cvat-labels\.json")
"""What formats write beside their file."""


def marks(path: Path) -> dict[str, str]:
    """Return the digest of each label file in a folder or zip, by its path in it; of a file by the name "".

    In a folder a file's name tells which image it is about, so it is part of the digest.
    """
    with readable(path):
        if not path.exists():
            return {}
        if not (path.is_dir() or is_archive(path)):
            return {"": file_digest(path)}
    found = {}
    with members(path) as files:
        for name in files.names:
            inside = PurePosixPath(name)
            if inside.suffix.lower() not in PHOTOGRAPHS:
                text = f"{inside.name}\0{files.digest(name)}"
                found[name] = hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()
    return found


def untouched(connection: Connection, file: Path) -> set[str]:
    """Return the files of a folder or zip that are still as annotators got them.

    AlctlError if all of them are, or if the file is: then nobody has worked in it.
    """
    digests = marks(file)
    known = handouts.untouched(connection, digests.values())
    if digests and known.issuperset(digests.values()):
        raise AlctlError(f"{file} is as it was handed out; nobody has worked in it yet")
    return {name for name, digest in digests.items() if digest in known}


def marks_of_export(folder: Path) -> dict[Path, str]:
    """Return the digests of the files of an export in which annotators may work."""
    found: dict[Path, str] = {}
    for entry in sorted(folder.iterdir()) if folder.is_dir() else ():
        if entry.name not in _OURS:
            found |= {entry / name: digest for name, digest in marks(entry).items()}
    return found


def untouched_in_export(connection: Connection, folder: Path) -> set[Path]:
    """Return the files of an export that are as annotators got them, even if they would be made otherwise now."""
    found = marks_of_export(folder)
    known = handouts.untouched(connection, found.values())
    return {path for path, digest in found.items() if digest in known}


def refuse_to_lose(
    folder: Path,
    tables: Mapping[str, str],
    tools: AbstractSet[str],
    images: AbstractSet[str],
    untouched: AbstractSet[Path],
) -> None:
    """Stop if a folder holds a table that somebody has filled in, or things that are not an export.

    ``tables`` are those to be written, ``tools`` and ``images`` the names of what else is an export's.
    """
    if not folder.exists():
        return
    existing = {folder / name: text for name, text in tables.items() if (folder / name).is_file()}
    if not existing:
        raise AlctlError(f"{folder} exists and is not an export of alctl; choose another folder with --to")
    shown = folder / "images"
    there = {entry.name for entry in shown.iterdir()} if shown.is_dir() else set()
    others = {entry.name for entry in folder.iterdir()} - _OURS - set(tables) - tools
    strange = sorted({name for name in others if not _BESIDE.fullmatch(name)} | (there - images))
    if strange:
        raise AlctlError(
            f"{folder} holds {strange[0]!r}, which is not alctl's; move it away, or export with --to"
        )
    for file, table in existing.items():
        if file not in untouched and file.read_bytes() != table.encode():
            raise AlctlError(
                f"{file} has been filled in or changed; import it first, or export to another folder with --to"
            )


def refuse_to_lose_answers(folder: Path, partial: Path, untouched: AbstractSet[Path]) -> None:
    """Stop if a tool's file in the folder is not as it was exported: somebody has worked in it."""
    for path in sorted(folder.rglob("*")) if folder.exists() else ():
        name = path.relative_to(folder)
        if path.is_dir() or path in untouched or name.parts[0] in _OURS:
            continue
        if not (partial / name).is_file() or (partial / name).read_bytes() != path.read_bytes():
            raise AlctlError(
                f"{path} is not as it was exported; import it first, or export to another folder with --to"
            )
