"""COCO's JSON: instances, keypoints, stuff and labels, whole or in a folder or zip as annotation tools export it.

The annotations of an image may be anywhere in the file, so it is read twice: the first pass notes where each object
stands and which image it belongs to, the second takes the images in order, each with its annotations.
"""

import json
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import IO, Any

from alctl.errors import AlctlError
from alctl.labels import rle
from alctl.labels.annotation import RLE, Annotation, Assignment, Category, LabeledImage, Polygons, Record
from alctl.labels.format import LabelFormat
from alctl.labels.parsing.coco.file import OURS, CocoFile
from alctl.labels.parsing.encodings import as_utf8, shown_head
from alctl.labels.parsing.units import UnitsOption, require_pixels
from alctl.labels.parsing.untrusted import Members, is_archive, members
from alctl.labels.shapes import boxed

HEAD = 1 << 16
"""Bytes of a file that tell what it is."""
_MOST = 100
"""Files of a folder that are looked into; a folder with a JSON file per image is another format."""
_HANDED_OUT = "images for annotators, not labels"
_KIND = re.compile(r"(instances|person_keypoints|stuff|labels|panoptic|captions|image_info)_")
_IMAGES = re.compile(r'"(images|annotations)"\s*:\s*\[\s*(\]|\{)')
_OTHERS = re.compile(r'"(?:source-ref|label_id|data_row)"\s*:|"(?:item|categories)"\s*:\s*\{')
"""Keys of other formats that have annotations, too."""
_RESULTS = re.compile(r'\s*\[\s*\{[^{}]*"(image_id|category_id)"\s*:')


@dataclass(frozen=True)
class Coco(LabelFormat):
    """Absolute pixels, classes by name; several files of one kind in a folder or zip are read one after the other."""

    empty: bool = False
    """Take images without annotations as looked at, with nothing there; otherwise they are not labeled yet."""
    file: str = ""
    """Which annotation files of a folder or zip to read, such as ``*instances*``; all, if they are of one kind."""

    units: UnitsOption = ""
    """Of the coordinates of a file that alctl did not write, where they can be either; COCO's are pixels."""

    carries = frozenset({"category", "bbox", "keypoints", "polygons", "mask", "crowd", "difficult"})
    suffix = ".json"

    def recognise(self, path: Path) -> str:
        """Go by the keys in the first part of the file, or of the JSON files of a folder or zip."""
        try:
            if path.is_dir() or is_archive(path):
                with members(path) as files:
                    found = _annotation_files(files)
                return f"COCO, {', '.join(found[:3])}" if found else ""
            with path.open("rb") as stream:
                return _kind(stream)
        except (OSError, AlctlError):
            return ""

    def read(self, path: Path) -> Iterator[Record]:
        """Yield the classes, then each image with all its annotations, in the order of the file's images.

        An image with an annotation that cannot be read is refused as a whole; an annotation of no image by itself.
        """
        seen: set[Category] = set()
        for stream, name in self._streams(path):
            file = CocoFile(stream, name, empty=self.empty, units=self.units, handed_out=_HANDED_OUT)
            for record in file.records():
                if not isinstance(record, Category):
                    yield record
                elif record not in seen:
                    seen.add(record)
                    yield record

    def _streams(self, path: Path) -> Iterator[tuple[IO[bytes], str]]:
        try:
            if not path.is_dir() and not is_archive(path):
                with path.open("rb", buffering=0) as opened, as_utf8(opened) as stream:
                    yield stream, str(path)
                return
            with members(path) as files:
                for name in self._chosen(files, path):
                    with _seekable(files, name) as file, as_utf8(file) as stream:
                        yield stream, f"{path}: {name}"
        except OSError as error:
            raise AlctlError(f"cannot read {path}: {error.strerror or error}") from error

    def _chosen(self, files: Members, path: Path) -> list[str]:
        """Return the files to read; two kinds, such as instances and keypoints, would label the same images twice."""
        found = _annotation_files(files)
        chosen = [name for name in found if not self.file or fnmatch(name, self.file)]
        if not chosen:
            has = f"; it has {', '.join(found)}" if found else ""
            what = f"no COCO file called {self.file!r}" if found else "no COCO file"
            raise AlctlError(f"{path} holds {what}{has}")
        if len({_kind_of(PurePosixPath(name).name) for name in chosen}) > 1:
            raise AlctlError(
                f"{path} holds {len(chosen)} annotation files of several kinds, which may label the same images twice: "
                f"{', '.join(chosen)}; name one, such as --option file={chosen[0]}"
            )
        return chosen

    def write(self, images: Iterable[LabeledImage], path: Path, categories: Sequence[Category]) -> None:
        """Write ids from 1 on, the classes' in their order; images without annotations are there, too.

        COCO cannot say that an image was skipped or is unusable: such images are left out.
        """
        _write(images, path, categories, "labels")

    def hand_out(
        self, assignments: Iterable[Assignment], path: Path, categories: Sequence[Category], task: str
    ) -> None:
        """Write images with the model's predictions, or with nothing on them, marked as such."""
        images = (
            LabeledImage(
                a.image, a.predictions or (), a.item, width=a.width, height=a.height, digest=a.digest
            )
            for a in assignments
        )
        _write(images, path, categories, _HANDED_OUT)


def _kind_of(name: str) -> str:
    """Return what a file's name says about it, without the subset: ``instances_train.json`` holds instances."""
    found = _KIND.match(name)
    return found[1] if found else name


def _kind(stream: IO[bytes]) -> str:
    """Return what the beginning of a file looks like, or an empty string."""
    head = shown_head(stream.read(HEAD))
    if head.lstrip()[:1] == "{" and _IMAGES.search(head) and not _OTHERS.search(head):
        return "COCO keypoints" if '"keypoints"' in head else "COCO"
    return "COCO detection results" if _RESULTS.match(head) else ""


def _annotation_files(files: Members) -> list[str]:
    names = [name for name in files.names if name.lower().endswith(".json")][:_MOST]
    found = []
    for name in names:
        with files.open(name) as stream:
            if _kind(stream):
                found.append(name)
    return found


@contextmanager
def _seekable(files: Members, name: str) -> Iterator[IO[bytes]]:
    with files.open(name) as stream:
        if stream.seekable():
            yield stream
            return
        with tempfile.TemporaryFile(buffering=0) as copy:
            shutil.copyfileobj(stream, copy, 1 << 20)
            copy.seek(0)
            yield copy


def _write(images: Iterable[LabeledImage], path: Path, categories: Sequence[Category], what: str) -> None:
    """Write the images as they come, and their annotations, which stand behind all images, by way of another file."""
    ids = {category.name: number for number, category in enumerate(categories, 1)}
    classes = [_category(category, ids[category.name]) for category in categories]
    made = 0
    with path.open("w", encoding="utf-8") as out, tempfile.TemporaryFile("w+", encoding="utf-8") as behind:
        head = {"description": f"{OURS}{what}", "units": "pixels"}
        out.write(f'{{"info":{_json(head)},"licenses":[],"categories":{_json(classes)},"images":[')
        number = 0
        for image in images:
            if image.status != "labeled":
                continue
            require_pixels(image, "COCO")
            number += 1
            out.write(("," if number > 1 else "") + "\n" + _json(_image(image, number)))
            for annotation in image.annotations:
                made += 1
                row = {"id": made, "image_id": number, "category_id": ids[annotation.category]}
                behind.write(("," if made > 1 else "") + "\n" + _json(row | _geometry(annotation)))
        out.write('\n],"annotations":[')
        behind.seek(0)
        shutil.copyfileobj(behind, out)
        out.write("\n]}\n")


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _category(category: Category, number: int) -> dict[str, Any]:
    row: dict[str, Any] = {"id": number, "name": category.name, "supercategory": ""}
    if category.keypoints:
        row["keypoints"] = category.keypoints
        row["skeleton"] = [(a + 1, b + 1) for a, b in category.skeleton]
    return row


def _image(image: LabeledImage, number: int) -> dict[str, Any]:
    row = {
        "id": number,
        "file_name": image.path,
        "width": image.width,
        "height": image.height,
        "alctl_item": image.item,
        "sha256": image.digest or None,
    }
    return {key: value for key, value in row.items() if value is not None}


def _geometry(annotation: Annotation) -> dict[str, Any]:
    """Return what COCO says about an object's shape; nothing for a whole-image class."""
    if annotation.whole_image:
        return {}
    segmentation, box = annotation.segmentation, boxed(annotation).bbox
    row: dict[str, Any] = {}
    if box is not None and (annotation.bbox is not None or min(box[2:]) > 0):
        row["bbox"] = box
    if isinstance(segmentation, RLE):
        row["segmentation"] = {"size": segmentation.size, "counts": segmentation.counts}
    else:
        row["segmentation"] = segmentation or []
    row["area"] = _area(segmentation, box)
    row["iscrowd"] = int(annotation.crowd)
    if annotation.difficult:
        row["difficult"] = 1
    if annotation.keypoints:
        row["keypoints"] = [number for point in annotation.keypoints for number in point]
        row["num_keypoints"] = sum(v > 0 for _, _, v in annotation.keypoints)
    return row


def _area(segmentation: Polygons | RLE | None, box: tuple[float, float, float, float] | None) -> float:
    """Return how many pixels an object covers: of its mask, else of its polygons, else of its box."""
    if isinstance(segmentation, RLE):
        return int(rle.unpacked(segmentation)[1::2].sum())
    if segmentation:
        return sum(_polygon_area(polygon) for polygon in segmentation)
    return box[2] * box[3] if box is not None else 0.0


def _polygon_area(polygon: Sequence[float]) -> float:
    points = list(zip(polygon[::2], polygon[1::2], strict=True))
    turned = zip(points, points[1:] + points[:1], strict=True)
    return abs(sum(x * next_y - next_x * y for (x, y), (next_x, next_y) in turned)) / 2
