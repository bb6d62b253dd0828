"""`select`, `export`: images out to annotators."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from alctl.cli.app import app
from alctl.cli.limits import Limiting, limits_of, show_limits
from alctl.cli.options import (
    DeviceOption,
    DryRunOption,
    JsonOption,
    ProjectOption,
    RoundArgument,
    SeedOption,
    option_groups,
    parameters,
)
from alctl.cli.round_options import Choosing, Files, KOption, Sharing
from alctl.labels.annotation import one_class_each

if TYPE_CHECKING:
    from alctl.errors import AlctlError
    from alctl.project import Project
    from alctl.rounds.new_round import NewRound
    from alctl.rounds.select import Selected
    from alctl.rounds.select_options import SelectOptions


@app.command(rich_help_panel="Rounds")
@option_groups
def select(
    *,
    k: KOption = None,
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

    opened = open_project(project)
    if k is None:
        raise without_k(opened, relabel=choosing.relabel)
    options = select_options(k, choosing, limiting, sharing, seed=seed, device=device, dry_run=dry_run)
    given = parameters(files.option or [], "--option")
    out = HandOut(files.images, files.to, files.format, given, files.predictions)
    with screen.bars() as progress:
        made = new_round(opened, options, out, progress, relabel=choosing.relabel)
    show_round(opened, made, json=json)


def without_k(project: "Project", *, relabel: bool) -> "AlctlError":
    """Return the error for a round of no number of images: it proposes one."""
    from alctl.errors import AlctlError
    from alctl.status import proposed

    number = proposed(project, relabel=relabel)
    what = "labeled" if relabel else "unlabeled"
    if not number:
        return AlctlError(f"how many images? None is {what}; `alctl status` shows what is out")
    typed = shlex.join(word for word in sys.argv[1:] if word != "--json")
    return AlctlError(
        f"how many images? `alctl {typed} --k {number}` takes {number} of those that are {what}"
    )


def select_options(
    k: int, choosing: Choosing, limiting: Limiting, sharing: Sharing,
    *, seed: int | None, device: str, dry_run: bool,
) -> "SelectOptions":  # fmt: skip
    """Return how a round is selected, from the options of the command line."""
    from alctl.rounds.select_options import SelectOptions

    return SelectOptions(
        k, strategy=choosing.strategy, params=parameters(choosing.param or []), subset=choosing.subset, seed=seed,
        resend=choosing.resend, device=device, dry_run=dry_run, guard=choosing.guard, fallback=choosing.fallback,
        embed=choosing.embed, control=choosing.control, due=sharing.due, annotators=sharing.annotators, overlap=sharing.overlap,
        limits=limits_of(limiting),
    )  # fmt: skip


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
    from alctl.files import as_typed

    if not one_class_each(task) and not set(tools) - {"csv"}:
        screen.warn(f"a table has no place for labels of {task}; --format writes what annotators' tools open")
        screen.next_step(f"alctl export {selected.round} --format label-studio", "or cvat, coco, yolo, …")
        return
    tables = rounds_out.tables(selected.terms.annotators)
    also = f", and for the others {', '.join(tables[1:])}" if len(tables) > 1 else ""
    if one_class_each(task):
        screen.say(f"  fill in {folder / tables[0]}{also}  (images and contact_sheet.jpg are beside)")
    show_tools(folder, tools)
    table = as_typed(folder / tables[0]) if one_class_each(task) else "FILE"
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
    from alctl.files import as_typed

    if json:
        screen.as_json({"round": number, "folder": folder})
        return
    screen.say(f"round {number} is in {folder}")
    show_tools(folder, tools)
    table = next(iter(sorted(folder.glob("items*.csv"))))
    screen.next_step(f"alctl import-labels {as_typed(table)}", "when it is filled in")
