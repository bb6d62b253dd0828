"""The fourth step of an import, now that the images are known: shapes in their pixels, one answer an annotator."""

from collections.abc import Iterable, Iterator

from sqlalchemy import Connection

from alctl.annotators.imports.check import CheckedAnswers
from alctl.database import staged_labels, staged_problems
from alctl.database.staged_labels import Objects, StagedObjects
from alctl.labels import shapes
from alctl.labels.annotation import Annotation

CLIPPED = "images had objects that reached over the edge by a rounding and were clipped"


def fit(connection: Connection, checked: CheckedAnswers) -> None:
    """Bring fractions to pixels, clip what reaches over an edge by a rounding, and find repeated answers.

    Where nothing of an object would be left, its image is refused as if it reached too far: no object may vanish.
    """
    staged_problems.mark_misfits(connection)
    relative = staged_labels.relative_objects(connection)
    staged_labels.replace_objects(connection, _in_pixels(relative), ordered=checked.ordered)
    too_far: list[int] = []
    clipped = _clipped_rows(staged_labels.objects_over_an_edge(connection), checked, too_far)
    staged_labels.replace_objects(connection, clipped, ordered=checked.ordered)
    staged_labels.mark(connection, "over the edge", too_far)
    staged_problems.mark_repeats(connection)


def _in_pixels(rows: Iterable[StagedObjects]) -> Iterator[tuple[int, Objects]]:
    for row in rows:
        scaled = ((shapes.scaled(whole, row.width, row.height), id_) for whole, id_ in row.objects)
        yield row.position, [(shapes.rounded(annotation), id_) for annotation, id_ in scaled]


def _clipped_rows(
    rows: Iterable[StagedObjects], checked: CheckedAnswers, too_far: list[int]
) -> Iterator[tuple[int, Objects]]:
    """Yield the objects that could be clipped; put the positions of the other answers into ``too_far``."""
    for row in rows:
        cut = None if _too_far(row) else _clipped(row)
        if cut is None:
            too_far.append(row.position)
        else:
            checked.notes[CLIPPED] += 1
            yield row.position, cut


def _too_far(row: StagedObjects) -> bool:
    """Tell whether something reaches over an edge by more than a rounding."""
    across, down = shapes.slack(row.width), shapes.slack(row.height)
    return (
        row.left < -across
        or row.top < -down
        or row.right > row.width + across
        or row.bottom > row.height + down
    )


def _clipped(row: StagedObjects) -> Objects | None:
    """Return the objects of an answer cut off at its image's edge; None if nothing would be left of one."""
    found = []
    for whole, id_ in row.objects:
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
