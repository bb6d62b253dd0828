"""Label Studio's labeling configuration, the XML that says which classes and keypoints annotators see, both directions."""

import io
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

from alctl.errors import AlctlError
from alctl.labels.annotation import Category
from alctl.labels.parsing.untrusted import xml_elements

LARGEST = 1 << 22
"""Bytes of a configuration; a larger file is something else."""
BESIDE = 20
"""XML files in a folder among which its configuration is looked for."""
OBJECT = "image"
"""The name of the image in the configurations that `written` makes, and the key of its address in a task's data."""
_MADE_BY = "Made by alctl"
_HIDDEN = "\u2060"
_PARTS = ("Choices", "Labels", "RectangleLabels", "PolygonLabels", "BrushLabels", "KeyPointLabels")


class Control(NamedTuple):
    """One tool that annotators draw or choose with."""

    tag: str
    name: str


CONTROLS = {
    "choice": Control("Choices", "choice"),
    "rectangle": Control("RectangleLabels", "box"),
    "keypoint": Control("KeyPointLabels", "keypoint"),
    "polygon": Control("PolygonLabels", "polygon"),
    "brush": Control("BrushLabels", "brush"),
}
"""By the kind of what is drawn."""


@dataclass(frozen=True)
class LabelConfig:
    """What of a labeling configuration matters for reading what was labeled with it."""

    categories: tuple[Category, ...] = ()
    keypoints: tuple[str, ...] = ()
    """All there are, in order; a class may have only some of them."""
    image: str = ""
    """The key of the image in a task's data; empty if there is none, or more than one image."""
    images: Mapping[str, str] = field(default_factory=dict)
    """The key of each image by its name in the configuration."""
    boxless: str = ""
    """The class of keypoints that stand without a box, where that was said."""

    def keypoints_of(self, name: str) -> tuple[str, ...]:
        """Return the keypoints of a class."""
        own = next((category.keypoints for category in self.categories if category.name == name), ())
        return own or self.keypoints

    def has_keypoints(self, name: str) -> bool:
        """Tell whether objects of this class have keypoints; where no class is declared, all have."""
        own = [bool(category.keypoints) for category in self.categories if category.name == name]
        return own[0] if own else bool(self.keypoints)


def written(categories: Sequence[Category], kinds: Collection[str]) -> str:
    """Return the XML of a configuration with a tool for each kind in `CONTROLS` that is asked for."""
    view = ET.Element("View")
    view.append(ET.Comment(f" {_MADE_BY}: paste it into the project's settings, Labeling Interface, Code. "))
    ET.SubElement(view, "Image", {"name": OBJECT, "value": f"${OBJECT}", "zoom": "true"})
    points = list(dict.fromkeys(name for category in categories for name in category.keypoints))
    for kind, control in CONTROLS.items():
        if kind not in kinds:
            continue
        tool = ET.SubElement(view, control.tag, {"name": control.name, "toName": OBJECT})
        if kind == "keypoint":
            for index, name in enumerate(points):
                ET.SubElement(tool, "Label", {**_named(name), "model_index": str(index)})
        else:
            _add_classes(tool, categories, points if kind == "rectangle" and "keypoint" in kinds else ())
    ET.indent(view)
    return ET.tostring(view, encoding="unicode") + "\n"


def _add_classes(tool: ET.Element, categories: Sequence[Category], points: Sequence[str]) -> None:
    """Give a tool the classes: their numbers, because Label Studio's own converters sort them by name without."""
    for index, category in enumerate(categories):
        if tool.tag == "Choices":
            ET.SubElement(tool, "Choice", _named(category.name))
            continue
        label = ET.SubElement(tool, "Label", {**_named(category.name), "category": str(index)})
        if points:
            label.set("alctl_keypoints", " ".join(str(points.index(name)) for name in category.keypoints))
        if points and category.skeleton:
            label.set("alctl_skeleton", " ".join(f"{a}-{b}" for a, b in category.skeleton))


def _named(name: str) -> dict[str, str]:
    """Return the attributes that show a name as it is.

    Label Studio fills in a task's data where a name holds ``$word``. It shows such a name with an invisible character
    behind the ``$`` then, and answers with the alias.
    """
    if not all(mark in "\t\n\r" or " " <= mark <= "\ud7ff" or "\ue000" <= mark != "\uffff" for mark in name):
        raise AlctlError(
            f"the class or keypoint {name!r} has characters that XML cannot hold; rename it first"
        )
    if "$" in name:
        return {"value": name.replace("$", f"${_HIDDEN}"), "alias": name}
    return {"value": name}


def read_config(path: Path) -> LabelConfig:
    """Read a configuration; AlctlError if the file is not one."""
    root = _root(path)
    if isinstance(root, str):
        raise AlctlError(f"{path} is not a labeling configuration of Label Studio: {root}")
    return _meaning(path, root)


def config_beside(path: Path) -> LabelConfig | None:
    """Return the configuration beside a file: the one with the same name, or the only one that alctl made."""
    own = path.parent / f"{path.stem}.xml"
    try:
        others = sorted(islice(path.parent.glob("*.xml"), BESIDE))
    except OSError:
        return None
    if own.is_file() and not isinstance(root := _root(own), str):
        return _meaning(own, root)
    made = [file for file in others if is_made_by_alctl(file)]
    return read_config(made[0]) if len(made) == 1 else None


def is_made_by_alctl(path: Path) -> bool:
    """Tell whether a file is a configuration that `written` made."""
    try:
        with path.open("rb") as stream:
            return _MADE_BY.encode() in stream.read(200)
    except OSError:
        return False


def _root(path: Path) -> ET.Element | str:
    """Return the outermost element, or what is wrong."""
    try:
        with path.open("rb") as stream:
            content = stream.read(LARGEST + 1)
    except OSError as error:
        return str(error.strerror)
    if len(content) > LARGEST:
        return "it is too large"
    try:
        ((root, _),) = xml_elements(io.BytesIO(content), "the file", "View", root="View")
    except AlctlError as error:
        return str(error)
    return root


def _meaning(path: Path, root: ET.Element) -> LabelConfig:
    """Collect classes, keypoints and the image."""
    labels = {tag: _labels(root, tag) for tag in _PARTS}
    points = _ordered(path, labels.pop("KeyPointLabels"), "model_index")
    found = dict.fromkeys(name for part in labels.values() for name in _ordered(path, part, "category"))
    boxes = labels["RectangleLabels"] + labels["Labels"]
    pointed = {name: _pointed(path, label, points) for name, label in boxes} if points else {}
    images = [element.get("value", "") for element in root.iter("Image")]
    keys = {
        element.get("name", ""): element.get("value", "").removeprefix("$") for element in root.iter("Image")
    }
    categories = tuple(Category(name, *pointed.get(name, ())) for name in found)
    key = images[0][1:] if len(images) == 1 and images[0].startswith("$") else ""
    return LabelConfig(categories, points, key, keys)


Labels = list[tuple[str, ET.Element]]


def _labels(root: ET.Element, tag: str) -> Labels:
    """Return the labels of all tools of a kind, by the name that they have in answers."""
    children = (child for tool in root.iter(tag) for child in tool.iter() if child.tag in ("Label", "Choice"))
    named = ((child.get("alias") or child.get("value") or "", child) for child in children)
    return [(name, child) for name, child in named if name]


def _ordered(path: Path, labels: Labels, by: str) -> tuple[str, ...]:
    """Return the names in the order of an attribute that all of them have, or else none; then as they stand."""
    given = [label.get(by) for _, label in labels]
    names = dict.fromkeys(name for name, _ in labels)
    if by != "model_index" and not all(_is_index(value) for value in given):
        return tuple(names)
    if not any(given):
        return tuple(names)
    if not all(_is_index(value) for value in given) or len(set(given)) < len(names):
        raise AlctlError(f"{path} gives some keypoints no {by} of their own, so that their order is not told")
    places = {name: int(value or 0) for (name, _), value in zip(labels, given, strict=True)}
    return tuple(sorted(names, key=places.__getitem__))


def _is_index(value: str | None) -> bool:
    return value is not None and value.isascii() and value.isdigit() and len(value) < 7


def _pointed(
    path: Path, label: ET.Element, points: Sequence[str]
) -> tuple[tuple[str, ...], tuple[tuple[int, int], ...]]:
    """Return a class's keypoints, all of them unless the label says which, and its skeleton."""
    own = label.get("alctl_keypoints")
    bones = [bone.partition("-") for bone in label.get("alctl_skeleton", "").split()]
    numbers = range(len(points)) if own is None else _numbers(path, own.split())
    ends = [_numbers(path, (a, b)) for a, _, b in bones]
    if any(not n < len(points) for n in numbers) or any(not n < len(numbers) for pair in ends for n in pair):
        raise AlctlError(f"{path} speaks of keypoints that it does not have")
    return tuple(points[n] for n in numbers), tuple((a, b) for a, b in ends)


def _numbers(path: Path, texts: Iterable[str]) -> list[int]:
    texts = list(texts)
    if not all(_is_index(text) for text in texts):
        raise AlctlError(f"{path} has alctl_keypoints or alctl_skeleton that are not numbers")
    return [int(text) for text in texts]
