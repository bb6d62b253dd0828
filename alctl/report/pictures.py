"""Thumbnails of the images that a report shows, and of no others."""

import base64
import io
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

from alctl.database import items, settings
from alctl.errors import AlctlError
from alctl.images.decode import BrokenImages, Source, read_image
from alctl.images.levels import Levels
from alctl.progress import Progress
from alctl.project import Project, required_state
from alctl.report.contents import Facts
from alctl.report.evaluation import as_ids

SIDE = 160
_SMALL = 64


class Thumbnail(NamedTuple):
    """A picture as text."""

    data: str
    """A `data:` URI."""
    small: bool
    """Its pixels are so few that they are better shown as squares than blurred."""


def shown(facts: Facts) -> set[int]:
    """Return every item that the report shows."""
    certain = facts.certain.images if facts.certain else []
    picks = [pick for row in facts.rounds for pick in row.shown]
    pairs = [item for row in facts.rounds for pair in row.pairs for item in (pair.item, pair.like)]
    return {*(image.item for image in certain), *(pick.item for pick in picks), *pairs}


def thumbnails(project: Project, ids: Iterable[int], progress: Progress) -> dict[int, Thumbnail]:
    """Return a thumbnail of each item; those that cannot be read are left out."""
    with project.reading() as connection:
        root = required_state(connection, project.folder).root
        ranges = settings.levels(connection)
        found = items.fetch(connection, as_ids(ids))
    made: dict[int, Thumbnail] = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        sources = [Source(item.id, f"{root}/{item.path}", item.digest) for item in found]
        for done, (source, thumbnail) in enumerate(
            zip(sources, pool.map(partial(_thumbnail, ranges), sources), strict=True), start=1
        ):
            if thumbnail is not None:
                made[source.id] = thumbnail
            progress("drawing images", done, len(sources))
    return made


def _thumbnail(ranges: Levels, source: Source) -> Thumbnail | None:
    """Return a PNG of a small image as it is, or a JPEG of a larger one, shrunk."""
    try:
        image = read_image(source, SIDE, ranges)
    except (AlctlError, BrokenImages):
        return None
    small = max(image.size) <= _SMALL
    file = io.BytesIO()
    if small:
        image.save(file, "PNG")
    else:
        image.thumbnail((SIDE, SIDE))
        image.save(file, "JPEG", quality=75)
    kind = "png" if small else "jpeg"
    return Thumbnail(f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}", small)
