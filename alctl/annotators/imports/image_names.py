"""How tools rewrite the names of images: one set of rules for all formats.

What a tool put around a name is taken off (an address, the prefix of an upload, Roboflow's ending); what it lost is
lost from both names before they are compared (case, suffix, spaces). The first rule that finds an image decides.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple
from unicodedata import normalize
from urllib.parse import unquote, urlsplit

from alctl.labels.annotation import IMAGE_SUFFIXES

NUMBER = "images were told by the item's number in their names"
ADDRESS = "images were told by the path in their addresses"
UPLOAD = "images were told by their names behind the prefix of an upload"
ROBOFLOW = "images were told by the names that they had before Roboflow"
FORM = "images were told by their names in another Unicode form"
CASE = "images were told by their names in another case"
SUFFIX = "images were told by their names with another suffix"
CLEANED = "images were told by their names as servers clean them"
OWN_NAME = "images were told by the names of their label files"

_UPLOAD = re.compile(r"[0-9a-f]{8}-(?=.)")
_ROBOFLOW = re.compile(r"(.+)_(\w{3,4})\.rf\.[0-9A-Za-z]{8,64}(?:\.\w{3,4})?")
_EXPORTED = re.compile(r"(\d{7,9})_(.+)")
"""The name that an export gives an image: item and file name."""
_NO_LETTER = re.compile(r"[\W_]+")
_UNCLEAN = re.compile(r"[^-\w./]")


class Origin(NamedTuple):
    """A path as it may have been before tools rewrote it, and what they did."""

    path: str
    rules: tuple[str, ...] = ()


def has_suffix(path: str) -> bool:
    """Tell whether a path ends as the names of images do."""
    return path.lower().endswith(IMAGE_SUFFIXES)


def name_of(path: str) -> str:
    """Return what stands behind the last slash."""
    return path.rpartition("/")[2]


def bare(path: str) -> str:
    """Return a path without the suffix of an image."""
    return path[: path.rindex(".")] if has_suffix(path) else path


def origins(path: str) -> list[Origin]:
    """Return a path as it is, and without what tools may have put around it, one thing after the other."""
    found = [Origin(path)]
    for rule, undone in ((ADDRESS, _from_address), (UPLOAD, _from_upload), (ROBOFLOW, _from_roboflow)):
        before = found[-1]
        if (earlier := undone(before.path)) not in ("", before.path):
            found.append(Origin(earlier, (*before.rules, rule)))
    return found


def _from_address(path: str) -> str:
    if "://" in path:
        try:
            return unquote(urlsplit(path).path).lstrip("/")
        except ValueError:
            return path
    return unquote(path.partition("?")[0]) if "%" in path or "?" in path else path


def _from_upload(path: str) -> str:
    folder, slash, name = path.rpartition("/")
    return f"{folder}{slash}{_UPLOAD.sub('', name, count=1)}" if _UPLOAD.match(name) else path


def _from_roboflow(path: str) -> str:
    folder, slash, name = path.rpartition("/")
    found = _ROBOFLOW.fullmatch(name)
    return f"{folder}{slash}{found[1]}.{found[2]}" if found else path


def exported(path: str) -> tuple[int, str] | None:
    """Return the item's number in a path such as ``images/0000023_cat.jpg``, and the name behind it."""
    found = _EXPORTED.fullmatch(name_of(path))
    return (int(found[1]), found[2]) if found else None


def key(path: str) -> str:
    """Return what all rewritings of an image's name have in common: its letters and digits, in lower case."""
    name = bare(name_of(path))
    plain = name if name.isascii() else normalize("NFKC", name)
    return _NO_LETTER.sub("", plain.casefold()) or name


def _form(path: str) -> str:
    return path if path.isascii() else normalize("NFC", path)


def _case(path: str) -> str:
    return _form(_form(path).casefold())


def _clean(path: str) -> str:
    """Return a path as Django keeps the names of uploads: spaces become underscores, other marks go."""
    return _UNCLEAN.sub("", _form(path).strip().replace(" ", "_"))


class _Loss(NamedTuple):
    """What a rewriting has lost: compared are the given name and the pool's, each without it."""

    rule: str
    given: Callable[[str], str]
    pool: Callable[[str], str]


_LOSSES = (
    _Loss("", str, str),
    _Loss(FORM, _form, _form),
    _Loss(CASE, _case, _case),
    _Loss(SUFFIX, lambda path: _case(bare(path)), lambda path: _case(bare(path))),
    _Loss(CLEANED, _form, _clean),
    _Loss(CLEANED, lambda path: _case(bare(path)), lambda path: _case(_clean(bare(path)))),
)
_OF_ROBOFLOW = _Loss(
    ROBOFLOW, lambda path: _case(bare(path)), lambda path: _case(bare(path).replace(" ", "-"))
)


class Hits(NamedTuple):
    """The images that a rule finds, and the rules that it took."""

    images: list[tuple[int, str]]
    rules: tuple[str, ...]


def hits(given: Sequence[Origin], images: Sequence[tuple[int, str]]) -> Hits:
    """Return which of some images (item and path) the first rule finds that finds any; none if no rule does."""
    for loss, origin in _rules(given):
        wanted = loss.given(origin.path)
        shortened = str if has_suffix(origin.path) else bare
        rewritten = {image: loss.pool(shortened(image[1])) for image in images}
        found = [image for image, path in rewritten.items() if name_of(path) == name_of(wanted)]
        if found:
            near = [image for image in found if f"/{rewritten[image]}".endswith(f"/{wanted}")]
            rules = dict.fromkeys((*origin.rules, loss.rule) if loss.rule else origin.rules)
            return Hits(near or found, tuple(rules))
    return Hits([], ())


def _rules(given: Sequence[Origin]) -> Iterator[tuple[_Loss, Origin]]:
    for loss in _LOSSES:
        for origin in given:
            yield loss, origin
    for origin in given:
        if ROBOFLOW in origin.rules:
            yield _OF_ROBOFLOW, origin
