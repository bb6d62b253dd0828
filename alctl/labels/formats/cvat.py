"""CVAT for images 1.1: its XML, alone or in the zip or folder of an export, and back.

Coordinates are pixels and pass as they are; boxes are corner pairs, masks are run lengths row by row in a window.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, NamedTuple
from xml.etree.ElementTree import Element

import numpy as np

from alctl.errors import AlctlError
from alctl.labels import shapes
from alctl.labels.annotation import RLE, Annotation, Assignment, Category, LabeledImage, Note, Record, Refusal
from alctl.labels.format import LabelFormat
from alctl.labels.parsing.cvat import xml
from alctl.labels.parsing.encodings import shown_head
from alctl.labels.parsing.strays import outnumbered
from alctl.labels.parsing.units import STATED, UnitsOption, require_pixels, settled
from alctl.labels.parsing.unlabeled import answered
from alctl.labels.parsing.untrusted import Members, is_archive, members, xml_elements

_HEAD = 1 << 16
"""Bytes in which a file must show what it is."""
_ROOT = re.compile(r"\s*(<\?xml[^>]*>\s*)?(?><!--.*?-->\s*)*+<annotations[\s>]", re.DOTALL)
_OURS = re.compile(r"<version>\s*1\.[01]\s*</version>|<meta>\s*<(task|project|job)>")
_RUNS = re.compile(r"\s*[0-9]{1,12}(?>\s*,\s*[0-9]{1,12})*+\s*", re.ASCII)
_HANDED_OUT = "handed out by alctl: nobody has looked at this yet"

OCCLUDED = "occlusion marks of boxes, polygons and masks were left"
ATTRIBUTES = "attributes were left"
GROUPED = "grouped objects stayed objects of their own"
OUTSIDE = "skeletons without a point in the image were left"


@dataclass(frozen=True)
class Cvat(LabelFormat):
    """An XML file, or a folder or zip with one, that lists images with their shapes."""

    carries = frozenset({"category", "bbox", "keypoints", "polygons", "mask", "crowd", "difficult"})
    suffix = ".xml"

    empty: bool = False
    """Take an image without any shape as looked at: CVAT lists every image of a task, annotated or not."""

    units: UnitsOption = ""
    """Of the coordinates of a file that neither CVAT nor alctl wrote, where they can be either; CVAT's are pixels."""

    def recognise(self, path: Path) -> str:
        """A root ``annotations`` with version 1.0 or 1.1, or with what CVAT tells of a task, project or job."""
        try:
            with _opened(path) as (stream, _):
                head = shown_head(stream.read(_HEAD))
        except (OSError, AlctlError):
            return ""
        return "CVAT for images 1.1" if _ROOT.match(head) and _OURS.search(head) else ""

    def read(self, path: Path) -> Iterator[Record]:
        """Yield the classes of the file's head, then image by image, then what was left out."""
        with _opened(path) as (stream, name):
            reader = _Reader(name, units=self.units)
            elements = xml_elements(stream, name, "meta", "image", "track", root="annotations")
            records = (record for element, _ in elements for record in reader.records(element))
            yield from answered(records, reader.counts, empty=self.empty)
            yield from reader.notes()

    def write(self, images: Iterable[LabeledImage], path: Path, categories: Sequence[Category]) -> None:
        """Write one ``<image>`` each, after a head that declares the labels.

        Skipped and unusable images are left: CVAT could only say that there is nothing in them.
        """
        _write(images, path, categories, source="manual")

    def hand_out(
        self, assignments: Iterable[Assignment], path: Path, categories: Sequence[Category], task: str
    ) -> None:
        """Write what CVAT takes as the annotations of a new task: the images, with the model's predictions if any.

        Images have the names that CVAT gives them when the files of the ``images`` folder are uploaded. Beside it, a
        file of the same name ending in ``-labels.json`` holds what CVAT wants to know of the labels.
        """
        images = (
            LabeledImage(a.image.removeprefix("images/"), a.predictions or (), width=a.width, height=a.height)
            for a in assignments
        )
        _write(images, path, categories, source="auto", origin=_HANDED_OUT)
        labels = json.dumps([xml.as_json(category) for category in categories], ensure_ascii=False, indent=1)
        path.with_name(f"{path.stem}-labels.json").write_text(f"{labels}\n", encoding="utf-8")


@contextmanager
def _opened(path: Path) -> Iterator[tuple[IO[bytes], str]]:
    """Open the XML that is, or is in, ``path``; also tell its name."""
    try:
        file = None if path.is_dir() or is_archive(path) else path.open("rb")
    except OSError as error:
        raise AlctlError(f"cannot read {path}: {error.strerror}") from error
    if file is not None:
        with file:
            yield file, str(path)
        return
    with members(path) as found:
        name = _annotations_in(found)
        with found.open(name) as stream:
            yield stream, f"{path}: {name}"


def _annotations_in(found: Members) -> str:
    documents = [name for name in found.names if name.lower().endswith(".xml")]
    sure = [name for name in documents if name.rpartition("/")[2] == "annotations.xml"]
    named = sure or documents
    if documents and not sure and outnumbered(named, found.names):
        raise AlctlError(
            f"{found.path} holds labels of another format beside {named[0]}; name the one to import"
        )
    if len(named) != 1:
        what = f"several XML files: {', '.join(named[:3])}" if named else "no annotations.xml"
        raise AlctlError(f"{found.path} holds {what}; name the one to import")
    return named[0]


class _Reader:
    """Reads one file, and keeps the classes it declares and counts of what was left out."""

    def __init__(self, name: str, *, units: UnitsOption) -> None:
        self.name = name
        self.units: UnitsOption = units
        self.images = 0
        self.points: dict[str, tuple[str, ...]] = {}
        """Names of the points of each declared skeleton."""
        self.counts: Counter[str] = Counter()

    def records(self, element: Element) -> Iterator[Record]:
        if element.tag == "track":
            raise AlctlError(
                f"{self.name} is an export for video, with tracks; export it as 'CVAT for images 1.1' instead"
            )
        if element.tag == "image":
            yield from self._image(element)
            return
        if element.findtext("source") == _HANDED_OUT:
            raise AlctlError(
                f"{self.name} is what alctl handed out, not what annotators made of it; import what CVAT exports"
            )
        if xml.states_pixels(element):
            self.counts.update({STATED: 1} if self.units == "fractions" else {})
            self.units = "pixels"
        for category in xml.declared(element):
            self.points[category.name] = category.keypoints
            yield category

    def notes(self) -> Iterator[Note]:
        yield from (Note(what, count) for what, count in sorted(self.counts.items()))

    def _image(self, element: Element) -> Iterator[Record]:
        self.images += 1
        name = element.get("name", "")
        where = f"image {name!r}" if name else f"image {self.images:,}"
        if not name:
            yield Refusal(0, "it has no name", where)
            return
        counts: Counter[str] = Counter()
        try:
            image = _Image(xml.side_of(element, "width"), xml.side_of(element, "height"), self.points, counts)
            annotations = image.annotations(element)
            found = LabeledImage(name, annotations, width=image.width, height=image.height, where=where)
            found = settled(found, self.units, self.name, where)
        except ValueError as error:
            yield Refusal(0, str(error), where)
            return
        self.counts.update(counts)
        yield found


class _Image(NamedTuple):
    """One image while its shapes are read; ValueError says what is wrong with one of them."""

    width: int | None
    height: int | None
    points: Mapping[str, tuple[str, ...]]
    counts: Counter[str]

    def annotations(self, image: Element) -> tuple[Annotation, ...]:
        """Return the objects, those drawn on top last."""
        objects: dict[object, Annotation] = {}
        for place, element in enumerate(sorted(image, key=lambda child: xml.whole_of(child, "z_order", "0"))):
            label = element.get("label", "").strip()
            if not label:
                raise ValueError(f"<{element.tag}> without a label")
            try:
                part = self._object(element, label)
                key = (label, mark) if (mark := xml.mark_of(element, "object")) else place
                if part is not None:
                    objects[key] = _joined(objects[key], part) if key in objects else part
            except ValueError as error:
                raise ValueError(f"a {label!r} {element.tag}: {error}") from error
        found = tuple(objects.values())
        self._count_left(image)
        return found

    def _object(self, element: Element, label: str) -> Annotation | None:
        bbox = xml.box_of(element)
        match element.tag:
            case "tag":
                return Annotation(label)
            case "box":
                found = Annotation(label, self._box(element, bbox))
            case "polygon":
                points = xml.points_of(element)
                found = Annotation(label, bbox, segmentation=(tuple(n for point in points for n in point),))
            case "points":
                seen = 1 if xml.flag_of(element, "occluded") else 2
                found = Annotation(
                    label, bbox, keypoints=tuple((x, y, seen) for x, y in xml.points_of(element))
                )
            case "skeleton":
                found = Annotation(label, bbox, keypoints=self._skeleton(element, label))
                if bbox is None and not any(seen for _, _, seen in found.keypoints):
                    self.counts[OUTSIDE] += 1
                    return None
            case "mask":
                found = Annotation(label, bbox, segmentation=self._mask(element))
            case _:
                raise ValueError("no shape that can be a label here; redraw it as a box, polygon or mask")
        crowd, difficult = (bool(xml.mark_of(element, mark)) for mark in xml.MARKS)
        return replace(found, crowd=crowd, difficult=difficult) if crowd or difficult else found

    def _box(self, element: Element, noted: shapes.Box | None) -> shapes.Box:
        left, top, right, bottom = (xml.number_of(element, side) for side in ("xtl", "ytl", "xbr", "ybr"))
        box = (left, top, right - left, bottom - top)
        degrees = xml.number_of(element, "rotation", "0")
        if degrees % 360:
            self.counts[shapes.TURNED] += 1
            size = (self.width, self.height) if self.width and self.height else None
            return shapes.turned_in_place(box, degrees, size)
        same = noted is not None and all(abs(a - b) < 1e-6 for a, b in zip(box, noted, strict=True))
        return noted if noted is not None and same else box  # what was noted has the digits that corners lose

    def _skeleton(self, element: Element, label: str) -> tuple[tuple[float, float, int], ...]:
        points = {}
        for child in element:
            if child.tag == "attribute":
                continue
            name = child.get("label", "").strip()
            if child.tag != "points" or name in points:
                raise ValueError(f"{child.tag} {name!r}, where one point of each name should be")
            points[name] = _keypoint(child)
        declared = self.points.get(label, ())
        names = declared or tuple(str(n) for n in range(1, len(points) + 1))
        if unknown := sorted(points.keys() - set(names)):
            order = f"are {', '.join(declared)}" if declared else "are not declared in the file"
            raise ValueError(f"a point {unknown[0]!r}, but the points of this skeleton {order}")
        if not points:
            raise ValueError("it has no points")
        return tuple(points.get(name, (0.0, 0.0, 0)) for name in names)

    def _mask(self, element: Element) -> RLE:
        """Turn runs row by row in a window into runs column by column in the image."""
        if self.width is None or self.height is None:
            raise ValueError("the image has no width and height")
        text = element.get("rle", "")
        if not _RUNS.fullmatch(text):
            raise ValueError("its run lengths are not whole numbers with commas")
        runs = np.fromstring(text, dtype=np.int64, sep=",")
        if not runs[1::2].any():
            raise ValueError("it has no pixels")
        place = [xml.whole_of(element, side) for side in ("left", "top", "width", "height")]
        return xml.of_window(
            xml.Window(place[0], place[1], place[2], place[3], runs), (self.height, self.width)
        )

    def _count_left(self, image: Element) -> None:
        groups = Counter(
            element.get("group_id", "0")
            for element in image
            if element.tag != "tag" and not xml.mark_of(element, "object")
        )
        left = {
            ATTRIBUTES: sum(
                not attribute.get("name", "").startswith(xml.OURS) for attribute in image.iter("attribute")
            ),
            OCCLUDED: sum(
                xml.flag_of(element, "occluded")
                for element in image
                if element.tag in ("box", "polygon", "mask")
            ),
            GROUPED: sum(count for group, count in groups.items() if group != "0" and count > 1),
        }
        self.counts.update({what: count for what, count in left.items() if count})


def _write(
    images: Iterable[LabeledImage],
    path: Path,
    categories: Sequence[Category],
    *,
    source: str,
    origin: str = "",
) -> None:
    points = {category.name: category.keypoints for category in categories}
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        stream.writelines(xml.head_xml(categories, origin))
        for number, image in enumerate(labeled for labeled in images if labeled.status == "labeled"):
            require_pixels(image, "CVAT")
            stream.write(xml.image_xml(number, image, points, source))
        stream.write("</annotations>\n")


def _joined(one: Annotation, other: Annotation) -> Annotation:
    """Join two shapes that alctl wrote as one object, such as a skeleton and its box."""
    both = one.segmentation and other.segmentation
    segmentation = one.segmentation or other.segmentation
    if isinstance(one.segmentation, tuple) and isinstance(other.segmentation, tuple):
        both, segmentation = None, one.segmentation + other.segmentation
    if both or (one.keypoints and other.keypoints) or (one.bbox and other.bbox):
        raise ValueError("it says that it is one object with another shape, and cannot be")
    return replace(
        one,
        bbox=one.bbox or other.bbox,
        keypoints=one.keypoints or other.keypoints,
        segmentation=segmentation,
    )


def _keypoint(element: Element) -> tuple[float, float, int]:
    if xml.flag_of(element, "outside"):
        return 0.0, 0.0, 0
    points = xml.points_of(element)
    if len(points) != 1:
        raise ValueError(f"{len(points)} points where one should be")
    return (*points[0], 1 if xml.flag_of(element, "occluded") else 2)
