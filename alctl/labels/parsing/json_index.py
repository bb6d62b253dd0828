"""Remember where the objects of a large JSON file stand, to read any of them again by its place in the list.

Between the two passes an object is 40 bytes: where it stands, and its ids. Reading an object again is cheaper than
keeping it, because the system keeps the file's pages anyway.
"""

import re
from collections.abc import Sequence
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from alctl.errors import AlctlError
from alctl.labels.parsing import json_stream
from alctl.labels.parsing.json_stream import Piece, Places

MISSING = -(2**63)
"""The number of an id that is not there, or is neither a whole number nor text."""
_FIRST_TEXT = 2**62
_NUMBERS = re.compile(rb"\[[-+0-9.eE,\s]{16,}+\]")


class Ids:
    """Numbers for ids: whole numbers stand for themselves, texts get one each."""

    def __init__(self) -> None:
        self._texts: dict[str, int] = {}

    def numbers(self, ids: list[Any]) -> Places:
        """Return one number per id, `MISSING` for what is no id."""
        if set(map(type, ids)) == {int}:
            found = np.array(ids)
            if found.dtype == np.int64 and (abs(found) < _FIRST_TEXT).all():
                return found
        return np.array([self._number(id_) for id_ in ids], np.int64)

    def _number(self, id_: Any) -> int:
        if type(id_) is int and abs(id_) < _FIRST_TEXT:
            return id_
        if type(id_) is str:
            return self._texts.setdefault(id_, _FIRST_TEXT + len(self._texts))
        return MISSING


class Table:
    """The objects of one array of the document, in order, each with the numbers of its ids under ``keys``."""

    def __init__(self, stream: IO[bytes], name: str, ids: Ids, keys: Sequence[str]) -> None:
        self._stream, self._name, self._ids = stream, name, ids
        self._starts: list[Places] = []
        self._ends: list[Places] = []
        self._columns: dict[str, list[Places]] = {key: [] for key in keys}
        self.others = 0
        """Elements that are not objects."""
        self.starts = self.ends = np.empty(0, np.int64)
        self.columns: dict[str, Places] = {}

    def add(self, piece: Piece) -> list[dict[str, Any]]:
        """Take note of a piece's objects; return them, with long lists of numbers in them replaced by a zero."""
        found = self._shortened(piece)
        rows = [row for row in found if type(row) is dict]
        self.others += len(found) - len(rows)
        columns = {key: [row.get(key) for row in rows] for key in self._columns}
        if any(str in set(map(type, column)) for column in columns.values()):
            exact = self._whole(piece.text, piece.offset)  # a text may look like a list of numbers
            columns = {key: [row.get(key) for row in exact] for key in self._columns}
        for key, column in columns.items():
            self._columns[key].append(self._ids.numbers(column))
        data = np.frombuffer(piece.text, np.uint8)
        objects = data[piece.starts] == ord("{")
        self._starts.append(piece.starts[objects] + piece.offset)
        self._ends.append(piece.ends[objects] + piece.offset)
        return rows

    def _shortened(self, piece: Piece) -> list[Any]:
        try:
            return json_stream.values(_NUMBERS.sub(b"0", piece.text), self._name, piece.offset)
        except AlctlError:
            return json_stream.values(
                piece.text, self._name, piece.offset
            )  # the same error, at its right place

    def _whole(self, text: bytes, offset: int) -> list[dict[str, Any]]:
        return [row for row in json_stream.values(text, self._name, offset) if type(row) is dict]

    def close(self) -> None:
        """Make ``starts``, ``ends`` and ``columns`` of what was added."""
        self.starts, self.ends = _joined(self._starts), _joined(self._ends)
        self.columns = {key: _joined(parts) for key, parts in self._columns.items()}
        self._starts, self._ends, self._columns = [], [], {}

    def __len__(self) -> int:
        return len(self.starts)

    def rows(self, indices: NDArray[np.int64]) -> list[dict[str, Any]]:
        """Read the objects with these indices again, whole."""
        if not len(indices):
            return []
        breaks = np.flatnonzero(np.diff(indices) != 1)  # what stands side by side is read at once
        first = indices[np.concatenate([[0], breaks + 1])]
        last = indices[np.concatenate([breaks, [len(indices) - 1]])]
        spans = list(zip(self.starts[first].tolist(), self.ends[last].tolist(), strict=True))
        texts = [self._read(start, end) for start, end in spans]
        try:
            return self._whole(b",".join(texts), 0)
        except AlctlError:
            parts = (self._whole(text, span[0]) for text, span in zip(texts, spans, strict=True))
            return [row for part in parts for row in part]  # the same error, at its right place

    def _read(self, start: int, end: int) -> bytes:
        self._stream.seek(start)
        return self._stream.read(end - start)


def _joined(parts: list[Places]) -> Places:
    return np.concatenate(parts) if parts else np.empty(0, np.int64)
