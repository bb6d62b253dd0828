"""`recall` and `agreement`: taking images back from annotators, and how far annotators agree."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from alctl.cli.app import app
from alctl.cli.options import DryRunOption, JsonOption, ProjectOption, storable

if TYPE_CHECKING:
    from alctl.annotators.ledger import Recalled
    from alctl.annotators.weights import Agreement, Disputed, Weight
    from alctl.project import Project


ItemsOption = Annotated[
    list[int] | None,
    typer.Option(
        "--item", callback=storable, show_default=False, metavar="N",
        help="Only this item; may be given several times.",
    ),
]  # fmt: skip


@app.command(rich_help_panel="Rounds")
def recall(
    number: Annotated[
        int | None,
        typer.Argument(metavar="ROUND", callback=storable, show_default=False, help="The round's number."),
    ] = None,
    project: ProjectOption = None,
    item: ItemsOption = None,
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
    from alctl.annotators import ledger
    from alctl.cli import screen
    from alctl.project import open_project

    opened = open_project(project)
    found = ledger.recall(opened, number, items=item or [], overdue=overdue, dry_run=dry_run)
    if json:
        screen.as_json({"rounds": found, "dry_run": dry_run})
        return
    show_recalled(found, dry_run=dry_run)
    screen.next_step_of(opened)


def show_recalled(found: Sequence["Recalled"], *, dry_run: bool) -> None:
    """Print what came back into the pool, round by round."""
    from alctl.cli import screen

    for row in found:
        verb = "would be" if dry_run else "are"
        rest = f"; {row.answered:,} were answered and stay" if row.answered else ""
        rest += f"; {row.earlier:,} had been recalled before" if row.earlier else ""
        screen.say(f"round {row.round}: {len(row.items):,} images {verb} back in the pool{rest}")
    if not found:
        screen.say("nothing is overdue")


@app.command(rich_help_panel="Looking")
def agreement(
    project: ProjectOption = None,
    round_: Annotated[
        int | None,
        typer.Option(
            "--round", callback=storable, show_default=False, metavar="N", help="Only images of this round."
        ),
    ] = None,
    weights: Annotated[
        bool,
        typer.Option(
            "--weights", help="Let annotators' votes count by how often they are right, from now on."
        ),
    ] = False,
    reset: Annotated[bool, typer.Option("--reset", help="Let all votes count alike again.")] = False,
    json: JsonOption = False,
) -> None:
    """Show how far annotators agree about the images that several of them labeled.

    [dim]Examples:[/dim]
      alctl agreement
      alctl agreement --round 3 --json
      alctl agreement --weights
    """
    from alctl.annotators.weights import measure
    from alctl.cli import screen
    from alctl.project import open_project

    opened = open_project(project)
    if weights or reset:
        change_weights(opened, weigh=weights, reset=reset, json=json)
        return
    found = measure(opened, round_)
    if json:
        screen.as_json(found.plain())
    else:
        show_agreement(found, opened)


def change_weights(project: "Project", *, weigh: bool, reset: bool, json: bool) -> None:
    """Give annotators weights, or take them away, and print who has or had one."""
    from alctl.annotators import weights
    from alctl.cli import screen
    from alctl.errors import AlctlError

    if weigh and reset:
        raise AlctlError("--weights and --reset are opposites")
    given = weights.weigh(project) if weigh else {}
    taken = weights.reset(project) if reset else []
    if json:
        screen.as_json({"weights": given, "reset": taken})
    else:
        show_weights(given, taken, project)


def show_weights(given: Mapping[str, "Weight"], taken: Sequence[str], project: "Project") -> None:
    """Print the weights that annotators have got, or how many have lost theirs."""
    from alctl.cli import screen
    from alctl.status import train_again

    if given:
        rows = [[name, row.quality, row.weight] for name, row in sorted(given.items())]
        screen.table("", ["annotator", "quality", "weight"], rows)
        screen.say("votes count by these weights now; `alctl agreement --reset` takes them away")
    else:
        screen.say(f"all votes count alike; {len(taken)} annotators had weights")
    if command := train_again(project):
        screen.next_step(command, "the labels that hold may have changed")
    else:
        screen.next_step_of(project)


def show_agreement(found: "Agreement", project: "Project") -> None:
    """Print how far annotators agree."""
    from alctl.cli import screen
    from alctl.status import proposed

    if not found.items:
        screen.say("no image was labeled by two annotators yet")
        if k := proposed(project):
            screen.next_step(f"alctl select --k {k} --annotators 2 --overlap 0.1")
        else:
            screen.next_step_of(project)
        return
    screen.say(f"{found.items:,} images were labeled by several annotators, with {found.answers:,} answers")
    screen.table("over all", ["", ""], [[_spaced(name), value] for name, value in found.measures.items()])
    names = ("answers", "items", "with_consensus", "with_others", "median_seconds", "weight")
    people = [[row.annotator, *(getattr(row, name) for name in names)] for row in found.annotators]
    screen.table("annotators", ["", *map(_spaced, names)], people)
    pairs = [(pair, found.pair_measures(pair)) for pair in found.pairs[:20]]
    rows = [[" and ".join(pair.annotators), pair.items, *values.values()] for pair, values in pairs]
    screen.table("pairs", ["", "items", *map(_spaced, pairs[0][1])], rows)
    if found.confused:
        rows = [[" or ".join(pair.classes), pair.n] for pair in found.confused[:5]]
        screen.table("classes that are confused", ["", "times"], rows)
    if found.worst:
        screen.say("images that annotators disagree about most:")
        screen.listed(found.worst, _disputed)
        screen.next_step(
            f"alctl select --relabel --k {proposed(project, relabel=True)}", "for a second look at the worst"
        )
    else:
        screen.next_step_of(project)


def _spaced(name: str) -> str:
    """Return the name of a measure as words."""
    return name.replace("_", " ")


def _disputed(row: "Disputed") -> str:
    answers = ", ".join(f"{name}: {said}" for name, said in row.answers.items())
    return f"item {row.item} {row.path}: agreement {row.agreement:.2f} ({answers})"
