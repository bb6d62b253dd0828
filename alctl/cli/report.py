"""`report` and `show`: the project as one page, and the images of a round as one picture."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from alctl.cli.app import app
from alctl.cli.options import DeviceOption, JsonOption, ProjectOption, finite

if TYPE_CHECKING:
    from alctl.report.show import Shown

RoundArgument = Annotated[
    int | None,
    typer.Argument(metavar="[ROUND]", min=1, show_default=False, help="The round (default: the last)."),
]
PageOption = Annotated[
    Path | None,
    typer.Option(
        "--out", show_default=False, help="The file to write [report.html; md and json are printed]."
    ),
]
CostOption = Annotated[
    float | None,
    typer.Option(
        min=0,
        callback=finite,
        show_default=False,
        metavar="PRICE",
        help="What an annotator's hour costs, in any currency.",
    ),
]
OpenPageOption = Annotated[bool, typer.Option("--open", help="Open the page when it is written.")]
PictureOption = Annotated[
    Path | None, typer.Option("--out", show_default=False, help="The picture to write [round-0003.png].")
]
EmbeddingOption = Annotated[
    bool, typer.Option("--embedding", help="Draw where its picks lie among all images instead (t-SNE).")
]
OpenOption = Annotated[
    bool | None,
    typer.Option("--open/--no-open", show_default=False, help="Open the picture (default: on a terminal)."),
]


@app.command(rich_help_panel="Looking")
def report(
    project: ProjectOption = None,
    out: PageOption = None,
    form: Annotated[Literal["html", "md", "json"], typer.Option("--format", help="What to write.")] = "html",
    cost_per_hour: CostOption = None,
    device: DeviceOption = "auto",
    launch: OpenPageOption = False,
    json: JsonOption = False,
) -> None:
    """Write one page on how the project stands, and whether another round is worth it.

    The file needs no network: mail it, or open it on a phone.

    [dim]Example:[/dim]
      alctl report --cost-per-hour 25 --open
    """
    from alctl.cli import screen
    from alctl.errors import AlctlError
    from alctl.project import open_project
    from alctl.report.facts import Options
    from alctl.report.write import make

    opened, kind = open_project(project), "json" if json else form
    target = out or (Path("report.html") if kind == "html" else None)
    if launch and target is None:
        raise AlctlError("--open needs a file to open: name one with --out")
    with screen.bars() as progress:
        text, facts = make(opened, kind, Options(cost_per_hour, device), progress, target, screen.here)
    if target is None:
        screen.document(text)
        return
    screen.say(facts.advice.verdict)
    screen.say(f"the report is in {target}")
    screen.next_step_of(opened)
    if launch:
        screen.open_file(target)


@app.command(rich_help_panel="Looking")
def show(
    number: RoundArgument = None,
    project: ProjectOption = None,
    out: PictureOption = None,
    embedding: EmbeddingOption = False,
    launch: OpenOption = None,
    device: DeviceOption = "auto",
    json: JsonOption = False,
) -> None:
    """Draw the images of a round, each with rank, score, and what annotators said of it.

    [dim]Examples:[/dim]
      alctl show 3
      alctl show 3 --embedding --out where.png
    """
    from alctl.cli import screen
    from alctl.project import open_project
    from alctl.report import show as drawing

    with screen.bars() as progress:
        kind: drawing.Kind = "embedding" if embedding else "contact sheet"
        drawn = drawing.draw(open_project(project), number, kind, device, progress)
    target = out or Path(drawn.file_name)
    drawing.save(drawn, target)
    show_drawn(drawn, target, json=json)
    if launch or (launch is None and not json and sys.stdout.isatty()):
        screen.open_file(target)


def show_drawn(drawn: "Shown", target: Path, *, json: bool) -> None:
    """Print where the picture of a round is."""
    from alctl.cli import screen

    if json:
        screen.as_json({"file": target, **drawn.about, "missing": drawn.missing})
    else:
        screen.left_out(drawn.missing)
        screen.say(f"round {drawn.round} is drawn in {target}")
        screen.next_step("alctl report")
