"""`classes`: show the class list; add, rename and merge classes."""

from typing import TYPE_CHECKING, Annotated

import typer

from alctl.cli.app import app
from alctl.cli.options import DryRunOption, JsonOption, ProjectOption

if TYPE_CHECKING:
    from alctl.annotators.classes import Change
    from alctl.project import Project

classes = typer.Typer(help="Show the class list; add, rename and merge classes.")
app.add_typer(classes, name="classes", rich_help_panel="State")


@classes.callback(invoke_without_command=True)
def _bare(context: typer.Context) -> None:
    """Show the class list; add, rename and merge classes."""
    if context.invoked_subcommand is None:
        list_()


@classes.command("list")
def list_(project: ProjectOption = None, json: JsonOption = False) -> None:
    """Show every class with its number and its labels in force.

    [dim]Example:[/dim]
      alctl classes list
    """
    from alctl.annotators.classes import listed
    from alctl.cli import screen
    from alctl.project import open_project

    rows = listed(open_project(project))
    if json:
        screen.as_json({"classes": rows})
        return
    columns = ["class", "id", "labels", "merged into"]
    shown: list[list[object]] = [[row.name, row.id, row.labels, row.merged_into or ""] for row in rows]
    if any(row.keypoints for row in rows):
        columns.append("keypoints")
        shown = [[*cells, ", ".join(row.keypoints)] for cells, row in zip(shown, rows, strict=True)]
    screen.table("", columns, shown)


@classes.command()
def add(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="The new classes, in order.")],
    project: ProjectOption = None,
    keypoints: Annotated[
        str, typer.Option(help="Names of the keypoints of these classes, in order, comma separated.")
    ] = "",
    skeleton: Annotated[
        str,
        typer.Option(help="Keypoints that are joined when drawn: pairs of places, from 1, as in 1-2,2-3."),
    ] = "",
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Append classes; with --keypoints also give them to a class that has none yet.

    [dim]Examples:[/dim]
      alctl classes add owl newt
      alctl classes add person --keypoints nose,left_eye,right_eye --skeleton 1-2,1-3
    """
    from alctl.annotators import classes as class_list
    from alctl.project import open_project

    opened = open_project(project)
    points = [name.strip() for name in keypoints.split(",") if name.strip()]
    show_change(opened, class_list.add(opened, names, points, pairs(skeleton), dry_run=dry_run), json=json)


@classes.command()
def rename(
    old: Annotated[str, typer.Argument(help="What it is called now.")],
    new: Annotated[str, typer.Argument(help="What it is to be called.")],
    project: ProjectOption = None,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Give a class another name; its labels stay, and files with the old name are still understood.

    [dim]Example:[/dim]
      alctl classes rename bicicle bicycle
    """
    from alctl.annotators import classes as class_list
    from alctl.project import open_project

    opened = open_project(project)
    show_change(opened, class_list.rename(opened, old, new, dry_run=dry_run), json=json)


@classes.command()
def merge(
    source: Annotated[str, typer.Argument(metavar="FROM", help="The class that goes.")],
    target: Annotated[str, typer.Argument(metavar="INTO", help="The class that it counts as from now on.")],
    project: ProjectOption = None,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Make one class of two; labels keep the class that annotators gave, and count as the other one.

    [dim]Example:[/dim]
      alctl classes merge lorry truck
    """
    from alctl.annotators import classes as class_list
    from alctl.project import open_project

    opened = open_project(project)
    show_change(opened, class_list.merge(opened, source, target, dry_run=dry_run), json=json)


def pairs(given: str) -> list[tuple[int, int]]:
    """Turn ``"1-2,2-3"`` into places from 0."""
    from alctl.errors import AlctlError

    found = []
    for pair in filter(None, (part.strip() for part in given.split(","))):
        first, _, second = pair.partition("-")
        if not (first.strip().isdecimal() and second.strip().isdecimal()):
            raise AlctlError(f"--skeleton {pair!r} is not a pair of places such as 1-2")
        found.append((int(first) - 1, int(second) - 1))
    return found


def show_change(project: "Project", change: "Change", *, json: bool) -> None:
    """Print what a change of the class list did, and who still goes by the old one."""
    from alctl.cli import screen

    if json:
        screen.as_json(change)
        return
    names = ", ".join(map(repr, change.classes))
    labels = f"{change.labels:,} label{'' if change.labels == 1 else 's'}"
    screen.say({
        "add": f"the class list has {names} now",
        "rename": f"{change.before!r} is called {names} now, with {labels}",
        "merge": f"{change.before!r} counts as {names} now, with {labels}",
    }[change.action])  # fmt: skip
    for note in change.notes:
        screen.warn(note)
    if change.rounds_out:
        screen.say(
            f"  {numbered('round', change.rounds_out)} out with the old names, which imports understand"
        )
    if change.stale_runs:
        screen.say(
            f"  {numbered('training run', change.stale_runs, 'knows', 'know')} the old class list: train again"
        )
    if change.dry_run:
        screen.say("a dry run: nothing was changed")
        return
    if change.stale_runs:
        screen.next_step("alctl train", "the last models know the old class list")
    else:
        screen.next_step_of(project)


def numbered(what: str, numbers: list[int], one: str = "is", many: str = "are") -> str:
    """Return "round 3 is" or "rounds 1, 2 and 3 are"."""
    if len(numbers) == 1:
        return f"{what} {numbers[0]} {one}"
    return f"{what}s {', '.join(map(str, numbers[:-1]))} and {numbers[-1]} {many}"
