"""`embed`: a vector for every image."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from alctl.cli.app import app
from alctl.cli.options import DeviceOption, DryRunOption, JsonOption, ProjectOption, option_groups, storable
from alctl.cli.stopping import going_on
from alctl.progress import duration

if TYPE_CHECKING:
    from alctl.project import Project
    from alctl.rounds.embed import Embedded, Plan


@dataclass(frozen=True)
class What:
    """Options that say what is embedded, and by what."""

    backbone: Annotated[
        str,
        typer.Option(
            show_default=False,
            metavar="NAME",
            help="efficientnet-lite0, torchvision:NAME, timm:NAME, file:NETWORK=PATH (your own weights for one of "
            "these), model (the last training run's), or table:FILE: your own vectors (default: the one used before, "
            "at first efficientnet-lite0).",
        ),
    ] = ""
    size: Annotated[
        int | None,
        typer.Option(
            show_default=False,
            callback=storable,
            metavar="N",
            help="Input of the network in pixels (default: the network's own; of efficientnet-lite0 224, and 112 if no "
            "image is larger than 64).",
        ),
    ] = None
    views: Annotated[
        int | None,
        typer.Option(
            show_default=False,
            min=1,
            max=2,
            metavar="N",
            help="2: the mean of each image's vector and its mirror image's, in twice the time (default: 1).",
        ),
    ] = None
    subset: Annotated[
        int | None,
        typer.Option(
            show_default=False,
            min=0,
            callback=storable,
            metavar="N",
            help="Only the next round's random subset of this size, the labeled images and the reserved ones.",
        ),
    ] = None


@app.command(rich_help_panel="Models")
@option_groups
def embed(
    *,
    project: ProjectOption = None,
    what: What,
    device: DeviceOption = "auto",
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Compute a vector for every image with a network that is never trained here, once, for all commands.

    Ctrl-C or a crash loses little: the same command goes on where it was stopped.

    [dim]Examples:[/dim]
      alctl embed
      alctl embed --backbone torchvision:resnet50 --dry-run
      alctl embed --backbone timm:vit_small_patch14_dinov2.lvd142m
      alctl embed --backbone file:torchvision:resnet50=weights.safetensors
      alctl embed --backbone table:vectors.npy
    """
    from alctl.cli import screen
    from alctl.project import open_project
    from alctl.rounds import embed as embedding

    opened = open_project(project)
    plan = embedding.plan_embedding(
        opened, embedding.EmbedOptions(what.backbone, what.size, what.views, device, what.subset)
    )
    screen.note(describe(plan))
    if plan.licence:
        screen.note(f"the weights of {plan.name} are under the licence {plan.licence}")
    if dry_run:
        show_plan(plan, json=json)
        return
    with going_on("the same command goes on from there"), screen.bars() as progress:
        done = embedding.embed(opened, plan, progress)
    show_embedded(opened, done, json=json)


def describe(plan: "Plan") -> str:
    """Return what is about to be computed, and about how long it takes, in one line."""
    known = f"{plan.already:,} have one already" if plan.already else "none has one yet"
    if not len(plan.ids):
        return f"{plan.name}: no image needs an embedding; {known}"
    if plan.images_per_second is None:
        return f"{plan.name}: {len(plan.ids):,} images get an embedding; {known}"
    each = f"{1 / plan.images_per_second:.3f} s"
    return f"{plan.name}: {len(plan.ids):,} images × {each} = about {duration(plan.seconds)}; {known}"


def show_plan(plan: "Plan", *, json: bool) -> None:
    """Print what would be done."""
    from alctl.cli import screen

    if json:
        screen.as_json(
            {
                "backbone": plan.name,
                "dimension": plan.key.dimension,
                "to_embed": len(plan.ids),
                "already": plan.already,
                "seconds": plan.seconds,
                "images_per_second": plan.images_per_second,
            }
        )
        return
    screen.say("a dry run: nothing was computed")


def show_embedded(project: "Project", done: "Embedded", *, json: bool) -> None:
    """Print what was computed."""
    from alctl.cli import screen

    if json:
        screen.as_json(done)
        return
    screen.left_out(done.missing)
    for item, reason in done.quarantined.items():
        screen.warn(f"item {item} cannot be used and was left out: {reason}")
    rate = f" in {done.seconds:.0f} s, {done.images_per_second:,.0f} images/s" if done.embedded else ""
    screen.say(f"{done.embedded:,} images have an embedding of {done.dimension:,} numbers now{rate}")
    if done.excluded:
        screen.warn(f"{done.excluded:,} embeddings are zero or not finite, and tell nothing")
    if done.lacking:
        screen.say(f"{done.lacking:,} images have none")
    screen.next_step_of(project)
