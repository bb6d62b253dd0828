"""The project's labels in any format: for another trainer, for an archive, for the next tool."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from alctl import objects
from alctl.annotation import Annotation, LabeledImage
from alctl.errors import AlctlError
from alctl.format import FORMATS
from alctl.plugins import configured
from alctl.pool import categories, labels
from alctl.project import Project, required_state

SPLITS = ("pool", "validation", "test")


def export_labels(
    project: Project,
    path: Path,
    kind: str,
    *,
    split: str = "",
    every_annotator: bool = False,
    options: Mapping[str, str] | None = None,
) -> int:
    """Write the labels that hold to a new file or folder, whole or not at all; return how many images have one.

    What holds is the consensus; with ``every_annotator``, each annotator's own label.
    """
    if path.exists():
        raise AlctlError(f"{path} exists already; choose another name")
    if not path.parent.is_dir():
        raise AlctlError(f"there is no folder {path.parent}")
    with project.reading() as connection:
        state = required_state(connection, project.folder)
        known: dict[str, Any] = {"root": state["root"]} if kind == "folders" else {}
        writer = configured(FORMATS.load(kind), {**known, **(options or {})}, f"format {kind!r}")
        images = list(_labeled(connection, split, every_annotator=every_annotator))
        if not images:
            raise AlctlError("there are no labels yet; `alctl import-labels FILE` brings them in")
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as temporary:
            partial = Path(temporary) / path.name
            writer.write(images, partial, categories.as_categories(connection))
            made = sorted(partial.parent.iterdir())
            taken = [file.name for file in made if path.with_name(file.name).exists()]
            if taken:
                raise AlctlError(f"{path.with_name(taken[0])} exists already; choose another name")
            for file in made:
                _move(file, path.with_name(file.name))
    return len(images)


def _move(made: Path, target: Path) -> None:
    """Move what a format wrote into place: the labels, and a configuration beside them."""
    if made.is_file():
        with made.open("rb+") as stream:
            os.fsync(stream.fileno())
    shutil.move(made, target)


def _labeled(connection: Connection, split: str, *, every_annotator: bool) -> Iterator[LabeledImage]:
    names = categories.effective_names(connection)
    for row in labels.with_items(connection, split, every_annotator=every_annotator):
        annotations: tuple[Annotation, ...] = ()
        if row["category_id"] is not None:
            annotations = (Annotation(names[row["category_id"] - 1]),)
        elif row["annotations"] is not None:
            annotations = objects.named(row["annotations"], names)
        yield LabeledImage(
            row["path"], annotations, item=row["item_id"], annotator=row["annotator"] or "", status=row["status"],
            seconds=row["seconds"], width=row["width"], height=row["height"],
            digest=row["digest"].hex() if row["digest"] else "", made_at=row["made_at"] or "",
        )  # fmt: skip
