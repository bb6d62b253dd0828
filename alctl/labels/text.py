"""Which text a database can store: not every name of a file or value in one."""

import re

_NO_TEXT = re.compile("[\0\ud800-\udfff]")
"""What files may hold and databases do not take: the null character, and bytes of names that are not UTF-8."""


def is_text(text: str) -> bool:
    """Tell whether any database can store a text."""
    return "\0" not in text and (text.isascii() or not _NO_TEXT.search(text))


def as_text(text: str) -> str:
    """Return a text with a replacement character for what cannot be stored; no path of the pool has one."""
    return text if is_text(text) else _NO_TEXT.sub("\ufffd", text)
