"""`import-labels`, `undo-import`, `export-labels`: labels in and out, and the printer of what an import did."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from alctl.cli.app import app
from alctl.cli.options import (
    AddClassesOption,
    DryRunOption,
    JsonOption,
    ProjectOption,
    SkipBadOption,
    complete_formats,
    parameters,
    storable,
)

if TYPE_CHECKING:
    from alctl.annotators.imports.import_labels import Imported

ReadFormatOption = Annotated[
    str,
    typer.Option(
        "--format", autocompletion=complete_formats, help="The file's format; auto: see what it is."
    ),
]
WrittenFormatOption = Annotated[
    str, typer.Option("--format", autocompletion=complete_formats, help="The format to write.")
]
AnnotatorOption = Annotated[
    str, typer.Option("--annotator", help="Whose labels they are, where the file does not say.")
]
OfRoundOption = Annotated[
    int | None,
    typer.Option(
        "--round", callback=storable, show_default=False, metavar="N", help="Take only images of this round."
    ),
]
UnknownImagesOption = Annotated[
    Literal["refuse", "leave"] | None,
    typer.Option(
        "--unknown-images",
        show_default=False,
        help="What to do with labels of images that are not in the pool (default: refuse those of a CSV, leave others).",
    ),
]
ReadOptionsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        metavar="NAME=VALUE",
        show_default=False,
        help="What the format cannot know, such as origin=1 for Pascal VOC; the project remembers it.",
    ),
]
WrittenOptionsOption = Annotated[
    list[str] | None,
    typer.Option("--option", metavar="NAME=VALUE", show_default=False, help="An option of the format."),
]
SplitOption = Annotated[
    Literal["all", "pool", "validation", "test"], typer.Option("--split", help="Whose labels.")
]
EveryAnnotatorOption = Annotated[
    bool, typer.Option("--every-annotator", help="Each annotator's own label instead of what holds.")
]


@app.command("import-labels", rich_help_panel="Rounds")
def import_labels(
    file: Annotated[Path, typer.Argument(help="The file with the labels.")],
    project: ProjectOption = None,
    format: ReadFormatOption = "auto",  # noqa: A002 - the option's natural name
    annotator: AnnotatorOption = "",
    round_: OfRoundOption = None,
    add_classes: AddClassesOption = False,
    skip_bad: SkipBadOption = False,
    unknown_images: UnknownImagesOption = None,
    option: ReadOptionsOption = None,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Take labels from annotators: the whole file, or with --skip-bad all its good rows.

    FILE is a table, an export of Label Studio or CVAT, COCO, YOLO, Pascal VOC, masks, or a folder per class; what it
    is, is recognised. A CSV needs the column [bold]item[/bold] or [bold]path[/bold], and [bold]label[/bold]; it may
    have annotator, status (labeled, skip, unusable) and seconds.

    [dim]Examples:[/dim]
      alctl import-labels alctl-project/rounds/0001/items.csv --add-classes
      alctl import-labels project-3-at-2026-05-04.json --dry-run
      alctl import-labels ./voc --option origin=1
    """
    from alctl.annotators.imports import import_labels as imports
    from alctl.cli import screen
    from alctl.project import open_project

    options = imports.ImportOptions(
        format, annotator, round_, add_classes, skip_bad, dry_run, unknown_images or "",
        parameters(option or [], "--option"),
    )  # fmt: skip
    opened = open_project(project)
    with screen.bars() as progress:
        result = imports.import_labels(opened, file, options, progress)
    if json:
        screen.as_json(result)
    else:
        show_imported(result, dry_run=dry_run)
        screen.next_step_of(opened)


def show_imported(result: "Imported", *, dry_run: bool, file: str = "") -> None:
    """Print what an import did, what it refused, and how to take it back: for every command that imports labels.

    ``file`` is what to call the file, if not by its path.
    """
    from alctl.cli import screen
    from alctl.cli.status import show_kept

    file = file or result.file
    if result.earlier is not None:
        screen.say(f"{file} was imported already, as import {result.earlier}; nothing changed")
        return
    if result.recognised:
        screen.say(f"{file} is {result.recognised} ({result.format})")
    if result.options:
        screen.say("  " + ", ".join(f"{name}={value}" for name, value in result.options.items()))
    counts = f"{result.added:,} added, {result.changed:,} changed, {result.unchanged:,} unchanged"
    counts += f", {result.confirmed:,} given again" if result.confirmed else ""
    screen.say(f"{'would import' if dry_run else 'imported'} {file}: {counts}")
    _show_left(result)
    show_kept(result.kept)
    if result.new_classes:
        screen.say(f"  new classes: {', '.join(result.new_classes)}")
    _show_rejected(result)
    if result.batch is not None:
        screen.say(f"  to take it back: `alctl undo-import {result.batch}`")
    if not (result.added or result.changed or result.unchanged or result.confirmed):
        screen.warn("no row of it has an answer that could be taken")


def _show_left(result: "Imported") -> None:
    """Print what of a file is not in force, and what was done to the rest."""
    from alctl.cli import screen

    for what, count in result.notes.items():
        screen.say(f"  {count:,} {what}")
    if result.outdated:
        screen.say(f"  {result.outdated:,} answers are older than what their annotators say now, which stays")
    if result.outside:
        screen.say(f"  {result.outside:,} rows are of images outside the round and were left")
    if result.unusable:
        screen.warn(
            f"{result.unusable:,} of these labels are of images that cannot be used; they teach nothing"
        )
    if result.unknown:
        screen.warn(f"{result.unknown:,} images are not in the pool; their labels were left:")
        screen.listed(result.unknown_paths, str)


def _show_rejected(result: "Imported") -> None:
    """Print the rows that were refused, each with what is wrong with it."""
    from alctl.annotators.imports.problems import place_of
    from alctl.cli import screen

    if result.rejected:
        where = f", written to {result.rejected_file}" if result.rejected_file else ""
        screen.warn(f"{len(result.rejected):,} rows rejected{where}:")
        screen.listed(result.rejected, lambda row: f"{place_of(row)}: {row.problem}")


@app.command("undo-import", rich_help_panel="Rounds")
def undo_import(
    number: Annotated[int, typer.Argument(metavar="IMPORT", callback=storable, help="The import's number.")],
    project: ProjectOption = None,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Take one import back; its labels stay in the history, but no longer count, and classes that only it brought go.

    [dim]Example:[/dim]
      alctl undo-import 4
    """
    from alctl.annotators.imports import undo
    from alctl.cli import screen
    from alctl.project import open_project

    opened = open_project(project)
    done = undo.undo_import(opened, number, dry_run=dry_run)
    if json:
        screen.as_json({"import": number, **vars(done), "dry_run": dry_run})
        return
    screen.say(
        f"import {number}: {done.labels:,} labels {'would be' if dry_run else 'are'} no longer in force"
    )
    if done.classes:
        gone = "would be" if dry_run else "are"
        screen.say(f"  classes that only it brought {gone} taken back: {', '.join(done.classes)}")
    for name, why in done.kept.items():
        screen.say(f"  the class {name} stays: {why}")
    screen.next_step_of(opened)


@app.command("export-labels", rich_help_panel="Rounds")
def export_labels(
    file: Annotated[Path, typer.Argument(help="The file or folder to write; it must not exist yet.")],
    project: ProjectOption = None,
    format: WrittenFormatOption = "csv",  # noqa: A002 - the option's natural name
    split: SplitOption = "all",
    every_annotator: EveryAnnotatorOption = False,
    option: WrittenOptionsOption = None,
    json: JsonOption = False,
) -> None:
    """Write the project's labels in any format, for another trainer, an archive or the next tool.

    [dim]Examples:[/dim]
      alctl export-labels labels.json --format coco
      alctl export-labels ./yolo --format yolo --split pool
    """
    from alctl.annotators import export_labels as outgoing
    from alctl.cli import screen
    from alctl.project import open_project

    opened = open_project(project)
    result = outgoing.export_labels(
        opened, file, format, split="" if split == "all" else split,
        every_annotator=every_annotator, options=parameters(option or [], "--option"),
    )  # fmt: skip
    if json:
        screen.as_json({"file": file, "format": format, "labels": result.labels, "left_out": result.left_out})
        return
    screen.say(f"wrote {result.labels:,} labels to {file}")
    for what, count in result.left_out.items():
        screen.warn(f"{count:,} {what}")
    screen.next_step_of(opened)
