"""`relink` and `remove`: images whose files have moved, or are gone."""

import os
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import NamedTuple

from alctl.database import items, staged_images
from alctl.database.bulk import discard
from alctl.dataset.index import folder_dataset, staged
from alctl.errors import AlctlError
from alctl.images.decode import is_gone
from alctl.progress import Progress
from alctl.project import Project, required_state


class Relinked(NamedTuple):
    """Which of the pool's images are in their new place."""

    found: int
    missing: list[str]
    """Paths of those that are not there."""


def relink(project: Project, root: Path, progress: Progress, *, dry_run: bool = False) -> Relinked:
    """Find the pool's images again below ``root``, by their bytes."""
    dataset = folder_dataset(root, class_folders=False)
    with project.writing("relink") as connection:
        old = required_state(connection, project.folder).root
        staged_images.stage(connection, staged(dataset, progress))

        def rebase(path: str) -> str:
            return PurePath(os.path.relpath(os.path.join(old, path), dataset.root)).as_posix()  # noqa: PTH118

        found, lost = items.relink(connection, str(dataset.root), rebase)
        staged_images.no_longer_gone(connection)
        if not found:
            raise AlctlError(f"none of the pool's images is below {root}")
        if dry_run:
            discard(connection)
    return Relinked(found, lost)


@dataclass(frozen=True)
class Removed:
    """What `remove_missing` took out of the project."""

    root: str
    images: list[str]
    """Paths of the images whose files are gone, below the root."""
    already: int
    """Images that were taken out before, and are still gone."""


def remove_missing(
    project: Project, progress: Progress, *, force: bool = False, dry_run: bool = False
) -> Removed:
    """Take the images whose files are gone out of the project: they are never selected, shown or trained on any more.

    Nothing that anybody said about them is deleted, and `add` or `relink` takes them back once their files are found.
    AlctlError where more than half are gone, which looks like a moved folder, unless it is forced.
    """
    with project.writing("remove") as connection:
        root = required_state(connection, project.folder).root
        total, before = items.size(connection), items.gone(connection)
        lost: dict[int, str] = {}
        for done, (id_, path) in enumerate(items.paths(connection), start=1):
            if id_ not in before and is_gone(f"{root}/{path}"):
                lost[id_] = path
            if done % 1_000 == 0 or done == total:
                progress("looking for images", done, total)
        if len(lost) > (total - len(before)) // 2 and not force:
            raise AlctlError(
                f"{len(lost):,} of {total:,} images are not in {root}; if the folder has moved, run `alctl relink "
                "NEW_FOLDER`, and if they are really gone, `alctl remove --missing --force`"
            )
        items.quarantine(connection, dict.fromkeys(lost, items.GONE))
        if dry_run:
            discard(connection)
    return Removed(root, sorted(lost.values()), len(before))
