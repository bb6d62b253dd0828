"""Staged objects brought to the pixels of their images, once it is known which images they are of."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import Connection

from alctl import objects, shapes
from alctl.intake import Intake
from alctl.pool import staging


def fit(connection: Connection, intake: Intake) -> None:
    """Bring fractions to pixels and clip what reaches over an edge by a rounding, now that the images are known."""
    ordered = intake.task == "segmentation"
    staging.reshape(connection, _in_pixels(staging.relative_rows(connection), ordered=ordered))
    over = list(staging.reaching_over(connection))
    far = [row.position for row in over if _too_far(row)]
    staging.mark(connection, "over the edge", far)
    near = [row for row in over if row.position not in set(far)]
    if near:
        staging.reshape(connection, _clipped(near, ordered=ordered))
        intake.notes["images had objects that reached over the edge by a rounding and were clipped"] += len(
            near
        )


def _too_far(row: Any) -> bool:
    across, down = shapes.slack(row.width), shapes.slack(row.height)
    return bool(
        row.reach_left < -across
        or row.reach_top < -down
        or row.reach_right > row.width + across
        or row.reach_bottom > row.height + down
    )


def _beyond(row: Any) -> float:
    """Return by how many pixels an answer reaches over its image."""
    return float(
        max(-row.reach_left, -row.reach_top, row.reach_right - row.width, row.reach_bottom - row.height)
    )


def _in_pixels(rows: Iterable[Any], *, ordered: bool) -> Iterator[tuple[Any, ...]]:
    for row in rows:
        found = [
            (shapes.rounded(shapes.scaled(a, row.width, row.height)), id_)
            for a, id_ in objects.loads(row.annotations)
        ]
        yield _reshaped(row.position, found, ordered=ordered)


def _clipped(rows: Iterable[Any], *, ordered: bool) -> Iterator[tuple[Any, ...]]:
    for row in rows:
        pairs = [(shapes.clipped(a, row.width, row.height), id_) for a, id_ in objects.loads(row.annotations)]
        yield _reshaped(row.position, [(a, id_) for a, id_ in pairs if a is not None], ordered=ordered)


def _reshaped(position: int, found: Sequence[tuple[Any, int]], *, ordered: bool) -> tuple[Any, ...]:
    reach = shapes.extent(annotation for annotation, _ in found) or (None, None, None, None)
    return (position, objects.dumps(found, ordered=ordered), *reach)
