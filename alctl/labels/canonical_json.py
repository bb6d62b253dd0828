"""The objects of an image as JSON for the database: equal objects give equal text, and classes stand there by their ids."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from alctl.labels.annotation import RLE, Annotation, Polygons


def dumps(objects: Iterable[tuple[Annotation, int]], *, ordered: bool) -> str:
    """Return annotations with the ids of their classes as JSON; equal objects give equal text.

    Where their order says nothing (``ordered`` is false), they are sorted; regions that may cover each other keep it.
    """
    entries = [
        orjson.dumps(_entry(annotation, id_), option=orjson.OPT_SORT_KEYS) for annotation, id_ in objects
    ]
    if not ordered:
        entries.sort()
    return (b"[" + b",".join(entries) + b"]").decode()


def _entry(annotation: Annotation, id_: int) -> dict[str, Any]:
    entry: dict[str, Any] = {"category": id_}
    if annotation.bbox is not None:
        entry["bbox"] = [*map(float, annotation.bbox)]
    if annotation.keypoints:
        entry["keypoints"] = [[float(x), float(y), v] for x, y, v in annotation.keypoints]
    if isinstance(annotation.segmentation, RLE):
        entry["segmentation"] = {
            "counts": annotation.segmentation.counts,
            "size": [*annotation.segmentation.size],
        }
    elif annotation.segmentation:
        entry["segmentation"] = [[*map(float, polygon)] for polygon in annotation.segmentation]
    if annotation.crowd:
        entry["crowd"] = True
    if annotation.difficult:
        entry["difficult"] = True
    return entry


def loads(text: str) -> list[tuple[Annotation, int]]:
    """Return the annotations of `dumps` with the ids of their classes; their category is left empty."""
    return [(_annotation(entry, ""), entry["category"]) for entry in json.loads(text)]


def named(text: str, names: Sequence[str]) -> tuple[Annotation, ...]:
    """Return the annotations of `dumps`; ``names`` holds the name to use for each class id, from id 1."""
    return tuple(_annotation(entry, names[entry["category"] - 1]) for entry in json.loads(text))


def _annotation(entry: dict[str, Any], name: str) -> Annotation:
    found = entry.get("segmentation")
    segmentation: Polygons | RLE | None = None
    if isinstance(found, dict):
        segmentation = RLE((found["size"][0], found["size"][1]), found["counts"])
    elif found:
        segmentation = tuple(map(tuple, found))
    box = entry.get("bbox")
    return Annotation(
        name,
        bbox=(box[0], box[1], box[2], box[3]) if box else None,
        keypoints=tuple((x, y, v) for x, y, v in entry.get("keypoints", ())),
        segmentation=segmentation,
        crowd=entry.get("crowd", False),
        difficult=entry.get("difficult", False),
    )
