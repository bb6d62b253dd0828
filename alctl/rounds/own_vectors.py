"""Vectors that a user has already: a table with one row for each image, found by the image's path."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from alctl.errors import AlctlError
from alctl.files import file_digest, readable

LARGEST = 65_536
"""Numbers that a vector may have."""


@dataclass(frozen=True)
class OwnVectors:
    """The rows of a user's table."""

    rows: dict[str, int]
    """The row of each path."""
    vectors: NDArray[np.floating]
    """(N, D)."""
    digest: str
    """SHA-256 of the file or files, hexadecimal."""


def read(file: Path) -> OwnVectors:
    """Read vectors from ``file``.

    Args:
        file: A .csv whose first column is called ``path``, the others being the vector; or a .npy of (N, D) numbers
            beside a text file of the same name with one path a line.

    Raises:
        AlctlError: It is neither, cannot be read, or a row is not a vector; the line is named.
    """
    if file.suffix == ".csv":
        paths, vectors = _csv(file)
        digest = file_digest(file)
    elif file.suffix == ".npy":
        paths, vectors = _npy(file)
        digest = file_digest(file) + file_digest(file.with_suffix(".txt"))
    else:
        raise AlctlError(f"{file} is neither a .csv nor a .npy")
    rows = {path: row for row, path in enumerate(paths)}
    if len(rows) < len(paths):
        twice = next(path for row, path in enumerate(paths) if rows[path] != row)
        raise AlctlError(f"{file} has more than one row for {twice!r}")
    if not len(vectors) or not 0 < vectors.shape[1] <= LARGEST:
        raise AlctlError(f"{file} holds no vectors")
    return OwnVectors(rows, vectors, digest)


def _npy(file: Path) -> tuple[list[str], NDArray[np.floating]]:
    beside = file.with_suffix(".txt")
    with readable(file):
        try:
            vectors = np.load(file, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise AlctlError(f"{file} is not a .npy file of numbers: {error}") from error
    if vectors.ndim != 2 or vectors.dtype.kind != "f":
        raise AlctlError(
            f"{file} holds {vectors.dtype} of shape {vectors.shape}, not one row of floats an image"
        )
    with readable(beside):
        paths = beside.read_text(encoding="utf-8").splitlines()
    if len(paths) != len(vectors):
        raise AlctlError(f"{beside} has {len(paths):,} lines, and {file} has {len(vectors):,} rows")
    return paths, vectors


def _csv(file: Path) -> tuple[list[str], NDArray[np.floating]]:
    with readable(file), file.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.reader(stream)
        header = next(reader, [])
        if not header or header[0] != "path":
            raise AlctlError(f"{file}: the first column is not called path")
        paths: list[str] = []

        def values() -> Iterator[list[float]]:
            for row in reader:
                if len(row) != len(header):
                    raise AlctlError(
                        f"{file} line {reader.line_num}: {len(row)} cells instead of {len(header)}"
                    )
                try:
                    numbers = [float(cell) for cell in row[1:]]
                except ValueError as error:
                    raise AlctlError(f"{file} line {reader.line_num}: {error}") from error
                paths.append(row[0])
                yield numbers

        try:
            cells = np.fromiter((number for row in values() for number in row), np.float32)
        except (csv.Error, UnicodeDecodeError) as error:
            raise AlctlError(f"{file} line {reader.line_num}: {error}") from error
    return paths, cells.reshape(len(paths), len(header) - 1)
