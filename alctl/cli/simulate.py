"""`simulate`: would it have been worth it? Strategies compared on images whose labels are known."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alctl.cli.app import app
from alctl.cli.curves import show_tables, show_verdicts
from alctl.cli.options import (
    DryRunOption,
    JsonOption,
    Settings,
    by_strategy,
    complete_strategies,
    finite,
    option_groups,
    settings_options,
    train_config,
)
from alctl.cli.own_labels import Asked, replay_mine

if TYPE_CHECKING:
    from alctl.simulation.prepare import Simulation
    from alctl.simulation.results import Summary
    from alctl.simulation.run import Done

BASELINE = "random"
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
        typer.Option(
            show_default=False,
            autocompletion=complete_strategies,
            help="A query strategy, once for each; else learning-loss and random; with --mine uherding, maxherding and margin.",
        ),
    ] = None
    param: Annotated[
        list[str] | None,
        typer.Option(metavar="STRATEGY.NAME=VALUE", show_default=False, help="A parameter of a strategy."),
    ] = None
    trials: Annotated[
        int | None,
        typer.Option(
            min=1,
            show_default=False,
            help="Trials of each strategy, paired by their seed (default: 5; with --mine 10).",
        ),
    ] = None
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of each trial; the first is random.")] = 10
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
    dataset: DatasetArgument = "",
    project: FolderOption = None,
    own: Own,
    arms: Arms,
    bending: Bending,
    seed: SeedOption = 0,
    showing: Showing,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Compare query strategies on images whose labels are known, by the code of the real rounds.

    All strategies of a trial start from the same random round, the same weights and the same random subsets. The
    same command goes on after a kill; started several times at once, the processes share the work. More strategies,
    trials or rounds can be added to a finished simulation.

    With --mine the images are those that this project has labels of: they are split again and again into a pool and a
    test, and every strategy chooses its own first round. It takes embeddings, minutes, and 100 labels or more.

    [dim]Examples:[/dim]
      alctl simulate cifar10 --strategy learning-loss --strategy entropy --strategy random
      alctl simulate ./sorted --k 100 --rounds 5 --trials 5 --epochs 50 --subset 0
      alctl simulate --mine
    """
    if own.mine:
        check_of_mine(dataset, arms, bending, showing, settings)
        asked = Asked(project, arms.strategy or [], arms.param or [], arms.trials, own.budgets, seed)
        replay_mine(asked, plan=own.plan, dry_run=dry_run, json=json)
        return
    check_of_dataset(dataset, own)
    simulation = simulation_of(dataset, arms, bending, seed, settings)
    folder = (project or FOLDER).absolute()
    if dry_run:
        show_plan(folder, simulation, json=json)
        return
    ran = run_all(folder, simulation, dataset, [other.absolute() for other in showing.compare or []])
    if showing.csv is not None:
        copy_table(folder, showing.csv)
    show_outcome(ran, json=json)


def check_of_mine(dataset: str, arms: Arms, bending: Bending, showing: Showing, settings: Settings) -> None:
    """Refuse what --mine has no use for, instead of ignoring it."""
    from alctl.errors import AlctlError

    unused = {
        "k": arms.k != Arms.k, "rounds": arms.rounds != Arms.rounds, "subset": arms.subset != Arms.subset,
        "imbalance": bending.imbalance != 1, "label-noise": bending.label_noise != 0,
        "test": bending.test is not None, "csv": showing.csv is not None, "compare": bool(showing.compare),
    }  # fmt: skip
    given = [dataset] if dataset else []
    given += [f"--{name}" for name, used in unused.items() if used]
    given += [f"--{name.replace('_', '-')}" for name in settings]
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


def simulation_of(dataset: str, arms: Arms, bending: Bending, seed: int, settings: Settings) -> "Simulation":
    """Return the simulation that the options describe."""
    from alctl.config import TrainConfig
    from alctl.simulation.hide_labels import Shape
    from alctl.simulation.prepare import Simulation

    names = list(dict.fromkeys(arms.strategy or ["learning-loss", BASELINE]))
    return Simulation(
        dataset=str(Path(dataset).resolve()), strategies=by_strategy(arms.param or [], names),
        trials=arms.trials or TRIALS,
        rounds=arms.rounds, k=arms.k, subset=arms.subset, shape=Shape(bending.imbalance, bending.test),
        label_noise=bending.label_noise, seed=seed, train=train_config(TrainConfig(), settings),
    )  # fmt: skip


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

    with screen.bars() as progress:
        try:
            prepare.prepare(folder, simulation, lambda: find_dataset(dataset, "folders", progress), progress)
            for other in others:  # a mistake here should not come to light after hours
                results.compared(results.read(folder), other)
            for done in run.run(folder, simulation, progress):
                screen.err.print(told(done, simulation.rounds), markup=False)
                if done.round == simulation.rounds:
                    results.write(folder)
        except KeyboardInterrupt:
            screen.err.print("stopped; the same command goes on from the last epoch", markup=False)
            raise typer.Exit(130) from None
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
