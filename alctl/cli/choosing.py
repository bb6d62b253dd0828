"""Options of `select` that say who chooses a round, and among whom it is shared."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from alctl.cli.limits import Limiting, limits_of
from alctl.cli.options import complete_strategies, finite, parameters

if TYPE_CHECKING:
    from alctl.rounds.select_options import SelectOptions


@dataclass(frozen=True)
class Choosing:
    """Options that say which images are chosen."""

    strategy: Annotated[
        str,
        typer.Option(
            show_default=False,
            autocompletion=complete_strategies,
            help="Query strategy (default: uherding where embeddings are at hand and before learning-loss is shown to be worth it).",
        ),
    ] = ""
    subset: Annotated[
        int | None,
        typer.Option(
            show_default=False, min=0, help="Random unlabeled images to score (default: 10,000); 0: all."
        ),
    ] = None
    param: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", show_default=False, help="A parameter of the strategy."),
    ] = None
    control: Annotated[
        float | None,
        typer.Option(
            show_default=False,
            min=0,
            max=1,
            callback=finite,
            help="Share of the images that is random, to compare the strategy with (default: 0); annotators see no difference.",
        ),
    ] = None
    guard: Annotated[
        bool | None,
        typer.Option(
            "--guard/--no-guard",
            show_default=False,
            help="Use the fallback while predicted losses rank the validation images below margin (default: the project's setting).",
        ),
    ] = None
    fallback: Annotated[
        str,
        typer.Option(
            show_default=False,
            autocompletion=complete_strategies,
            help="Query strategy of the guard (default: margin; random with fewer than 20 labeled validation images).",
        ),
    ] = ""
    embed: Annotated[
        bool,
        typer.Option(
            "--embed",
            help="Compute embeddings that are missing, however long that takes (default: up to 15 minutes).",
        ),
    ] = False
    resend: Annotated[
        bool, typer.Option("--resend", help="Also take images that are out with annotators, or were skipped.")
    ] = False
    relabel: Annotated[
        bool,
        typer.Option(
            "--relabel",
            help="Choose labeled images for a second look instead: those that annotators, or the model, disagree about.",
        ),
    ] = False


@dataclass(frozen=True)
class Sharing:
    """Options that say who labels the images, and until when."""

    due: Annotated[
        str, typer.Option(show_default=False, help="When answers are due: 14d, 2w, 12h, or a date.")
    ] = ""
    annotators: Annotated[
        str,
        typer.Option(
            show_default=False,
            metavar="N|NAME,...",
            help="Divide the images among so many annotators, or these; each gets a table of their own.",
        ),
    ] = ""
    overlap: Annotated[
        float,
        typer.Option(min=0, max=1, callback=finite, help="Share of the images that all annotators get."),
    ] = 0.0


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
