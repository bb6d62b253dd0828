"""Options of `select` and `export`: which images are chosen, who labels them, what annotators get."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from alctl.cli.options import complete_formats, several_option, share_option, storable, strategy_option

KOption = Annotated[
    int | None,
    typer.Option(
        "--k",
        min=1,
        callback=storable,
        show_default=False,
        metavar="N",
        help="How many images to label in this round.",
    ),
]


@dataclass(frozen=True)
class Choosing:
    """Options that say which images are chosen."""

    strategy: Annotated[
        str,
        strategy_option(
            "Query strategy (default: uherding where embeddings are at hand and before learning-loss is shown to be worth it)."
        ),
    ] = ""
    subset: Annotated[
        int | None,
        typer.Option(
            show_default=False,
            min=0,
            metavar="N",
            help="Random unlabeled images to score (default: 10,000); 0: all.",
        ),
    ] = None
    param: Annotated[
        list[str] | None,
        several_option("NAME=VALUE", "A parameter of the strategy."),
    ] = None
    control: Annotated[
        float | None,
        share_option(
            "Share of the images that is random, to compare the strategy with (default: 0); annotators see no difference."
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
        strategy_option(
            "Query strategy of the guard (default: margin; random with fewer than 20 labeled validation images)."
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
        share_option("Share of the images that all annotators get."),
    ] = 0.0


@dataclass(frozen=True)
class Files:
    """Options that say what annotators get."""

    images: Annotated[
        Literal["link", "symlink", "copy", "none"],
        typer.Option(
            "--images", help="How the images get into the export; link: hard links, or else copies."
        ),
    ] = "link"
    to: Annotated[
        Path | None,
        typer.Option(
            "--to", show_default=False, help="Export folder (default: rounds/NUMBER in the project)."
        ),
    ] = None
    format: Annotated[
        str,
        typer.Option(
            "--format",
            show_default=False,
            metavar="NAME,...",
            autocompletion=complete_formats,
            help="Also write what these tools open, such as label-studio,cvat.",
        ),
    ] = ""
    predictions: Annotated[
        bool,
        typer.Option(
            "--predictions", help="Let annotators correct what the current model says, in the tools' files."
        ),
    ] = False
    option: Annotated[
        list[str] | None,
        typer.Option(
            "--option",
            metavar="NAME=VALUE",
            show_default=False,
            help="An option of the one format given; the project remembers it.",
        ),
    ] = None
