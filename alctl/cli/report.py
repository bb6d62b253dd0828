"""`report` and `show`: for people who would rather look than read."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from alctl.cli.app import app
from alctl.cli.options import DeviceOption, JsonOption, ProjectOption


@app.command()
def report(
    project: ProjectOption = None,
    out: Annotated[
        Path | None,
        typer.Option(show_default=False, help="The file to write [report.html; md and json are printed]."),
    ] = None,
    form: Annotated[Literal["html", "md", "json"], typer.Option("--format", help="What to write.")] = "html",
    cost_per_hour: Annotated[
        float | None,
        typer.Option(min=0, show_default=False, help="What an annotator's hour costs, in any currency."),
    ] = None,
    device: DeviceOption = "auto",
    json: JsonOption = False,
) -> None:
    """Write one page on what the project has come to, and whether another round is worth it.

    The file needs no network: mail it, or open it on a phone.

    [dim]Example:[/dim]
      alctl report --cost-per-hour 25
    """
    from alctl.cli import screen
    from alctl.project import open_project
    from alctl.report.facts import Options
    from alctl.report.make import make, write

    kind = "json" if json else form
    with screen.bars() as progress:
        text, facts = make(open_project(project), kind, Options(cost_per_hour, device), progress)
    target = out or (Path("report.html") if kind == "html" else None)
    if target is None:
        typer.echo(text, nl=False)
        return
    write(target, text)
    screen.say(facts["advice"]["verdict"])
    screen.say(f"the report is in {target}")
    screen.next_step("alctl select --k 100")
