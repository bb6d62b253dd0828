"""What is said about images, whatever file it came from: objects, classes, answers, and what could not be read.

Geometry is COCO's: absolute pixels of the upright image (EXIF orientation applied), top-left corner plus size.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

Split = Literal["pool", "validation", "test"]
Status = Literal["labeled", "skip", "unusable"]
KINDS = ("classification", "detection", "pose", "segmentation")
"""What images can be labeled with: a class each, or objects with boxes, with keypoints, with outlines or masks."""


def one_class_each(kind: str) -> bool:
    """Tell whether labels of a kind are one class for the whole image, and not objects in it."""
    return kind == "classification"


IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm", ".pbm", ".pnm",
    ".jp2", ".j2k", ".avif", ".heic", ".heif", ".jxl",
)  # fmt: skip
"""Of the files that are images, in lower case; `alctl.images.formats` knows which of them can be read here."""

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
    """x, y, visibility: 0 not labeled, 1 hidden, 2 visible; in the order of the category's keypoint names."""
    segmentation: Polygons | RLE | None = None
    crowd: bool = False
    """Many objects as one region (COCO's ``iscrowd``)."""
    difficult: bool = False
    """Hard to see even for people: models learn it, and are not measured by it (Pascal VOC's mark)."""

    @property
    def whole_image(self) -> bool:
        """Whether it says what the image is, not where something is in it."""
        return self.bbox is None and not self.keypoints and self.segmentation is None


class Category(NamedTuple):
    """A class, with the names of its keypoints if its objects have some."""

    name: str
    keypoints: tuple[str, ...] = ()
    """Names of the keypoints, in order."""
    skeleton: tuple[tuple[int, int], ...] = ()
    """Pairs of keypoints that are joined when drawn, 0-based."""


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
    """Pixels, as the file declares them."""
    height: int | None = None
    digest: str = ""
    """SHA-256 of the image, hexadecimal, where the file or the image beside it tells."""
    where: str = ""
    """The place in the file in its own terms, such as "task 12" or "labels/a.txt"; with ``line``, both are shown."""
    made_at: str = ""
    """When the annotator gave the answer: ISO 8601, UTC, to the second; sorts as text."""
    relative: bool = False
    """Coordinates are fractions of the image's width and height, which the file does not declare."""


class Refusal(NamedTuple):
    """One row or record of a file that cannot be taken, and why."""

    line: int
    problem: str
    where: str = ""


class Note(NamedTuple):
    """Something that a reader did to what it read and people should know, such as rotated boxes made upright."""

    what: str
    """A plural clause that completes "12 …", such as "rotated boxes became their upright hulls"."""
    times: int = 1


Record = LabeledImage | Refusal | Note | Category
"""What a format yields: answers, what it could not read, what it changed, and the classes that the file declares."""


class Assignment(NamedTuple):
    """One image of a round on its way to annotators."""

    item: int
    path: str
    """Relative to the dataset root."""
    image: str
    """Relative to the export folder, such as ``images/0000023_cat.jpg``; unique in it."""
    width: int
    height: int
    round: int
    digest: str
    score: float | None = None
    """What the strategy ranked it by, such as the predicted loss; None where annotators must not know."""
    predictions: tuple[Annotation, ...] | None = None
    """What the current model says, for annotators to correct; None where they start from nothing."""
    model: str = ""
    """Which model said it, such as "run 3"."""
