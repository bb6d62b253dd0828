"""Pascal VOC's XML piece by piece: what one file says of its image; ValueError says what is wrong with it."""

import math
import re
from collections import Counter
from pathlib import PurePosixPath
from xml.etree.ElementTree import Element

from alctl.labels import shapes
from alctl.labels.annotation import IMAGE_SUFFIXES, Annotation
from alctl.labels.parsing.units import UnstatedError

CORNERS, FLAGS = ("xmin", "ymin", "xmax", "ymax"), ("truncated", "occluded")
_PLAIN = {"name", "bndbox", "pose", "difficult", *FLAGS}
_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,400}(?:\.[0-9]{0,400})?|\.[0-9]{1,400})(?:[eE][+-]?[0-9]{1,3})?")


class NoOriginError(UnstatedError):
    """A file does not say where its pixels begin."""


def object_of(
    element: Element, name: str, origin: int | None, size: tuple[int, int] | None, notes: Counter[str]
) -> Annotation:
    """Return an object with its box in COCO's terms; NoOriginError where the file and the user say no ``origin``."""
    boxes = element.findall("bndbox")
    if not name:
        raise ValueError("it has no <name>")
    if len(boxes) != 1:
        raise ValueError(f"it has {len(boxes)} <bndbox>, not one; other shapes are not VOC's")
    box = _box(boxes[0], origin)
    if origin and min(box[2:]) <= 1:
        notes["boxes are at most one pixel wide or high (xmax = xmin counted from 1): stray clicks?"] += 1
    _note_rest(element, notes)
    for attribute in element.iterfind("attributes/attribute"):
        if attribute.findtext("name") == "rotation" and (turn := number_of(attribute, "value") % 360):
            notes[shapes.TURNED] += 1
            box = shapes.turned_in_place(box, turn, size)
    return Annotation(name, bbox=box, difficult=_flagged(element, "difficult"))


def _box(element: Element, origin: int | None) -> shapes.Box:
    left, top, right, bottom = (number_of(element, corner) for corner in CORNERS)
    if origin is None:
        raise NoOriginError
    if origin and min(left, top) < 1:
        raise ValueError(
            f"a coordinate of {min(left, top):g}, although the first pixel is 1 by --option origin=1"
        )
    # A sum and a difference of binary fractions leave a last digit that nobody wrote.
    width, height = round(right - left + origin, 9), round(bottom - top + origin, 9)
    if width <= 0 or height <= 0:
        raise ValueError(
            f"a box without an area: xmin {left:g}, ymin {top:g}, xmax {right:g}, ymax {bottom:g}"
        )
    return left - origin, top - origin, width, height


def stated_origin(root: Element) -> int | None:
    """Return the number of the first pixel, if the file says it, as alctl's do; they also say that they are in pixels."""
    if (stated := root.find("alctl")) is None:
        return None
    if stated.get("units") != "pixels" or stated.get("origin") not in ("0", "1"):
        raise ValueError('its <alctl> does not say units="pixels" and an origin of 0 or 1')
    return int(stated.get("origin", ""))


def number_of(element: Element, tag: str) -> float:
    """Return the number in a part of an element."""
    text = (element.findtext(tag) or "").strip()
    if not _NUMBER.fullmatch(text) or not math.isfinite(number := float(text)):
        raise ValueError(f"{tag} is {text[:40]!r}, which is not a number")
    return number


def side_of(root: Element, tag: str) -> int | None:
    """Return the declared width or height; tools that do not know it write 0 or nothing."""
    if not (root.findtext(f"size/{tag}") or "").strip():
        return None
    number = number_of(root, f"size/{tag}")
    if number < 0 or number != int(number) or number > 1 << 30:
        raise ValueError(f"the image's {tag} is {number:g}, which is not a number of pixels")
    return int(number) or None


def is_empty(root: Element) -> bool:
    """Tell whether a file without objects is what a tool saves for an image with nothing on it."""
    elsewhere = any(element.tag in {"object", "bndbox"} for element in root.iter())
    return not elsewhere and any(child.tag in {"folder", "filename", "size", "segmented"} for child in root)


def _flagged(element: Element, flag: str) -> bool:
    return (element.findtext(flag) or "").strip().lower() not in {"", "0", "false"}


def is_segmented(root: Element) -> bool:
    """Tell whether a file says that its image has regions, which the file itself cannot hold."""
    return _flagged(root, "segmented")


def _note_rest(element: Element, notes: Counter[str]) -> None:
    """Count what an object has beside its class and its box."""
    for flag in FLAGS:
        if _flagged(element, flag):
            notes[f"objects are marked as {flag}, which was left out"] += 1
    if (element.findtext("pose") or "").strip().lower() not in {"", "unspecified"}:
        notes["objects have a pose such as Left, which was left out"] += 1
    if any(child.tag not in _PLAIN for child in element):
        notes["objects have parts, actions, attributes or other elements, which were left out"] += 1


def image_path(root: Element, inside: PurePosixPath) -> str:
    """Return the image's path: the file's place below ``Annotations``, and the name that it gives.

    A name that is none, such as "1" or a folder, gives way to the XML file's own. ``<path>`` is of another machine.
    """
    raw = (root.findtext("filename") or "").replace("\\", "/")
    if PurePosixPath(raw).stem != inside.stem:
        raw = raw.strip()
    named = PurePosixPath(raw)
    if not (named.suffix.lower() in IMAGE_SUFFIXES or named.stem == inside.stem):
        return str(inside.with_suffix(""))
    if inside.parent == PurePosixPath() and ":" not in raw and not {"..", "/"}.intersection(named.parts):
        return str(named)
    return str(inside.with_name(named.name))
