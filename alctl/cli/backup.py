"""`backup`, `restore` and `history`: a project as one zip and back, and all that is recorded of one image."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alctl.cli.app import app
from alctl.cli.options import JsonOption, ProjectOption

if TYPE_CHECKING:
    from alctl.backup import Backup, Restored
    from alctl.database.item_history import ItemHistory, Said, Sent


@app.command(rich_help_panel="State")
def backup(
    file: Annotated[
        Path | None,
        typer.Argument(
            show_default=False,
            help="The zip to write, or a folder for it (default: alctl-backup-PROJECT-TIME.zip beside the project).",
        ),
    ] = None,
    project: ProjectOption = None,
    models: Annotated[
        bool, typer.Option("--models/--no-models", help="With the weights of finished training runs.")
    ] = True,
    json: JsonOption = False,
) -> None:
    """Write the project to one zip: its state, its settings, what annotators filled in, and the models.

    Others may go on working meanwhile. Images are not in it.

    [dim]Examples:[/dim]
      alctl backup
      alctl backup /mnt/safe/photos.zip --no-models
    """
    from alctl import backup as keep
    from alctl.cli import screen
    from alctl.project import open_project

    with screen.bars() as progress:
        opened = open_project(project)
        done = keep.backup(opened, file, progress, models=models)
    if json:
        screen.as_json(done)
    else:
        show_backup(done, opened.folder)


def show_backup(done: "Backup", project: Path) -> None:
    """Print what is in a backup."""
    from alctl.cli import screen
    from alctl.files import as_typed

    held = f"{done.items:,} items, {done.labels:,} labels and {done.models:,} models"
    screen.say(f"{held} are in {done.file}; it was read back and is whole")
    for left in done.left_out:
        screen.warn(f"not in it: {left}")
    again = as_typed(project.with_name(f"{project.name}-again"))
    screen.next_step(f"alctl restore {as_typed(Path(done.file))} -p {again}", "makes the project of it again")


@app.command(rich_help_panel="State")
def restore(
    file: Annotated[Path, typer.Argument(help="A zip that `alctl backup` wrote.")],
    project: Annotated[
        Path | None,
        typer.Option(
            "--project",
            "-p",
            metavar="FOLDER",
            show_default=False,
            help="The folder to make (default: alctl-project, here).",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Make a project of a backup, after every byte of it has been checked; nothing is ever overwritten.

    [dim]Example:[/dim]
      alctl restore alctl-backup-photos-20260401T080000Z.zip --project ./photos-again
    """  # fmt: skip
    from alctl import backup as keep
    from alctl.cli import screen
    from alctl.project import DEFAULT_FOLDER

    with screen.bars() as progress:
        done = keep.restore(file, project or Path(DEFAULT_FOLDER), progress)
    if json:
        screen.as_json(done)
    else:
        show_restored(done)


def show_restored(done: "Restored") -> None:
    """Print what was restored, and what is missing."""
    from alctl.cli import screen
    from alctl.project import open_project

    screen.say(f"project {done.folder}: {done.items:,} items and {done.labels:,} labels")
    if done.untrained:
        screen.say(
            f"  without the weights of {len(done.untrained)} training runs; `alctl train` makes them again"
        )
    if done.images_there:
        screen.next_step_of(open_project(Path(done.folder)))
    else:
        screen.warn(f"the images are not in {done.root}, where they were")
        screen.next_step("alctl relink FOLDER", "with the folder in which they are now")


@app.command(rich_help_panel="Looking")
def history(
    item: Annotated[
        str,
        typer.Argument(metavar="ITEM", help="Its number, its path, or a file name that only one item has."),
    ],
    project: ProjectOption = None,
    json: JsonOption = False,
) -> None:
    """Show all that is recorded of one image: every label, every round, and what holds now.

    [dim]Examples:[/dim]
      alctl history 4711
      alctl history holiday/IMG_0042.jpg --json
    """
    from alctl.cli import screen
    from alctl.database import item_history
    from alctl.project import open_project, required_state

    opened = open_project(project)
    with opened.reading() as connection:
        root = required_state(connection, opened.folder).root
        found = item_history.of_item(connection, item_history.find(connection, item, root))
    if json:
        screen.as_json(found)
        return
    show_history(found)


def show_history(found: "ItemHistory") -> None:
    """Print what is recorded of an item."""
    from alctl.cli import screen

    size = f", {found.width} × {found.height}" if found.width else ""
    screen.say(f"item {found.item}: {found.path}{size}, {found.split}")
    for path in found.duplicates:
        screen.say(f"  the same file: {path}")
    if found.unusable:
        screen.say(f"  cannot be used: {found.unusable}")
    sent = [(row.created_at, f"round {row.round} by {row.strategy}{_selected(row)}") for row in found.rounds]
    said = [(row.imported_at, f"{row.annotator}: {row.said}{_label_facts(row)}") for row in found.labels]
    for when, what in sorted([*sent, *said], key=lambda line: line[0]):
        screen.say(f"  {when}  {what}")
    if found.runs:
        screen.say(f"  learned from by training runs {', '.join(map(str, found.runs))}")
    screen.say(f"now: {found.now}")


def _selected(row: "Sent") -> str:
    score = f", score {row.score:.4g}" if row.score is not None else ""
    rank = f", rank {row.rank}" if row.rank is not None else ""
    given = f"; given to correct: {row.predicted}" if row.predicted else ""
    sent = f"; to {', '.join(out.place for out in row.handouts)}" if row.handouts else ""
    back = f"; taken back {row.recalled_at}" if row.recalled_at else ""
    return f" ({row.why}{rank}{score}){sent}{given}{back}"


def _label_facts(row: "Said") -> str:
    made = f", made {row.made_at}" if row.made_at else ""
    place = f", {row.place}" if row.place else ""
    return f" ({row.state}{made}; import {row.import_}: {row.file}{place})"
