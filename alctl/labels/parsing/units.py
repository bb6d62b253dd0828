"""Whether a file's coordinates are pixels or fractions of the image's sides.

The file says so, or the user does, or the user is asked. Values only ever rule a unit out, and never choose between two
that are both possible: a box of less than a pixel and a box of the whole image in fractions look the same.
"""

from collections.abc import Iterable, Iterator
from typing import Literal

from alctl.errors import AlctlError
from alctl.labels.annotation import RLE, Annotation, LabeledImage

UnitsOption = Literal["", "pixels", "fractions"]
"""An option for files that do not say their unit; empty: the user is asked where it matters."""
OVERSHOOT = 0.01
"""Share of a side by which a fraction may reach over the image's edge, as roundings do; beyond, it is no fraction."""


class UnstatedError(AlctlError):
    """A question to the user about a whole import, for readers that turn other errors into refusals of one image."""


STATED = "files say their own units; --option units was not used for them"
"""What a reader notes where a file's statement overrides an option."""


def settled(image: LabeledImage, units: UnitsOption, file: str, where: str) -> LabeledImage:
    """Return the image as one in ``units``, or, where they are not told, in the only ones that its coordinates can have.

    ``file`` and ``where`` name the place for the question. Raises UnstatedError where both are possible, and ValueError
    where a coordinate contradicts ``units``.
    """
    if units == "pixels":
        return image
    beyond = next((n for n in _coordinates(image.annotations) if not -OVERSHOOT <= n <= 1 + OVERSHOOT), None)
    if units and beyond is not None:
        raise ValueError(f"{beyond:g} is not a fraction of an image's side, though the units are fractions")
    if not units and beyond is None and _matters(image):
        raise UnstatedError(
            f"{file}, {where}: no coordinate is above 1, so they may be pixels or fractions of the image's sides, and "
            "the file does not say which: give --option units=pixels or --option units=fractions"
        )
    return image._replace(relative=True) if units else image


def require_pixels(image: LabeledImage, name: str) -> None:
    """Raise AlctlError if an image that is to be written in a format of pixels has its coordinates in fractions."""
    if image.relative:
        raise AlctlError(
            f"{image.path}: its coordinates are fractions of the image's sides; {name} has pixels"
        )


def _matters(image: LabeledImage) -> bool:
    """Tell whether it makes a difference: it makes none without coordinates, and in an image of one pixel.

    A mask is always of pixels, and so is what stands beside it.
    """
    masked = any(isinstance(annotation.segmentation, RLE) for annotation in image.annotations)
    one_pixel = image.width == image.height == 1
    return not masked and not one_pixel and next(_coordinates(image.annotations), None) is not None


def _coordinates(annotations: Iterable[Annotation]) -> Iterator[float]:
    for annotation in annotations:
        if annotation.bbox is not None:
            x, y, width, height = annotation.bbox
            yield from (x, y, x + width, y + height)
        if isinstance(annotation.segmentation, tuple):
            for polygon in annotation.segmentation:
                yield from polygon
        for x, y, visibility in annotation.keypoints:
            if visibility:
                yield from (x, y)
