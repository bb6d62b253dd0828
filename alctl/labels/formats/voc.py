"""Pascal VOC: one XML file an image, boxes by their corners in pixels, classes by name.

Two traditions differ by a pixel, and only files that alctl wrote say which one they follow. The original counts pixels
from 1, and xmax is the last pixel in the box: ``xmin 1, xmax 1`` is one pixel wide. Most tools write plain coordinates
from 0 to the image's width: ``xmin 0, xmax 1`` is one pixel wide. In COCO's terms the left edge is ``xmin - origin`` and the width is
``xmax - xmin + origin``, so that the right edge is xmax in both.
"""

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
from alctl.labels.annotation import Annotation, Assignment, Category, LabeledImage, Note, Record, Refusal
from alctl.labels.format import LabelFormat
from alctl.labels.parsing.encodings import shown_head
from alctl.labels.parsing.strays import are_strays
from alctl.labels.parsing.units import UnitsOption, UnstatedError, require_pixels, settled
from alctl.labels.parsing.unlabeled import answered
from alctl.labels.parsing.untrusted import Members, is_archive, members, xml_elements
from alctl.labels.parsing.voc import xml

FOLDER = "Annotations"
EVIDENCE = 50
"""Files that are looked at before the user is asked where the pixels begin."""
HEAD = 1 << 16
_ROOT = re.compile(r"(?>\s+|<\?.*?\?>|<!--.*?-->)*+<annotation[\s>]", re.DOTALL)
_OWN = re.compile(r"<(?:bndbox|segmented|size)[\s>/]")
_NOT_XML = re.compile("[\x00-\x1f\ud800-\udfff\ufffe\uffff]")
SEGMENTED = (
    "but says that it is segmented: the tool left out its polygons or masks; export them in another format, such as CVAT "
    "for images or COCO"
)
STATED_ORIGIN = "files say their own units and origin; --option units and origin were not used for them"


@dataclass(frozen=True)
class Voc(LabelFormat):
    """A folder with ``Annotations/*.xml``, a zip of one, a folder of XML files, or one XML file."""

    carries = frozenset({"bbox", "difficult"})
    suffix = ""

    origin: Annotated[int, Interval(ge=0, le=1)] | None = None
    """The number of the first pixel, for files that do not say it; it is 0 in what is written unless it is 1."""
    units: UnitsOption = ""
    """Of the coordinates of files that alctl did not write, where they can be either; VOC's are pixels."""
    empty: bool = False
    """Take an XML file without an object as looked at: CVAT writes one for every frame of a task, opened or not."""

    def recognise(self, path: Path) -> str:
        """VOC is XML whose outermost element is an annotation with a size or with boxes."""
        try:
            found = any(
                _ROOT.match(head) and _OWN.search(head) for head in map(shown_head, _heads(path))
            ) and not _stray(path)
        except (OSError, ValueError, AlctlError):
            return ""
        return "Pascal VOC annotations" if found else ""

    def read(self, path: Path) -> Iterator[Record]:
        """Yield an answer for each XML file with an object; whether others were looked at, ``empty`` says."""
        notes: Counter[str] = Counter()
        yield from answered(self._records(path, notes), notes, empty=self.empty)
        yield from (Note(what, count) for what, count in notes.items())

    def _records(self, path: Path, notes: Counter[str]) -> Iterator[LabeledImage | Refusal]:
        if path.is_file() and not is_archive(path):
            try:
                with _opened(path) as stream:
                    record = self._record(stream, path, str(path), PurePosixPath(path.name), notes)
            except xml.NoOriginError:
                raise _origin_question(path, lambda _: _opened(path), [path.name]) from None
            yield record
        else:
            with members(path) as found:
                files = list(_files(found))
                if not files:
                    raise AlctlError(f"{path} holds no XML files, so it is not Pascal VOC")
                for at, (name, inside) in enumerate(files):
                    try:
                        record = self._member(found, name, inside, notes)
                    except xml.NoOriginError:
                        nearby = [other for other, _ in files[at : at + EVIDENCE]]
                        raise _origin_question(path, found.open, nearby) from None
                    yield record

    def _member(
        self, found: Members, name: str, inside: PurePosixPath, notes: Counter[str]
    ) -> LabeledImage | Refusal:
        try:
            with found.open(name) as stream:
                return self._record(stream, found.path, "the file", inside, notes, name)
        except UnstatedError:
            raise
        except AlctlError as error:
            return Refusal(0, str(error), name)

    def _record(
        self,
        stream: IO[bytes],
        path: Path,
        name: str,
        inside: PurePosixPath,
        notes: Counter[str],
        where: str = "",
    ) -> LabeledImage | Refusal:
        """Return what one file says; AlctlError if it is not VOC at all, UnstatedError if the user has to be asked."""
        ((root, _),) = xml_elements(stream, name, "annotation", root="annotation")
        seen: Counter[str] = Counter()
        try:
            stated = xml.stated_origin(root)
            origin = self.origin if stated is None else stated
            answer = self._answer(root, inside, origin, seen, where)
            # Counted from 1, no coordinate is below 1; from 0 they may be fractions.
            units = "pixels" if stated is not None or origin == 1 else self.units
            answer = settled(answer, units, str(path), where or "its boxes")
        except ValueError as error:
            return Refusal(0, str(error), where)
        if stated is not None and (self.origin not in (None, stated) or self.units == "fractions"):
            notes[STATED_ORIGIN] += 1
        notes.update(seen)
        return answer

    def _answer(
        self, root: Element, inside: PurePosixPath, origin: int | None, notes: Counter[str], where: str
    ) -> LabeledImage:
        """Turn one file into an answer; ValueError says why it cannot be one."""
        objects = []
        width, height = xml.side_of(root, "width"), xml.side_of(root, "height")
        size = (width, height) if width and height else None
        for number, element in enumerate(root.findall("object"), 1):
            name = (element.findtext("name") or "").strip()
            try:
                objects.append(xml.object_of(element, name, origin, size, notes))
            except ValueError as error:
                raise ValueError(f"object {number} ({name!r}): {error}") from None
        if not objects and not xml.is_empty(root):
            raise ValueError("it has no <object>, but it is no empty Pascal VOC file either")
        if not objects and self.empty and xml.is_segmented(root):
            raise ValueError(f"it has no <object>, {SEGMENTED}")
        path = xml.image_path(root, inside)
        own = str(inside.with_suffix(""))
        also = (
            ""
            if PurePosixPath(path).stem == PurePosixPath(own).name or PurePosixPath(path).name == inside.stem
            else own
        )
        return LabeledImage(path, tuple(objects), width=width, height=height, where=where, also=also)

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
        require_pixels(image, "VOC")
        folder, name = PurePosixPath(image.path).parent, PurePosixPath(image.path).name
        lines = [
            "<annotation>",
            f"  <folder>{_text('' if folder == PurePosixPath() else str(folder), image)}</folder>",
            f"  <filename>{_text(name, image)}</filename>",
            f"  <size><width>{image.width or 0}</width><height>{image.height or 0}</height><depth>3</depth></size>",
            "  <segmented>0</segmented>",
            f'  <alctl units="pixels" origin="{self.origin or 0}"/>',
        ]
        for annotation in map(shapes.boxed, image.annotations):
            if annotation.bbox is None:
                raise AlctlError(f"{image.path}: a {annotation.category!r} without a box; VOC holds boxes")
            lines += self._element(annotation, annotation.bbox, image)
        return "\n".join([*lines, "</annotation>", ""])

    def _element(self, annotation: Annotation, box: shapes.Box, image: LabeledImage) -> list[str]:
        origin, (x, y, width, height) = self.origin or 0, box
        values = zip(xml.CORNERS, (x + origin, y + origin, x + width, y + height), strict=True)
        corners = "".join(f"<{tag}>{_shortest(value)}</{tag}>" for tag, value in values)
        return [
            "  <object>",
            f"    <name>{_text(annotation.category, image)}</name>",
            f"    <pose>Unspecified</pose><truncated>0</truncated><difficult>{annotation.difficult:d}</difficult>",
            f"    <bndbox>{corners}</bndbox>",
            "  </object>",
        ]


def _origin_question(path: Path, open_: Callable[[str], IO[bytes]], names: Iterable[str]) -> AlctlError:
    """Return the question where the pixels begin, with what the first files that do not say it show."""
    low, where = min(_lowest(open_, names))
    proof = ", so it is 0" if low < 1 else ", which proves nothing: labelImg writes 1 for 0"
    return AlctlError(
        f"{path} does not say where its pixels begin: give --option origin=0 (as Label Studio, CVAT, datumaro "
        f"and labelImg write) or --option origin=1 (the original Pascal VOC); the lowest coordinate in the "
        f"first files is {low:g}, in {where}{proof}"
    )


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
                found += [xml.number_of(box, "xmin"), xml.number_of(box, "ymin")]
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


def _stray(path: Path) -> bool:
    """Tell whether the XML files of a folder without ``Annotations`` are strays beside labels of another format."""
    if not path.is_dir() and not is_archive(path):
        return False
    with members(path) as found:
        files = dict(_files(found))
        inside = any(FOLDER.lower() in name.lower().split("/")[:-1] for name in files)
        return not inside and are_strays(files, found.names)


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
