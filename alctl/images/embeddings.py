"""Embeddings on disk: one vector for each image, kept by the image's content, computed once and shared by all commands.

A table holds the vectors of one backbone with one way of preparing images; another backbone, other weights or another
size is another table, so that vectors never mix. Rows are found by the SHA-256 of the image's file: a renamed file keeps
its row. They are appended in blocks that count once they are safely on disk, so a kill at any moment loses at most the
unfinished block. A table can be deleted at any time: it can be made again.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from alctl.errors import AlctlError
from alctl.files import sync, whole_file

Vectors = NDArray[np.float32]
Digests = NDArray[np.bytes_]
"""SHA-256 of files as an array of 32 bytes each: see `as_digests`."""

BLOCK = 4_096
"""Rows that are forced onto the disk together."""
_PATIENCE = 60.0  # seconds after which fewer are, for machines on which a block takes minutes
_DTYPE = np.dtype("<f2")
_DIGEST = 32
_COMMITTED = "table.json"


def as_digests(digests: Sequence[bytes]) -> Digests:
    """Return SHA-256 digests as the array that the functions here take."""
    return np.frombuffer(b"".join(digests), f"S{_DIGEST}")


@dataclass(frozen=True)
class Key:
    """What the vectors of a table depend on, beside the images."""

    backbone: str
    weights: str
    """SHA-256 of the weights, hexadecimal."""
    preprocessing: Mapping[str, object]
    """How pixels become the network's input."""
    dimension: int
    dtype: str = "float16"

    @property
    def digest(self) -> str:
        """SHA-256 of all of it, hexadecimal: the name of the table's folder."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


def folder_of(cache: Path, digest: str) -> Path:
    """Return the folder of the table with this key, below a project's cache folder."""
    return cache / "embeddings" / digest


def stored_digests(folder: Path) -> Digests:
    """Return the digests of the images that have a row in a table; none where there is no table."""
    count = rows_stored(folder)
    if not count:
        return as_digests([])
    return np.fromfile(folder / "digests.u8", f"S{_DIGEST}", count)


def count_stored(folder: Path, digests: Digests) -> int:
    """Return how many of some images have a row in a table."""
    return int(np.isin(digests, stored_digests(folder)).sum()) if len(digests) else 0


def rows_stored(folder: Path) -> int:
    """Return the number of rows of a table; 0 where there is none."""
    return _committed(folder)["rows"]


def _committed(folder: Path) -> dict[str, int]:
    """Return how many rows count, and how many of them hold no vector; never more than the files have."""
    try:
        found = json.loads((folder / _COMMITTED).read_text(encoding="utf-8"))
        row = int(found["key"]["dimension"]) * _DTYPE.itemsize
        sizes = [(folder / name).stat().st_size for name in ("vectors.f16", "digests.u8")]
    except FileNotFoundError:
        return {"rows": 0, "excluded": 0}
    except (ValueError, KeyError, TypeError) as error:
        raise AlctlError(f"{folder / _COMMITTED} is damaged; delete the folder {folder}") from error
    if sizes[0] < found["rows"] * row or sizes[1] < found["rows"] * _DIGEST:
        raise AlctlError(f"{folder} holds fewer vectors than it says; delete it, and run `alctl embed` again")
    return {"rows": found["rows"], "excluded": found["excluded"]}


class Embeddings:
    """The vectors of one table, as they stood when it was opened."""

    def __init__(self, cache: Path, key: Key) -> None:
        """Open the table of ``key`` below a project's cache folder; one that is not there yet is empty."""
        self.key = key
        self.folder = folder_of(cache, key.digest)
        self.refresh()

    def refresh(self) -> None:
        """See what was written meanwhile."""
        committed = _committed(self.folder)
        self.excluded = committed["excluded"]
        """Rows of images whose vector is zero or not finite."""
        stored = stored_digests(self.folder)[: committed["rows"]]
        self._order = np.argsort(stored, kind="stable")
        self._sorted = stored[self._order]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._sorted)

    def rows(self, digests: Digests) -> NDArray[np.int64]:
        """Return the row of each image (n,); -1 for one that has none."""
        if not len(self):
            return np.full(len(digests), -1, np.int64)
        places = np.searchsorted(self._sorted, digests).clip(max=len(self) - 1)
        return np.where(self._sorted[places] == digests, self._order[places], -1)

    def vectors(self, digests: Digests) -> Vectors:
        """Return the vectors (n, D) in float32, as the backbone gave them: not normalised.

        A zero row is the mark of an image without a usable vector. KeyError names an image that has no row.
        """
        found = np.empty((len(digests), self.key.dimension), np.float32)
        done = 0
        for block in self.blocks(digests):
            found[done : done + len(block)] = block
            done += len(block)
        return found

    def blocks(self, digests: Digests, size: int = BLOCK) -> Iterator[Vectors]:
        """Yield what `vectors` returns, ``size`` rows at a time, for pools whose vectors do not fit into memory."""
        rows = self.rows(digests)
        if (rows < 0).any():
            raise KeyError(digests[int((rows < 0).argmax())].hex())
        if not len(rows):
            return
        shape = (len(self), self.key.dimension)
        stored = np.memmap(self.folder / "vectors.f16", _DTYPE, "r", shape=shape)
        for start in range(0, len(rows), size):
            yield stored[rows[start : start + size]].astype(np.float32)

    @contextmanager
    def writing(self, block: int = BLOCK) -> Iterator["Writer"]:
        """Give a writer; its rows are there afterwards, also those before an error. One process at a time.

        AlctlError while another process is writing to the table.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / "lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise AlctlError(
                f"another alctl process is computing embeddings with {self.key.backbone} right now; try again later"
            ) from None
        try:
            self.refresh()
            writer = Writer(self, block)
            try:
                yield writer
            finally:
                writer.commit()
        finally:
            lock.release()
            self.refresh()


class Writer:
    """Appends rows to a table: `Embeddings.writing` gives it."""

    def __init__(self, table: Embeddings, block: int) -> None:
        self._table = table
        self._block = block
        self._count = len(table)
        self.excluded = table.excluded
        """Rows of the table that hold no usable vector, those not yet committed too."""
        self._waiting: list[tuple[Digests, NDArray[np.float16]]] = []
        self._since = time.monotonic()

    def append(self, digests: Digests, vectors: Vectors) -> None:
        """Add the vectors (n, D) of images; zero ones, or not finite ones in float16, are marked and counted."""
        with np.errstate(over="ignore"):
            rows = vectors.astype(_DTYPE)
        useless = ~(np.isfinite(rows).all(axis=1) & rows.any(axis=1))
        rows[useless] = 0
        self.excluded += int(useless.sum())
        self._waiting.append((digests, rows))
        waiting = sum(len(part) for part, _ in self._waiting)
        if waiting >= self._block or time.monotonic() - self._since > _PATIENCE:
            self.commit()

    def commit(self) -> None:
        """Force what was appended onto the disk, and count it after that."""
        if not self._waiting:
            return
        digests = np.concatenate([part for part, _ in self._waiting])
        vectors = np.concatenate([part for _, part in self._waiting])
        folder = self._table.folder
        for name, rows in (("digests.u8", digests), ("vectors.f16", vectors)):
            _write_at(folder / name, self._count * rows.nbytes // len(rows), rows.tobytes())
        self._count += len(digests)
        committed = {"key": asdict(self._table.key), "rows": self._count, "excluded": self.excluded}
        with whole_file(folder / _COMMITTED) as partial:
            partial.write_text(json.dumps(committed, indent=1), encoding="utf-8")
        self._waiting, self._since = [], time.monotonic()


def _write_at(file: Path, place: int, data: bytes) -> None:
    """Write ``data`` at a place of a file and force it onto the disk; what a killed process left behind it is cut off."""
    handle = os.open(file, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
    with os.fdopen(handle, "r+b") as stream:
        stream.truncate(place)
        stream.seek(place)
        stream.write(data)
    sync(file)
