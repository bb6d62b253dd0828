"""Pascal VOC: one XML file an image, boxes by their corners in pixels, classes by name.

Two traditions differ by a pixel, and no file says which one it follows. The original counts pixels from 1, and xmax is
the last pixel in the box: ``xmin 1, xmax 1`` is one pixel wide. Most tools write plain coordinates from 0 to the
image's width: ``xmin 0, xmax 1`` is one pixel wide. In COCO's terms the left edge is ``xmin - origin`` and the width is
``xmax - xmin + origin``, so that the right edge is xmax in both.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path, PurePosixPath
from typing import IO, Annotated
from xml.etree.ElementTree import Element
from xml.sax.saxutils import escape

from annotated_types import Interval

from alctl.errors import AlctlError
from alctl.labels import shapes
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
from alctl.labels.parsing.untrusted import Members, is_archive, members, xml_elements

FOLDER = "Annotations"
EVIDENCE = 50
"""Files that are looked at before the user is asked where the pixels begin."""
CORNERS, FLAGS = ("xmin", "ymin", "xmax", "ymax"), ("difficult", "truncated", "occluded")
PLAIN = {"name", "bndbox", "pose", *FLAGS}
HEAD = 1 << 16
_ROOT = re.compile(rb"(?:\xef\xbb\xbf)?(?>\s+|<\?.*?\?>|<!--.*?-->)*+<annotation[\s>]", re.DOTALL)
_OWN = re.compile(rb"<(?:bndbox|segmented|size)[\s>/]")
_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,400}(?:\.[0-9]{0,400})?|\.[0-9]{1,400})(?:[eE][+-]?[0-9]{1,3})?")
_NOT_XML = re.compile("[\x00-\x1f\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True)
class Voc(LabelFormat):
    """A folder with ``Annotations/*.xml``, a zip of one, a folder of XML files, or one XML file."""

    carries = frozenset({"bbox"})
    suffix = ""

    origin: Annotated[int, Interval(ge=0, le=1)] | None = None
    """The number of the first pixel; it must be given to read, and is 0 in what is written unless it is 1."""

    def recognise(self, path: Path) -> str:
        """VOC is XML whose outermost element is an annotation with a size or with boxes."""
        try:
            found = any(_ROOT.match(head) and _OWN.search(head) for head in _heads(path))
        except (OSError, ValueError, AlctlError):
            return ""
        return "Pascal VOC annotations" if found else ""

    def read(self, path: Path) -> Iterator[Record]:
        """Yield an answer for each XML file: a file without an object is what a tool saves for an empty image."""
        notes: Counter[str] = Counter()
        if path.is_file() and not is_archive(path):
            self._require_origin(path, _lowest(lambda _: _opened(path), [path.name]))
            with _opened(path) as stream:
                yield self._record(stream, str(path), PurePosixPath(path.name), notes)
        else:
            with members(path) as found:
                files = list(_files(found))
                if not files:
                    raise AlctlError(f"{path} holds no XML files, so it is not Pascal VOC")
                self._require_origin(path, _lowest(found.open, [name for name, _ in files[:EVIDENCE]]))
                for name, inside in files:
                    yield self._member(found, name, inside, notes)
        yield from (Note(what, count) for what, count in notes.items())

    def _member(self, found: Members, name: str, inside: PurePosixPath, notes: Counter[str]) -> Record:
        try:
            with found.open(name) as stream:
                return self._record(stream, "the file", inside, notes, name)
        except AlctlError as error:
            return Refusal(0, str(error), name)

    def _record(
        self, stream: IO[bytes], name: str, inside: PurePosixPath, notes: Counter[str], where: str = ""
    ) -> LabeledImage | Refusal:
        """Return what one file says; AlctlError if it is not VOC at all."""
        ((root, _),) = xml_elements(stream, name, "annotation", root="annotation")
        seen: Counter[str] = Counter()
        try:
            answer = self._answer(root, inside, seen, where)
        except ValueError as error:
            return Refusal(0, str(error), where)
        notes.update(seen)
        return answer

    def _answer(self, root: Element, inside: PurePosixPath, notes: Counter[str], where: str) -> LabeledImage:
        """Turn one file into an answer; ValueError says why it cannot be one."""
        objects = []
        for number, element in enumerate(root.findall("object"), 1):
            name = (element.findtext("name") or "").strip()
            try:
                objects.append(self._object(element, name, notes))
            except ValueError as error:
                raise ValueError(f"object {number} ({name!r}): {error}") from None
        if not objects and not _empty(root):
            raise ValueError("it has no <object>, but it is no empty Pascal VOC file either")
        if not self.origin and _like_fractions([found.bbox for found in objects if found.bbox]):
            raise ValueError("all coordinates are at most 1, so they look like fractions; VOC has pixels")
        answer = LabeledImage(_image_path(root, inside), tuple(objects), where=where)
        return answer._replace(width=_size(root, "width"), height=_size(root, "height"))

    def _object(self, element: Element, name: str, notes: Counter[str]) -> Annotation:
        boxes = element.findall("bndbox")
        if not name:
            raise ValueError("it has no <name>")
        if len(boxes) != 1:
            raise ValueError(f"it has {len(boxes)} <bndbox>, not one; other shapes are not VOC's")
        box = self._box(boxes[0])
        if self.origin and min(box[2:]) <= 1:
            notes["boxes are at most one pixel wide or high (xmax = xmin counted from 1): stray clicks?"] += 1
        _note_rest(element, notes)
        return Annotation(name, bbox=box)

    def _box(self, element: Element) -> shapes.Box:
        if (origin := self.origin) is None:
            raise ValueError("its pixels begin at 0 or at 1; --option origin=0 or origin=1 says which")
        left, top, right, bottom = (_number(element, corner) for corner in CORNERS)
        if origin and min(left, top) < 1:
            raise ValueError(
                f"a coordinate of {min(left, top):g}, although the first pixel is 1 by --option origin=1"
            )
        # A sum and a difference of binary fractions leave a last digit that nobody wrote.
        width, height = round(right - left + origin, 9), round(bottom - top + origin, 9)
        if width <= 0 or height <= 0:
            raise ValueError(
                f"a box without an area: xmin {left:g}, ymin {top:g}, xmax {right:g}, ymax {bottom:g}"
            )
        return left - origin, top - origin, width, height

    def _require_origin(self, path: Path, lowest: Sequence[tuple[float, str]]) -> None:
        """Refuse to guess where the pixels begin, and show what the first files tell."""
        if self.origin is None and lowest:
            low, where = min(lowest)
            proof = ", so it is 0" if low < 1 else ", which proves nothing: labelImg writes 1 for 0"
            raise AlctlError(
                f"{path} does not say where its pixels begin: give --option origin=0 (as Label Studio, CVAT, datumaro "
                f"and labelImg write) or --option origin=1 (the original Pascal VOC); the lowest coordinate in the "
                f"first files is {low:g}, in {where}{proof}"
            )

    def write(self, images: Iterable[LabeledImage], path: Path, categories: Sequence[Category]) -> None:
        """Write one XML file an image; ``categories`` is not needed, since classes go by name.

        Two images that differ only in their suffix get ``a.xml`` and ``a.png.xml``.
        """
        folder = path / FOLDER
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if next(folder.iterdir(), None):
                raise AlctlError(f"{folder} is not empty: its files would be taken for labels, too")
            for image in images:
                if image.status == "labeled":
                    _save(folder, image.path, self._document(image))
        except OSError as error:
            raise AlctlError(f"cannot write {error.filename or path}: {error.strerror}") from error

    def hand_out(
        self, assignments: Iterable[Assignment], path: Path, categories: Sequence[Category], task: str
    ) -> None:
        """Write what labelImg opens: the class list, and an XML file for each image with predictions."""
        self.write(chain.from_iterable(map(_predicted, assignments)), path, categories)
        names = "".join(f"{category.name}\n" for category in categories)
        (path / "predefined_classes.txt").write_text(names, encoding="utf-8")

    def _document(self, image: LabeledImage) -> str:
        folder, name = PurePosixPath(image.path).parent, PurePosixPath(image.path).name
        lines = [
            "<annotation>",
            f"  <folder>{_text('' if folder == PurePosixPath() else str(folder), image)}</folder>",
            f"  <filename>{_text(name, image)}</filename>",
            f"  <size><width>{image.width or 0}</width><height>{image.height or 0}</height><depth>3</depth></size>",
            "  <segmented>0</segmented>",
        ]
        for annotation in map(shapes.boxed, image.annotations):
            if annotation.bbox is None:
                raise AlctlError(f"{image.path}: a {annotation.category!r} without a box; VOC holds boxes")
            lines += self._element(annotation.category, annotation.bbox, image)
        return "\n".join([*lines, "</annotation>", ""])

    def _element(self, category: str, box: shapes.Box, image: LabeledImage) -> list[str]:
        origin, (x, y, width, height) = self.origin or 0, box
        values = zip(CORNERS, (x + origin, y + origin, x + width, y + height), strict=True)
        corners = "".join(f"<{tag}>{_shortest(value)}</{tag}>" for tag, value in values)
        return [
            "  <object>",
            f"    <name>{_text(category, image)}</name>",
            "    <pose>Unspecified</pose><truncated>0</truncated><difficult>0</difficult>",
            f"    <bndbox>{corners}</bndbox>",
            "  </object>",
        ]


def _files(found: Members) -> Iterator[tuple[str, PurePosixPath]]:
    """Yield the XML files with their place below ``Annotations``, of which there may be several in a folder."""
    paths = {name: PurePosixPath(name) for name in found.names if name.lower().endswith(".xml")}
    xmls = {name: path for name, path in paths.items() if not path.name.startswith("._")}  # left by macOS
    folders = {name: [part.lower() for part in path.parts[:-1]] for name, path in xmls.items()}
    cuts = {name: parts.index(FOLDER.lower()) for name, parts in folders.items() if FOLDER.lower() in parts}
    if not cuts:
        yield from xmls.items()
    roots = {xmls[name].parts[:at] for name, at in cuts.items()}
    for name, at in cuts.items():
        above = xmls[name].parts[:at] if len(roots) > 1 else ()
        yield name, PurePosixPath(*above, *xmls[name].parts[at + 1 :])


def _opened(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as error:
        raise AlctlError(f"cannot read {path}: {error.strerror}") from error


def _lowest(open_: Callable[[str], IO[bytes]], names: Iterable[str]) -> list[tuple[float, str]]:
    """Return the lowest xmin or ymin of each file that can be read and has any."""
    lowest = []
    for name in names:
        found: list[float] = []
        with suppress(AlctlError, ValueError), open_(name) as stream:
            for box, _ in xml_elements(stream, name, "bndbox", root="annotation"):
                found += [_number(box, "xmin"), _number(box, "ymin")]
        if found:
            lowest.append((min(found), name))
    return lowest


def _heads(path: Path) -> Iterator[bytes]:
    """Yield the beginnings of the first XML files at ``path``."""
    if path.is_dir():
        patterns = ("Annotations/**/*.xml", "annotations/**/*.xml", "*.xml", "*/Annotations/*.xml", "*/*.xml")
        for file in islice(chain.from_iterable(map(path.glob, patterns)), 5):
            with file.open("rb") as stream:
                yield stream.read(HEAD)
    elif is_archive(path):
        with members(path) as found:
            for name, _ in islice(_files(found), 5):
                with found.open(name) as stream:
                    yield stream.read(HEAD)
    else:
        with path.open("rb") as stream:
            yield stream.read(HEAD)


def _number(element: Element, tag: str) -> float:
    text = (element.findtext(tag) or "").strip()
    if not _NUMBER.fullmatch(text) or not math.isfinite(number := float(text)):
        raise ValueError(f"{tag} is {text[:40]!r}, which is not a number")
    return number


def _size(root: Element, tag: str) -> int | None:
    """Return the declared width or height; tools that do not know it write 0 or nothing."""
    if not (root.findtext(f"size/{tag}") or "").strip():
        return None
    number = _number(root, f"size/{tag}")
    if number < 0 or number != int(number) or number > 1 << 30:
        raise ValueError(f"the image's {tag} is {number:g}, which is not a number of pixels")
    return int(number) or None


def _empty(root: Element) -> bool:
    """Tell whether a file without objects is what a tool saves for an image with nothing on it."""
    elsewhere = any(element.tag in {"object", "bndbox"} for element in root.iter())
    return not elsewhere and any(child.tag in {"folder", "filename", "size", "segmented"} for child in root)


def _like_fractions(boxes: Sequence[shapes.Box]) -> bool:
    """Tell whether no box leaves the first pixel and one of them is smaller than a pixel."""
    ends = [end for x, y, width, height in boxes for end in (x + width, y + height)]
    return max(ends, default=2) <= 1 and min(min(box[2:]) for box in boxes) < 1


def _note_rest(element: Element, notes: Counter[str]) -> None:
    """Count what an object has beside its class and its box."""
    for flag in FLAGS:
        if (element.findtext(flag) or "").strip().lower() not in {"", "0", "false"}:
            notes[f"objects are marked as {flag}, which was left out"] += 1
    if (element.findtext("pose") or "").strip().lower() not in {"", "unspecified"}:
        notes["objects have a pose such as Left, which was left out"] += 1
    if any(child.tag not in PLAIN for child in element):
        notes["objects have parts, actions, attributes or other elements, which were left out"] += 1


def _image_path(root: Element, inside: PurePosixPath) -> str:
    """Return the image's path: the file's place below ``Annotations``, and the name that it gives.

    A name that is none, such as "1" or a folder, gives way to the XML file's own. ``<path>`` is of another machine.
    """
    raw = (root.findtext("filename") or "").replace("\\", "/")
    if PurePosixPath(raw).stem != inside.stem:
        raw = raw.strip()
    named = PurePosixPath(raw)
    if not (named.suffix.lower() in IMAGE_SUFFIXES or named.stem == inside.stem):
        return str(inside.with_suffix(""))
    if inside.parent == PurePosixPath() and ":" not in raw and not {"..", "/"}.intersection(named.parts):
        return str(named)
    return str(inside.with_name(named.name))


def _predicted(assignment: Assignment) -> Iterator[LabeledImage]:
    """Yield an image on which the model sees something, under the name that it has in its folder."""
    if assignment.predictions:
        name = PurePosixPath(assignment.image).name
        yield LabeledImage(name, assignment.predictions, width=assignment.width, height=assignment.height)


def _save(folder: Path, image: str, document: str) -> None:
    """Write a document under the image's name, with as much of it as sets it apart from those already written."""
    inside = PurePosixPath(image)
    if not inside.name or inside.is_absolute() or ".." in inside.parts:
        raise AlctlError(f"{image!r} is not a path inside the dataset, so there is no place for its labels")
    target = folder / inside
    target.parent.mkdir(parents=True, exist_ok=True)
    for name in (inside.stem, inside.name, f"{inside.name}."):
        try:
            with target.with_name(f"{name}.xml").open("x", encoding="utf-8", newline="\n") as stream:
                stream.write(document)
        except FileExistsError:
            continue
        return
    raise AlctlError(f"{image!r} stands in the labels twice, or differs from others only in its case")


def _text(text: str, image: LabeledImage) -> str:
    if _NOT_XML.search(text):
        raise AlctlError(f"{image.path!r}: {text!r} has a character that XML cannot hold; rename it")
    return escape(text)


def _shortest(value: float) -> str:
    return str(int(value)) if float(value).is_integer() and abs(value) < 1 << 53 else repr(float(value))
