"""Read one COCO annotation file in two passes: its classes, then each image with all its annotations."""

from collections.abc import Iterator
from itertools import pairwise
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from alctl.errors import AlctlError
from alctl.labels.annotation import LabeledImage, Note, Record, Refusal
from alctl.labels.parsing import json_stream
from alctl.labels.parsing.coco.objects import Classes, image_of, shown
from alctl.labels.parsing.json_index import MISSING, Ids, Table
from alctl.labels.parsing.json_stream import Piece
from alctl.labels.parsing.units import STATED, UnitsOption, settled
from alctl.labels.parsing.unlabeled import answered

BATCH = 1 << 20
"""Bytes of objects that are read again at once, at least; one image is never parted."""
OURS = "alctl: "
"""How the description begins of a file that alctl wrote."""
_SHAPES = ("bbox", "segmentation", "keypoints")


class CocoFile:
    """The records of a file; ``handed_out`` is the description by which files are known that are not answers.

    ``units`` are those of a file that does not say that alctl wrote it, in pixels.
    """

    def __init__(
        self, stream: IO[bytes], name: str, *, empty: bool, units: UnitsOption, handed_out: str
    ) -> None:
        self._stream, self._name, self._empty, self._handed_out = stream, name, empty, handed_out
        self._units: UnitsOption = units
        self._overridden = False
        self._given = False
        ids = Ids()
        self._images = Table(stream, name, ids, ("id",))
        self._annotations = Table(stream, name, ids, ("id", "image_id"))
        self._categories: list[Any] = []
        self._used: set[int | str] = set()
        self._keys: list[str] = []
        self._captions = self._panoptic = 0

    def records(self) -> Iterator[Record]:
        """Yield the classes, what cannot be taken, the labeled images, and notes."""
        self._index()
        self._refuse_given()
        self._judge()
        classes = Classes(self._name, self._categories, self._used)
        yield from classes.declared()
        yield from self._no_objects()
        joined = _Joined(self._images, self._annotations)
        yield from self._strays(joined.strays)
        yield from answered(self._answers(joined, classes), classes.notes, empty=self._empty)
        if self._overridden:
            classes.notes[STATED] += 1
        yield from (Note(what, count) for what, count in classes.notes.items())

    def _index(self) -> None:
        """Take the first pass: where images and annotations stand, and everything else that matters."""
        for piece in json_stream.pieces(self._stream, self._name):
            if piece.key is None:
                raise self._no_file_of_labels(piece)
            if piece.first:
                self._check(piece, piece.key)
            if piece.key == "images":
                self._images.add(piece)
            elif piece.key == "annotations":
                self._look_at(self._annotations.add(piece))
            else:
                found = json_stream.values(piece.text, self._name, piece.offset)
                if piece.key == "categories":
                    self._categories += found
                elif piece.key == "info":
                    self._take_note(found[0] if found and isinstance(found[0], dict) else {})
        self._images.close()
        self._annotations.close()

    def _take_note(self, info: dict[str, Any]) -> None:
        """Take note of what the file says of itself; without its units, all that alctl wrote is in pixels."""
        description = str(info.get("description"))
        self._given = description == f"{OURS}{self._handed_out}"
        if description.startswith(OURS) or info.get("units") == "pixels":
            self._overridden = self._units == "fractions"
            self._units = "pixels"

    def _refuse_given(self) -> None:
        """Refuse the file that annotators were given, unless a tool that keeps its description has added to it."""
        if self._given and not len(self._annotations):
            raise AlctlError(
                f"{self._name} is the file that annotators were given, with no answers of theirs in it; import the "
                "file that their tool exports"
            )

    def _check(self, piece: Piece, key: str) -> None:
        if key in ("images", "annotations", "categories"):
            if key in self._keys:
                raise AlctlError(f"{self._name} has {key!r} twice")
            if not piece.array:
                raise AlctlError(f"{self._name} is not COCO: its {key!r} is not a list")
        if len(self._keys) < 100:
            self._keys.append(key)

    def _look_at(self, rows: list[dict[str, Any]]) -> None:
        categories = [row.get("category_id") for row in rows]
        self._used.update(id_ for id_ in categories if type(id_) is int or type(id_) is str)
        self._panoptic += sum("segments_info" in row for row in rows)
        captions = [row for row in rows if "caption" in row]
        self._captions += sum(not any(row.get(shape) for shape in _SHAPES) for row in captions)

    def _no_file_of_labels(self, piece: Piece) -> AlctlError:
        rows = json_stream.values(piece.text, self._name, piece.offset)
        if rows and isinstance(rows[0], dict) and "image_id" in rows[0]:
            return AlctlError(
                f"{self._name} is a list of detections (predictions), not labels; import the file with 'images', "
                "'annotations' and 'categories' that annotators made"
            )
        return AlctlError(f"{self._name} is not COCO: it is a list, without 'images' and 'annotations'")

    def _judge(self) -> None:
        """Raise AlctlError where the file as a whole holds nothing that could be taken."""
        name, images, annotations = self._name, len(self._images), len(self._annotations)
        if "images" not in self._keys:
            has = f"; its keys are {', '.join(map(shown, self._keys[:10]))}" if self._keys else ""
            raise AlctlError(f"{name} is not COCO: it has no list of 'images'{has}")
        if self._panoptic:
            raise AlctlError(
                f"{name} is COCO panoptic: its labels are in the PNG files beside it, which alctl does not read; export "
                "instances or stuff instead"
            )
        if annotations and self._captions == annotations:
            raise AlctlError(f"{name} holds captions, which are no labels that alctl can learn from")
        if not images and not annotations:
            raise AlctlError(f"{name} holds no images")
        if not annotations and not self._categories:
            raise AlctlError(
                f"{name} lists {images:,} images without annotations and classes, as COCO's image_info files do; there is "
                "nothing to import"
            )
        if not annotations and not self._empty:
            raise AlctlError(_nothing_in(name, images, self._categories))
        if not self._categories:
            raise AlctlError(f"{name} has no 'categories', so that nobody can tell what its annotations are")

    def _no_objects(self) -> Iterator[Refusal]:
        for key, table in (("images", self._images), ("annotations", self._annotations)):
            if table.others:
                yield Refusal(0, f"{table.others:,} elements of {key!r} are not objects", key)

    def _strays(self, strays: NDArray[np.int64]) -> Iterator[Refusal]:
        for first in range(0, len(strays), 1000):
            for row in self._annotations.rows(strays[first : first + 1000]):
                image = row.get("image_id")
                is_id = type(image) is int or type(image) is str
                what = (
                    f"image id {shown(image)} is not in the file"
                    if is_id
                    else f"its image_id is {shown(image)}"
                )
                yield Refusal(0, what, f"annotation id {shown(row.get('id'))}")

    def _answers(self, joined: "_Joined", classes: Classes) -> Iterator[LabeledImage | Refusal]:
        for first, last in joined.batches():
            images = self._images.rows(np.arange(first, last))
            rows = self._annotations.rows(joined.of(first, last))
            ends = joined.bounds[first : last + 1] - joined.bounds[first]
            if len(images) != last - first or len(rows) != ends[-1]:
                raise AlctlError(f"{self._name} changed while it was read; try again")
            twice = joined.doubled(first, last)
            spans = zip(images, ends[:-1].tolist(), ends[1:].tolist(), twice, strict=True)
            for image, start, end, problem in spans:
                yield self._answer(image, rows[start:end], classes, problem)

    def _answer(
        self, image: dict[str, Any], rows: list[dict[str, Any]], classes: Classes, problem: str
    ) -> LabeledImage | Refusal:
        where = f"image id {shown(image.get('id'))}"
        if problem:
            return Refusal(0, problem, where)
        try:
            return settled(image_of(image, rows, classes, where), self._units, self._name, where)
        except ValueError as error:
            name = image.get("file_name")
            return Refusal(0, f"{shown(name)}: {error}" if type(name) is str else str(error), where)


def _nothing_in(name: str, images: int, categories: list[Any]) -> str:
    classes = [str(row["name"]) for row in categories if isinstance(row, dict) and "name" in row]
    listed = ", ".join(classes[:5]) + (", …" if len(classes) > 5 else "")
    told = f"{name} holds {images:,} images and {len(categories):,} classes ({listed}), but not a single annotation"
    if any(isinstance(row, dict) and row.get("keypoints") == [] for row in categories):
        return (
            f"{told}: the export lost them. CVAT does so with points that are not part of a skeleton; export them as "
            "'CVAT for images 1.1' instead"
        )
    return f"{told}; if annotators looked at all of them and found nothing, say so by --option empty=true"


class _Joined:
    """Which annotations belong to which image, without any of them in memory."""

    def __init__(self, images: Table, annotations: Table) -> None:
        self._images, self._annotations = images, annotations
        ids, owners = images.columns["id"], annotations.columns["image_id"]
        order = np.argsort(ids, kind="stable")
        at = np.minimum(np.searchsorted(ids, owners, sorter=order), max(len(ids) - 1, 0))
        known = (ids[order][at] == owners) & (owners != MISSING) if len(ids) else np.zeros(len(owners), bool)
        self.strays = np.flatnonzero(~known)
        members = np.flatnonzero(known)
        owner = order[at[members]]
        self._grouped = members[np.argsort(owner, kind="stable")]
        self.bounds = np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=len(ids)))])
        self._doubled_images = _doubled(ids)
        self._doubled_annotations = _doubled(annotations.columns["id"])

    def batches(self) -> Iterator[tuple[int, int]]:
        """Yield ranges of images whose objects are about `BATCH` bytes together."""
        images = np.cumsum(self._images.ends - self._images.starts)
        sizes = (self._annotations.ends - self._annotations.starts)[self._grouped]
        total = images + np.concatenate([[0], np.cumsum(sizes)])[self.bounds[1:]]
        if not len(total):
            return
        cuts = np.unique(np.searchsorted(total, np.arange(BATCH, int(total[-1]), BATCH)) + 1)
        edges = [0, *(cut for cut in cuts.tolist() if cut < len(total)), len(total)]
        yield from pairwise(edges)

    def of(self, first: int, last: int) -> NDArray[np.int64]:
        """Return the annotations of a range of images, image by image, each in the file's order."""
        return self._grouped[self.bounds[first] : self.bounds[last]]

    def doubled(self, first: int, last: int) -> list[str]:
        """Return what is wrong with the ids of each image of a range, mostly an empty string."""
        ids = self._images.columns["id"][first:last]
        problems = [""] * (last - first)
        for index in np.flatnonzero(np.isin(ids, self._doubled_images)):
            problems[index] = "other images of the file have the same id"
        for index in np.flatnonzero(ids == MISSING):
            problems[index] = "its id is neither a whole number nor text"
        if len(self._doubled_annotations):
            self._find_doubled_annotations(first, last, problems)
        return problems

    def _find_doubled_annotations(self, first: int, last: int, problems: list[str]) -> None:
        ids = self._annotations.columns["id"][self.of(first, last)]
        found = np.flatnonzero(np.isin(ids, self._doubled_annotations))
        for index, image in zip(
            found, np.searchsorted(self.bounds[first:], found + self.bounds[first], "right"), strict=True
        ):
            id_ = ids[index]
            problems[image - 1] = (
                problems[image - 1] or f"annotation id {_plain(id_)} is given to several annotations"
            )


def _plain(number: np.int64) -> str:
    return str(number) if number < 2**62 else "(a text)"


def _doubled(ids: NDArray[np.int64]) -> NDArray[np.int64]:
    ordered = np.sort(ids[ids != MISSING])
    return np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
