"""Which text a database can store, what people and classes can be called, and what of a text a terminal may get."""

import re
import unicodedata
from collections.abc import Iterable

_NO_TEXT = re.compile("[\0\ud800-\udfff]")
"""What files may hold and databases do not take: the null character, and bytes of names that are not UTF-8."""
LONGEST = 200
"""Characters of a name."""
_CONTROLS = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode categories of control characters, broken halves of characters, and line ends."""
_DIRECTIONS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""What turns the order of the characters around it (Unicode Annex 9); Hebrew and Arabic need none of it in a name."""


def is_text(text: str) -> bool:
    """Tell whether any database can store a text."""
    return "\0" not in text and (text.isascii() or not _NO_TEXT.search(text))


def as_text(text: str) -> str:
    """Return a text with a replacement character for what cannot be stored; no path of the pool has one."""
    return text if is_text(text) else _NO_TEXT.sub("\ufffd", text)


def name_problem(name: str) -> str:
    """Return why no class, keypoint or person can be called this, as what follows their name; else an empty string."""
    if len(name) > LONGEST:
        return f"has {len(name):,} characters, and {LONGEST} are the most a name can have"
    if not all(map(_visible, name)):
        return (
            "holds control characters, line ends or marks that turn the text around, which no name may have"
        )
    return ""


def is_name(name: str) -> bool:
    """Tell whether a class, keypoint or person can be called this."""
    return (name.isprintable() and len(name) <= LONGEST) or not name_problem(name)


def look_alikes(names: Iterable[str], known: Iterable[str]) -> dict[str, str]:
    """Return for each name the earlier or known one that differs from it only in case or punctuation, if there is one.

    Single characters differ by what they are: "C" and "c" are two letters.
    """
    found, seen = dict[str, str](), {_bare(name): name for name in known}
    for name in names:
        like = seen.setdefault(_bare(name), name)
        if like != name:
            found[name] = like
    return found


def _bare(name: str) -> str:
    """Return the letters and digits of a name, in lower case; digits that something parts stay apart."""
    if len(name) == 1:
        return name
    bare = re.sub(r"(?<=\d)[\W_]+(?=\d)", "·", unicodedata.normalize("NFKC", name).casefold())
    return re.sub(r"[^\w·]|_", "", bare) or name


def visible(text: str, keep: str = "") -> str:
    r"""Return a text as a terminal may get it: an escape such as ``\x1b`` for each character that commands it.

    ``keep`` holds those that may stay, such as the line ends of a text of several lines.
    """
    if text.isprintable():
        return text
    return "".join(char if _visible(char) or char in keep else ascii(char)[1:-1] for char in text)


def _visible(char: str) -> bool:
    return unicodedata.category(char) not in _CONTROLS and char not in _DIRECTIONS
