"""What black and white are in images of more than 8 bits: measured once on a sample, for the whole project."""

import heapq
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection

from alctl.database import settings
from alctl.images import formats, levels
from alctl.images.levels import KINDS, Kind, Range
from alctl.images.scan import Probe

SAMPLE = 64
"""Images of a kind that are measured."""


@dataclass(frozen=True)
class Measured:
    """The range that a kind of image has in this project from now on."""

    kind: Kind
    black: float
    white: float
    images: int
    """How many were measured; 0 where a person has said it."""


class Sample:
    """Some of the images that do not say what white is: those with the smallest digests, which are as good as random."""

    def __init__(self) -> None:
        self._kept: dict[Kind, list[tuple[int, str]]] = {}

    def see(self, path: str, probe: Probe) -> None:
        """Take an image into account."""
        if probe.kind is None or probe.digest is None:
            return
        kept, entry = self._kept.setdefault(probe.kind, []), (-int.from_bytes(probe.digest), path)
        if len(kept) < SAMPLE:
            heapq.heappush(kept, entry)
        else:
            heapq.heappushpop(kept, entry)

    def paths(self) -> Mapping[Kind, list[str]]:
        """Return the sample of each kind that was seen."""
        return {kind: [path for _, path in self._kept[kind]] for kind in KINDS if kind in self._kept}


def settle(connection: Connection, root: Path, sample: Sample, said: Range | None) -> list[Measured]:
    """Give every kind of image in the sample its range, unless the project has one; return the new ones.

    ``said`` is what a person says that it is, for all kinds.
    """
    known = dict(settings.levels(connection))
    new: list[Measured] = []
    for kind, paths in sample.paths().items():
        if kind in known:
            continue
        found = [] if said else [one for path in paths if (one := _extremes(root, path)) is not None]
        if said is None and not found:
            continue
        known[kind] = said or levels.measured(kind, found)
        new.append(Measured(kind, *known[kind], len(found)))
    if new:
        settings.write_levels(connection, known)
    return new


def _extremes(root: Path, path: str) -> Range | None:
    """Return the least and greatest value of a file; None if it turns out to be broken."""
    try:
        with formats.opened(Path(os.path.join(root, path)).read_bytes()) as image:  # noqa: PTH118
            return levels.extremes(image)
    except Exception:  # whatever is wrong with it, whoever decodes it will say so
        return None
