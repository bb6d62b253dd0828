"""Take an import back."""

from alctl.database import labels
from alctl.database.bulk import discard
from alctl.errors import AlctlError
from alctl.project import Project, now


def undo_import(project: Project, batch: int, *, dry_run: bool = False) -> int:
    """Take one import out of force; its labels stay in the history. Return how many there were."""
    with project.writing("undo-import") as connection:
        found = {known.id: known for known in labels.imports(connection)}
        if batch not in found:
            raise AlctlError(
                f"there is no import {batch}; the imports are: {', '.join(map(str, found)) or 'none yet'}"
            )
        if undone_at := found[batch].undone_at:
            raise AlctlError(f"import {batch} was undone already, {undone_at}")
        count = labels.undo(connection, batch, now())
        if dry_run:
            discard(connection)
    return count
