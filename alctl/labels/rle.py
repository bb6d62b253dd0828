"""Turn binary masks into COCO's run lengths and back: column by column, background first, packed into text.

Written here because label files come from outside and their counts may lie. Measured (benchmarks/libraries.py): of counts
that do not add up, `area`, `toBbox` and `iou` of pycocotools 2.0.11 return values and its `decode` some; faster-coco-eval 1.8
refuses them all in `decode` only, which takes 11 times as long as `unpacked` for a mask that only has to be checked.
Tests compare this code with pycocotools.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from alctl.labels.annotation import RLE

Counts = NDArray[np.int64]
Mask = NDArray[np.bool_]
LARGEST = 2**40
"""Pixels in a mask that is still believed."""


def unpacked(rle: RLE) -> Counts:
    """Return the run lengths, background first; ValueError unless they add up to height times width."""
    height, width = rle.size
    if min(height, width) < 1 or height * width >= LARGEST:
        raise ValueError(f"a mask of {width} × {height} pixels")
    text = np.frombuffer(rle.counts.encode("ascii", "replace"), dtype=np.uint8).astype(np.int64) - 48
    if len(text) == 0 or text.min() < 0 or text.max() > 63 or text[-1] & 32:
        raise ValueError("a mask whose run lengths are not COCO's text")
    ends = np.flatnonzero((text & 32) == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    if (ends - starts).max() > 8:
        raise ValueError("a mask with a run that is too long")
    place = np.arange(len(text)) - np.repeat(starts, ends - starts + 1)
    values = np.add.reduceat((text & 31) << (5 * place), starts)
    values -= np.where(
        text[ends] & 16, np.int64(1) << (5 * (ends - starts + 1)), 0
    )  # the sign of the last digit
    counts = values.copy()
    counts[1::2] = np.cumsum(
        values[1::2]
    )  # from the fourth on, a run is told by its difference to the last but one
    counts[2::2] = np.cumsum(values[2::2])
    return _checked(counts, height * width)


def _checked(counts: Counts, pixels: int) -> Counts:
    if counts.min() < 0 or counts.max() > pixels or int(counts.sum()) != pixels:
        raise ValueError(f"a mask whose run lengths do not add up to its {pixels:,} pixels")
    return counts


def packed(counts: Counts, size: tuple[int, int]) -> RLE:
    """Return run lengths, background first, as COCO's text; ValueError unless they add up to height times width."""
    counts = _checked(np.asarray(counts, dtype=np.int64), size[0] * size[1])
    values = counts.copy()
    values[3:] -= counts[1:-2]
    text = bytearray()
    for rest in values.tolist():
        done = False
        while not done:
            digit, rest = rest & 31, rest >> 5  # noqa: PLW2901 - its own digits are what is counted down
            done = rest == (-1 if digit & 16 else 0)
            text.append(48 + (digit | (0 if done else 32)))
    return RLE(size, text.decode("ascii"))


def of_mask(mask: Mask) -> RLE:
    """Return a (height, width) mask as run lengths."""
    flat = np.asarray(mask, dtype=bool).ravel(order="F")
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    counts = np.diff(np.concatenate([[0], edges, [len(flat)]]))
    if flat[0]:
        counts = np.concatenate([[0], counts])
    height, width = mask.shape
    return packed(counts, (int(height), int(width)))


def to_mask(rle: RLE) -> Mask:
    """Return run lengths as a (height, width) mask."""
    counts = unpacked(rle)
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(rle.size, order="F")


def box(rle: RLE) -> tuple[float, float, float, float] | None:
    """Return x, y, width, height of what is set in a mask; None if nothing is."""
    mask = to_mask(rle)
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if len(columns) == 0:
        return None
    return (
        float(columns[0]), float(rows[0]),
        float(columns[-1] - columns[0] + 1), float(rows[-1] - rows[0] + 1),
    )  # fmt: skip


def inside(polygon: Sequence[float], size: tuple[int, int]) -> Mask:
    """Return the (height, width) mask of the pixels whose centres a flat polygon has an odd number of times around it.

    One that holds no centre becomes the pixels under its corners, so that no object is lost.
    """
    height, width = size
    points = np.asarray(polygon, dtype=float).reshape(-1, 2)
    (x, y), (next_x, next_y) = points.T, np.roll(points, -1, axis=0).T
    top, bottom = (
        np.clip(np.ceil(edge(y, next_y) - 0.5), 0, height).astype(np.int64)
        for edge in (np.minimum, np.maximum)
    )
    edge = np.repeat(np.arange(len(points)), bottom - top)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(bottom - top) - bottom, bottom - top)
    crossing = x[edge] + (row + 0.5 - y[edge]) / (next_y - y)[edge] * (next_x - x)[edge]
    column = np.clip(np.ceil(crossing - 0.5), 0, width).astype(np.int64)
    crossings = np.bincount(row * (width + 1) + column, minlength=height * (width + 1)).reshape(
        height, width + 1
    )
    mask: Mask = np.cumsum(crossings, axis=1)[:, :width] % 2 == 1
    if not mask.any():
        corners = np.clip(points, 0, (width - 1, height - 1)).astype(np.int64)
        mask[corners[:, 1], corners[:, 0]] = True
    return mask
