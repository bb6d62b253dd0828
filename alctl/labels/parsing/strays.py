"""Whether files are a format's own, or strays in a folder that holds another."""

from collections.abc import Collection
from pathlib import PurePosixPath

from alctl.labels.annotation import IMAGE_SUFFIXES

_LABELS = (".xml", ".json", ".txt", ".csv", ".tsv")
_LISTS = frozenset(
    {"classes.txt", "predefined_classes.txt", "labels.txt", "labelmap.txt", "readme.txt", "train.txt", "val.txt",
     "test.txt", "trainval.txt"}
)  # fmt: skip
"""Of classes and images, which lie beside labels of any format."""


def outnumbered(documents: Collection[str], names: Collection[str]) -> bool:
    """Tell whether label files of other kinds outnumber the ``documents`` among all ``names`` of a folder."""
    own = set(documents)
    others = [
        path
        for path in map(PurePosixPath, names)
        if path.suffix.lower() in _LABELS
        and path.name.lower() not in _LISTS
        and not path.name.startswith(".")
        and str(path) not in own
    ]
    return len(others) > len(own)


def are_strays(documents: Collection[str], names: Collection[str]) -> bool:
    """Tell whether label files, of which each is about one image, are no sign of their format among all ``names``.

    They are none if others outnumber them, or if there is only one, and beside none of the images.
    """
    if outnumbered(documents, names):
        return True
    paths = map(PurePosixPath, names)
    images = {path.with_suffix("") for path in paths if path.suffix.lower() in IMAGE_SUFFIXES}
    return len(documents) == 1 and bool(images) and PurePosixPath(*documents).with_suffix("") not in images
