"""Where a YOLO data set keeps what: the names of its classes, and which label file is about which image."""

import re
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from itertools import islice, product
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

from alctl.annotation import IMAGE_SUFFIXES
from alctl.errors import AlctlError
from alctl.plainyaml import LARGEST, yaml_mapping
from alctl.untrusted import Members, members

YAML = (".yaml", ".yml")
LONGEST_LINE = 1 << 16
"""Bytes of a line in a list of images."""
OWN = "alctl"
"""What of data.yaml is ours: the kind of its rows, and the folder that stands for the data set's root."""
SPLITS = ("train", "val", "valid", "test")
KINDS = ("detect", "segment", "obb", "pose")
_LISTS = frozenset({"train.txt", "val.txt", "valid.txt", "test.txt", "images.txt"})
CLASS_LISTS = ("obj.names", "classes.txt")
_KEY = re.compile(r"""(?:^|[{,])[ \t]*["']?(?:names|nc)["']?[ \t]*:""", re.MULTILINE)
_CLASSES_AND_PLACE = [
    re.compile(rf"""(?:^|[{{,])[ \t]*["']?(?:{keys})["']?[ \t]*[:=]""", re.MULTILINE)
    for keys in ("names|nc", "train|valid|val|test|path|kpt_shape")
]
_INDEX = re.compile(r"[0-9]{1,9}")


class Config(NamedTuple):
    """What a data.yaml, an obj.data or a list of class names says."""

    file: str
    names: dict[int, str]
    images: tuple[str, ...] = ()
    """The entries of train, val and test: folders, lists of images, or images."""
    shape: tuple[int, int] | None = None
    """The number of keypoints, and of values for each: 2 for x, y or 3 for x, y, visibility."""
    keypoints: tuple[tuple[int, tuple[str, ...]], ...] = ()
    """The names of the keypoints of the classes, by class index, where they are given."""
    kind: str = ""
    root: str = ""


class Layout(NamedTuple):
    """Which label file is about which image."""

    labels: dict[str, list[str]]
    """Each label file with the images that it may be about: one, none that is known, or, which is wrong, several."""
    pictures: frozenset[str]
    """The images that are there themselves."""
    without: int
    """Known images that have no label file."""


# --- data.yaml --------------------------------------------------------------------------------------------------------


def of_yaml(text: str, file: str, name: str) -> Config:
    """Return what a data.yaml says; ``name`` is the file's in messages."""
    found = yaml_mapping(text, name)
    entries = [found.get(split) or [] for split in SPLITS]
    images = tuple(entry for some in entries for entry in (some if isinstance(some, list) else [some]))
    own = found.get(OWN)
    own = own if isinstance(own, dict) else {}
    return Config(
        file,
        _numbered_names(found, name),
        tuple(entry for entry in images if isinstance(entry, str)),
        _shape(found.get("kpt_shape"), name),
        tuple(_keypoint_names(found.get("kpt_names"))),
        own["kind"] if own.get("kind") in KINDS else "",
        str(own.get("root") or ""),
    )


def _numbered_names(found: dict[str, Any], name: str) -> dict[int, str]:
    """Return the names by their class index; none if there are none."""
    given = found.get("names") or {}
    if isinstance(given, list):
        given = {str(index): value for index, value in enumerate(given)}
    if not isinstance(given, dict):
        raise AlctlError(f"{name}: names is neither a list nor a mapping of class indices to names")
    if strange := [key for key in given if not _INDEX.fullmatch(key)]:
        raise AlctlError(f"{name}: names has {strange[0]!r} where a class index belongs")
    if strange := [key for key, value in given.items() if not isinstance(value, str)]:
        raise AlctlError(f"{name}: class {strange[0]} has no plain name")
    names = {int(key): value for key, value in given.items()}
    count = found.get("nc")
    if names and isinstance(count, str) and count and count != str(len(names)):
        raise AlctlError(f"{name}: nc is {count}, and there are {len(names)} names; which is right?")
    if len(names) < len(given):
        raise AlctlError(f"{name}: names has a class index twice")
    return _checked(names, name)


def _checked(names: dict[int, str], name: str) -> dict[int, str]:
    first: dict[str, int] = {}
    for index, text in names.items():
        if not text.strip():
            raise AlctlError(f"{name}: class {index} has no name")
        if text in first:
            raise AlctlError(f"{name}: classes {first[text]} and {index} are both called {text!r}")
        first[text] = index
    return names


def _shape(given: object, name: str) -> tuple[int, int] | None:
    if not given:
        return None
    if isinstance(given, list) and len(given) == 2 and all(isinstance(n, str) for n in given):
        count, values = given
        if re.fullmatch("[1-9][0-9]{0,3}", count) and values in ("2", "3"):
            return int(count), int(values)
    raise AlctlError(f"{name}: kpt_shape must be [number of keypoints, 2 or 3], such as [17, 3]")


def _keypoint_names(given: object) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yield the keypoints' names with their class index; what is not a list of names is left."""
    if isinstance(given, list):
        given = {str(index): names for index, names in enumerate(given)}
    for index, names in given.items() if isinstance(given, dict) else ():
        if _INDEX.fullmatch(index) and isinstance(names, list) and all(isinstance(n, str) for n in names):
            yield int(index), tuple(names)


# --- where the names of the classes are ------------------------------------------------------------------------------


@contextmanager
def opened(path: Path) -> Iterator[tuple[Members, str]]:
    """Open a folder, a zip, or the folder of a data.yaml or obj.data; yield its files, and which one was meant."""
    meant = path.name if path.suffix.lower() in {*YAML, ".data"} and path.is_file() else ""
    with members(path.parent if meant else path) as found:
        yield found, meant


def config_of(found: Members, meant: str, given: str) -> Config:
    """Return what the data set says of itself, with names from the file ``given`` if there is one."""
    about = [_said(found, file) for file in ([meant] if meant else _sources(found))]
    about.sort(key=lambda config: (_rank(config.file), config.file.count("/"), config.file))
    named = [config for config in about if config.names]
    for other in named[1:]:
        if other.names != named[0].names and not given:
            raise AlctlError(
                f"{found.path} has two lists of classes that differ, in {named[0].file} and in {other.file}; import "
                "the folder of each by itself, or say --option names=FILE"
            )
    main = next(iter(named or about), Config("", {}))
    if given:
        main = main._replace(names=_given_names(Path(given)))
    if not main.names:
        only = (
            f"{main.file} gives no names, and"
            if main.file
            else "it has no data.yaml, obj.names or classes.txt;"
        )
        raise AlctlError(
            f"{found.path}: {only} the meaning of a class index is in its name alone; "
            "--option names=FILE gives the names, one on each line or as a data.yaml"
        )
    return main._replace(images=tuple(entry for config in about for entry in config.images))


def _rank(file: str) -> int:
    return 0 if file.endswith(YAML) else 1 if file.endswith(".data") else 2


def _sources(found: Members) -> Iterator[str]:
    """Yield the files that name classes."""
    for name in found.names:
        base = name.rpartition("/")[2]
        if base.startswith(".") or "/." in name:
            continue
        if (
            base in CLASS_LISTS
            or base == "obj.data"
            or (base.endswith(YAML) and _KEY.search(head(found.open(name))))
        ):
            yield name


def head(stream: IO[bytes]) -> str:
    """Return the beginning of a file, and close it."""
    with stream:
        return stream.read(LARGEST).decode("utf-8-sig", "replace")


def declares_images(text: str) -> bool:
    """Tell whether a text looks like a data.yaml or an obj.data: it has classes, and says where images are."""
    return all(key.search(text) for key in _CLASSES_AND_PLACE)


def _said(found: Members, file: str) -> Config:
    name = f"{found.path}: {file}"
    if file.endswith(YAML):
        return of_yaml(found.text(file), file, name)
    if file.endswith(".data"):
        return _of_darknet(found, file, name)
    return Config(file, _listed_names(found.text(file), name))


def _of_darknet(found: Members, file: str, name: str) -> Config:
    """Return what an obj.data says: lines such as ``names = data/obj.names``."""
    pairs = (line.partition("=") for line in found.text(file).splitlines())
    said = {key.strip(): value.strip() for key, sign, value in pairs if sign}
    images = tuple(said[split] for split in SPLITS if said.get(split))
    source = _inside(said.get("names", ""), frozenset(found.names), file.rpartition("/")[0])
    names = _listed_names(found.text(source), f"{found.path}: {source}") if source else {}
    if names and said.get("classes", str(len(names))) != str(len(names)):
        raise AlctlError(f"{name}: classes is {said['classes']}, and there are {len(names)} names")
    return Config(file, names, images)


def _listed_names(text: str, name: str) -> dict[int, str]:
    """Return the names of a file with one on each line."""
    lines = [line.strip() for line in text.rstrip().splitlines()]
    return _checked(dict(enumerate(lines)), name) if any(lines) else {}


def _given_names(file: Path) -> dict[int, str]:
    try:
        with file.open(encoding="utf-8-sig") as stream:
            text = stream.read(LARGEST + 1)
    except UnicodeDecodeError as error:
        raise AlctlError(f"{file} is not UTF-8 text: {error.reason}") from error
    except OSError as error:
        raise AlctlError(f"cannot read the names in {file}: {error.strerror}") from error
    return of_yaml(text, "", str(file)).names if file.suffix in YAML else _listed_names(text, str(file))


# --- which label file is about which image ---------------------------------------------------------------------------


def layout_of(found: Members, config: Config) -> Layout:
    """Pair the label files of a data set with its images, whichever split they are in."""
    visible = [name for name in found.names if not name.startswith(".") and "/." not in name]
    texts = frozenset(name for name in visible if name.endswith(".txt"))
    pictures = frozenset(name for name in visible if name.lower().endswith(IMAGE_SUFFIXES))
    lists = {name for name in texts if name.rpartition("/")[2] in _LISTS and _is_list(found, name)}
    base = config.file.rpartition("/")[0]
    lists |= {name for entry in config.images if (name := _inside(entry, texts, base))}
    direct = [entry for entry in config.images if entry.lower().endswith(IMAGE_SUFFIXES)]
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
    aside = {config.file, *lists, *(name for name in texts if name.rpartition("/")[2] in CLASS_LISTS)}
    for label in _others(texts - aside - labels.keys(), labels):
        labels[label] = []
    return Layout({label: labels[label] for label in sorted(labels)}, pictures, without)


def _others(texts: Iterable[str], labels: Iterable[str]) -> Iterator[str]:
    """Yield the label files about no known image: beside those of others or in a folder ``labels``, or else all."""
    folders = {label.rpartition("/")[0] for label in labels}
    plain = [text for text in texts if not text.rpartition("/")[2].lower().startswith("readme")]
    near = [text for text in plain if text.rpartition("/")[0] in folders or "/labels/" in f"/{text}"]
    yield from near if near or folders else plain


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
    parts = entry.strip().replace("\\", "/").split("/")
    return "/".join(part for part in parts if part not in ("", ".", ".."))


def _ends(entry: str) -> Iterator[str]:
    """Yield a path without none, one, two ... of its first folders."""
    end = _plain(entry)
    while end:
        yield end
        end = end.partition("/")[2]


def _inside(entry: str, names: AbstractSet[str], base: str) -> str:
    """Return the file among ``names`` that an entry means, which may lead there from another root; or nothing."""
    places = (place for end in _ends(entry) for place in (_joined(base, end), end))
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


def _is_list(found: Members, name: str) -> bool:
    """Tell whether a text begins with the path of an image."""
    return any(line.strip().lower().endswith(IMAGE_SUFFIXES) for line in islice(_lines(found, name), 1))


def _lines(found: Members, name: str) -> Iterator[str]:
    try:
        with found.open(name) as stream:
            while line := stream.readline(LONGEST_LINE):
                if text := line.decode("utf-8-sig").strip():
                    yield text
    except UnicodeDecodeError as error:
        raise AlctlError(f"{found.path}: {name} is not UTF-8 text: {error.reason}") from error


def shown(path: str, config: Config) -> str:
    """Return the path of an image or a label file as seen from the folder of data.yaml."""
    base = PurePosixPath(config.file).parent
    if base.name == "labels":  # where labelImg puts its list of classes
        base = base.parent
    return path.removeprefix(f"{base}/") if base.parts else path
