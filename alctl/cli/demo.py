"""`demo`: the whole loop on real images, without network."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alctl.cli.app import app
from alctl.cli.options import JsonOption, storable

if TYPE_CHECKING:
    from alctl.demo import Point, Step
    from alctl.rounds.own_simulation import OwnSimulation


@app.command(rich_help_panel="Start")
def demo(
    folder: Annotated[
        Path | None,
        typer.Argument(show_default=False, help="A new folder to keep (default: a temporary one)."),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, metavar="N", help="Rounds for each of the two models.")] = 5,
    k: Annotated[int, typer.Option("--k", min=2, metavar="N", help="Images a round.")] = 40,
    seed: Annotated[int, typer.Option(min=0, callback=storable, metavar="N", help="Seed of all chance.")] = 0,
    json: JsonOption = False,
) -> None:
    """Run the whole loop on handwritten digits in about two minutes: with a probe, and with a network.

    [dim]Example:[/dim]
      alctl demo ./my-first-rounds
    """
    from alctl import demo as demonstration
    from alctl.cli import screen
    from alctl.rounds.own_simulation import OwnSimulation

    target = demonstration.new_folder(folder)
    if not json:
        screen.note(f"$ cd {target}")
    with screen.bars() as progress:
        events = list(shown(demonstration.run(target, rounds, k, seed, progress), quiet=json))
    points = [event for event in events if isinstance(event, demonstration.Point)]
    replayed = next(event for event in events if isinstance(event, OwnSimulation))
    picture = demonstration.draw(points, target)
    if json:
        screen.as_json({"folder": target, "points": [vars(point) for point in points], "trials": replayed})
    else:
        show_end(points, replayed, target, picture)


def shown(
    events: "Iterator[Step | Point | OwnSimulation]", *, quiet: bool
) -> "Iterator[Step | Point | OwnSimulation]":
    """Print every command of the demo as it ends, with what came of it."""
    from alctl.cli import screen
    from alctl.demo import Step

    for event in events:
        if isinstance(event, Step) and not quiet:
            screen.note(f"$ {event.command}")
            screen.note(f"  {event.result}")
        yield event


def show_end(points: "list[Point]", replayed: "OwnSimulation", target: Path, picture: Path) -> None:
    """Print the learning curves, what the trials say, and how to go on."""
    from alctl.cli import screen
    from alctl.cli.own_labels import show_numbers
    from alctl.demo import MODELS, STRATEGIES
    from alctl.files import as_typed

    show_curves(points, MODELS)
    screen.say(f"one run each, which proves nothing; drawn in {picture}")
    screen.say("")
    show_numbers(replayed)
    screen.next_step(f"alctl status --project {as_typed(target / STRATEGIES[0])}")
    screen.next_step("alctl init YOUR_IMAGES", "to begin with your own")


def show_curves(points: "list[Point]", models: Mapping[str, str]) -> None:
    """Print the learning curves of each strategy and its model as a table with bars."""
    from alctl.cli import screen

    found = {(point.strategy, point.labeled): point.accuracy for point in points}
    budgets = sorted({point.labeled for point in points})
    rows = [[f"{n:,} labeled", *(_bar(found[strategy, n]) for strategy in models)] for n in budgets]
    screen.table("test accuracy", ["", *models.values()], rows)


def _bar(share: float) -> str:
    return f"{'█' * round(share * 20):<20} {share:.3f}"
