"""Large JSON files element by element, at the speed of the standard library's C decoder and in bounded memory.

ijson does this too, but several times slower (benchmarks/imports.py compares them).
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from alctl.errors import AlctlError

BLOCK = 1 << 22
"""Bytes read at once."""
LARGEST = 1 << 28
"""Characters of one element; a longer one is not a label."""


def elements(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield ``(key, element)`` of a top-level object's arrays, and of a top-level array with the key ``""``.

    Other values of a top-level object come as ``(key, value)``. Raises AlctlError where the file is not JSON, is cut
    off, is not UTF-8, holds NaN or infinities, or is nested absurdly deep.
    """
    try:
        with path.open(encoding="utf-8-sig") as stream:
            yield from _Reader(path, stream).all()
    except UnicodeDecodeError as error:
        raise AlctlError(f"{path} is not UTF-8 text: {error.reason} at byte {error.start}") from error
    except OSError as error:
        raise AlctlError(f"cannot read {path}: {error.strerror}") from error


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number in JSON")


class _Reader:
    """A window over the text that grows while an element does not fit in it."""

    def __init__(self, path: Path, stream: Any) -> None:
        self.path = path
        self.stream = stream
        self.text = ""
        self.at = 0
        self.gone = 0  # characters before the window
        self.ended = False
        self.decode = json.JSONDecoder(parse_constant=_no_constant).raw_decode

    def all(self) -> Iterator[tuple[str, Any]]:
        opening = self._peek()
        if opening == "[":
            for element in self._array():
                yield "", element
        elif opening == "{":
            yield from self._object()
        else:
            raise self._error("it is neither an object nor an array")
        if self._peek():
            raise self._error("there is more after its end")

    def _object(self) -> Iterator[tuple[str, Any]]:
        self.at += 1
        if self._peek() == "}":
            self.at += 1
            return
        while True:
            if self._peek() != '"':
                raise self._error("a key is missing")
            key = self._value()
            self._take(":")
            if self._peek() == "[":
                for element in self._array():
                    yield key, element
            else:
                yield key, self._value()
            if self._take(",}") == "}":
                return

    def _array(self) -> Iterator[Any]:
        self.at += 1
        if self._peek() == "]":
            self.at += 1
            return
        while True:
            yield self._value()
            if self._take(",]") == "]":
                return

    def _take(self, wanted: str) -> str:
        mark = self._peek()
        if not mark or mark not in wanted:
            raise self._error(f"{' or '.join(map(repr, wanted))} is missing")
        self.at += 1
        return mark

    def _peek(self) -> str:
        """Return the next character that is not a space, or an empty string at the end."""
        while True:
            text, at = self.text, self.at
            while at < len(text) and text[at] in " \t\r\n":
                at += 1
            self.at = at
            if at < len(text):
                return text[at]
            if not self._more():
                return ""

    def _value(self) -> Any:
        self._peek()
        while True:
            try:
                value, end = self.decode(self.text, self.at)
            except json.JSONDecodeError as error:
                if self.ended or len(self.text) - self.at > LARGEST:
                    raise self._error(error.msg, error.pos) from error
            except (ValueError, RecursionError) as error:
                raise self._error(str(error) or "nested too deep") from error
            else:
                if end < len(self.text) or self.ended:  # a number may go on in what is not read yet
                    self.at = end
                    return value
            self._more()

    def _more(self) -> bool:
        """Read on; drop what is behind. The window doubles, so that a long element is not decoded again and again."""
        if self.ended:
            return False
        rest = self.text[self.at :]
        part = self.stream.read(max(BLOCK, len(rest)))
        self.gone += self.at
        self.text, self.at = rest + part, 0
        self.ended = not part
        return bool(part)

    def _error(self, message: str, at: int | None = None) -> AlctlError:
        place = self.gone + (self.at if at is None else at)
        cut = " (is it cut off?)" if self.ended and not self.text[self.at :].strip() else ""
        return AlctlError(f"{self.path} is not JSON: {message}, character {place:,}{cut}")
