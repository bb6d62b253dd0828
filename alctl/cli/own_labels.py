"""`simulate --mine`: strategies compared on the labels that the project has."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from alctl.cli.options import by_strategy
from alctl.errors import AlctlError

if TYPE_CHECKING:
    from alctl.project import Project
    from alctl.rounds.own_simulation import OwnSimulation, Rival
    from alctl.simulation.mine import Plan

TRIALS = 10


@dataclass(frozen=True)
class Asked:
    """What the command line says."""

    project: Path | None
    strategies: list[str]
    params: list[str]
    trials: int | None
    budgets: str
    seed: int


def replay_mine(asked: Asked, *, plan: bool, dry_run: bool, json: bool) -> None:
    """Replay the project's labels and show what they tell; with ``plan`` only how many trials would tell what."""
    from alctl.cli import screen
    from alctl.project import open_project
    from alctl.simulation import mine
    from alctl.simulation.paired import ENOUGH

    project = open_project(asked.project)
    names = list(dict.fromkeys(asked.strategies or mine.STRATEGIES))
    trials = ENOUGH if plan else asked.trials or TRIALS
    options = mine.MineOptions(
        by_strategy(asked.params, names), trials, budgets_of(asked.budgets), asked.seed
    )
    with screen.bars() as progress:
        planned = mine.plan(project, options, progress, None if dry_run else say)
    if dry_run:
        show_dry_run(planned, json=json)
        return
    replay(project, planned)
    found = mine.judge(project, planned, look=not plan)
    if json:
        screen.as_json(as_plan(found) if plan else found)
    elif plan:
        show_plan(found)
    else:
        show_found(found)


def say(text: str) -> None:
    """Print what takes time before it begins."""
    from alctl.cli import screen

    screen.err.print(text, markup=False)


def budgets_of(text: str) -> list[int]:
    """Turn "20,40,80" into numbers."""
    try:
        return [int(part) for part in text.split(",")] if text else []
    except ValueError:
        raise AlctlError(f"--budgets {text!r} is not a list of numbers such as 20,40,80") from None


def replay(project: "Project", planned: "Plan") -> None:
    """Replay what is left, with a bar; stopped, it says how to go on."""
    import typer

    from alctl.cli import screen
    from alctl.simulation import mine

    for line in describe(planned):
        screen.note(line)
    try:
        with screen.bars() as progress:
            for _ in mine.run(project, planned, progress):
                pass
    except KeyboardInterrupt:
        screen.err.print("stopped; the same command goes on from the last whole trial", markup=False)
        raise typer.Exit(130) from None


def describe(planned: "Plan") -> list[str]:
    """Return what is about to be replayed, and how little it can tell, in a few lines."""
    from alctl.simulation.mine import FEW

    found = planned.found
    lines = [
        f"{found.images:,} labeled images of {found.classes} classes, embedded by {found.backbone}: in each trial {found.pool:,} "
        f"are a pool and {found.test:,} measure",
        f"{len(planned.left)} of {planned.trials * len(planned.arms)} replays are left: {planned.trials} trials of "
        f"{', '.join(arm.name for arm in planned.arms)}, up to {found.budgets[-1]:,} labels",
    ]
    if found.images < FEW:
        point = 100 / found.test
        lines.append(
            f"{found.images} images tell little: one of the {found.test} that measure is {point:.1f} points; {FEW} labels or "
            "more are better"
        )
    if found.chosen:
        lines.append(
            f"a strategy chose {found.chosen:,} of these images: they are no random part of the pool, and what pays "
            "among them need not pay in it"
        )
    return lines


def show_dry_run(planned: "Plan", *, json: bool) -> None:
    """Print what would be replayed."""
    from alctl.cli import screen

    if json:
        found = planned.found
        screen.as_json({
            "images": found.images, "pool": found.pool, "test": found.test, "budgets": found.budgets,
            "arms": [arm.name for arm in planned.arms], "trials": planned.trials, "left": len(planned.left),
        })  # fmt: skip
        return
    for line in describe(planned):
        screen.say(line)
    screen.say("a dry run: nothing was replayed")


def show_found(found: "OwnSimulation") -> None:
    """Print what the trials say, and where it is shown too."""
    from alctl.cli import screen

    show_numbers(found)
    screen.next_step("alctl report", "which shows it too")


def show_numbers(found: "OwnSimulation") -> None:
    """Print the curves, the differences to random, and what they say."""
    from alctl.cli import screen

    rows = [
        [f"{labeled:,}", *(f"{curve[r]:.3f}" for curve in found.curves.values())]
        for r, labeled in enumerate(found.budgets)
    ]
    screen.table(f"accuracy, mean of {found.trials} trials", ["labels", *found.curves], rows)
    screen.say("")
    for rival in found.rivals:
        screen.say(rival.verdict)
        screen.say(f"  {labels_words(rival)}")
    screen.say(
        "intervals are of a mean over splits of the same images (Nadeau & Bengio): more trials alone hardly narrow them"
    )
    if len(found.looks) > 1:
        times = ", ".join(map(str, found.looks))
        screen.say(f"looked at after {times} trials, so p is taken {len(found.looks)} times")


def labels_words(rival: "Rival") -> str:
    """Return the sentence on how many labels a strategy needed for what random reached."""
    found = rival.labels
    if found is None:
        return "in most trials it never reached what random did in the end"
    most, least = ("at most ", "at least ") if found.at_most else ("", "")
    low, high = found.saved.low, found.saved.high
    between = "" if low is None or high is None else f" (95 %: {low:,.0f} to {high:,.0f})"
    trials = "trial" if found.censored == 1 else "trials"
    some = f"; {found.censored} {trials} never got there: medians" if found.censored else ""
    return (
        f"what random reached with {found.of:,} labels took it {most}{found.needed:,.0f}, {least}{found.saved.value:,.0f} "
        f"fewer{between}{some}"
    )


def as_plan(found: "OwnSimulation") -> dict[str, object]:
    """Return how many trials would tell what, as JSON knows it."""
    from alctl.simulation.mine import trials_that_tell

    return {
        rival.strategy: {
            "deviation": rival.deviation,
            "trials_for_points": trials_that_tell(rival, found),
            "smallest_visible": rival.at_best,
        }
        for rival in found.rivals
    }


def show_plan(found: "OwnSimulation") -> None:
    """Print how many trials would tell a true difference of so many points, and which no number of trials can tell."""
    from alctl.cli import screen
    from alctl.simulation.mine import trials_that_tell

    rows = []
    for rival in found.rivals:
        needed = trials_that_tell(rival, found).values()
        counts = ["never" if n is None else f"{n:,}" for n in needed]
        rows.append([rival.strategy, f"{100 * rival.deviation:.1f}", *counts, f"{100 * rival.at_best:.1f}"])
    screen.table(
        f"trials that tell a true difference in mean accuracy, four times of five (from {found.trials} trials)",
        ["strategy", "sd, points", "1 point", "2 points", "3 points", "5 points", "smallest ever"],
        rows,
    )
    screen.say(
        f'"never": trials share their images, and {found.images:,} of them do not tell it however often they are split; '
        "more labels do"
    )
    screen.next_step("alctl simulate --mine --trials 10")
