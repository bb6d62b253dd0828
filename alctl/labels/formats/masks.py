"""Segmentation masks: one PNG an image, whose pixel values or colours a label map names.

This is what CVAT calls "Segmentation mask 1.1", Pascal VOC keeps in ``SegmentationClass``, and CamVid in folders such
as ``trainannot``. In `alctl/labels/parsing/masks/`, `png` reads
the pixels, `label_map` what their values mean, and `segments` makes objects of both.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path, PurePosixPath
from typing import IO, Literal

import numpy as np

from alctl.errors import AlctlError
from alctl.labels import rle
from alctl.labels.annotation import (
    RLE,
    Annotation,
    Assignment,
    Category,
    LabeledImage,
    Note,
    Record,
    Refusal,
)
from alctl.labels.format import LabelFormat
from alctl.labels.parsing.masks import files, label_map, png, segments
from alctl.labels.parsing.masks.files import CLASSES, OBJECTS, PATHS, MaskFile
from alctl.labels.parsing.masks.label_map import LISTED, MAPS, LabelMap
from alctl.labels.parsing.masks.png import Mask, Pixels
from alctl.labels.parsing.unlabeled import answered
from alctl.labels.parsing.untrusted import Members, is_archive, members
from alctl.plugins import unknown

LISTS = "ImageSets/Segmentation"
_PNG = "*.[pP][nN][gG]"
_PLACES = [
    f"{above}{folder}"
    for above in ("", "*/")
    for folder in (f"{CLASSES}/**/{_PNG}", f"masks/**/{_PNG}", f"*annot/{_PNG}", _PNG, *MAPS)
]
VOID_ALONE = "masks have void pixels and no class, and were left: that does not say that there is nothing"
UNSAFE = re.compile("[\x00-\x1f\x7f\x85\u2028\u2029\ud800-\udfff]")


@dataclass(frozen=True)
class Masks(LabelFormat):
    """A folder or zip with ``SegmentationClass/*.png``, or any folder of masks, and a label map in it or given."""

    carries = frozenset({"mask"})
    suffix = ""

    void: str = segments.VOID_BY_DEFAULT
    """What is ignored, separated by commas: pixel values, colours such as #e0e0c0, names of classes."""
    empty: bool = False
    """Take a mask of background alone as looked at; one with void pixels and no class never says so."""
    background: str = ""
    """The class that is no object; by default the one called "background"."""
    labels: str = ""
    """A label map, a file with one class a line, or "voc"; needed where the folder holds none."""
    palette: Literal["", "index", "colour"] = ""
    """What holds where the values of a mask and the colours of its palette name different classes."""
    overlap: Literal["", "last"] = ""
    """Whether, in what is written, a later object may cover one of another class."""

    def recognise(self, path: Path) -> str:
        """Masks are a folder SegmentationClass, or masks of one channel beside a label map."""
        with suppress(OSError, ValueError, AlctlError):
            return "segmentation masks" if _is_masks(path, told=bool(self.labels)) else ""
        return ""

    def read(self, path: Path) -> Iterator[Record]:
        """Yield an answer for each mask with a class; whether others were looked at, ``empty`` says."""
        notes: Counter[str] = Counter()
        yield from answered(self._records(path, notes), notes, empty=self.empty)
        yield from (Note(what, count) for what, count in notes.items())

    def _records(self, path: Path, notes: Counter[str]) -> Iterator[Record]:
        with members(path) as found:
            paths = files.paths(found)
            sources = list(files.sources(found, paths))
            if not sources:
                raise AlctlError(f"{path} holds no masks: PNG files, in a folder {CLASSES} or by themselves")
            meaning = segments.meaning(_label_map(found, self.labels), self.void, self.background)
            yield from map(Category, meaning.classes)
            yield from files.lost(found, sources, paths)
            for source in sources:
                try:
                    answer = self._answer(found, source, meaning, notes)
                except (ValueError, AlctlError) as error:
                    yield Refusal(0, str(error), source.name)
                else:
                    yield from [answer] if answer else []

    def _answer(
        self, found: Members, source: MaskFile, meaning: segments.Meaning, notes: Counter[str]
    ) -> LabeledImage | None:
        """Return what a mask says; None of one that has neither a class nor background alone."""
        classes = segments.understood(_load(found, source.name), meaning, self.palette)
        height, width = classes.values.shape
        if source.objects:
            objects = _load(found, source.objects)
            if objects.values.shape != classes.values.shape:
                theirs = " × ".join(map(str, objects.values.shape[::-1]))
                raise ValueError(f"it has {width} × {height} pixels, and {source.objects} has {theirs}")
            annotations = tuple(segments.instances(classes, objects, notes))
        else:
            annotations = tuple(segments.regions(classes))
        if None in classes.says.values():
            notes["masks have void pixels, which belong to no class" if annotations else VOID_ALONE] += 1
            if not annotations:
                return None
        return LabeledImage(source.path, annotations, width=width, height=height, where=source.name)

    def write(self, images: Iterable[LabeledImage], path: Path, categories: Sequence[Category]) -> None:
        """Write masks with a palette, and a label map whose first line is the background.

        Where an image has several objects of a class, ``SegmentationObject`` tells them apart. Polygons become the
        pixels whose centres they hold.
        """
        numbers = label_map.numbers([category.name for category in categories])
        if (path / CLASSES).exists():
            raise AlctlError(f"{path / CLASSES} is there already: its masks would be taken for labels, too")
        try:
            (path / CLASSES).mkdir(parents=True)
            (path / LISTS).mkdir(parents=True, exist_ok=True)
            (path / MAPS[0]).write_text(label_map.text_of(list(numbers)), encoding="utf-8", newline="\n")
            listed = path / LISTS / "default.txt"
            with (
                (path / PATHS).open("w") as paths,
                listed.open("w", encoding="utf-8", newline="\n") as listing,
            ):
                for image in images:
                    if image.status == "labeled":
                        name = self._save(path, image, numbers)
                        paths.write(f"{json.dumps([f'{CLASSES}/{name}.png', image.path])}\n")
                        listing.write(f"{name}\n")
        except OSError as error:
            raise AlctlError(f"cannot write {error.filename or path}: {error.strerror}") from error

    def hand_out(
        self, assignments: Iterable[Assignment], path: Path, categories: Sequence[Category], task: str
    ) -> None:
        """Write the label map, and masks of the images on which the model sees something, by their file names."""
        self.write(chain.from_iterable(map(_predicted, assignments)), path, categories)

    def _save(self, folder: Path, image: LabeledImage, numbers: dict[str, int]) -> str:
        """Draw one image's objects into files; return their name below the folder, without suffix."""
        size = _size(image)
        classes, objects = np.zeros(size, dtype=np.uint16), np.zeros(size, dtype=np.uint16)
        for number, annotation in enumerate(image.annotations, 1):
            value, mask = numbers.get(annotation.category, 0), _drawn(annotation, size, image.path)
            if not value:
                raise AlctlError(
                    f"{image.path}: {unknown(annotation.category, list(numbers)[1:], 'classes')}"
                )
            covered = classes[mask]
            if self.overlap != "last" and bool(((covered != 0) & (covered != value)).any()):
                raise AlctlError(
                    f"{image.path}: a {annotation.category!r} covers an object of another class, and a pixel has one "
                    "class; --option overlap=last lets the later object win"
                )
            classes[mask], objects[mask] = value, number
        name, stream = _created(folder / CLASSES, image.path)
        with stream:
            png.save(classes, stream, [label_map.colour(value) for value in numbers.values()])
        if len({annotation.category for annotation in image.annotations}) < len(image.annotations):
            target = folder / OBJECTS / f"{name}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as stream:
                count = len(image.annotations)
                png.save(objects, stream, [label_map.colour(number) for number in range(count + 1)])
        return name


def _load(found: Members, name: str) -> Pixels:
    with found.open(name) as stream:
        try:
            return png.load(stream)
        except ValueError as error:
            raise ValueError(f"{name}: {error}" if OBJECTS in name else str(error)) from error


def _label_map(found: Members, given: str) -> LabelMap:
    if given == "voc":
        return label_map.pascal_voc()
    if given:
        return label_map.load(Path(given).expanduser())
    for wanted in (*MAPS, LISTED):
        texts = {found.text(name): name for name in found.names if PurePosixPath(name).name == wanted}
        if len(texts) > 1:
            raise AlctlError(
                f"{found.path} holds different label maps, {' and '.join(sorted(texts.values())[:2])}; "
                "import their folders one by one, or name one with --option labels=FILE"
            )
        for text, name in texts.items():
            return label_map.parse(text, name)
    raise AlctlError(
        f"{found.path} holds no label map, so its pixels mean nothing: --option labels=FILE names a labelmap.txt or a "
        "file with one class a line (the first is pixel value 0); --option labels=voc means Pascal VOC's own classes"
    )


def _is_masks(path: Path, *, told: bool) -> bool:
    if path.is_dir():
        first = (file for pattern in _PLACES for file in islice(path.glob(pattern), 3))
        return _like_masks(
            [file.relative_to(path).as_posix() for file in first],
            lambda name: (path / name).open("rb"),
            told=told,
        )
    if not is_archive(path):
        return False
    with members(path) as found:
        return _like_masks(found.names, found.open, told=told)


def _like_masks(names: Sequence[str], open_: Callable[[str], IO[bytes]], *, told: bool) -> bool:
    """Tell whether the files are masks; ``told``: the user says what their values mean, so no label map is needed."""
    places = files.places(names)
    folders = {part.lower() for name in names for part in PurePosixPath(name).parts[:-1]}
    if not places or CLASSES.lower() in folders:
        return bool(places)
    if "annotations" in folders or not (told or any(PurePosixPath(name).name in MAPS for name in names)):
        return False
    for name in islice((name for name, place in places.items() if not place), 3):
        with open_(name) as stream:
            if not png.one_channel(stream):
                return False
    return True


def _size(image: LabeledImage) -> tuple[int, int]:
    """Return height and width."""
    if image.height and image.width:
        return image.height, image.width
    for annotation in image.annotations:
        if isinstance(annotation.segmentation, RLE):
            return annotation.segmentation.size
    raise AlctlError(f"{image.path}: its width and height are unknown, so no mask can be drawn")


def _drawn(annotation: Annotation, size: tuple[int, int], path: str) -> Mask:
    found = annotation.segmentation
    if isinstance(found, RLE):
        if found.size != size:
            raise AlctlError(
                f"{path}: a mask of {found.size[1]} × {found.size[0]} in {size[1]} × {size[0]} pixels"
            )
        return rle.to_mask(found)
    if not found:
        raise AlctlError(f"{path}: a {annotation.category!r} without a mask or an outline")
    return np.asarray(np.any([rle.inside(polygon, size) for polygon in found], axis=0))


def _predicted(assignment: Assignment) -> Iterator[LabeledImage]:
    """Yield an image on which the model sees something, under the name that it has in its folder."""
    if assignment.predictions:
        name = PurePosixPath(assignment.image).name
        yield LabeledImage(name, assignment.predictions, width=assignment.width, height=assignment.height)


def _created(folder: Path, image: str) -> tuple[str, IO[bytes]]:
    """Open a mask under the image's name, with as much of it as sets it apart from those already written."""
    inside = PurePosixPath(image)
    if not inside.name or inside.is_absolute() or ".." in inside.parts or UNSAFE.search(image):
        raise AlctlError(f"{image!r} is not a path inside the dataset, so there is no place for its mask")
    (folder / inside).parent.mkdir(parents=True, exist_ok=True)
    for name in (inside.stem, inside.name, f"{inside.name}."):
        with suppress(FileExistsError):
            return str(inside.with_name(name)), (folder / inside).with_name(f"{name}.png").open("xb")
    raise AlctlError(f"{image!r} stands in the labels twice, or differs from others only in its case")
