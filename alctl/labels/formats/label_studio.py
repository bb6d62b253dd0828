"""Label Studio's JSON: its "JSON" export, and the tasks that it imports.

Its converters to COCO, YOLO and VOC lose rotations, brushes, skips, second annotators and whose a keypoint is.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count, groupby
from pathlib import Path
from typing import Any

from alctl.errors import AlctlError
from alctl.labels.annotation import (
    Annotation,
    Assignment,
    Category,
    LabeledImage,
    Note,
    Record,
    Refusal,
    Status,
)
from alctl.labels.format import LabelFormat
from alctl.labels.parsing.encodings import shown_head
from alctl.labels.parsing.json_stream import elements
from alctl.labels.parsing.label_studio.config import (
    CONTROLS,
    LabelConfig,
    config_beside,
    is_made_by_alctl,
    read_config,
    written,
)
from alctl.labels.parsing.label_studio.drawings import ResultWriter, drawn
from alctl.labels.parsing.label_studio.regions import UnreadableError, clean, has_keypoints
from alctl.labels.parsing.label_studio.tasks import (
    MOST_BYTES,
    MOST_TASKS,
    TaskFile,
    address_of,
    annotator_of,
    answers_of,
    identity,
    kind_of,
    local_address,
    parted,
    path_in,
    seconds_of,
    time_of,
    told,
    user_of,
)

TOOLS = {
    "classification": ("choice",),
    "detection": ("rectangle",),
    "pose": ("rectangle", "keypoint"),
    "segmentation": ("polygon", "brush"),
}
"""What annotators draw with, by the project's task."""
PREDICTS_LOSS = "learning-loss"
"""The strategy that ranks by nothing but the predicted loss."""
RECOGNISED = {
    "": "",
    "export": "a Label Studio export",
    "tasks": "tasks of Label Studio",
    "JSON-MIN": "a Label Studio export of the kind JSON-MIN",
}
NO_ORDER = (
    "has keypoints, and does not say in which order a class has them; give the project's labeling configuration with "
    "--option config=FILE.xml, or the names in order with --option keypoints=nose,tail"
)
JSON_MIN = (
    "is Label Studio's JSON-MIN export, which leaves out skipped tasks and which object a keypoint belongs to; export "
    "the project again as 'JSON'"
)
SEVERAL = "answers are about one of several images of their task, and were taken as that image's"
_LOOK = 1 << 20
_BEGUN = re.compile(r'"(annotations|predictions)"\s*:\s*\[')
_KIND_OF_RESULT = {control.tag.lower(): kind for kind, control in CONTROLS.items()}


@dataclass(frozen=True)
class LabelStudio(LabelFormat):
    """Percent of the image's size, one answer an annotator; the order of keypoints is in a file beside the labels."""

    carries = frozenset(
        {"category", "bbox", "keypoints", "polygons", "mask", "crowd", "difficult", "status", "annotator"}
    )
    suffix = ".json"

    root: str = ""
    """The folder of the images below Label Studio's document root, such as "photos/round3"."""
    config: str = ""
    """The labeling configuration, an XML file; empty: the one beside the labels, if there is one."""
    keypoints: str = ""
    """The names of the keypoints in order, comma separated, instead of a configuration."""
    category: str = ""
    """The class of keypoints that stand without a box."""

    def recognise(self, path: Path) -> str:
        """An array whose first element is a task, with answers or predictions; a long one may be cut off."""
        try:
            with path.open("rb") as stream:
                start = shown_head(stream.read(_LOOK))
        except (OSError, ValueError):
            return ""
        if not (opening := re.match(r"\s*\[\s*(?=\{)", start)):
            return ""
        try:
            first, _ = json.JSONDecoder().raw_decode(start, opening.end())
        except (ValueError, RecursionError):
            return RECOGNISED["export"] if path.stat().st_size > _LOOK and _BEGUN.search(start) else ""
        return RECOGNISED[kind_of(first)]

    def read(self, path: Path) -> Iterator[Record]:
        """Yield one answer an annotation: skipped tasks too, and submitted ones with nothing on them."""
        config = self._config(path)
        yield from config.categories
        notes: Counter[str] = Counter()
        known: set[str] = set()
        number = 0
        for number, (key, task) in enumerate(elements(path), 1):
            if number == 1:
                _insist(path, "" if key else kind_of(task))
            for record in self._task(path, task, number, config, notes):
                if self.keypoints and isinstance(record, LabeledImage):
                    yield from _declared(record, config, known)
                yield record
        if not number:
            raise AlctlError(
                f"{path} holds no tasks of Label Studio; was the project empty when it was exported?"
            )
        yield from (Note(what, times) for what, times in notes.items())

    def _config(self, path: Path) -> LabelConfig:
        if self.keypoints:
            names = tuple(name.strip() for name in self.keypoints.split(","))
            if not all(names) or len(set(names)) < len(names):
                raise AlctlError(f"--option keypoints={self.keypoints}: a name is empty or there twice")
            found = LabelConfig(keypoints=names)
        elif self.config:
            found = read_config(Path(self.config))
        else:
            found = config_beside(path) or LabelConfig()
        return replace(found, boxless=self.category)

    def _task(
        self, path: Path, task: Any, number: int, config: LabelConfig, notes: Counter[str]
    ) -> Iterator[LabeledImage | Refusal]:
        where = f"task {told(task, number)}"
        try:
            answers = answers_of(task, notes)
            if not answers:
                return
            image = self._image(task["data"], config)
        except UnreadableError as error:
            yield Refusal(0, str(error), where)
            return
        for position, answer in enumerate(answers, 1):
            there = f"{where}, annotation {told(answer, position)}"
            try:
                for part, results in self._parts(task["data"], answer, image, config, notes):
                    yield _answer(path, part._replace(where=there), results, config, notes)
            except UnreadableError as error:
                yield Refusal(0, str(error), there)

    def _parts(
        self,
        data: Mapping[str, Any],
        answer: Any,
        image: LabeledImage,
        config: LabelConfig,
        notes: Counter[str],
    ) -> Iterator[tuple[LabeledImage, Any]]:
        """Yield an annotation for each image of its task that it says something of."""
        if not isinstance(answer, dict) or not answer.get("result"):
            yield image, answer
            return
        try:
            first = address_of(data, config.image)
        except UnreadableError:
            first = ""  # alctl's own id says which image it is
        parts = parted(answer["result"], config.images, data, first)
        if parts.keys() != {""}:
            notes[SEVERAL] += len(parts)
        for key, results in parts.items():
            other = (
                LabeledImage(clean(self._path(data[key], uploaded=True), "the image's path"))
                if key
                else image
            )
            yield other, {**answer, "result": results}

    def _path(self, address: str, *, uploaded: bool) -> str:
        root = self.root.strip("/")
        path = path_in(address, uploaded=uploaded)
        return path.removeprefix(f"{root}/") if root else path

    def _image(self, data: Mapping[str, Any], config: LabelConfig) -> LabeledImage:
        """Return which image a task is about."""
        item, digest = identity(data)
        own = item is not None or bool(digest)
        path = data.get("path") if own else None
        if not isinstance(path, str):
            path = self._path(address_of(data, config.image), uploaded=not own)
        if path or not own:
            path = clean(path, "the image's path")
        return LabeledImage(path, item=item, digest=digest)

    def write(self, images: Iterable[LabeledImage], path: Path, categories: Sequence[Category]) -> None:
        """Write what Label Studio exports, and its labeling configuration beside it, as ``.xml``."""
        names = {category.name: category.keypoints for category in categories}
        kinds: set[str] = set()
        tasks = groupby(images, key=lambda image: (image.path, image.item, image.digest))
        config, ids = _config_file(path), count(1)
        with TaskFile(path) as file:
            for number, ((place, item, digest), answers) in enumerate(tasks, 1):
                data = self._data(place, item, digest, place)
                found = [_written(image, next(ids), names, kinds) for image in answers]
                file.add({"id": number, "data": data, "annotations": found})
        if "keypoint" in kinds:
            kinds.add("rectangle")  # its labels say which keypoints a class has
        config.write_text(written(categories, kinds or {"choice"}), encoding="utf-8")

    def hand_out(
        self, assignments: Iterable[Assignment], path: Path, categories: Sequence[Category], task: str
    ) -> None:
        """Write tasks to import, and the labeling configuration for a project of this task beside them, as ``.xml``.

        What is more than Label Studio takes at once goes into files of its own: ``tasks.json``, ``tasks-2.json`` …
        A prediction has its confidence as score, from 0 to 1, by which Label Studio sorts. What the strategy ranked an
        image by stands in the task's data, under its own name: only learning-loss ranks by predicted losses.
        """
        tools = TOOLS.get(task, tuple(CONTROLS))
        names = {category.name: category.keypoints for category in categories}
        config = _config_file(path)
        with TaskFile(path, MOST_TASKS, MOST_BYTES) as file:
            for given in assignments:
                data = self._data(given.image, given.item, given.digest, given.path)
                data["alctl_round"] = given.round
                data |= _ranked(given)
                writer = ResultWriter(f"i{given.item}", (given.width, given.height), names, tools)
                found = list(writer.results(given.predictions or ()))
                sure = {} if given.confidence is None else {"score": given.confidence}
                said = {"model_version": given.model, **sure, "result": found}
                file.add({"data": data, **({"predictions": [said]} if found else {})})
        config.write_text(written(categories, tools), encoding="utf-8")

    def _data(self, image: str, item: int | None, digest: str, path: str) -> dict[str, Any]:
        """Return a task's data; Label Studio gives it back as it is."""
        root = self.root.strip("/")
        data: dict[str, Any] = {"image": local_address(f"{root}/{image}" if root else image), "path": path}
        if item is not None:
            data["alctl_item"] = item
        return {**data, "alctl_sha256": digest} if digest else data


def _ranked(given: Assignment) -> dict[str, Any]:
    """Return what an image was ranked by, as data of its task; nothing of one that was not."""
    if given.score is None:
        return {}
    if given.strategy == PREDICTS_LOSS:
        return {"predicted_loss": given.score}
    return {"score": given.score, "strategy": given.strategy}


def _insist(path: Path, kind: str) -> None:
    """Raise AlctlError unless the file is an array of tasks."""
    if kind == "JSON-MIN":
        raise AlctlError(f"{path} {JSON_MIN}")
    if not kind:
        raise AlctlError(
            f"{path} is not a Label Studio export, an array of tasks; export the project as 'JSON'"
        )


def _answer(
    path: Path, image: LabeledImage, answer: Any, config: LabelConfig, notes: Counter[str]
) -> LabeledImage:
    """Return what one annotation says of an image."""
    if not isinstance(answer, dict):
        raise UnreadableError("an annotation that is only a number; export the project as 'JSON'")
    image = image._replace(
        annotator=annotator_of(answer.get("completed_by")),
        seconds=seconds_of(answer.get("lead_time"), notes),
        made_at=time_of(answer.get("updated_at")) or time_of(answer.get("created_at")),
    )
    if answer.get("was_cancelled") is True or answer.get("skipped") is True:
        status: Status = "unusable" if answer.get("alctl_status") == "unusable" else "skip"
        return image._replace(status=status)
    found = answer.get("result")
    if not config.keypoints and has_keypoints(found):
        raise AlctlError(f"{path} {NO_ORDER}")
    drawing = drawn(found, config)
    notes.update(drawing.notes)
    width, height = drawing.size or (None, None)
    return image._replace(
        annotations=drawing.annotations, width=width, height=height, relative=drawing.relative
    )


def _declared(image: LabeledImage, config: LabelConfig, known: set[str]) -> Iterator[Category]:
    """Yield the classes that an image is the first to have keypoints of."""
    for annotation in image.annotations:
        if annotation.keypoints and annotation.category not in known:
            known.add(annotation.category)
            yield Category(annotation.category, config.keypoints)


def _written(
    image: LabeledImage, id_: int, names: Mapping[str, Sequence[str]], kinds: set[str]
) -> dict[str, Any]:
    """Return one annotation as Label Studio exports it, and add the tools that it takes to ``kinds``."""
    annotations = image.annotations if image.status == "labeled" else ()
    size = (image.width, image.height) if image.width and image.height and not image.relative else None
    if size is None and not image.relative and any(map(_in_pixels, annotations)):
        raise AlctlError(f"{image.path}: its size is not known, and Label Studio counts in percent of it")
    results = list(ResultWriter(f"a{id_}", size, names).results(annotations))
    kinds.update(_KIND_OF_RESULT[result["type"]] for result in results)
    found: dict[str, Any] = {"id": id_, "result": results, "was_cancelled": image.status != "labeled"}
    if image.status == "unusable":
        found["alctl_status"] = image.status
    if image.annotator:
        found["completed_by"] = user_of(image.annotator)
    if image.seconds is not None:
        found["lead_time"] = image.seconds
    return {**found, "created_at": image.made_at, "updated_at": image.made_at} if image.made_at else found


def _in_pixels(annotation: Annotation) -> bool:
    """Tell whether an object's coordinates need the image's size."""
    return (
        annotation.bbox is not None
        or bool(annotation.keypoints)
        or isinstance(annotation.segmentation, tuple)
    )


def _config_file(path: Path) -> Path:
    """Return where the labeling configuration goes."""
    file = path.with_suffix(".xml")
    if file.exists() and not is_made_by_alctl(file):
        raise AlctlError(
            f"{file} is in the way: alctl writes the labeling configuration there; move it first"
        )
    return file
