"""The options of `simulate`, and which of them go together."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from alctl.cli.options import Settings, finite, several_option, share_option, strategy_option

FOLDER = Path("alctl-simulation")
TRIALS = 5
DatasetArgument = Annotated[
    str,
    typer.Argument(
        metavar="[DATASET]",
        show_default=False,
        help="A folder of class folders, a manifest with labels, or a torchvision name; none with --mine.",
    ),
]
FolderOption = Annotated[
    Path | None,
    typer.Option(
        "--project", "-p", metavar="FOLDER", show_default=False,
        help="Where the simulation is kept (default: alctl-simulation); with --mine, the project.",
    ),
]  # fmt: skip
SeedOption = Annotated[int, typer.Option(help="Seed of all chance.")]


@dataclass(frozen=True)
class Arms:
    """Options that say what is compared, and over how many trials and rounds."""

    strategy: Annotated[
        list[str] | None,
        strategy_option(
            "A query strategy, once for each; else learning-loss (with --head probe uherding) and random; "
            "with --mine uherding, maxherding and margin."
        ),
    ] = None
    start_strategy: Annotated[
        str,
        strategy_option(
            "Strategy of the first round, or own: each its own (default: random; with --head probe own)."
        ),
    ] = ""
    param: Annotated[
        list[str] | None,
        several_option("STRATEGY.NAME=VALUE", "A parameter of a strategy."),
    ] = None
    trials: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            show_default=False,
            help="Trials of each strategy, paired by their seed (default: 5; with --mine 10).",
        ),
    ] = None
    rounds: Annotated[int, typer.Option(min=1, metavar="N", help="Rounds of each trial.")] = 10
    k: Annotated[int, typer.Option("--k", min=1, metavar="N", help="Images a round.")] = 1000
    subset: Annotated[
        int, typer.Option(min=0, metavar="N", help="Random unlabeled images that are scored; 0: all.")
    ] = 10_000


@dataclass(frozen=True)
class Bending:
    """Options that say how the dataset is bent."""

    imbalance: Annotated[
        float,
        typer.Option(
            min=1, callback=finite, metavar="R", help="R: half of the classes keep 1/R of their pool images."
        ),
    ] = 1.0
    label_noise: Annotated[
        float,
        share_option("Share of wrong labels in the pool, never in the test."),
    ] = 0.0
    test: Annotated[
        int | None,
        typer.Option(
            show_default=False,
            min=1,
            metavar="N",
            help="Images held out for the test, if the dataset has none of its own; else a fifth, at most 10,000.",
        ),
    ] = None


@dataclass(frozen=True)
class Showing:
    """Options that say where else the results go, and what stands beside them."""

    csv: Annotated[
        Path | None, typer.Option("--csv", show_default=False, help="Also write every measurement here.")
    ] = None
    compare: Annotated[
        list[Path] | None,
        several_option(
            "FOLDER", "Show another simulation's strategies beside: the same rounds, trained otherwise."
        ),
    ] = None


@dataclass(frozen=True)
class Own:
    """Options that replay the project's own labels instead."""

    mine: Annotated[
        bool, typer.Option("--mine", help="Replay the project's own labels, with embeddings and the probe.")
    ] = False
    budgets: Annotated[
        str,
        typer.Option(
            metavar="N,N,…",
            show_default=False,
            help="Labels after each round of --mine (default: 1, 2, 3, 4, 6, 8 … for each class).",
        ),
    ] = ""
    plan: Annotated[
        bool, typer.Option("--plan", help="After 5 trials of --mine, say how many would tell what.")
    ] = False


def check_of_mine(dataset: str, arms: Arms, bending: Bending, showing: Showing, settings: Settings) -> None:
    """Refuse what --mine has no use for, instead of ignoring it."""
    from alctl.errors import AlctlError

    unused = {
        "start-strategy": bool(arms.start_strategy), "k": arms.k != Arms.k, "rounds": arms.rounds != Arms.rounds, "subset": arms.subset != Arms.subset,
        "imbalance": bending.imbalance != 1, "label-noise": bending.label_noise != 0,
        "test": bending.test is not None, "csv": showing.csv is not None, "compare": bool(showing.compare),
    }  # fmt: skip
    given = [dataset] if dataset else []
    given += [f"--{name}" for name, used in unused.items() if used]
    given += [
        f"--{name.replace('_', '-')}" for name in settings if (name, settings[name]) != ("head", "probe")
    ]
    if given:
        raise AlctlError(
            f"--mine replays the project's own labels with the probe and has no use for {', '.join(given)}; leave it out"
        )


def check_of_dataset(dataset: str, own: Own) -> None:
    """Refuse a command that names no images, or asks for what only --mine does."""
    from alctl.errors import AlctlError

    if own.budgets or own.plan:
        raise AlctlError(f"{'--budgets' if own.budgets else '--plan'} is for `alctl simulate --mine`")
    if not dataset:
        raise AlctlError(
            "name the images: `alctl simulate DATASET`; or replay the labels of this project: `alctl simulate --mine`"
        )
