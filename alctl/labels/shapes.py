"""Geometry of boxes, keypoints, polygons and masks: check, measure, clip, scale and turn them."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from alctl.labels import rle
from alctl.labels.annotation import RLE, Annotation, Polygons

Box = tuple[float, float, float, float]
SMALLEST_POLYGON = 6
"""Numbers: three points."""

TOLERANCE = 0.01
"""Share of an image's side, and at least a pixel, by which a shape may reach over its edge: tools round."""
UNSEEN = 0.01
"""Pixels that come from writing fractions with few digits, and that nobody needs to be told of."""


def problem(annotation: Annotation) -> str:
    """Return what is wrong with an object's shape, whatever its image is, or an empty string."""
    return (
        _box_problem(annotation.category, annotation.bbox)
        or _keypoint_problem(annotation.category, annotation.keypoints)
        or _segmentation_problem(annotation.category, annotation.segmentation)
    )


def _box_problem(category: str, box: Box | None) -> str:
    if box is None:
        return ""
    if not all(map(math.isfinite, box)):
        return f"a {category!r} box that is not finite: {_short(box)}"
    if box[2] <= 0 or box[3] <= 0:
        return f"a {category!r} box of {box[2]:g} × {box[3]:g} pixels"
    return ""


def _keypoint_problem(category: str, keypoints: Iterable[tuple[float, float, int]]) -> str:
    for x, y, visibility in keypoints:
        if visibility not in (0, 1, 2):
            return f"a {category!r} keypoint with visibility {visibility}, which is none of 0, 1, 2"
        if not (math.isfinite(x) and math.isfinite(y)):
            return f"a {category!r} keypoint that is not finite: {_short((x, y))}"
    return ""


def _segmentation_problem(category: str, segmentation: Polygons | RLE | None) -> str:
    if isinstance(segmentation, RLE):
        return _mask_problem(category, segmentation)
    for polygon in segmentation or ():
        if len(polygon) % 2 or len(polygon) < SMALLEST_POLYGON:
            return (
                f"a {category!r} polygon of {len(polygon)} numbers; three points, six numbers, are the least"
            )
        if not all(map(math.isfinite, polygon)):
            return f"a {category!r} polygon that is not finite: {_short(polygon)}"
    return ""


def _mask_problem(category: str, mask: RLE) -> str:
    try:
        rle.unpacked(mask)
    except ValueError as error:
        return f"{category!r}: {error}"
    return ""


def _short(numbers: Sequence[float]) -> str:
    return ", ".join(f"{number:g}" for number in numbers[:4])


def extent(annotations: Iterable[Annotation]) -> Box | None:
    """Return left, top, right, bottom around all objects of an image; keypoints that are not labeled do not count."""
    xs: list[float] = []
    ys: list[float] = []
    for annotation in annotations:
        if annotation.bbox is not None:
            x, y, width, height = annotation.bbox
            xs += (x, x + width)
            ys += (y, y + height)
        for x, y, visibility in annotation.keypoints:
            if visibility:
                xs.append(x)
                ys.append(y)
        if isinstance(annotation.segmentation, RLE):
            xs += (0.0, float(annotation.segmentation.size[1]))
            ys += (0.0, float(annotation.segmentation.size[0]))
        else:
            for polygon in annotation.segmentation or ():
                xs += (min(polygon[::2]), max(polygon[::2]))
                ys += (min(polygon[1::2]), max(polygon[1::2]))
    return (min(xs), min(ys), max(xs), max(ys)) if xs else None


def slack(side: int) -> float:
    """Return by how many pixels a shape may reach over an image with this side, to be clipped."""
    return max(1.0, TOLERANCE * side)


def clipped(annotation: Annotation, width: int, height: int) -> Annotation | None:
    """Return the object cut off at the image's edge; None if nothing of a box is left.

    Keypoints that are not labeled stay where they are.
    """
    box = annotation.bbox
    if box is not None:
        left, top = _within(box[0], width), _within(box[1], height)
        right, bottom = _within(box[0] + box[2], width), _within(box[1] + box[3], height)
        if right <= left or bottom <= top:
            return None
        box = (left, top, right - left, bottom - top)
    keypoints = tuple(
        (_within(x, width), _within(y, height), v) if v else (x, y, v) for x, y, v in annotation.keypoints
    )
    segmentation = annotation.segmentation
    if isinstance(segmentation, tuple):
        sides = (width, height)
        segmentation = tuple(tuple(_within(n, sides[i % 2]) for i, n in enumerate(p)) for p in segmentation)
    return replace(annotation, bbox=box, keypoints=keypoints, segmentation=segmentation)


def _within(value: float, side: int) -> float:
    return min(max(value, 0.0), float(side))


def scaled(annotation: Annotation, x: float, y: float) -> Annotation:
    """Return the object with its coordinates multiplied: ``x`` and ``y`` are width and height for relative ones.

    A mask has pixels of its own and is not scaled.
    """
    box, segmentation = annotation.bbox, annotation.segmentation
    if box is not None:
        box = (box[0] * x, box[1] * y, box[2] * x, box[3] * y)
    if isinstance(segmentation, tuple):
        segmentation = tuple(tuple(n * (y if i % 2 else x) for i, n in enumerate(p)) for p in segmentation)
    keypoints = tuple((a * x, b * y, v) for a, b, v in annotation.keypoints)
    return replace(annotation, bbox=box, keypoints=keypoints, segmentation=segmentation)


def rounded(annotation: Annotation) -> Annotation:
    """Return the object to a millionth of a pixel, so that the noise of a division is no change of a label."""
    box, segmentation = annotation.bbox, annotation.segmentation
    if box is not None:
        box = (round(box[0], 6), round(box[1], 6), round(box[2], 6), round(box[3], 6))
    if isinstance(segmentation, tuple):
        segmentation = tuple(tuple(round(number, 6) for number in polygon) for polygon in segmentation)
    keypoints = tuple((round(x, 6), round(y, 6), v) for x, y, v in annotation.keypoints)
    return replace(annotation, bbox=box, keypoints=keypoints, segmentation=segmentation)


def box_around(points: Sequence[float]) -> Box:
    """Return x, y, width, height around flat ``(x1, y1, x2, y2, ...)``."""
    left, top = min(points[::2]), min(points[1::2])
    return left, top, max(points[::2]) - left, max(points[1::2]) - top


def rotated(box: Box, degrees: float, about: tuple[float, float]) -> tuple[float, ...]:
    """Return the four corners of a box turned clockwise (as seen, y pointing down) about a point, in pixels.

    Label Studio turns about the top-left corner, CVAT about the center.
    """
    x, y, width, height = box
    sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    corners = ((x, y), (x + width, y), (x + width, y + height), (x, y + height))
    return tuple(
        value
        for a, b in ((a - about[0], b - about[1]) for a, b in corners)
        for value in (about[0] + a * cosine - b * sine, about[1] + a * sine + b * cosine)
    )


TURNED = "rotated boxes became their upright hulls"


def turned_hull(box: Box, degrees: float, about: tuple[float, float], size: tuple[int, int] | None) -> Box:
    """Return the upright box around one that is turned, in pixels, cut off at the edge of an image of (width, height).

    Corners of the hull, unlike the object, may well lie outside. What lies outside as a whole stays as it is.
    """
    hull = box_around(rotated(box, degrees, about))
    cut = clipped(Annotation("", hull), *size) if size else None
    return hull if cut is None or cut.bbox is None else cut.bbox


def turned_in_place(box: Box, degrees: float, size: tuple[int, int] | None) -> Box:
    """Return the upright box around one that is turned about its centre, as CVAT turns boxes in all of its formats."""
    return turned_hull(box, degrees, (box[0] + box[2] / 2, box[1] + box[3] / 2), size)


def boxed(annotation: Annotation) -> Annotation:
    """Return the object with the box around its polygons or mask, if it has none."""
    segmentation = annotation.segmentation
    if annotation.bbox is not None or segmentation is None:
        return annotation
    if isinstance(segmentation, RLE):
        return replace(annotation, bbox=rle.box(segmentation))
    return replace(annotation, bbox=box_around([number for polygon in segmentation for number in polygon]))
