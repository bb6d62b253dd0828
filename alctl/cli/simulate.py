"""`simulate`: would it have been worth it? Strategies compared on images whose labels are known."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from alctl.cli.app import app
from alctl.cli.curves import show_tables, show_verdicts
from alctl.cli.options import (
    DryRunOption,
    JsonOption,
    Settings,
    by_strategy,
    option_groups,
    settings_options,
)
from alctl.cli.own_labels import Asked, replay_mine
from alctl.cli.simulate_options import (
    FOLDER,
    TRIALS,
    Arms,
    Bending,
    DatasetArgument,
    FolderOption,
    Own,
    SeedOption,
    Showing,
    check_of_dataset,
    check_of_mine,
)
from alctl.cli.stopping import FROM_LAST_EPOCH, going_on
from alctl.config import Config

if TYPE_CHECKING:
    from alctl.simulation.prepare import Simulation
    from alctl.simulation.results import Summary
    from alctl.simulation.run import Done

BASELINE = "random"


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

    All strategies of a trial start from the same random round, the same weights and the same random subsets; with
    --head probe each strategy chooses its own first round. The same command goes on after a kill; started several
    times at once, the processes share the work. More strategies, trials or rounds can be added afterwards.

    With --mine the images are those that this project has labels of: they are split again and again into a pool and a
    test, and every strategy chooses its own first round. It takes embeddings, minutes, and 100 labels or more.

    [dim]Examples:[/dim]
      alctl simulate cifar10 --strategy learning-loss --strategy entropy --strategy random
      alctl simulate ./sorted --head probe --k 20 --rounds 8 --trials 10
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
    else:
        run_and_show(folder, simulation, dataset, showing, json=json)


def run_and_show(
    folder: Path, simulation: "Simulation", dataset: str, showing: Showing, *, json: bool
) -> None:
    """Run what is left, and say what came out."""
    ran = run_all(folder, simulation, dataset, [other.absolute() for other in showing.compare or []])
    if showing.csv is not None:
        copy_table(folder, showing.csv)
    show_outcome(ran, json=json)


def simulation_of(dataset: str, arms: Arms, bending: Bending, seed: int, settings: Settings) -> "Simulation":
    """Return the simulation that the options describe."""
    from alctl.simulation.hide_labels import Shape
    from alctl.simulation.prepare import OWN, Simulation

    train = Config().train_for({}, settings)
    probe = train.head == "probe"
    names = list(dict.fromkeys(arms.strategy or ["uherding" if probe else "learning-loss", BASELINE]))
    return Simulation(
        dataset=str(Path(dataset).resolve()), strategies=by_strategy(arms.param or [], names),
        trials=arms.trials or TRIALS,
        rounds=arms.rounds, k=arms.k, subset=arms.subset, shape=Shape(bending.imbalance, bending.test),
        label_noise=bending.label_noise, seed=seed, start=arms.start_strategy or (OWN if probe else BASELINE), train=train,
    )  # fmt: skip


def show_plan(folder: Path, simulation: "Simulation", *, json: bool) -> None:
    """Print what would be run, without making anything."""
    from alctl.cli import screen
    from alctl.model.schedule import enough_epochs
    from alctl.simulation import prepare, run

    prepare.check(simulation)
    every = run.arms(folder, simulation)
    left = [arm for arm in every if not run.finished(arm, simulation.rounds)]
    budgets = [simulation.k * number for number in range(1, simulation.rounds + 1)]
    epochs = [
        simulation.train.epochs or enough_epochs(n, simulation.train, fine_tuned=False) for n in budgets
    ]
    images = sum(n * times for n, times in zip(budgets, epochs, strict=True)) * len(left)
    plan = {"folder": folder, "arms": [arm.name for arm in every], "left": len(left), "images": images}
    if json:
        screen.as_json(plan)
        return
    screen.say(
        f"{len(every)} arms: {', '.join(simulation.strategies)}; {simulation.trials} trials of {simulation.rounds} rounds "
        f"of {simulation.k:,}, up to {budgets[-1]:,} labels"
    )
    screen.say(f"  {len(every) - len(left)} are finished in {folder}")
    screen.say(f"  {images:,} images go through training for the rest, {_range(epochs)} epochs a round")
    screen.say("a dry run: nothing was changed")


def _range(epochs: list[int]) -> str:
    least, most = min(epochs), max(epochs)
    return str(least) if least == most else f"{least} to {most}"


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
            screen.note(told(done, simulation.rounds))
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
