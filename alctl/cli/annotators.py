"""`recall`, `agreement`: who has what, taking it back, and how well annotators agree."""

from typing import Annotated, Any

import typer

from alctl.cli.app import app
from alctl.cli.options import LARGEST, DryRunOption, JsonOption, ProjectOption


@app.command()
def recall(
    number: Annotated[
        int | None,
        typer.Argument(metavar="ROUND", max=LARGEST, show_default=False, help="The round's number."),
    ] = None,
    project: ProjectOption = None,
    item: Annotated[
        list[int] | None,
        typer.Option(max=LARGEST, show_default=False, help="Only this item; may be given several times."),
    ] = None,
    overdue: Annotated[
        bool, typer.Option("--overdue", help="Only if it is overdue; without ROUND, of every overdue round.")
    ] = False,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Take images that nobody has answered back from the annotators, so that later rounds may select them.

    Answers that come back after all are still taken.

    [dim]Examples:[/dim]
      alctl recall 3
      alctl recall 3 --item 17 --item 23
      alctl recall --overdue --dry-run
    """
    from alctl import ledger
    from alctl.cli import screen
    from alctl.project import open_project

    found = ledger.recall(open_project(project), number, items=item or [], overdue=overdue, dry_run=dry_run)
    if json:
        from dataclasses import asdict

        screen.as_json({"rounds": [asdict(row) for row in found], "dry_run": dry_run})
        return
    show_recalled(found, dry_run=dry_run)


def show_recalled(found: list[Any], *, dry_run: bool) -> None:
    """Print what came back into the pool, round by round."""
    from alctl.cli import screen

    for row in found:
        verb = "would be" if dry_run else "are"
        rest = f"; {row.answered:,} were answered and stay" if row.answered else ""
        rest += f"; {row.earlier:,} had been recalled before" if row.earlier else ""
        screen.say(f"round {row.round}: {len(row.items):,} images {verb} back in the pool{rest}")
    if not found:
        screen.say("nothing is overdue")
    screen.next_step("alctl status --rounds")
