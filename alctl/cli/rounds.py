"""`select`, `export`: images out to annotators."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from alctl.cli.app import app
from alctl.cli.choosing import Choosing, Sharing, select_options
from alctl.cli.limits import Limiting, show_limits
from alctl.cli.options import (
    LARGEST,
    DeviceOption,
    DryRunOption,
    JsonOption,
    ProjectOption,
    RoundArgument,
    SeedOption,
    complete_formats,
    option_groups,
    parameters,
)

if TYPE_CHECKING:
    from alctl.project import Project
    from alctl.rounds.new_round import NewRound
    from alctl.rounds.select import Selected

KOption = Annotated[
    int, typer.Option("--k", min=1, max=LARGEST, help="How many images to label in this round.")
]


@dataclass(frozen=True)
class Files:
    """Options that say what annotators get."""

    images: Annotated[
        Literal["link", "symlink", "copy", "none"],
        typer.Option(
            "--images", help="How the images get into the export; link: hard links, or else copies."
        ),
    ] = "link"
    to: Annotated[
        Path | None,
        typer.Option(
            "--to", show_default=False, help="Export folder (default: rounds/NUMBER in the project)."
        ),
    ] = None
    format: Annotated[
        str,
        typer.Option(
            "--format",
            show_default=False,
            metavar="NAME,...",
            autocompletion=complete_formats,
            help="Also write what these tools open, such as label-studio,cvat.",
        ),
    ] = ""
    predictions: Annotated[
        bool,
        typer.Option(
            "--predictions", help="Let annotators correct what the current model says, in the tools' files."
        ),
    ] = False
    option: Annotated[
        list[str] | None,
        typer.Option(
            "--option",
            metavar="NAME=VALUE",
            show_default=False,
            help="An option of the one format given; the project remembers it.",
        ),
    ] = None


@app.command(rich_help_panel="Rounds")
@option_groups
def select(
    *,
    k: KOption,
    project: ProjectOption = None,
    choosing: Choosing,
    limiting: Limiting,
    sharing: Sharing,
    files: Files,
    seed: SeedOption = None,
    device: DeviceOption = "auto",
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Choose the images that are most worth labeling, and export them for annotators.

    [dim]Examples:[/dim]
      alctl select --k 1000
      alctl select --k 500 --strategy entropy --subset 0
      alctl select --k 200 --format label-studio --predictions
      alctl select --k 300 --annotators ann,bob,eve --overlap 0.1 --due 14d
      alctl select --k 300 --max-share source=0.3 --balance
      alctl select --k 50 --relabel
    """
    from alctl.cli import screen
    from alctl.project import open_project
    from alctl.rounds.new_round import HandOut, new_round

    options = select_options(k, choosing, limiting, sharing, seed=seed, device=device, dry_run=dry_run)
    given = parameters(files.option or [], "--option")
    out = HandOut(files.images, files.to, files.format, given, files.predictions)
    opened = open_project(project)
    with screen.bars() as progress:
        made = new_round(opened, options, out, progress, relabel=choosing.relabel)
    show_round(opened, made, json=json)


def show_round(project: "Project", made: "NewRound", *, json: bool) -> None:
    """Print what was selected, and where it is."""
    from alctl.cli import screen

    selected, folder = made.selected, made.folder
    if json:
        screen.as_json(asdict(selected) | {"folder": str(folder) if folder else None})
        return
    show_doubts(selected)
    if not selected.picks:
        show_nothing(project, selected)
        return
    picked = len(selected.picks) - selected.reserved
    how = f"by {selected.strategy}" + (f" with training run {selected.run}" if selected.run else "")
    screen.say(f"round {selected.round}: {picked:,} images {how}, from {selected.candidates:,} candidates")
    if picked < selected.requested:
        screen.warn(f"{selected.requested:,} were asked for, and {picked:,} were left")
    if selected.control:
        screen.say(
            f"  {selected.control:,} of them at random, to compare with; items.csv does not tell which"
        )
    show_limits(selected)
    if selected.reserved:
        screen.say(f"  and {selected.reserved:,} reserved images, to measure the model with")
    if folder is None:
        screen.say("a dry run: nothing was recorded")
        return
    show_next(selected, folder, made.formats, made.task)


def show_nothing(project: "Project", selected: "Selected") -> None:
    """Print why no image was selected."""
    from alctl.cli import screen
    from alctl.database import rounds_out

    screen.say(
        "no label stands out: annotators agree, and the model is surprised by none that is not out already"
        if selected.strategy == rounds_out.RELABEL
        else "nothing is left to select: every image of the pool is labeled, out, or cannot be used"
    )
    screen.next_step_of(project)


def show_next(selected: "Selected", folder: Path, tools: Sequence[str], task: str) -> None:
    """Print what there is to fill in, and what to do then."""
    from alctl.cli import screen
    from alctl.database import rounds_out

    if task != "classification" and not set(tools) - {"csv"}:
        screen.warn(f"a table has no place for labels of {task}; --format writes what annotators' tools open")
        screen.next_step(f"alctl export {selected.round} --format label-studio", "or cvat, coco, yolo, …")
        return
    tables = rounds_out.tables(selected.terms.annotators)
    also = f", and for the others {', '.join(tables[1:])}" if len(tables) > 1 else ""
    if task == "classification":
        screen.say(f"  fill in {folder / tables[0]}{also}  (images and contact_sheet.jpg are beside)")
    show_tools(folder, tools)
    table = folder / tables[0] if task == "classification" else "FILE"
    screen.next_step(f"alctl import-labels {table}")


def show_tools(folder: Path, tools: Sequence[str]) -> None:
    """Print what annotators' tools open, and what to import afterwards."""
    from alctl.cli import screen

    for tool in sorted({*tools} - {"csv"}):
        for path in sorted(folder.glob(f"{tool}*")):
            screen.say(f"  for {tool}: {path}")
    if set(tools) - {"csv"}:
        screen.say("  what the tools export is imported with `alctl import-labels FILE`")


def show_doubts(selected: "Selected") -> None:
    """Print what was in the way of a selection."""
    from alctl.cli import screen

    screen.left_out(selected.missing)
    for item, reason in selected.quarantined.items():
        screen.warn(f"item {item} cannot be used and was replaced: {reason}")
    if selected.stale:
        screen.warn(f"the model has never seen: {', '.join(selected.stale)}; train again to score them")
    if selected.choice and not selected.guard:
        screen.say(f"chosen by {selected.choice.strategy}: {selected.choice.why}")
    if selected.guard and selected.guard.trusted:
        screen.say(f"chosen by {selected.strategy}: {selected.guard.reason}")
    elif selected.guard:
        screen.warn(
            f"chosen by {selected.strategy} instead of {selected.guard.instead_of}: {selected.guard.reason}; "
            f"{f'{selected.choice.why}; ' if selected.choice else ''}--no-guard uses predicted losses all the same"
        )


@app.command(rich_help_panel="Rounds")
@option_groups
def export(
    *,
    number: RoundArgument,
    project: ProjectOption = None,
    files: Files,
    device: DeviceOption = "auto",
    json: JsonOption = False,
) -> None:
    """Make the files of a round again; the same round gives the same files.

    [dim]Examples:[/dim]
      alctl export 3 --to ./for-the-annotators
      alctl export 3 --format cvat,coco --predictions
    """
    from alctl.annotators import handout
    from alctl.cli import screen
    from alctl.project import open_project

    opened = open_project(project)
    formats = handout.formats_of(opened, files.format, parameters(files.option or [], "--option"))
    with screen.bars() as progress:
        if files.predictions:
            from alctl.rounds.pre_annotate import predict_round

            predict_round(opened, number, device, progress)
        folder = handout.export(
            opened, number, progress, images=files.images, target=files.to, formats=formats
        )
    show_export(number, folder, formats, json=json)


def show_export(number: int, folder: Path, tools: Sequence[str], *, json: bool) -> None:
    """Print where a round's files are, and what to do with them."""
    from alctl.cli import screen

    if json:
        screen.as_json({"round": number, "folder": folder})
        return
    screen.say(f"round {number} is in {folder}")
    show_tools(folder, tools)
    table = next(iter(sorted(folder.glob("items*.csv"))))
    screen.next_step(f"alctl import-labels {table}", "when it is filled in")
