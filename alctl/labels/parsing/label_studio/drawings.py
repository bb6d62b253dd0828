"""Turn the results of one Label Studio annotation into the objects of its image, and back.

Coordinates are percent of the image's size. Where several regions are one object, `results` says so in the regions'
``meta``, which Label Studio keeps.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from alctl.errors import AlctlError
from alctl.labels import rle, shapes
from alctl.labels.annotation import RLE, Annotation
from alctl.labels.parsing.label_studio import brush_masks
from alctl.labels.parsing.label_studio.config import CONTROLS, OBJECT, LabelConfig
from alctl.labels.parsing.label_studio.regions import (
    Region,
    Regions,
    UnreadableError,
    clean,
    measure,
    percent,
    sorted_out,
)

Box = tuple[float, float, float, float]
Keypoints = tuple[tuple[float, float, int], ...]
Scale = tuple[float, float]
"""Pixels, or fractions, for each percent of the width and of the height."""
POINT = 0.5
"""Width of a point's dot, in percent."""


@dataclass
class Drawing:
    """All that one annotation says of its image."""

    annotations: tuple[Annotation, ...] = ()
    size: tuple[int, int] | None = None
    """Width and height, as the regions declare them."""
    relative: bool = False
    notes: Counter[str] = field(default_factory=Counter)

    @property
    def scale(self) -> Scale:
        """How much a percent is, across and down."""
        width, height = self.size or (1, 1)
        return width / 100, height / 100


def drawn(found: Any, config: LabelConfig) -> Drawing:
    """Return what an annotation's results say; UnreadableError if one of them cannot be read."""
    drawing = Drawing()
    regions, chosen = sorted_out(found, drawing.notes)
    sizes = {region.size for region in regions.values() if region.size is not None}
    if len(sizes) > 1:
        several = " and ".join(f"{width} × {height}" for width, height in sorted(sizes)[:2])
        raise UnreadableError(f"its regions give the image different sizes, {several}")
    drawing.size = next(iter(sizes), None)
    drawing.relative = drawing.size is None and bool(regions)
    drawing.annotations = (*map(Annotation, chosen), *_objects(regions, drawing, config))
    return drawing


Owner = str | int | tuple[str, int | None]
"""What a region belongs to: a region by its id, or an object by its number in ``meta``."""


def _objects(regions: Regions, drawing: Drawing, config: LabelConfig) -> Iterator[Annotation]:
    """Join regions that are one object, and points with what they belong to."""
    members: dict[Owner, tuple[list[Region], list[Region]]] = {}
    owners = {id_: _own(id_, region) for id_, region in regions.items()}
    boxes = [id_ for id_, region in regions.items() if region.kind == "rectangle"]
    for id_, region in regions.items():
        if len(region.names) != 1:
            several = " and ".join(map(repr, list(region.names)[:3]))
            raise UnreadableError(f"a region with {f'the labels {several}' if several else 'no label'}")
        if region.kind == "keypoint":
            owner = _holder(region, owners[id_], regions, boxes)
            if not isinstance(owner, tuple):
                owner = owners[owner]
            members.setdefault(owner, ([], []))[1].append(region)
        else:
            members.setdefault(owners[id_], ([], []))[0].append(region)
            if region.parent:
                drawing.notes["regions stood under another one, which was left out"] += 1
    for parts, points in members.values():
        yield _object(parts, points, config, drawing)


def _own(id_: str | int, region: Region) -> Owner:
    number = region.meta.get("alctl_object")
    return ("object", number) if isinstance(number, int) else id_


def _holder(point: Region, own: Owner, regions: Regions, boxes: Sequence[str | int]) -> Owner:
    """Return the region or the object that a point belongs to."""
    if point.parent is not None:
        if point.parent not in regions or regions[point.parent].kind == "keypoint":
            raise UnreadableError(
                "a keypoint that belongs to a region that is missing, or to another keypoint"
            )
        return point.parent
    if isinstance(own, tuple):
        return own
    if len(boxes) > 1:
        raise UnreadableError(
            f"a keypoint that belongs to none of {len(boxes)} boxes; drag it onto its box in the list of regions"
        )
    return boxes[0] if boxes else ("object", None)


def _object(
    parts: Sequence[Region], points: Sequence[Region], config: LabelConfig, drawing: Drawing
) -> Annotation:
    """Make one annotation of the regions that are one object."""
    names = list(dict.fromkeys(name for part in parts for name in part.names))
    if len(names) > 1:
        raise UnreadableError(f"regions of one object with different labels, {names[0]!r} and {names[1]!r}")
    category = names[0] if names else _class_of(points, config)
    marks = [key for region in (*parts, *points) for key, value in region.meta.items() if value is True]
    found = Annotation(category, crowd="alctl_crowd" in marks, difficult="alctl_difficult" in marks)
    for part in parts:
        found = _with(part, found, drawing)
        if part.meta.get("text"):
            drawing.notes["notes on regions were left out"] += 1
    if points or (found.bbox is not None and config.has_keypoints(category)):
        found = replace(found, keypoints=_keypoints(points, config.keypoints_of(category), drawing.scale))
    return found


def _with(part: Region, found: Annotation, drawing: Drawing) -> Annotation:
    if part.kind == "rectangle":
        if found.bbox is not None:
            raise UnreadableError("two boxes that are said to be one object")
        return replace(found, bbox=_box(part.value, drawing))
    if isinstance(found.segmentation, RLE) or (part.kind == "brush" and found.segmentation):
        raise UnreadableError("two outlines that are said to be one object")
    if part.kind == "brush":
        return replace(found, segmentation=_mask(part.value, drawing.size))
    if part.value.get("closed") is False:
        drawing.notes["polygons that nobody closed were closed"] += 1
    polygon = _polygon(part.value, drawing.scale)
    return replace(found, segmentation=(*(found.segmentation or ()), polygon))


def _class_of(points: Sequence[Region], config: LabelConfig) -> str:
    """Return the class of points without a box."""
    told = {clean(c, "a class") for point in points if (c := point.meta.get("alctl_category")) is not None}
    names = told or ({config.boxless} if config.boxless else {c.name for c in config.categories})
    if len(names) != 1:
        raise UnreadableError(
            "keypoints without a box, whose class nobody knows; --option category=NAME says it"
        )
    return names.pop()


def _box(value: Mapping[str, Any], drawing: Drawing) -> Box:
    x, y, width, height = (measure(value.get(key), key) for key in ("x", "y", "width", "height"))
    if turn := measure(value.get("rotation") or 0, "rotation") % 360:
        return _hull((x, y, width, height), turn, drawing)
    for what, number in (("x", x), ("y", y), ("x + width", x + width), ("y + height", y + height)):
        percent(number, what)
    across, down = drawing.scale
    return x * across, y * down, width * across, height * down


def _hull(box: Box, turn: float, drawing: Drawing) -> Box:
    """Return the upright box around one that is turned about its top left corner.

    It is cut off at the image's edge: corners of the hull, unlike the object, may well lie outside.
    """
    if drawing.size is None:
        raise UnreadableError("a rotated box in an image whose size the file does not say")
    across, down = drawing.scale
    x, y, width, height = box[0] * across, box[1] * down, box[2] * across, box[3] * down
    box = x, y, width, height
    left, top, width, height = shapes.box_around(shapes.rotated(box, turn, (x, y)))
    percent((left + width / 2) / across, "the middle of a rotated box, x,")
    percent((top + height / 2) / down, "the middle of a rotated box, y,")
    hull = shapes.clipped(Annotation("", bbox=(left, top, width, height)), *drawing.size)
    if hull is None or hull.bbox is None:
        raise UnreadableError("a rotated box without an area inside the image")
    drawing.notes[shapes.TURNED] += 1
    return hull.bbox


def _polygon(value: Mapping[str, Any], scale: Scale) -> tuple[float, ...]:
    points = value.get("points")
    if not isinstance(points, list) or not all(isinstance(p, list) and len(p) == 2 for p in points):
        raise UnreadableError("a polygon whose points are not pairs")
    return tuple(
        percent(number, "xy"[side]) * scale[side] for point in points for side, number in enumerate(point)
    )


def _mask(value: Mapping[str, Any], size: tuple[int, int] | None) -> RLE:
    packed = value.get("rle")
    if value.get("format") != "rle" or not isinstance(packed, list):
        raise UnreadableError("a brush mask that is not in Label Studio's run lengths")
    if size is None:
        raise UnreadableError("a brush mask in an image whose size the file does not say")
    try:
        return rle.of_mask(brush_masks.to_mask(packed, *size))
    except ValueError as error:
        raise UnreadableError(str(error)) from error


def _keypoints(points: Sequence[Region], order: Sequence[str], scale: Scale) -> Keypoints:
    """Return points in the order of their class, those that nobody set as not labeled."""
    found: dict[str, tuple[float, float, int]] = {}
    for point in points:
        (name,) = point.names
        if name not in order:
            raise UnreadableError(f"the keypoint {name!r} is none of: {', '.join(order)}")
        if name in found:
            raise UnreadableError(f"the keypoint {name!r} twice in one object")
        x, y = (percent(point.value.get(key), key) * scale[side] for side, key in enumerate("xy"))
        found[name] = (x, y, 1 if point.value.get("hidden") is True else 2)
    return tuple(found.get(name, (0.0, 0.0, 0)) for name in order)


def _packed(annotation: Annotation) -> list[int]:
    """Return a mask as Label Studio packs it."""
    assert isinstance(annotation.segmentation, RLE)
    height, width = annotation.segmentation.size
    if height * width > brush_masks.LARGEST:
        raise AlctlError(
            f"a {annotation.category!r} mask of {width} × {height} pixels is too large for a brush"
        )
    try:
        return brush_masks.of_mask(rle.to_mask(annotation.segmentation))
    except ValueError as error:
        raise AlctlError(f"{annotation.category!r}: {error}") from error


@dataclass(frozen=True)
class ResultWriter:
    """Writes the objects of one image as results of a Label Studio annotation."""

    name: str
    """The beginning of the results' ids, unique in the file."""
    size: tuple[int, int] | None
    """Width and height; None where coordinates are fractions."""
    keypoints: Mapping[str, Sequence[str]]
    """The names of each class's keypoints."""
    kinds: Collection[str] = tuple(CONTROLS)
    """What may be written."""

    def results(self, annotations: Sequence[Annotation]) -> Iterator[dict[str, Any]]:
        """Yield an annotation's results; the same ones always get the same ids."""
        chosen = [annotation.category for annotation in annotations if annotation.whole_image]
        if chosen and "choice" in self.kinds:
            yield self._result("choice", f"{self.name}-0", {"choices": chosen})
        for number, annotation in enumerate(annotations, 1):
            if not annotation.whole_image:
                yield from self._object(number, annotation)

    def _object(self, number: int, annotation: Annotation) -> Iterator[dict[str, Any]]:
        outlines = [(kind, value) for kind, value in self._outlines(annotation) if kind in self.kinds]
        meta: dict[str, Any] = {"alctl_object": number} if len(outlines) > 1 else {}
        if annotation.crowd:
            meta["alctl_crowd"] = True
        if annotation.difficult:
            meta["alctl_difficult"] = True
        alone = {**meta, "alctl_object": number, "alctl_category": annotation.category}
        holder = f"{self.name}-{number}" if outlines else ""
        for part, (kind, value) in enumerate(outlines):
            tag = CONTROLS[kind].tag.lower()
            id_ = f"{holder}-{part}" if part else holder
            result = self._result(kind, id_, {**value, tag: [annotation.category]}, meta)
            if kind == "brush" and isinstance(annotation.segmentation, RLE):
                result["original_height"], result["original_width"] = annotation.segmentation.size
            yield result
        if "keypoint" in self.kinds:
            yield from self._points(number, annotation, holder, {} if holder else alone)

    def _outlines(self, annotation: Annotation) -> Iterator[tuple[str, dict[str, Any]]]:
        if annotation.bbox is not None:
            x, y = self._percent(annotation.bbox[:2])
            width, height = self._percent(annotation.bbox[2:])
            yield "rectangle", {"x": x, "y": y, "width": width, "height": height, "rotation": 0}
        if isinstance(annotation.segmentation, RLE):
            yield "brush", {"format": "rle", "rle": _packed(annotation)}
        for polygon in annotation.segmentation or () if isinstance(annotation.segmentation, tuple) else ():
            points = [self._percent(polygon[at : at + 2]) for at in range(0, len(polygon), 2)]
            yield "polygon", {"points": points, "closed": True}

    def _points(
        self, number: int, annotation: Annotation, holder: str, meta: dict[str, Any]
    ) -> Iterator[dict[str, Any]]:
        """Yield the points that are labeled; they belong to their object's first region, if it has one."""
        names = self.keypoints.get(annotation.category, ())
        if annotation.keypoints and len(names) != len(annotation.keypoints):
            raise AlctlError(
                f"a {annotation.category!r} has {len(annotation.keypoints)} keypoints, its class {len(names)}"
            )
        for name, (x, y, visibility) in zip(names, annotation.keypoints, strict=False):
            if visibility:
                across, down = self._percent((x, y))
                value = {"x": across, "y": down, "width": POINT, "keypointlabels": [name]}
                if visibility == 1:
                    value["hidden"] = True
                id_ = f"{self.name}-{number}-k{names.index(name)}"
                result = self._result("keypoint", id_, value, meta)
                yield {**result, "parentID": holder} if holder else result

    def _percent(self, point: Sequence[float]) -> list[float]:
        width, height = self.size or (1, 1)
        return [100 * point[0] / width, 100 * point[1] / height]

    def _result(
        self, kind: str, id_: str, value: dict[str, Any], meta: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        control = CONTROLS[kind]
        result: dict[str, Any] = {
            "id": id_,
            "type": control.tag.lower(),
            "from_name": control.name,
            "to_name": OBJECT,
            "value": value,
        }
        if kind != "choice":
            result["image_rotation"] = 0
        if kind != "choice" and self.size is not None:
            result["original_width"], result["original_height"] = self.size
        return {**result, "meta": meta} if meta else result
