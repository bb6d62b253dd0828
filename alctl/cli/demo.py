"""`demo`: the whole loop on real images, without network."""

from pathlib import Path
from typing import Annotated, Any

import typer

from alctl.cli.app import app
from alctl.cli.options import LARGEST, JsonOption


@app.command(rich_help_panel="Start")
def demo(
    folder: Annotated[
        Path | None,
        typer.Argument(show_default=False, help="A new folder to keep (default: a temporary one)."),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds for each of the two strategies.")] = 5,
    k: Annotated[int, typer.Option("--k", min=2, help="Images a round.")] = 40,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST, help="Seed of all chance.")] = 0,
    json: JsonOption = False,
) -> None:
    """Run the whole loop on handwritten digits in about two minutes: by predicted loss, and at random.

    [dim]Example:[/dim]
      alctl demo ./my-first-rounds
    """
    import tempfile

    from alctl import demo as demonstration
    from alctl.cli import screen
    from alctl.errors import AlctlError

    if folder is not None and folder.exists() and any(folder.iterdir()):
        raise AlctlError(f"{folder} is not empty; name a new folder, or none for a temporary one")
    target = (folder or Path(tempfile.mkdtemp(prefix="alctl-demo-"))).absolute()
    points: list[Any] = []
    if not json:
        screen.err.print(f"[bold cyan]$ cd {target}[/]")
    with screen.bars() as progress:
        for event in demonstration.run(target, rounds, k, seed, progress):
            if isinstance(event, demonstration.Point):
                points.append(event)
            elif not json:
                screen.err.print(f"[bold cyan]$ {event.command}[/]\n  {event.result}")
    demonstration.draw(points, target / "learning_curve.png")
    if json:
        screen.as_json({"folder": target, "points": [vars(point) for point in points]})
        return
    show_curves(points, demonstration.STRATEGIES)
    screen.say(f"the curves are drawn in {target / 'learning_curve.png'}; both projects are beside it")
    screen.say("one run on few images proves nothing either way; `alctl simulate` compares over many trials")
    screen.next_step(f"alctl status --project {target / demonstration.STRATEGIES[0]}")
    screen.next_step("alctl init YOUR_IMAGES", "to begin with your own")


def show_curves(points: list[Any], strategies: tuple[str, ...]) -> None:
    """Print the learning curves as a table with bars."""
    from alctl.cli import screen

    found = {(point.strategy, point.labeled): point.accuracy for point in points}
    budgets = sorted({point.labeled for point in points})
    rows = [[f"{n:,} labeled", *(_bar(found[strategy, n]) for strategy in strategies)] for n in budgets]
    screen.table("test accuracy", ["", *strategies], rows)


def _bar(share: float) -> str:
    return f"{'█' * round(share * 20):<20} {share:.3f}"
