"""What a YOLO data set says of itself: in a data.yaml, an obj.data or a list of class names."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

import yaml

from alctl.errors import AlctlError
from alctl.labels.annotation import Category
from alctl.labels.parsing.plain_yaml import LARGEST, yaml_mapping
from alctl.labels.parsing.untrusted import Members, members
from alctl.labels.parsing.yolo.pairing import CLASS_LISTS, inside

YAML = (".yaml", ".yml")
OWN = "alctl"
"""What of data.yaml is ours: the kind of its rows, and the folder that stands for the data set's root."""
SPLITS = ("train", "val", "valid", "test")
KINDS = ("detect", "segment", "obb", "pose")
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
    main = next((config for config in about if config.names), Config(about[0].file if about else "", {}))
    if given:
        main = _with_given(found.path, main, about, Path(given))
    if not main.names:
        only = f"{main.file} gives no names" if main.file else "it has no data.yaml, obj.names or classes.txt"
        raise AlctlError(
            f"{found.path}: {only}, and what a class index means is in its name alone; --option names=FILE gives "
            "them, one on each line or as a data.yaml"
        )
    for other in about:
        if other.names and other.names != main.names and not given:
            raise AlctlError(
                f"{found.path} has two lists of classes that differ, in {main.file} and in {other.file}; import the "
                "folder of each by itself, or say which holds with --option names=FILE"
            )
    return main._replace(images=tuple(entry for config in about for entry in config.images))


def _with_given(path: Path, main: Config, about: Sequence[Config], file: Path) -> Config:
    """Take the names of a file of the user; the data set may lack names, but not contradict them."""
    names = _given_names(file)
    if main.names and names not in [config.names for config in about]:
        raise AlctlError(
            f"{path}: the names in {main.file} are others than in {file}, which --option names gave, now or for an "
            "earlier import; --option names= forgets it"
        )
    return main._replace(names=names)


def _rank(file: str) -> int:
    return 0 if file.endswith(YAML) else 1 if file.endswith(".data") else 2


def _sources(found: Members) -> Iterator[str]:
    """Yield the files that name classes."""
    for name in found.names:
        base = name.rpartition("/")[2]
        if base.startswith(".") or "/." in name:
            continue
        known = base in {*CLASS_LISTS, "obj.data"}
        if known or (base.endswith(YAML) and _KEY.search(head(found.open(name)))):
            yield name


def head(stream: IO[bytes]) -> str:
    """Return the beginning of a file, and close it."""
    with stream:
        return stream.read(LARGEST + 1).decode("utf-8-sig", "replace")


def declares_images(text: str) -> bool:
    """Tell whether a text looks like a data.yaml or an obj.data: it has classes, and says where images are."""
    return all(key.search(text) for key in _CLASSES_AND_PLACE)


def _said(found: Members, file: str) -> Config:
    name = f"{found.path}: {file}"
    if file.lower().endswith(YAML):
        return of_yaml(found.text(file), file, name)
    if file.lower().endswith(".data"):
        return _of_darknet(found, file, name)
    return Config(file, _listed_names(found.text(file), name))


def _of_darknet(found: Members, file: str, name: str) -> Config:
    """Return what an obj.data says: lines such as ``names = data/obj.names``."""
    pairs = (line.partition("=") for line in found.text(file).splitlines())
    said = {key.strip(): value.strip() for key, sign, value in pairs if sign}
    images = tuple(said[split] for split in SPLITS if said.get(split))
    source = inside(said.get("names", ""), frozenset(found.names), file.rpartition("/")[0])
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
        text = head(file.open("rb"))
    except OSError as error:
        raise AlctlError(
            f"cannot read {file}: {error.strerror}; --option names=FILE gave it, now or for an earlier import"
        ) from error
    return of_yaml(text, "", str(file)).names if file.suffix in YAML else _listed_names(text, str(file))


def shown(path: str, config: Config) -> str:
    """Return the path of an image or a label file as seen from the folder of data.yaml."""
    base = PurePosixPath(config.file).parent
    if base.name == "labels":  # where labelImg puts its list of classes
        base = base.parent
    return path.removeprefix(f"{base}/") if base.parts else path


def data_yaml(kind: str, keypoints: int, categories: Sequence[Category], root: str, listed: str) -> str:
    """Return a data.yaml for rows of a kind; ``listed`` is the list of the images, whose splits nobody tells."""
    said: dict[str, object] = {"train": listed, "val": listed}
    if kind == "pose" and keypoints:
        said["kpt_shape"] = [keypoints, 3]
        points = {n: list(category.keypoints) for n, category in enumerate(categories)}
        if names := {n: found for n, found in points.items() if len(found) == keypoints}:
            said["kpt_names"] = names
    said["names"] = {n: category.name for n, category in enumerate(categories)}
    said[OWN] = {"kind": kind or "detect", "root": root}
    return yaml.safe_dump(said, allow_unicode=True, sort_keys=False, width=1 << 20)
