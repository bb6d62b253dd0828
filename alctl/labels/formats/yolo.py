"""YOLO: one text file an image, one row an object, and numbers that are fractions of the image's width and height.

The rows say neither what they are nor what their classes are called. Names come from data.yaml, obj.names, classes.txt
or the user; of what kind the rows are is decided for the whole data set and never row by row, since nine numbers are an
outline of four points as well as an oriented box.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from alctl.errors import AlctlError
from alctl.labels.annotation import IMAGE_SUFFIXES, Assignment, Category, LabeledImage, Note, Record, Refusal
from alctl.labels.format import LabelFormat
from alctl.labels.parsing.unlabeled import answered
from alctl.labels.parsing.untrusted import Members, is_archive, members
from alctl.labels.parsing.yolo.dataset import (
    YAML,
    Config,
    config_of,
    data_yaml,
    declares_images,
    head,
    opened,
    shown,
)
from alctl.labels.parsing.yolo.pairing import CLASS_LISTS, Layout, image_of, label_of, layout_of
from alctl.labels.parsing.yolo.rows import ORIENTED, RowReader, RowWriter

ENOUGH = 10
"""Rows after which it is no chance that all have the same number of points."""
LISTED = "images.txt"
ROOT = "images"
"""The folder that stands for the data set's root in what is written."""
WITHOUT = "images without a label file were left as not labeled yet"


@dataclass(frozen=True)
class Yolo(LabelFormat):
    """Ultralytics' layouts and Darknet's, as a folder, a zip, or the data.yaml or obj.data in a folder."""

    carries = frozenset({"bbox", "keypoints", "polygons"})
    suffix = ""

    kind: Literal["auto", "detect", "segment", "obb", "pose"] = "auto"
    """What the rows are, where the data set does not tell."""
    empty: bool = False
    """Take an image with an empty label file for one that was looked at."""
    names: str = ""
    """A file with the names of the classes, one on each line or as a data.yaml."""
    sixth: Literal["", "confidence", "track"] = ""
    """What a sixth number after a box is; it is left out."""
    digests: bool = False
    """Tell images by their bytes, too, if they lie beside their labels."""
    drop_crowds: bool = False
    """Leave out regions of many objects on writing; without it they are refused, because no row can say so."""

    def recognise(self, path: Path) -> str:
        """YOLO is a folder, or the file in it, that names classes and says or shows where its images are."""
        try:
            return _recognised(path)
        except (OSError, ValueError, AlctlError):
            return ""

    def read(self, path: Path) -> Iterator[Record]:
        """Yield an answer for each label file with a row; an image without a label file was not labeled yet."""
        notes: Counter[str] = Counter()
        with opened(path) as (found, meant):
            if not any(name.endswith(".txt") for name in found.names):
                raise AlctlError(_no_labels(path))
            config = config_of(found, meant, self.names)
            layout = layout_of(found, config.file, config.images)
            if not layout.labels:
                raise AlctlError(_no_labels(path))
            rows = RowReader(self._kind(found, config, layout), config.names, config.shape, self.sixth)
            keypoints = dict(config.keypoints)
            yield from (Category(config.names[n], keypoints.get(n, ())) for n in sorted(config.names))
            answers = (self._answer(found, config, layout, *pair, rows) for pair in layout.labels.items())
            yield from answered(answers, rows.notes, empty=self.empty)
            notes.update(rows.notes)
            notes[WITHOUT] += layout.without
        yield from (Note(what, count) for what, count in notes.items() if count)

    def _kind(self, found: Members, config: Config, layout: Layout) -> str:
        """Return what the rows are: as data.yaml says, as the user says, or any mixture of boxes and outlines."""
        said = config.kind or ("pose" if config.shape else "")
        if said and self.kind not in ("auto", said):
            raise AlctlError(
                f"{found.path}: {config.file} says that its rows are of kind {said}, not {self.kind}; say --option "
                "kind=auto"
            )
        kind = said or self.kind
        if kind == "pose" and not config.shape:
            raise AlctlError(
                f"{found.path}: poses need kpt_shape: [number of keypoints, 2 or 3] in a data.yaml"
            )
        if kind == "auto":
            _refuse_ambiguous(found, layout)
            return "segment"
        return kind

    def _answer(
        self,
        found: Members,
        config: Config,
        layout: Layout,
        label: str,
        images: Sequence[str],
        rows: RowReader,
    ) -> LabeledImage | Refusal:
        """Turn a label file into an answer or a refusal."""
        if len(images) > 1:
            return Refusal(0, f"it may be about {images[0]!r} or about {images[1]!r}", label)
        try:
            text = found.text(label)
        except AlctlError as error:
            return Refusal(0, str(error), label)
        answer = rows.of_file(text, label)
        if isinstance(answer, Refusal):
            return answer
        path = shown(images[0], config) if images else image_of(shown(label, config))
        if config.root:
            path = path.removeprefix(f"{config.root}/")
        digest = found.digest(images[0]) if self.digests and layout.pictures.intersection(images) else ""
        return LabeledImage(path, answer, where=label, digest=digest, relative=True)

    def write(self, images: Iterable[LabeledImage], path: Path, categories: Sequence[Category]) -> None:
        """Write label files, data.yaml and a list of the images; copied to ``images/``, they make a data set to train on.

        Answers without a label, such as skipped images, are listed and have no label file.
        """
        kind = "" if self.kind == "auto" else self.kind
        answers = ((image, image.status == "labeled") for image in images)
        self._save(answers, path, categories, kind, ROOT)

    def hand_out(
        self, assignments: Iterable[Assignment], path: Path, categories: Sequence[Category], task: str
    ) -> None:
        """Write the classes and the list of the images, and a label file for each image with predictions."""
        kinds = {"detection": "detect", "segmentation": "segment", "pose": "pose"}
        if task not in kinds:
            raise AlctlError(
                f"YOLO holds objects, and the task of this project is {task}; use another format"
            )
        answers = (
            (LabeledImage(a.image, a.predictions or (), width=a.width, height=a.height), bool(a.predictions))
            for a in assignments
        )
        self._save(answers, path, categories, kinds[task], "")
        (path / "classes.txt").write_text("".join(f"{c.name}\n" for c in categories), encoding="utf-8")

    def _save(
        self,
        answers: Iterable[tuple[LabeledImage, bool]],
        path: Path,
        categories: Sequence[Category],
        kind: str,
        root: str,
    ) -> None:
        """Write a data set with a label file for each image that comes with True."""
        if kind == "obb":
            raise AlctlError("oriented boxes are read, not written; alctl keeps their upright hulls")
        ids = {category.name: index for index, category in enumerate(categories)}
        counts = {len(category.keypoints) for category in categories if category.keypoints}
        written = RowWriter(ids, kind, counts.pop() if len(counts) == 1 else 0, self.drop_crowds)
        try:
            path.mkdir(parents=True, exist_ok=True)
            if next(path.iterdir(), None):
                raise AlctlError(f"{path} is not empty; its files would be taken for labels, too")
            with (path / LISTED).open("w", encoding="utf-8", newline="\n") as listed:
                for image, answered in answers:
                    place = _place(image.path, root)
                    listed.write(f"./{place}\n")
                    if answered:
                        _save_label(path, label_of(place), written.text_of(image), image.path)
            (path / "data.yaml").write_text(
                data_yaml(written.kind, written.keypoints, categories, root, LISTED),
                encoding="utf-8",
                newline="\n",
            )
        except OSError as error:
            raise AlctlError(f"cannot write {error.filename or path}: {error.strerror}") from error


# --- what it is -------------------------------------------------------------------------------------------------------


def _recognised(path: Path) -> str:
    """Say what a folder, a zip, a data.yaml or an obj.data is, by the names at its top; an empty string if not YOLO's."""
    if is_archive(path):
        with members(path) as found:
            names, wrapper = found.names, ""
            while (tops := {name.partition("/")[0] for name in names}) and len(tops) == 1 and "/" in names[0]:
                names, wrapper = [name.partition("/")[2] for name in names], f"{wrapper}{tops.pop()}/"
            return _named({*names, *tops}, lambda name: head(found.open(wrapper + name)))
    if path.is_dir():
        names = [entry.name for entry in path.iterdir()]
        inside = [f"labels/{name}" for name in CLASS_LISTS if (path / "labels" / name).is_file()]
        return _named({*names, *inside}, lambda name: head((path / name).open("rb")))
    meant = path.suffix.lower() in {*YAML, ".data"} and path.is_file()
    return _named({path.name}, lambda _: head(path.open("rb"))) if meant else ""


def _named(names: AbstractSet[str], beginning: Callable[[str], str]) -> str:
    for name in sorted(name for name in names if "/" not in name and name.endswith((*YAML, ".data"))):
        if declares_images(beginning(name)):
            return f"YOLO, with its classes in {name}"
    lists = sorted(name for name in names if name in CLASS_LISTS or name.startswith("labels/classes.txt"))
    stems = {name.removesuffix(".txt") for name in names if name.endswith(".txt")}
    beside = any(name.rpartition(".")[0] in stems for name in names if name.lower().endswith(IMAGE_SUFFIXES))
    found = lists and (lists[0] != "classes.txt" or "labels" in names or beside)
    return f"YOLO, with its classes in {lists[0]}" if found else ""


# --- what kind it is --------------------------------------------------------------------------------------------------


def _no_labels(path: Path) -> str:
    return (
        f"{path} holds no label files, such as labels/a.txt; if it has a folder of images for each class, say "
        "--format folders"
    )


def _text(found: Members, label: str) -> str:
    """Return a label file; nothing of one that will be refused."""
    try:
        return found.text(label)
    except AlctlError:
        return ""


def _refuse_ambiguous(found: Members, layout: Layout) -> None:
    """Stop if all rows have the same many numbers, which may be outlines, oriented boxes or poses.

    Boxes have five, and outlines that people draw have now more, now fewer points.
    """
    texts = (_text(found, label) for label in layout.labels)
    rows, numbers = 0, 0
    for count in (len(cells) for text in texts for row in text.splitlines() if (cells := row.split())):
        if count < ORIENTED or count % 2 == 0 or numbers not in (0, count):
            return
        rows, numbers = rows + 1, count
    if numbers == ORIENTED:
        raise AlctlError(
            f"{found.path}: every row has nine numbers, which may be oriented boxes or outlines of four points; "
            "say --option kind=obb or --option kind=segment"
        )
    if rows >= ENOUGH:
        raise AlctlError(
            f"{found.path}: every row has {numbers} numbers, as poses have and outlines seldom; give poses a kpt_shape "
            "in a data.yaml, or say --option kind=segment"
        )


# --- writing ----------------------------------------------------------------------------------------------------------


def _place(path: str, root: str) -> str:
    """Return an image's place in the data set that is written; AlctlError for a path that has none."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\\" in path or len(path.splitlines()) != 1:
        raise AlctlError(f"{path!r} cannot stand in a list of images that lie in one folder; rename it")
    return "/".join((root, *parts) if root else parts)


def _save_label(folder: Path, label: str, text: str, image: str) -> None:
    target = folder / label
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with target.open("x", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
    except FileExistsError:
        raise AlctlError(
            f"{image!r} and an image before it would both have the labels {label}: they differ in their suffix or case "
            "alone, or are answers of two annotators; YOLO has one file for all of them"
        ) from None
