"""`report` and `show`: the project as one page, and the images of a round as one picture."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from alctl.cli.app import app
from alctl.cli.options import DeviceOption, JsonOption, ProjectOption


@app.command(rich_help_panel="Looking")
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
    from alctl.report.write import make

    kind = "json" if json else form
    target = out or (Path("report.html") if kind == "html" else None)
    with screen.bars() as progress:
        text, facts = make(open_project(project), kind, Options(cost_per_hour, device), progress, target)
    if target is None:
        typer.echo(text, nl=False)
        return
    screen.say(facts.advice.verdict)
    screen.say(f"the report is in {target}")
    screen.next_step("alctl select --k 100")


@app.command(rich_help_panel="Looking")
def show(
    number: Annotated[
        int | None,
        typer.Argument(metavar="[ROUND]", min=1, show_default=False, help="The round (default: the last)."),
    ] = None,
    project: ProjectOption = None,
    out: Annotated[
        Path | None, typer.Option(show_default=False, help="The picture to write [round-0003.png].")
    ] = None,
    embedding: Annotated[
        bool, typer.Option("--embedding", help="Draw where its picks lie among all images instead (t-SNE).")
    ] = False,
    launch: Annotated[
        bool | None,
        typer.Option(
            "--open/--no-open", show_default=False, help="Open the picture (default: on a terminal)."
        ),
    ] = None,
    device: DeviceOption = "auto",
    json: JsonOption = False,
) -> None:
    """Draw the images of a round, each with rank, score, and what annotators said of it.

    [dim]Examples:[/dim]
      alctl show 3
      alctl show 3 --embedding --out where.png
    """
    import sys

    from alctl.cli import screen
    from alctl.project import open_project
    from alctl.report import show as drawing

    opened = open_project(project)
    wanted = drawing.last_round(opened) if number is None else number
    with screen.bars() as progress:
        drawn = (
            drawing.embedding(opened, wanted, device, progress)
            if embedding
            else drawing.contact_sheet(opened, wanted, progress)
        )
    target = out or Path(f"round-{wanted:04}{'-embedding' if embedding else ''}.png")
    drawing.save(drawn, target)
    if json:
        screen.as_json({"file": target, **drawn.about})
    else:
        screen.say(f"round {wanted} is drawn in {target}")
        screen.next_step("alctl report")
    if launch or (launch is None and not json and sys.stdout.isatty()):
        typer.launch(str(target))
