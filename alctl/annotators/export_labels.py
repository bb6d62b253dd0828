"""The project's labels in any format: for another trainer, for an archive, for the next tool."""

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from alctl.database import categories, labels
from alctl.errors import AlctlError
from alctl.files import room_beside, sync
from alctl.labels import canonical_json
from alctl.labels.annotation import Annotation, LabeledImage
from alctl.labels.format import FORMATS
from alctl.plugins import configured
from alctl.project import Project, required_state

SPLITS = ("pool", "validation", "test")
NEEDED = {
    "classification": {"category"},
    "detection": {"bbox"},
    "pose": {"keypoints", "bbox"},
    "segmentation": {"polygons", "mask", "bbox"},
}
"""What of a task's labels a format has to hold at least one of; the rest is told."""


@dataclass(frozen=True)
class Exported:
    """What was written."""

    labels: int
    """Images with an answer in the file; with every annotator, answers."""
    left_out: dict[str, int]
    """What the format has no place for, and how often that was."""


def export_labels(
    project: Project,
    path: Path,
    kind: str,
    *,
    split: str = "",
    every_annotator: bool = False,
    options: Mapping[str, str] | None = None,
) -> Exported:
    """Write the labels that hold to a new file or folder, whole or not at all; say what could not be written.

    What holds is the consensus; with ``every_annotator``, each annotator's own label.
    """
    if path.exists():
        raise AlctlError(f"{path} exists already; choose another name")
    if not path.parent.is_dir():
        raise AlctlError(f"there is no folder {path.parent}")
    with project.reading() as connection:
        state = required_state(connection, project.folder)
        carries = FORMATS.load(kind).carries
        _insist(kind, carries, state.task, every_annotator=every_annotator)
        known: dict[str, Any] = {"root": state.root} if kind == "folders" else {}
        writer = configured(FORMATS.load(kind), {**known, **(options or {})}, f"format {kind!r}")
        images = list(_labeled(connection, split, every_annotator=every_annotator))
        if not images:
            raise AlctlError("there are no labels yet; `alctl import-labels FILE` brings them in")
        with room_beside(path) as room:
            partial = room / path.name
            writer.write(images, partial, categories.as_categories(connection))
            made = sorted(partial.parent.iterdir())
            taken = [file.name for file in made if path.with_name(file.name).exists()]
            if taken:
                raise AlctlError(f"{path.with_name(taken[0])} exists already; choose another name")
            for file in made:
                _move(file, path.with_name(file.name))
    return _exported(images, kind, carries)


def _insist(kind: str, carries: Set[str], task: str, *, every_annotator: bool) -> None:
    """Raise AlctlError if a format would write something else than the project's labels."""
    wanted, what = NEEDED[task], f"the labels of this project, whose task is {task}"
    others = [name for name in FORMATS.names() if FORMATS.load(name).carries & wanted]
    if every_annotator:
        others = [name for name in others if "annotator" in FORMATS.load(name).carries]
        what += ", with their annotators"
    if kind not in others:
        raise AlctlError(f"{kind} cannot hold {what}; these formats can: {', '.join(others)}")


def _exported(images: Iterable[LabeledImage], kind: str, carries: Set[str]) -> Exported:
    """Count what was written, and what the format has no place for."""
    labels, left = 0, Counter[str]()
    for image in images:
        if image.status != "labeled" and "status" not in carries:
            left[f"skipped or unusable images have no label in it: {kind} cannot say what they are"] += 1
            continue
        labels += 1
        for annotation in image.annotations:
            if annotation.keypoints and "keypoints" not in carries:
                left[f"objects are without their keypoints: {kind} holds none"] += 1
            if annotation.segmentation is not None and not carries & {"polygons", "mask"}:
                left[f"objects are boxes without their outlines or masks: {kind} holds none"] += 1
            if annotation.crowd and "crowd" not in carries:
                left[f"objects are no longer marked as crowds: {kind} has no mark for it"] += 1
            if annotation.difficult and "difficult" not in carries:
                left[f"objects are no longer marked as difficult: {kind} has no mark for it"] += 1
    return Exported(labels, dict(left))


def _move(made: Path, target: Path) -> None:
    """Move what a format wrote into place: the labels, and a configuration beside them."""
    if made.is_file():
        sync(made)
    shutil.move(made, target)
    sync(target.parent)


def _labeled(connection: Connection, split: str, *, every_annotator: bool) -> Iterator[LabeledImage]:
    names = categories.effective_names(connection)
    for row in labels.with_items(connection, split, every_annotator=every_annotator):
        annotations: tuple[Annotation, ...] = ()
        if row["category_id"] is not None:
            annotations = (Annotation(names[row["category_id"] - 1]),)
        elif row["annotations"] is not None:
            annotations = canonical_json.named(row["annotations"], names)
        yield LabeledImage(
            row["path"], annotations, item=row["item_id"], annotator=row["annotator"] or "", status=row["status"],
            seconds=row["seconds"], width=row["width"], height=row["height"],
            digest=row["digest"].hex() if row["digest"] else "", made_at=row["made_at"] or "",
        )  # fmt: skip
