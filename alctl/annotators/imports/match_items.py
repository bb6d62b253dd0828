"""The third step of an import: which item each answer is about.

By id, digest, exact path, end of the path, exported name, and last a unique name.

A name that several items have is never resolved by a guess; the caller gets all of them.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import PurePosixPath

import numpy as np
from sqlalchemy import Connection

from alctl.database import items, rounds, staged_matches
from alctl.errors import AlctlError
from alctl.labels.annotation import IMAGE_SUFFIXES

_EXPORTED = re.compile(r"(\d{7,9})_(.+)")
"""The name that an export gives an image: item and file name."""
Hit = tuple[int, str]
"""An item and its path."""


def match(connection: Connection, round_: int | None = None, *, leave_unknown: bool) -> dict[str, list[str]]:
    """Find the item of every staged answer; return the paths that may be several items, with those items' paths.

    Answers about items that did not go out with ``round_`` are set aside, and so are, with ``leave_unknown``, those
    about images that are not in the pool; AlctlError if there is no such round.
    """
    ambiguous = _match(connection)
    if round_ is not None:
        if rounds.find_round(connection, round_) is None:
            last = rounds.next_round(connection) - 1
            raise AlctlError(f"there is no round {round_}; the last one is {last}")
        staged_matches.keep_to_round(connection, round_)
    staged_matches.mark_unknown(connection, ambiguous, leave_unknown=leave_unknown)
    return ambiguous


def _match(connection: Connection) -> dict[str, list[str]]:
    """Find the item of every staged answer; return the paths that may be several items, with those items' paths."""
    staged_matches.match_exactly(connection)
    unmatched = staged_matches.unmatched_paths(connection)
    if not unmatched:
        return {}
    ends = {path: list(_ends(path)) for path in unmatched}
    known = staged_matches.ids_of_paths(connection, {end for some in ends.values() for end in some})
    found = {path: next((known[end] for end in some if end in known), None) for path, some in ends.items()}
    staged_matches.match_paths(connection, {path: id_ for path, id_ in found.items() if id_ is not None})
    rest = [path for path, id_ in found.items() if id_ is None]
    exported = _by_exported_name(connection, rest)
    staged_matches.match_paths(connection, exported)
    named = _by_name(connection, [path for path in rest if path not in exported])
    staged_matches.match_paths(
        connection, {path: hits[0][0] for path, hits in named.items() if len(hits) == 1}
    )
    return {path: [hit for _, hit in hits] for path, hits in named.items() if len(hits) > 1}


def _ends(path: str) -> Iterator[str]:
    """Yield the ends of a path at its folders, longest first: a file may name its images from another root."""
    parts = PurePosixPath(path).parts
    for start in range(1 if path.startswith("/") else 0, len(parts)):
        yield "/".join(parts[start:])


def _has_suffix(path: str) -> bool:
    return path.lower().endswith(IMAGE_SUFFIXES)


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _bare(path: str) -> str:
    """Return a path without the suffix of an image."""
    return path[: path.rindex(".")] if _has_suffix(path) else path


def _by_exported_name(connection: Connection, rest: Sequence[str]) -> dict[str, int]:
    """Return the items of paths such as ``images/0000023_cat.jpg``, where number and name are those of one item.

    Some tools give the name without its suffix.
    """
    parts = {path: _EXPORTED.fullmatch(_name(path)) for path in rest}
    numbers = {path: int(match[1]) for path, match in parts.items() if match}
    last = items.size(connection)
    wanted = sorted({n for n in numbers.values() if 0 < n <= last})
    known = {item.id: _name(item.path) for item in items.fetch(connection, np.array(wanted, dtype=np.int64))}
    return {
        path: number
        for path, number in numbers.items()
        if number in known
        and path.endswith(f"_{known[number] if _has_suffix(path) else _bare(known[number])}")
    }


def _by_name(connection: Connection, rest: Sequence[str]) -> dict[str, list[Hit]]:
    """Return for each path the items whose path ends with it, or else those with the same file name.

    A path that has no suffix of an image is compared without suffixes.
    """
    with_suffix = [path for path in rest if _has_suffix(path)]
    bare = [path for path in rest if not _has_suffix(path)]
    return {**_hits(connection, with_suffix, str), **_hits(connection, bare, _bare)}


def _hits(
    connection: Connection, rest: Sequence[str], shortened: Callable[[str], str]
) -> dict[str, list[Hit]]:
    if not rest:
        return {}
    wanted = {_name(path) for path in rest}
    by_name: dict[str, list[Hit]] = {}
    for id_, path in items.paths(connection):
        if (name := _name(shortened(path))) in wanted:
            by_name.setdefault(name, []).append((id_, path))
    named = {path: by_name.get(_name(path), []) for path in rest}
    return {
        path: [hit for hit in hits if f"/{shortened(hit[1])}".endswith(f"/{path}")] or hits
        for path, hits in named.items()
    }
