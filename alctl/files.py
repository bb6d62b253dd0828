"""Write a file whole or not at all, and tell files apart by their content."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alctl.errors import AlctlError


def write_whole(file: Path, text: str) -> None:
    """Write a text file so that nobody ever sees half of it."""
    partial = file.with_name(f"{file.name}.partial")
    partial.write_text(text, encoding="utf-8", newline="")
    partial.replace(file)


def file_digest(file: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def readable(file: Path) -> Iterator[None]:
    """Turn the system's errors about a file into a sentence."""
    try:
        yield
    except OSError as error:
        raise AlctlError(f"cannot read {file}: {error.strerror}") from error


def digest_of_file(file: Path) -> Any:
    """Return the SHA-256 of a file, to be gone on with."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256")
