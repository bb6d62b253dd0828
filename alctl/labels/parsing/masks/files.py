"""Which files of a folder are masks, and which image each is of."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import NamedTuple

from alctl.errors import AlctlError
from alctl.labels.annotation import IMAGE_SUFFIXES, Refusal
from alctl.labels.parsing.untrusted import Members

CLASSES, OBJECTS = "SegmentationClass", "SegmentationObject"
PATHS = "alctl_paths.jsonl"  # which image each mask is of, whose name has lost its suffix
MASK = "_mask"
"""How the names of masks end that lie beside their images, as Roboflow writes them."""
_FOLDERS = (re.compile("segmentationclass"), re.compile("masks|.+annot"))  # of masks, the surest first
_ASIDE = {"jpegimages", "images", OBJECTS.lower()}


class MaskFile(NamedTuple):
    """A mask, the mask of the objects in it if there is one, and the image that it is of."""

    name: str
    objects: str
    path: str


class Place(NamedTuple):
    """Where in a mask's path the folder of masks stands, and what of its name is the images' folder."""

    at: int
    kept: tuple[str, ...]


def sources(found: Members, paths: Mapping[str, str]) -> Iterator[MaskFile]:
    """Yield the masks of a folder, each with the image that it is of: the path without the folder of masks."""
    at, known = places(found.names), frozenset(found.names)
    roots = {PurePosixPath(name).parts[: place.at] for name, place in at.items() if place}
    for name, place in at.items():
        parts = PurePosixPath(name).with_suffix("").parts
        if place is None and parts[-1].endswith(MASK):
            parts = (*parts[:-1], parts[-1].removesuffix(MASK))
        if place:
            above = parts[: place.at] if len(roots) > 1 else ()
            parts = (*above, *place.kept, *parts[place.at + 1 :])
        objects = name.replace(CLASSES, OBJECTS, 1)
        yield MaskFile(
            name, objects if objects != name and objects in known else "", paths.get(name) or "/".join(parts)
        )


def places(names: Iterable[str]) -> dict[str, Place | None]:
    """Return the masks: all images in folders of masks, or all PNG files, those called ``_mask`` if there are some.

    Other images in a folder of masks are among them, to be refused.
    """
    paths = {name: PurePosixPath(name) for name in names if name.lower().endswith(IMAGE_SUFFIXES)}
    paths = {name: path for name, path in paths.items() if not path.name.startswith("._")}  # left by macOS
    for folder in _FOLDERS:
        found: dict[str, Place | None] = {}
        for name, path in paths.items():
            matches = [folder.fullmatch(part.lower()) for part in path.parts[:-1]]
            if at := next((n + 1 for n, match in enumerate(matches) if match), 0):
                part = path.parts[at - 1]
                kept = part[: -len("annot")] if part.lower().endswith("annot") else ""
                found[name] = Place(at - 1, (kept,) if kept else ())
        if found:
            return found
    rest = [
        name
        for name, path in paths.items()
        if path.suffix.lower() == ".png" and not _ASIDE.intersection(part.lower() for part in path.parts)
    ]
    marked = [name for name in rest if paths[name].stem.endswith(MASK)]
    return dict.fromkeys(marked or rest)


def lost(found: Members, sources: Iterable[MaskFile], paths: Mapping[str, str]) -> Iterator[Refusal]:
    """Yield what is missing: masks that the list of paths names, and masks of classes beside those of objects."""
    there = {name for source in sources for name in (source.name, source.objects)}
    for name in paths:
        if name not in there:
            yield Refusal(0, f"the mask is not there, but {PATHS} names it", name)
    for name in found.names:
        if OBJECTS in PurePosixPath(name).parts[:-1] and name.lower().endswith(".png") and name not in there:
            yield Refusal(0, f"a mask of objects without its mask of classes in {CLASSES}", name)


def paths(found: Members) -> dict[str, str]:
    """Return the image of each mask, where alctl wrote the masks."""
    paths = {}
    for name in found.names:
        if PurePosixPath(name).name == PATHS:
            for number, line in enumerate(found.text(name).splitlines(), 1):
                try:
                    mask, path = map(str, json.loads(line))
                except (ValueError, TypeError, RecursionError) as error:
                    raise AlctlError(
                        f"{found.path}: {name}, line {number} does not name a mask and its image"
                    ) from error
                paths[str(PurePosixPath(name).parent / mask)] = path
    return paths
