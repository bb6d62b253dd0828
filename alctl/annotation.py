"""The neutral records in which formats, tasks and the pool meet.

Geometry is COCO's: absolute pixels of the upright image (EXIF orientation applied), top-left corner plus size.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

Split = Literal["pool", "validation", "test"]
Status = Literal["labeled", "skip", "unusable"]

Polygons = tuple[tuple[float, ...], ...]
"""One flat ``(x1, y1, x2, y2, ...)`` per polygon; several polygons may be one object."""


@dataclass(frozen=True, slots=True)
class RLE:
    """A binary mask in COCO's compressed run lengths, column by column; ``size`` is (height, width)."""

    size: tuple[int, int]
    counts: str


@dataclass(frozen=True, slots=True)
class Annotation:
    """One object; a whole-image class is an annotation without geometry."""

    category: str
    bbox: tuple[float, float, float, float] | None = None
    """x, y, width, height."""
    keypoints: tuple[tuple[float, float, int], ...] = ()
    """x, y, visibility: 0 not labeled, 1 hidden, 2 visible."""
    segmentation: Polygons | RLE | None = None


class LabeledImage(NamedTuple):
    """What one annotator said about one image; no annotations means "looked at, nothing there".

    A named tuple, not a dataclass, because one is made for every row of every imported file.
    """

    path: str
    annotations: tuple[Annotation, ...] = ()
    item: int | None = None
    """alctl's own id, where the file carries it."""
    annotator: str = ""
    status: Status = "labeled"
    line: int = 0
    """Where in the file it stands, 1-based; 0 if the format has no lines."""
    seconds: float | None = None
    """Time the annotator spent."""
    width: int | None = None
    height: int | None = None


class Refusal(NamedTuple):
    """One row or record of a file that cannot be taken, and why."""

    line: int
    problem: str
