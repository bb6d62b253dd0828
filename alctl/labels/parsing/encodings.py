"""Text files in UTF-16, as spreadsheets and Windows' tools save them, read as the UTF-8 that they should be."""

import codecs
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_BLOCK = 1 << 20


def encoding_of(head: bytes) -> str:
    """Return the encoding that the first bytes of a text tell: UTF-8, or UTF-16 where there is its mark."""
    return "utf-16" if head.startswith(_MARKS) else "utf-8-sig"


def shown_head(head: bytes) -> str:
    """Return the beginning of a text as far as it can be read, to tell what the text is."""
    return head.decode(encoding_of(head), "ignore")


@contextmanager
def as_utf8(stream: IO[bytes]) -> Iterator[IO[bytes]]:
    """Open a stream that can seek, at its beginning, as UTF-8; a copy of one in UTF-16.

    Bytes that are no UTF-16 become replacement characters.
    """
    head = stream.read(2)
    stream.seek(0)
    if not head.startswith(_MARKS):
        yield stream
        return
    decoder = codecs.getincrementaldecoder("utf-16")("replace")
    with tempfile.TemporaryFile(buffering=0) as copy:
        while block := stream.read(_BLOCK):
            copy.write(decoder.decode(block).encode("utf-8", "replace"))
        copy.seek(0)
        yield copy
