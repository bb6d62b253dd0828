"""A folder for each class with the images of that class: people sort by moving files, and trainers read it at once.

The images themselves are the labels, so reading tells them by their bytes: they may be renamed on the way. Writing
needs them at hand, which is what the option ``root`` is for.
"""

import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath

from alctl.errors import AlctlError
from alctl.labels.annotation import (
    IMAGE_SUFFIXES,
    Annotation,
    Assignment,
    Category,
    LabeledImage,
    Note,
    Record,
    Refusal,
)
from alctl.labels.format import LabelFormat
from alctl.labels.parsing.untrusted import Members, is_archive, members

UNLABELED = "_unlabeled"
"""Of images that nobody has sorted yet, as FiftyOne calls it, too."""
SPLITS = frozenset({"train", "val", "valid", "validation", "test"})
"""Folders above those of the classes, as Ultralytics and others have them."""
OTHERS = frozenset(
    {
        "images",
        "labels",
        "masks",
        "annotations",
        "jpegimages",
        "imagesets",
        "segmentationclass",
        "segmentationobject",
        "image_2",
        "label_2",
    }
)
"""Folders of other layouts, in lower case."""
TABLES = (
    ".yaml",
    ".yml",
    ".json",
    ".jsonl",
    ".xml",
    ".csv",
    ".tsv",
    ".data",
    ".names",
    ".toml",
    "labelmap.txt",
)
"""Ends of files at the top that say there is more to it than folders."""
LOOKED_AT = 100
"""Entries of a folder after which it is taken for one without images."""
STRAY = "files are no images and were left"
OUTSIDE = f"images are in no class's folder, or in {UNLABELED}, and were left as not labeled yet"
LINKS = "links lead out of the folder and were left"


@dataclass(frozen=True)
class Folders(LabelFormat):
    """``CLASS/image.jpg``, below ``train``, ``val`` and ``test`` or not, in a folder or a zip."""

    carries = frozenset({"category"})
    suffix = ""

    root: str = ""
    """The folder that the images' paths start from, for writing."""

    def recognise(self, path: Path) -> str:
        """It is one if its folders hold images, and nothing at its top looks like another format."""
        try:
            found = _looks_like_one_in_zip(path) if is_archive(path) else _looks_like_one(path)
        except (OSError, ValueError, AlctlError):
            return ""
        return "a folder for each class" if found else ""

    def read(self, path: Path) -> Iterator[Record]:
        """Yield an answer for each image in a class's folder; a class is a folder, with an image in it or not."""
        notes: Counter[str] = Counter()
        with members(path) as found:
            names = [name for name in found.names if not _hidden(name)]
            images = [name for name in names if _is_image(name)]
            if not images:
                raise AlctlError(f"{path} holds no images, so nothing is sorted into its folders")
            level = _level(images, zipped=not path.is_dir())
            places = {name: _place(name, level) for name in images}
            classes = {place[0] for place in places.values() if place}
            yield from map(Category, sorted(classes))
            for name, place in places.items():
                if place:
                    yield _answer(found, name, *place)
        notes[STRAY] = len(names) - len(images)
        notes[OUTSIDE] = sum(place is None for place in places.values())
        notes[LINKS] = _links(path, frozenset(found.names)) if path.is_dir() else 0
        yield from (Note(what, count) for what, count in notes.items() if count)

    def write(self, images: Iterable[LabeledImage], path: Path, categories: Sequence[Category]) -> None:
        """Put the images into folders, as hard links, which cost no space, or else as copies; skipped ones are left."""
        if not self.root:
            raise AlctlError(
                "a folder for each class holds the images themselves: --option root=FOLDER says where they are"
            )
        _refuse_names([category.name for category in categories])
        try:
            _make_empty(path)
            for image in images:
                if image.status == "labeled":
                    target = path / _class_of(image) / _relative(image.path)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    _link_or_copy(os.path.realpath(Path(self.root, image.path)), target)
        except OSError as error:
            raise AlctlError(
                f"cannot put {error.filename or 'images'} into {path}: {error.strerror}"
            ) from error

    def hand_out(
        self, assignments: Iterable[Assignment], path: Path, categories: Sequence[Category], task: str
    ) -> None:
        """Make an empty folder for each class, into which annotators move the images of the export."""
        if task != "classification":
            raise AlctlError(f"folders hold images of one class each; the task of this project is {task}")
        names = [category.name for category in categories]
        _refuse_names(names)
        try:
            _make_empty(path)
            for name in names:
                (path / name).mkdir()
        except OSError as error:
            raise AlctlError(f"cannot make {error.filename}: {error.strerror}") from error


# --- reading ----------------------------------------------------------------------------------------------------------


def _hidden(name: str) -> bool:
    return name.startswith(".") or "/." in name


def _is_image(name: str) -> bool:
    return name.lower().endswith(IMAGE_SUFFIXES)


def _level(images: Iterable[str], *, zipped: bool) -> int:
    """Return how many folders stand above those of the classes: of splits, or the one that was zipped."""
    folders = {tuple(name.split("/")[:-1]) for name in images}
    folders = {folder for folder in folders if folder and UNLABELED not in folder}
    level = 0
    while folders and min(map(len, folders)) > level + 1:
        tops, below = {folder[level] for folder in folders}, {folder[level + 1] for folder in folders}
        packed = zipped and len(tops) == 1 and (len(below) > 1 or below <= SPLITS)
        if not (packed or tops <= SPLITS):
            break
        level += 1
    return level


def _place(name: str, level: int) -> tuple[str, str] | None:
    """Return an image's class and its path below the class's folder; None if it is in no such folder."""
    parts = name.split("/")
    if len(parts) < level + 2 or UNLABELED in parts[: level + 1]:
        return None
    return parts[level], "/".join(parts[level + 1 :])


def _answer(found: Members, name: str, category: str, path: str) -> LabeledImage | Refusal:
    try:
        digest = found.digest(name)
    except AlctlError as error:
        return Refusal(0, str(error), name)
    return LabeledImage(path, (Annotation(category),), digest=digest, where=name)


def _links(path: Path, known: AbstractSet[str]) -> int:
    """Return how many links are not followed, because they lead out of the folder, to a folder or to nothing."""
    links = (file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_symlink())
    return sum(link not in known and not _hidden(link) for link in links)


# --- is it one? -------------------------------------------------------------------------------------------------------


def _looks_like_one(path: Path) -> bool:
    tops = [entry for entry in path.iterdir() if not _hidden(entry.name)]
    folders = [entry for entry in tops if entry.is_dir()]
    if folders and SPLITS.issuperset(folder.name for folder in folders):
        tops += [entry for folder in folders for entry in folder.iterdir()]
    if _of_another(entry.name for entry in tops):
        return False
    first = (file.name for folder in folders for file in islice(folder.rglob("*"), LOOKED_AT))
    return any(_is_image(name) and not _hidden(name) for name in first)


def _looks_like_one_in_zip(path: Path) -> bool:
    """Tell whether a zip has the folders of at least two classes; one may be what was zipped, around anything."""
    with members(path) as found:
        names = [name for name in found.names if not _hidden(name)]
    images = [name for name in names if _is_image(name)]
    level = _level(images, zipped=True)
    places = [_place(name, level) for name in images]
    tops = {part for name in names for part in name.split("/")[: level + 2]}
    return not _of_another(tops) and len({place[0] for place in places if place}) > 1


def _of_another(tops: Iterable[str]) -> bool:
    return any(top.lower() in OTHERS or top.lower().endswith(TABLES) for top in tops)


# --- writing ----------------------------------------------------------------------------------------------------------


def _refuse_names(names: Sequence[str]) -> None:
    """Stop at classes that cannot be folders, or that `read` would not take for classes."""
    for name in names:
        if name in ("", UNLABELED) or name.startswith(".") or set(name) & {"/", "\\", "\0"}:
            raise AlctlError(
                f"class {name!r} cannot be the name of a folder; rename it, or use another format"
            )
    if names and SPLITS.issuperset(names):
        raise AlctlError(f"classes called {', '.join(names)} would be taken for splits; use another format")
    folded = {name.casefold(): name for name in names}
    if other := next((name for name in names if folded[name.casefold()] != name), None):
        raise AlctlError(
            f"classes {other!r} and {folded[other.casefold()]!r} would share a folder on some systems; rename one"
        )


def _make_empty(path: Path) -> None:
    path.mkdir(parents=True, exist_ok=True)
    if next(path.iterdir(), None):
        raise AlctlError(f"{path} is not empty; what is in it would be taken for labels, too")


def _class_of(image: LabeledImage) -> str:
    classes = {annotation.category for annotation in image.annotations if annotation.whole_image}
    if len(classes) != 1:
        raise AlctlError(f"{image.path!r} has {len(classes)} classes, and a file is in one folder")
    return classes.pop()


def _relative(path: str) -> PurePosixPath:
    place = PurePosixPath(path)
    if not place.parts or place.is_absolute() or ".." in place.parts:
        raise AlctlError(f"{path!r} is not a path inside a folder of images")
    return place


def _link_or_copy(source: str, target: Path) -> None:
    if target.exists():
        raise AlctlError(
            f"{target} would be written twice: by two annotators, or paths that differ in case alone?"
        )
    try:
        target.hardlink_to(source)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copyfile(source, target)
