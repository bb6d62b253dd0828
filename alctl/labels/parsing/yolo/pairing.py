"""Which of a YOLO data set's label files is about which of its images."""

from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from itertools import islice, product
from typing import NamedTuple

from alctl.errors import AlctlError
from alctl.labels.annotation import IMAGE_SUFFIXES
from alctl.labels.parsing.untrusted import Members

LONGEST_LINE = 1 << 16
"""Bytes of a line in a list of images."""
CLASS_LISTS = ("obj.names", "classes.txt")
_LISTS = frozenset({"train.txt", "val.txt", "valid.txt", "test.txt", "images.txt"})


class Layout(NamedTuple):
    """Which label file is about which image."""

    labels: dict[str, list[str]]
    """Each label file with the images that it may be about: one, none that is known, or, which is wrong, several."""
    pictures: frozenset[str]
    """The images that are there themselves."""
    without: int
    """Known images that have no label file."""


def layout_of(found: Members, config: str, said: Sequence[str]) -> Layout:
    """Pair the label files of a data set with its images, whichever split they are in.

    ``config`` is the file with the classes, and ``said`` what it says of images: folders, lists or images.
    """
    visible = [name for name in found.names if not name.startswith(".") and "/." not in name]
    texts = frozenset(name for name in visible if name.endswith(".txt"))
    pictures = frozenset(name for name in visible if name.lower().endswith(IMAGE_SUFFIXES))
    lists = {name for name in texts if name.rpartition("/")[2] in _LISTS and _is_list(found, name)}
    base = config.rpartition("/")[0]
    lists |= {name for entry in said if (name := inside(entry, texts, base))}
    direct = [entry for entry in said if entry.lower().endswith(IMAGE_SUFFIXES)]
    images = dict.fromkeys(sorted(pictures))
    images.update(dict.fromkeys(_resolved(direct, base, pictures, texts)))
    for name in sorted(lists):
        listed = list(_lines(found, name))
        images.update(dict.fromkeys(_resolved(listed, name.rpartition("/")[0], pictures, texts)))
    labels: dict[str, list[str]] = {}
    without = 0
    for image in images:
        label = _label_in(image, texts)
        if label and label not in lists:
            labels.setdefault(label, []).append(image)
        else:
            without += 1
    aside = {config, *lists, *(name for name in texts if name.rpartition("/")[2] in CLASS_LISTS)}
    for label in _others(texts - aside - labels.keys(), labels):
        labels[label] = []
    return Layout({label: labels[label] for label in sorted(labels)}, pictures, without)


def _others(texts: Iterable[str], labels: Iterable[str]) -> Iterator[str]:
    """Yield the label files about no known image: beside those of others or in a folder ``labels``, or else all."""
    folders = {label.rpartition("/")[0] for label in labels}
    sure = [text for text in texts if "/labels/" in f"/{text}"]
    rest = [text for text in texts if not text.rpartition("/")[2].lower().startswith("readme")]
    near = [text for text in rest if text.rpartition("/")[0] in folders]
    yield from dict.fromkeys(sure + near) if sure or folders else rest


def label_of(image: str) -> str:
    """Return the place of an image's labels: the last folder ``images`` becomes ``labels``; without one, beside it."""
    before, found, after = f"/{image}".rpartition("/images/")
    return f"{_bare(f'{before}/labels/{after}' if found else f'/{image}')}.txt"[1:]


def image_of(label: str) -> str:
    """Return the path, without its suffix, of the image that a label file must be about."""
    before, found, after = f"/{label}".rpartition("/labels/")
    return _bare(f"{before}/images/{after}" if found else f"/{label}").removeprefix("/images")[1:]


def _bare(path: str) -> str:
    at = path.rfind(".")
    return path[:at] if at > path.rfind("/") else path


def _label_in(image: str, texts: AbstractSet[str]) -> str:
    """Return the label file of an image among ``texts``, or an empty string."""
    return next((place for place in (label_of(image), f"{_bare(image)}.txt") if place in texts), "")


def _plain(entry: str) -> str:
    """Return a path as a list of images gives it, of any system, absolute or not, with names and slashes only."""
    parts = entry.replace("\\", "/").split("/")
    return "/".join(part for part in parts if part not in ("", ".", ".."))


def _ends(entry: str) -> Iterator[str]:
    """Yield a path without none, one, two ... of its first folders."""
    end = _plain(entry)
    while end:
        yield end
        end = end.partition("/")[2]


def inside(entry: str, names: AbstractSet[str], base: str) -> str:
    """Return the file among ``names`` that an entry means, which may lead there from another root; or nothing."""
    entries = dict.fromkeys((entry, entry.strip()))
    places = (place for one in entries for end in _ends(one) for place in (_joined(base, end), end))
    return next((place for place in places if place in names), "")


def _joined(base: str, path: str) -> str:
    return f"{base}/{path}" if base else path


def _resolved(
    entries: Sequence[str], base: str, pictures: AbstractSet[str], texts: AbstractSet[str]
) -> Iterator[str]:
    """Yield the images of a list in the folder ``base`` as paths in the data set.

    The list may have been made elsewhere, so the first folders of all its paths may have to go: as few as it takes for
    one of them to be here.
    """
    entries = [_as_called(entry, base, pictures, texts) for entry in entries]
    most = max((_plain(entry).count("/") for entry in entries), default=0)
    for start, folder in product(range(most + 1), dict.fromkeys((base, ""))):
        found = (_joined(folder, end) for entry in entries for end in islice(_ends(entry), start, start + 1))
        if any(image in pictures or _label_in(image, texts) for image in found):
            break
    else:
        start, folder = 0, base
    for entry in entries:
        ends = list(_ends(entry))
        yield _joined(folder, ends[min(start, len(ends) - 1)]) if ends else entry


def _as_called(entry: str, base: str, pictures: AbstractSet[str], texts: AbstractSet[str]) -> str:
    """Return an entry with those of the spaces around it that belong to the name of an image, or of labels, that is here.

    One behind the suffix tells nothing of the labels' name, and stays unless the image is here: the pool knows.
    """
    if entry == entry.strip():
        return entry
    called = dict.fromkeys((entry, entry.lstrip(), entry.rstrip(), entry.strip()))
    places = {
        text: [
            place
            for end in _ends(text)
            if text == text.strip() or end != end.strip()
            for place in (_joined(base, end), end)
        ]
        for text in called
    }
    pictured = (text for text in called if not pictures.isdisjoint(places[text]))
    labeled = (text for text in called if any(_label_in(place, texts) for place in places[text]))
    return next(pictured, "") or next(labeled, entry.strip())


def _is_list(found: Members, name: str) -> bool:
    """Tell whether a text begins with the path of an image."""
    return any(line.strip().lower().endswith(IMAGE_SUFFIXES) for line in islice(_lines(found, name), 1))


def _lines(found: Members, name: str) -> Iterator[str]:
    try:
        with found.open(name) as stream:
            while line := stream.readline(LONGEST_LINE):
                if (text := line.decode("utf-8-sig").rstrip("\r\n")).strip():
                    yield text
    except (OSError, UnicodeDecodeError) as error:
        raise AlctlError(f"{found.path}: {name} is no list of images that can be read: {error}") from error
