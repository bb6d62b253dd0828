"""`simulate`: would it have been worth it? Strategies compared on images whose labels are known."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alctl.cli.app import app
from alctl.cli.options import (
    DryRunOption,
    JsonOption,
    Settings,
    complete_strategies,
    finite,
    option_groups,
    parameters,
    settings_options,
    train_config,
)
from alctl.cli.stopping import FROM_LAST_EPOCH, going_on

if TYPE_CHECKING:
    from alctl.simulation.prepare import Simulation
    from alctl.simulation.results import Summary
    from alctl.simulation.run import Done
    from alctl.simulation.statistics import Difference, Spread
    from alctl.simulation.statistics import Summary as Numbers

BASELINE = "random"
DatasetArgument = Annotated[
    str, typer.Argument(help="A folder of class folders, a manifest with labels, or a torchvision name.")
]
FolderOption = Annotated[
    Path, typer.Option("--project", "-p", metavar="FOLDER", help="Where the simulation is kept.")
]
SeedOption = Annotated[int, typer.Option(help="Seed of all chance.")]


@dataclass(frozen=True)
class Arms:
    """Options that say what is compared, and over how many trials and rounds."""

    strategy: Annotated[
        list[str] | None,
        typer.Option(
            show_default=False,
            autocompletion=complete_strategies,
            help="A query strategy, once for each; else learning-loss (with --head probe uherding) and random.",
        ),
    ] = None
    start_strategy: Annotated[
        str,
        typer.Option(
            show_default=False,
            autocompletion=complete_strategies,
            help="Strategy of the first round, or own: each its own (default: random; with --head probe own).",
        ),
    ] = ""
    param: Annotated[
        list[str] | None,
        typer.Option(metavar="STRATEGY.NAME=VALUE", show_default=False, help="A parameter of a strategy."),
    ] = None
    trials: Annotated[int, typer.Option(min=1, help="Trials of each strategy, paired by their seed.")] = 5
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of each trial.")] = 10
    k: Annotated[int, typer.Option("--k", min=1, help="Images a round.")] = 1000
    subset: Annotated[int, typer.Option(min=0, help="Random unlabeled images that are scored; 0: all.")] = (
        10_000
    )


@dataclass(frozen=True)
class Bending:
    """Options that say how the dataset is bent."""

    imbalance: Annotated[
        float,
        typer.Option(min=1, callback=finite, help="R: half of the classes keep 1/R of their pool images."),
    ] = 1.0
    label_noise: Annotated[
        float,
        typer.Option(
            min=0, max=1, callback=finite, help="Share of wrong labels in the pool, never in the test."
        ),
    ] = 0.0
    test: Annotated[
        int | None,
        typer.Option(
            show_default=False,
            min=1,
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
        typer.Option(
            metavar="FOLDER",
            show_default=False,
            help="Show another simulation's strategies beside: the same rounds, trained otherwise.",
        ),
    ] = None


@dataclass(frozen=True)
class Ran:
    """A simulation after this command."""

    summary: "Summary"
    folder: str
    figures: list[Path]
    running: list[str]
    """Arms that other processes have."""


@app.command(rich_help_panel="Models")
@option_groups
@settings_options
def simulate(
    *,
    settings: Settings,
    dataset: DatasetArgument,
    project: FolderOption = Path("alctl-simulation"),
    arms: Arms,
    bending: Bending,
    seed: SeedOption = 0,
    showing: Showing,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Compare query strategies on images whose labels are known, by the code of the real rounds.

    All strategies of a trial start from the same random round, the same weights and the same random subsets; with
    --head probe each strategy chooses its own first round. The
    same command goes on after a kill; started several times at once, the processes share the work. More strategies,
    trials or rounds can be added to a finished simulation.

    [dim]Examples:[/dim]
      alctl simulate cifar10 --strategy learning-loss --strategy entropy --strategy random
      alctl simulate ./sorted --head probe --k 20 --rounds 8 --trials 10
      alctl simulate ./sorted --k 100 --rounds 5 --trials 5 --epochs 50 --subset 0
    """
    simulation = simulation_of(dataset, arms, bending, seed, settings)
    folder = project.absolute()
    if dry_run:
        show_plan(folder, simulation, json=json)
        return
    ran = run_all(folder, simulation, dataset, [other.absolute() for other in showing.compare or []])
    if showing.csv is not None:
        copy_table(folder, showing.csv)
    show_outcome(ran, json=json)


def simulation_of(dataset: str, arms: Arms, bending: Bending, seed: int, settings: Settings) -> "Simulation":
    """Return the simulation that the options describe."""
    from alctl.config import TrainConfig
    from alctl.simulation.hide_labels import Shape
    from alctl.simulation.prepare import OWN, Simulation

    train = train_config(TrainConfig(), settings)
    probe = train.head == "probe"
    names = list(dict.fromkeys(arms.strategy or ["uherding" if probe else "learning-loss", BASELINE]))
    return Simulation(
        dataset=str(Path(dataset).resolve()), strategies=by_strategy(arms.param or [], names), trials=arms.trials,
        rounds=arms.rounds, k=arms.k, subset=arms.subset, shape=Shape(bending.imbalance, bending.test),
        label_noise=bending.label_noise, seed=seed, start=arms.start_strategy or (OWN if probe else BASELINE), train=train,
    )  # fmt: skip


def by_strategy(given: list[str], names: list[str]) -> dict[str, dict[str, str]]:
    """Turn ``["stochastic.temperature=0.5"]`` into parameters of each strategy."""
    from alctl.errors import AlctlError

    found: dict[str, dict[str, str]] = {name: {} for name in names}
    for text in given:
        strategy, _, rest = text.partition(".")
        if strategy not in found:
            raise AlctlError(f"--param {text!r} is not STRATEGY.NAME=VALUE of one of: {', '.join(names)}")
        found[strategy] |= parameters([rest])
    return found


def show_plan(folder: Path, simulation: "Simulation", *, json: bool) -> None:
    """Print what would be run, without making anything."""
    from alctl.cli import screen
    from alctl.simulation import prepare, run

    prepare.check(simulation)
    every = run.arms(folder, simulation)
    left = [arm for arm in every if not run.finished(arm, simulation.rounds)]
    budgets = [simulation.k * number for number in range(1, simulation.rounds + 1)]
    images = sum(budgets) * simulation.train.epochs * len(left)
    plan = {"folder": folder, "arms": [arm.name for arm in every], "left": len(left), "images": images}
    if json:
        screen.as_json(plan)
        return
    screen.say(
        f"{len(every)} arms: {', '.join(simulation.strategies)}; {simulation.trials} trials of {simulation.rounds} rounds "
        f"of {simulation.k:,}, up to {budgets[-1]:,} labels"
    )
    screen.say(f"  {len(every) - len(left)} are finished in {folder}")
    screen.say(
        f"  {images:,} images go through training for the rest, {simulation.train.epochs} epochs a round"
    )
    screen.say("a dry run: nothing was changed")


def run_all(folder: Path, simulation: "Simulation", dataset: str, others: list[Path]) -> Ran:
    """Run what is left, show each round as it ends, and write tables and pictures."""
    from alctl.cli import screen
    from alctl.cli.dataset import find_dataset
    from alctl.simulation import prepare, results, run

    with going_on(FROM_LAST_EPOCH), screen.bars() as progress:
        prepare.prepare(folder, simulation, lambda: find_dataset(dataset, "folders", progress), progress)
        for other in others:  # a mistake here should not come to light after hours
            results.compared(results.read(folder), other)
        for done in run.run(folder, simulation, progress):
            screen.err.print(told(done, simulation.rounds), markup=False)
            if done.round == simulation.rounds:
                results.write(folder)
        found = results.write(folder, others)
        device = simulation.train.device
        figures = results.draw(folder, found, device, progress) if found.results else []
    every = run.arms(folder, simulation)
    left = [arm.name for arm in every if not run.finished(arm, simulation.rounds)]
    return Ran(results.summary(found), str(folder), figures, left)


def copy_table(folder: Path, target: Path) -> None:
    """Write results.csv to another place too."""
    from shutil import copyfile

    from alctl.errors import AlctlError

    try:
        copyfile(folder / "results.csv", target)
    except OSError as error:
        raise AlctlError(f"cannot write {target}: {error.strerror}") from error


def told(done: "Done", rounds: int) -> str:
    """Return a line on a finished round."""
    value = "not measured" if done.value is None else f"{done.value:.4f}"
    return f"{done.arm.name}  round {done.round}/{rounds}  {done.labeled:,} labels  {value}  {done.seconds:.0f} s"


def show_outcome(ran: Ran, *, json: bool) -> None:
    """Print the tables and what they say."""
    from alctl.cli import screen

    found = ran.summary.outcome
    if json:
        values = vars(ran).items()
        screen.as_json(asdict(ran.summary) | {name: value for name, value in values if name != "summary"})
        return
    if ran.running:
        screen.warn(f"not finished yet, other processes have them: {', '.join(ran.running)}")
    if found is None:
        screen.say("no round is finished yet; the same command shows the results when some are")
        return
    show_tables(found, ran.summary.ranking)
    screen.say("")
    show_verdicts(found)
    screen.say(f"all numbers are in {ran.folder}: results.csv, results.json, figures")
    screen.next_step("alctl init YOUR_IMAGES", "to begin with your own")


def show_tables(found: "Numbers", ranking: "Numbers | None") -> None:
    """Print the learning curves, the differences to the baseline, who beats whom, and the ranking accuracy."""
    from alctl.cli import screen

    trials, what = len(found.trials), found.metric.replace("_", " ")
    counted = f"{trials} trials, mean ± standard deviation" if trials > 1 else "one trial"
    screen.table(f"{what} of {counted}", *values_table(found, area=True))
    if found.differences:
        title = f"\ndifference to {found.baseline} in the same trials, with 95 % bootstrap intervals"
        screen.table(title, *differences_table(found))
    if len(found.beats) > 1 and trials > 1:
        rows = [[name, *(f"{share:.2f}" for share in row.values())] for name, row in found.beats.items()]
        title = "\nshare of budgets at which the row beats the column (paired t-test, α = 0.05)"
        screen.table(title, ["", *found.beats], rows)
    if ranking:
        screen.table("\nlosses in the right order (ranking accuracy)", *values_table(ranking))


def values_table(found: "Numbers", *, area: bool = False) -> tuple[list[str], list[list[str]]]:
    """Return the header and rows of mean ± deviation: labels down, strategies across."""
    names = list(found.mean)
    rows = [
        [f"{labeled:,}", *(spread(found.mean[n][r], found.deviation[n][r]) for n in names)]
        for r, labeled in enumerate(found.labeled)
    ]
    if area and len(found.labeled) > 1:
        rows.append(["area under the curve", *(spread_of(found.area[n]) for n in names)])
    return ["labels", *names], rows


def spread_of(found: "Spread") -> str:
    """Return "0.8764 ± 0.0027"."""
    return spread(found.mean, found.deviation)


def spread(mean: float | None, deviation: float | None) -> str:
    """Return "0.8764 ± 0.0027"."""
    if mean is None:
        return "–"
    return f"{mean:.4f}" + ("" if deviation is None else f" ± {deviation:.4f}")


def differences_table(found: "Numbers") -> tuple[list[str], list[list[str]]]:
    """Return the header and rows of the differences to the baseline."""
    rivals = found.differences
    rows = [
        [f"{labeled:,}", *(difference(rival.budgets[r]) for rival in rivals.values())]
        for r, labeled in enumerate(found.labeled)
    ]
    if len(rows) > 1:
        rows.append(["area under the curve", *(difference(rival.area) for rival in rivals.values())])
    return ["labels", *rivals], rows


def difference(found: "Difference | None") -> str:
    """Return "+0.0337 [+0.0301, +0.0370]"."""
    if found is None:
        return "–"
    interval = "" if found.low is None else f" [{found.low:+.4f}, {found.high:+.4f}]"
    return f"{found.mean:+.4f}{interval}"


def show_verdicts(found: "Numbers") -> None:
    """Print what the numbers say, in sentences."""
    from alctl.cli import screen

    if not found.differences:
        screen.say(f"nothing to compare: add --strategy {found.baseline} and another one")
    for name, rival in found.differences.items():
        screen.say(rival.verdict)
        last = rival.labels[-1] if rival.labels else None
        if last is None:
            continue
        goal = f"  the mean of {found.baseline} at {last.labeled:,} labels, {last.value:.4f},"
        if last.needed is None:
            screen.say(f"{goal} is more than {name} reached")
        else:
            most, least = ("at most ", "at least ") if last.at_most else ("", "")
            needed, fewer = f"{most}{last.needed:,.0f}", f"{least}{last.saved:,.0f}"
            screen.say(f"{goal} took {name} {needed} labels, {fewer} fewer")
