"""The third step of an import: which item each answer is about.

By id, digest, exact path, end of the path, the item's number in the name, and last the name itself, as it is or as tools
rewrite it (`image_names`).

A name that several items have is never resolved by a guess; the caller gets all of them.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np
from sqlalchemy import Connection

from alctl.annotators.imports import image_names
from alctl.annotators.imports.image_names import NUMBER, OWN_NAME, Origin
from alctl.database import items, rounds, staged_matches
from alctl.errors import AlctlError


class Resolved(NamedTuple):
    """Which item each of some paths means."""

    items: dict[str, int]
    rules: dict[str, tuple[str, ...]]
    """By which rules, where a tool has rewritten the path."""
    ambiguous: dict[str, list[str]]
    """The paths that may be several items, with those items' paths."""


def match(
    connection: Connection, round_: int | None, notes: Counter[str], *, leave_unknown: bool
) -> dict[str, list[str]]:
    """Find the item of every staged answer; return the paths that may be several items, with those items' paths.

    Answers about items that did not go out with ``round_`` are set aside, and so are, with ``leave_unknown``, those
    about images that are not in the pool; AlctlError if there is no such round. ``notes`` get how often an image was
    found by a name that a tool had rewritten.
    """
    staged_matches.match_exactly(connection)
    found = _resolved(connection, staged_matches.unmatched_paths(connection))
    staged_matches.match_paths(connection, found.items)
    notes.update(rule for rules in found.rules.values() for rule in rules)
    _match_other_names(connection, notes)
    if round_ is not None:
        if rounds.find_round(connection, round_) is None:
            last = rounds.next_round(connection) - 1
            raise AlctlError(f"there is no round {round_}; the last one is {last}")
        staged_matches.keep_to_round(connection, round_)
    staged_matches.mark_unknown(connection, found.ambiguous, leave_unknown=leave_unknown)
    return found.ambiguous


def _match_other_names(connection: Connection, notes: Counter[str]) -> None:
    """Find images by the other name that their file gives; mark answers whose names are those of two images."""
    rows = staged_matches.other_names(connection)
    found = _resolved(connection, sorted({row.also for row in rows})).items
    told = {row.position: found[row.also] for row in rows if row.also in found}
    unmatched = {row.position for row in rows if row.item_id is None}
    by_other = {position: item for position, item in told.items() if position in unmatched}
    staged_matches.match_positions(connection, by_other)
    notes.update({OWN_NAME: len(by_other)} if by_other else {})
    two = {
        row.position: told[row.position] for row in rows if told.get(row.position, row.item_id) != row.item_id
    }
    staged_matches.mark_two_names(connection, {at: item for at, item in two.items() if at not in unmatched})


def _resolved(connection: Connection, paths: Sequence[str]) -> Resolved:
    """Find the items of paths, by the first way that leads to one."""
    found = Resolved({}, {}, {})
    origins = {path: image_names.origins(path) for path in paths}
    ends = {
        path: [(end, origin) for origin in some for end in _ends(origin.path)]
        for path, some in origins.items()
    }
    wanted = {end for some in ends.values() for end, _ in some}
    known = staged_matches.ids_of_paths(connection, wanted) if wanted else {}
    for path, some in ends.items():
        if hit := next(((known[end], origin) for end, origin in some if end in known), None):
            found.items[path] = hit[0]
            found.rules[path] = hit[1].rules
    _by_number(connection, _rest(origins, found), found)
    _by_name(connection, _rest(origins, found), found)
    return found


def _rest(origins: Mapping[str, list[Origin]], found: Resolved) -> dict[str, list[Origin]]:
    return {path: some for path, some in origins.items() if path not in found.items}


def _ends(path: str) -> Iterator[str]:
    """Yield the ends of a path at its folders, longest first: a file may name its images from another root."""
    parts = PurePosixPath(path).parts
    for start in range(1 if path.startswith("/") else 0, len(parts)):
        yield "/".join(parts[start:])


def _by_number(connection: Connection, rest: Mapping[str, list[Origin]], found: Resolved) -> None:
    """Find paths such as ``images/0000023_cat.jpg``, where number and name are those of one item."""
    given = {
        path: [e for one in some if (e := image_names.exported(one.path))] for path, some in rest.items()
    }
    last = items.size(connection)
    wanted = sorted({number for some in given.values() for number, _ in some if 0 < number <= last})
    known = {
        item.id: image_names.key(item.path)
        for item in items.fetch(connection, np.array(wanted, dtype=np.int64))
    }
    for path, some in given.items():
        if hit := next((n for n, name in some if known.get(n) == image_names.key(name)), None):
            found.items[path] = hit
            found.rules[path] = (NUMBER,)


def _by_name(connection: Connection, rest: Mapping[str, list[Origin]], found: Resolved) -> None:
    """Find the items whose path ends as a path does, or else those with the same file name."""
    if not rest:
        return
    keys = {path: {image_names.key(origin.path) for origin in some} for path, some in rest.items()}
    wanted = frozenset[str]().union(*keys.values())
    by_key: dict[str, list[tuple[int, str]]] = {}
    for id_, path in items.paths(connection):
        if (key := image_names.key(path)) in wanted:
            by_key.setdefault(key, []).append((id_, path))
    for path, some in rest.items():
        images = [image for key in sorted(keys[path]) for image in by_key.get(key, ())]
        hits = image_names.hits(some, images)
        if len(hits.images) == 1:
            found.items[path] = hits.images[0][0]
            found.rules[path] = hits.rules
        elif hits.images:
            found.ambiguous[path] = [name for _, name in hits.images]
