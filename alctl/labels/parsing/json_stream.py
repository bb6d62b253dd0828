"""Read large JSON files piece by piece, in bounded memory and faster than `json.load`.

orjson reads a document several times faster than the standard library, but only as a whole. So the file is read in
blocks; numpy finds the brackets outside strings, hence where elements end; and orjson gets the elements of a block as
one array. orjson checks every byte between the cuts and the reader checks the cuts: what passes is JSON.

Written here and not taken from ijson, which does not say at which byte an element begins (`json_index` needs that to read
it again), and whose C backend takes 1.9 times as long for the same file (measured: benchmarks/libraries.py).
"""

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from alctl.errors import AlctlError
from alctl.labels.parsing.encodings import as_utf8

Places = NDArray[np.int64]
BLOCK = 1 << 20
"""Bytes read at once."""
LARGEST = 1 << 28
"""Bytes of one element; a longer one is not a label."""
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_SCALAR = re.compile(rb"[^\s,\[\]{}\"]++(?=.)", re.DOTALL)
_NOT_FINITE = re.compile(rb"\b(?:NaN|Infinity)\b")
_SPACES = b" \t\r\n"
_MARK = b"\xef\xbb\xbf"


class Piece(NamedTuple):
    """Neighbouring elements of one array of the document, or one value of the top-level object that is no array."""

    key: str | None
    """Of the top-level object; None if the document is an array itself."""
    array: bool
    first: bool
    """Whether its array or value begins here; an empty array is one piece without text."""
    text: bytes
    """The elements with the commas between them, not yet checked: `values` does that."""
    offset: int
    """Where the text begins in the file, in bytes."""
    starts: Places
    """Where the elements that are objects or arrays begin in the text."""
    ends: Places
    """Where they end; exclusive."""


def elements(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield ``(key, element)`` of a top-level object's arrays, and of a top-level array with the key ``""``.

    Other values of a top-level object come as ``(key, value)``, and NaN and infinities as such numbers. Whole numbers from 2**64 on come as floats. Raises
    AlctlError where the file is not JSON, is cut off, is not UTF-8 or UTF-16, or is nested deeper than
    a thousand levels.
    """
    try:
        with path.open("rb") as file, as_utf8(file) as stream:
            for piece in pieces(stream, str(path)):
                for value in values(piece.text, str(path), piece.offset):
                    yield piece.key or "", value
    except OSError as error:
        raise AlctlError(f"cannot read {path}: {error.strerror}") from error


def pieces(stream: IO[bytes], name: str) -> Iterator[Piece]:
    """Yield a document in pieces, from the stream's first byte on; ``name`` is for error messages."""
    return _Reader(stream, name).all()


def values(text: bytes, name: str, offset: int) -> list[Any]:
    """Return elements of an array, given with the commas between them, as Python objects."""
    try:
        found: list[Any] = orjson.loads(b"[%b]" % text)
    except orjson.JSONDecodeError as error:
        if _NOT_FINITE.search(
            text
        ):  # which Python writes, and JSON does not have: for whoever reads that value
            with suppress(ValueError, RecursionError):
                return list(json.loads(b"[%b]" % text))
        raise _error(name, text, offset, error) from error
    return found


def _error(name: str, text: bytes, offset: int, error: orjson.JSONDecodeError) -> AlctlError:
    try:
        text.decode()
    except UnicodeDecodeError as wrong:
        return AlctlError(f"{name} is not UTF-8 text: {wrong.reason} at byte {offset + wrong.start:,}")
    place = offset + len(error.doc[1 : error.pos].encode())
    return AlctlError(f"{name} is not JSON: {error.msg.partition(':')[0]}, byte {place:,}")


class _Reader:
    """A window over the bytes that moves on with what is consumed, and grows while an element does not fit in it."""

    def __init__(self, stream: IO[bytes], name: str) -> None:
        self.stream = stream
        self.name = name
        self.text = b""
        self.at = 0
        self.offset = 0  # of the window's first byte
        self.ended = False
        self.depth = 0  # of brackets around the next byte, which is outside strings whenever the window moves
        self.inner = 1  # the depth at which elements stand
        self.starts = self.ends = self.closes = np.empty(0, np.int64)

    def all(self) -> Iterator[Piece]:
        while len(self.text) < len(_MARK) and self._more():
            pass
        if not self.text:
            raise self._problem("it is empty")
        if self.text.startswith(_MARK):
            self.at = len(_MARK)
        if self.text[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise AlctlError(f"{self.name} is UTF-16 text; save it as UTF-8")
        opening = self._peek()
        if opening not in (b"[", b"{"):
            raise self._problem("it is neither an object nor an array")
        self.inner = 1 if opening == b"[" else 2
        self._survey()
        yield from self._array(None) if opening == b"[" else self._object()
        if self._peek():
            raise self._problem("there is more after its end")

    def _object(self) -> Iterator[Piece]:
        self.at += 1
        self.depth = 1
        if self._peek() == b"}":
            self.at += 1
            return
        while True:
            if self._peek() != b'"':
                raise self._problem("a key is missing")
            text = self._token()
            (key,) = values(text, self.name, self.offset + self.at)
            self.at += len(text)
            self._take(b":")
            if self._peek() == b"[":
                yield from self._array(key)
            else:
                text = self._token()
                yield self._piece(key, len(text), array=False, first=True)
                self.at += len(text)
            if self._take(b",}") == b"}":
                self.depth = 0
                return

    def _array(self, key: str | None) -> Iterator[Piece]:
        self.at += 1
        self.depth += 1
        begun = False
        while True:
            close = self._first(self.closes)
            end = close if close is not None else self._last_end()
            if end is None:
                self._must_grow()
                continue
            text = self.text[self.at : end]
            if begun and not text.strip(_SPACES):
                raise self._problem("a value is missing")
            yield self._piece(key, end - self.at, array=True, first=not begun)
            self.at, begun = end, True
            if self._take(b",]") == b"]":
                self.depth -= 1
                return

    def _first(self, places: Places) -> int | None:
        index = int(np.searchsorted(places, self.at))
        return int(places[index]) if index < len(places) else None

    def _last_end(self) -> int | None:
        return int(self.ends[-1]) if len(self.ends) and self.ends[-1] > self.at else None

    def _piece(self, key: str | None, length: int, *, array: bool, first: bool) -> Piece:
        """Return the next bytes as a piece."""
        start, end = self.at, self.at + length
        begin, stop = np.searchsorted(self.starts, (start, end))
        after = np.searchsorted(self.ends, start, side="right")
        starts, ends = self.starts[begin:stop] - start, self.ends[after : after + stop - begin] - start
        return Piece(key, array, first, self.text[start:end], self.offset + start, starts, ends)

    def _token(self) -> bytes:
        """Return the text of the next value, which is not an array."""
        mark = self._peek()
        while True:
            if mark == b"{":
                close = self._first(self.closes)
                end = None if close is None else close + 1
            else:
                found = (_STRING if mark == b'"' else _SCALAR).match(self.text, self.at)
                end = found.end() if found else None
                if found is None and mark in (b",", b":", b"]", b"}"):
                    raise self._problem("a value is missing")
            if end is not None:
                return self.text[self.at : end]
            self._must_grow()

    def _take(self, wanted: bytes) -> bytes:
        mark = self._peek()
        if not mark or mark not in wanted:
            names = " or ".join(repr(chr(byte)) for byte in wanted)
            raise self._problem(f"{names} is missing")
        self.at += 1
        return mark

    def _peek(self) -> bytes:
        """Return the next byte that is not a space, or nothing at the end."""
        while True:
            text, at = self.text, self.at
            while at < len(text) and text[at] in _SPACES:
                at += 1
            self.at = at
            if at < len(text):
                return text[at : at + 1]
            if not self._more():
                return b""

    def _must_grow(self) -> None:
        if len(self.text) - self.at > LARGEST:
            raise self._problem(f"an element is longer than {LARGEST:,} bytes")
        if not self._more():
            self.at = len(self.text)
            raise self._problem("a value is not complete")

    def _more(self) -> bool:
        """Read on; drop what is behind. The window doubles, so that a long element is not surveyed again and again."""
        if self.ended:
            return False
        rest = self.text[self.at :]
        part = self.stream.read(max(BLOCK, len(rest)))
        self.offset += self.at
        self.text, self.at = rest + part, 0
        self.ended = not part
        self._survey()
        return bool(part)

    def _survey(self) -> None:
        """Find where elements begin and end in the window, and where the values that they stand in end."""
        places, depths, opening = _brackets(self.text[self.at :], self.depth)
        places += self.at
        self.starts = places[opening & (depths == self.inner + 1)]
        self.ends = places[~opening & (depths == self.inner)] + 1
        self.closes = places[~opening & (depths == self.inner - 1)]

    def _problem(self, message: str) -> AlctlError:
        cut = " (is it cut off?)" if self.ended and self.at >= len(self.text) else ""
        return AlctlError(f"{self.name} is not JSON: {message}, byte {self.offset + self.at:,}{cut}")


def _brackets(text: bytes, depth: int) -> tuple[Places, Places, NDArray[np.bool_]]:
    """Return where brackets stand outside strings, how deep it is behind each of them, and which ones open."""
    data = np.frombuffer(text, np.uint8)
    quotes = np.flatnonzero(data == ord('"'))
    if b"\\" in text:
        quotes = quotes[~_escaped(data, quotes)]
    folded = data & 0xDF  # [ and { differ in one bit, and so do ] and }
    places = np.flatnonzero((folded == ord("[")) | (folded == ord("]")))
    places = places[np.searchsorted(quotes, places) % 2 == 0]
    opening = folded[places] == ord("[")
    return places, depth + np.cumsum(np.where(opening, 1, -1)), opening


def _escaped(data: NDArray[np.uint8], quotes: Places) -> NDArray[np.bool_]:
    """Tell which quotes stand behind an odd number of backslashes."""
    slashes = np.flatnonzero(data == ord("\\"))
    begins = np.concatenate([[True], np.diff(slashes) != 1])
    run = slashes[
        np.maximum.accumulate(np.where(begins, np.arange(len(slashes)), 0))
    ]  # where each one's run begins
    before = np.searchsorted(slashes, quotes) - 1
    adjacent = (before >= 0) & (slashes[before] == quotes - 1)
    escaped: NDArray[np.bool_] = adjacent & ((quotes - run[before]) % 2 == 1)
    return escaped
