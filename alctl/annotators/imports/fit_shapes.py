"""Staged answers made to fit, once it is known which images they are of: into pixels, and into the class list."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from alctl.annotators.imports.check import Intake
from alctl.database import staged_classes, staged_labels
from alctl.labels import canonical_json, shapes
from alctl.labels.annotation import Annotation


def fit(connection: Connection, intake: Intake) -> None:
    """Bring fractions to pixels and clip what reaches over an edge by a rounding, now that the images are known.

    Where nothing of an object would be left, its image is refused as if it reached too far: no object may vanish.
    """
    ordered = intake.task == "segmentation"
    staged_labels.reshape(connection, _in_pixels(staged_labels.relative_rows(connection), ordered=ordered))
    far, near = [], []
    for row in staged_labels.reaching_over(connection):
        cut = None if _too_far(row) else _clipped(row)
        if cut is None:
            far.append(row.position)
        else:
            near.append(_reshaped(row.position, cut, ordered=ordered))
    staged_labels.mark(connection, "over the edge", far)
    if near:
        staged_labels.reshape(connection, near)
        intake.notes["images had objects that reached over the edge by a rounding and were clipped"] += len(
            near
        )


def settle_classes(connection: Connection, intake: Intake) -> None:
    """Forget the new classes and keypoints that only answers have which are not taken: a typo is no class."""
    classes = intake.classes
    if not classes.add or not staged_classes.any_left(connection):
        return
    used = staged_classes.used(connection)
    first = classes.size + 1
    kept = [id_ for id_ in range(first, first + len(classes.new)) if id_ in used]
    ids = {before: after for after, before in enumerate(kept, first) if before != after}
    classes.keypoints = {ids.get(id_, id_): names for id_, names in classes.keypoints.items() if id_ in used}
    classes.new = [classes.new[id_ - first] for id_ in kept]
    if ids:
        staged_classes.renumber(connection, ids)
        ordered = intake.task == "segmentation"
        staged_labels.reshape(
            connection, _renumbered(staged_classes.with_objects(connection), ids, ordered=ordered)
        )


def _renumbered(rows: Iterable[Any], ids: Mapping[int, int], *, ordered: bool) -> Iterator[tuple[Any, ...]]:
    for row in rows:
        found = [(annotation, ids.get(id_, id_)) for annotation, id_ in canonical_json.loads(row.annotations)]
        yield _reshaped(row.position, found, ordered=ordered)


def _too_far(row: Any) -> bool:
    across, down = shapes.slack(row.width), shapes.slack(row.height)
    return bool(
        row.reach_left < -across
        or row.reach_top < -down
        or row.reach_right > row.width + across
        or row.reach_bottom > row.height + down
    )


def _in_pixels(rows: Iterable[Any], *, ordered: bool) -> Iterator[tuple[Any, ...]]:
    for row in rows:
        found = [
            (shapes.rounded(shapes.scaled(a, row.width, row.height)), id_)
            for a, id_ in canonical_json.loads(row.annotations)
        ]
        yield _reshaped(row.position, found, ordered=ordered)


def _clipped(row: Any) -> list[tuple[Annotation, int]] | None:
    """Return the objects of an answer cut off at its image's edge; None if nothing would be left of one."""
    found = []
    for whole, id_ in canonical_json.loads(row.annotations):
        cut = shapes.clipped(whole, row.width, row.height)
        if cut is None or (_flat(cut) and not _flat(whole)):
            return None
        found.append((cut, id_))
    return found


def _flat(annotation: Annotation) -> bool:
    """Tell whether the outlines of an object hold no area between them."""
    if not isinstance(annotation.segmentation, tuple):
        return False
    return all(min(shapes.box_around(polygon)[2:]) <= 0 for polygon in annotation.segmentation)


def _reshaped(position: int, found: Sequence[tuple[Any, int]], *, ordered: bool) -> tuple[Any, ...]:
    reach = shapes.extent(annotation for annotation, _ in found) or (None, None, None, None)
    return (position, canonical_json.dumps(found, ordered=ordered), *reach)
