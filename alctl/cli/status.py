"""`status` and `db`: how the project stands, and whether its state is sound."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from alctl.cli.app import app
from alctl.cli.options import JsonOption, ProjectOption
from alctl.labels.annotation import one_class_each

if TYPE_CHECKING:
    from alctl.annotators.ledger import RoundOverview
    from alctl.database.pre_annotations import Kept
    from alctl.project import Project
    from alctl.status import LastRun, Status

database = typer.Typer(no_args_is_help=True, help="Check the project's state.")
app.add_typer(database, name="db", rich_help_panel="State")


@app.command(rich_help_panel="Looking")
def status(
    project: ProjectOption = None,
    rounds: Annotated[
        bool,
        typer.Option("--rounds", help="Show the ledger instead: round by round, who has what since when."),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Show what is labeled, what is out with annotators, how good the model is, and what to do next.

    [dim]Examples:[/dim]
      alctl status --json
      alctl status --rounds
    """
    from alctl.cli import screen
    from alctl.project import open_project
    from alctl.status import status as read_status

    opened = open_project(project)
    if rounds:
        show_rounds(opened, json=json)
        return
    result = read_status(opened)
    if json:
        screen.as_json(result)
        return
    show_status(result)


def show_status(found: "Status") -> None:
    """Print the state of a project."""
    from alctl.cli import screen

    screen.say(f"{found.project}: {found.items:,} images of {found.root}, {found.task}")
    late = any(counts["overdue"] for counts in found.states.values())
    states = [state for state in found.states["pool"] if late or state != "overdue"]
    rows = [[split, *(counts[state] for state in states)] for split, counts in found.states.items()]
    screen.table("", ["", *states], [row for row in rows if any(row[1:])])
    if found.classes and one_class_each(found.task):
        shown = list(found.classes.items())[:20]
        classes = [[name, *(counts[split] for split in found.states)] for name, counts in shown]
        screen.table("labeled per class", ["", *found.states], classes)
        if len(found.classes) > len(shown):
            screen.say(f"… and {len(found.classes) - len(shown)} more classes (--json lists all)")
    if found.rounds:
        newest = [
            [f"{r.id}  {r.strategy}", r.items, r.answered, r.out + r.overdue] for r in found.rounds[-10:]
        ]
        screen.table("rounds", ["", "images", "answered", "out"], newest)
    show_kept(found.predictions)
    if found.run:
        show_last_run(found.run)
    if found.embedding and found.embedding.lacking:
        lacking = f"{found.embedding.lacking:,} images lack an embedding by {found.embedding.backbone}"
        screen.say(f"{lacking}; `alctl embed` computes them")
    if found.unusable:
        screen.warn(f"{len(found.unusable):,} images cannot be used:")
        screen.listed(found.unusable, lambda row: f"{row.path}: {row.reason}")
    screen.next_step(found.next, found.why)


def show_rounds(project: "Project", *, json: bool) -> None:
    """Print the ledger of what is out with annotators."""
    from alctl.annotators import ledger
    from alctl.cli import screen

    found = ledger.overview(project)
    if json:
        screen.as_json(found)
        return
    names = ("items", "labeled", "skipped", "unusable", "out", "overdue", "recalled")
    rows = [[f"{row.id}  {row.strategy}", *(getattr(row, name) for name in names)] for row in found]
    screen.table("", ["round", *names], rows)
    for row in found:
        screen.say(f"round {row.id}: {_told(row)}")
    show_kept([row.predictions for row in found if row.predictions])
    screen.next_step_of(project)


def show_kept(rounds: Sequence["Kept"]) -> None:
    """Print how many of the predictions that annotators were given to correct they left as they were."""
    from alctl.cli import screen

    for row in rounds:
        if row.answers:
            share = f"{row.kept:,} of {row.answers:,} predictions ({row.kept / row.answers:.0%})"
            screen.say(f"round {row.round_id}: annotators kept {share}")


def _told(row: "RoundOverview") -> str:
    """Return when a round was made and is due, where it went, and who has answered how many, in one line."""
    tools = [f"{hand.tool} in {hand.place} since {hand.since}" for hand in row.tools]
    people = [
        f"{who.annotator} {who.got:,}" + ("" if who.wanted is None else f" of {who.wanted:,}")
        for who in row.people
    ]
    due = [f"due {row.due_at}"] if row.due_at else []
    answers = [f"answers: {', '.join(people)}"] if people else []
    return "; ".join([f"selected {row.created_at}", *due, *tools, *answers])


def show_last_run(run: "LastRun") -> None:
    """Print the metrics of the last training run."""
    from alctl.cli import screen
    from alctl.cli.model import show_metrics

    screen.say(f"training run {run.id}: {run.config['model']}, {run.labeled:,} images, {run.created_at}")
    show_metrics(dict(run.metrics))


@database.command()
def check(project: ProjectOption = None, json: JsonOption = False) -> None:
    """Check the database file and every rule that the pool keeps; exit 1 if anything is wrong.

    [dim]Example:[/dim]
      alctl db check
    """
    from alctl.cli import screen
    from alctl.project import open_project
    from alctl.status import check as check_project

    problems = check_project(open_project(project))
    if json:
        screen.as_json({"problems": problems})
    elif problems:
        screen.listed(problems, str, shown=50)
    else:
        screen.say("the state is sound")
    if problems:
        raise typer.Exit(1)
