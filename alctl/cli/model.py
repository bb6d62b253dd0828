"""`train`, `evaluate`, `predict`: the model."""

import math
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from alctl.cli.app import app
from alctl.cli.options import (
    DeviceOption,
    JsonOption,
    ProjectOption,
    SeedOption,
    Settings,
    settings_options,
)
from alctl.cli.stopping import FROM_LAST_EPOCH, going_on
from alctl.metrics import OF_CLASS, of_task
from alctl.progress import duration

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from alctl.model.train import Epoch
    from alctl.progress import Progress
    from alctl.project import Project
    from alctl.rounds.train_plan import FinishedRun, Plan

LONG = 5 * 60
"""Seconds of training from which on a quicker way is pointed out."""
WORTH_TELLING = 30
"""Seconds of training from which on it is said how long it takes."""
SLOW = 5
"""Seconds of a step beside which warming up is nothing."""
WINDOW = 24 * 3600
"""Seconds over which the bar takes its speed: a step can take minutes."""


@app.command(rich_help_panel="Models")
@settings_options
def train(
    settings: Settings,
    project: ProjectOption = None,
    seed: SeedOption = None,
    json: JsonOption = False,
) -> None:
    """Train the model on everything that is labeled, together with the module that predicts its loss.

    Ctrl-C or a crash loses nothing: the same command goes on from the last checkpoint.

    [dim]Examples:[/dim]
      alctl train
      alctl train --model resnet18 --epochs 50 --lr 0.01
      alctl train --head probe
    """
    from alctl.cli import screen
    from alctl.project import open_project
    from alctl.rounds.learnable import check_learnable

    opened = open_project(project)
    asked = opened.config.train_for({}, settings).task
    check_learnable(asked or opened.state().task)  # before torch is imported, which takes seconds
    from alctl.rounds import train_run
    from alctl.rounds.train_plan import FinishedRun, plan_training, training_settings

    plan = plan_training(opened, training_settings(opened, settings), seed)
    if plan.finished is not None:
        with screen.bars() as progress:
            run = train_run.measured_again(opened, plan, plan.finished, progress)
        show_run(opened, FinishedRun(run, 0, {}, plan.missing, plan.idle), already=True, json=json)
        return
    screen.note(describe(plan))
    if plan.oblong and plan.used is None:
        screen.note(
            f"of {screen.counted(plan.oblong, 'oblong image')} (3:2 or longer) the network sees the central square, two thirds "
            "or less; crop those whose edges matter before `alctl init`"
        )
    with going_on(FROM_LAST_EPOCH), screen.bars() as progress:
        finished = follow(opened, plan, progress)
    show_run(opened, finished, already=False, json=json)


def describe(plan: "Plan") -> str:
    """Return what is about to be trained, in one line."""
    config, pool = plan.config, plan.splits["pool"]
    if plan.used is not None:
        return f"fitting a {config.model} to {len(pool.sources):,} images, {_classes(plan)} classes"
    before = f", on from training run {plan.before.id}" if plan.before else ""
    twice = ", then once more without the loss prediction module" if config.report_model else ""
    return (
        f"training {config.model} at {config.image_size} px on {len(pool.sources):,} images, "
        f"{_classes(plan)} classes, {config.epochs} epochs, {config.device} {config.precision}{before}{twice}"
        + (f"; {plan.why}" if plan.why else "")
    )


def _classes(plan: "Plan") -> int:
    """Return how many classes are told apart."""
    return len(plan.task.categories) - sum(len(places) - 1 for places in plan.task.merged)


def follow(project: "Project", plan: "Plan", progress: "Progress") -> "FinishedRun":
    """Train, show it as it goes and return the finished run: one bar on a terminal, a line now and then elsewhere.

    The first epochs are of the joint model, as many again of the model to report, if there is one.
    """
    from alctl.cli import screen
    from alctl.rounds.train_run import run_training, to_the_end

    joint, total, pace = plan.config.epochs, plan.epochs, Pace(plan.epochs)
    held_back = ""
    with _bar() as bar:
        task = bar.add_task("", total=total, facts="", epoch=0)

        def stepped(done: float, share: float) -> None:
            bar.update(task, completed=done, epoch=math.floor(done))
            if (left := pace.left(done, share)) is not None and (told := outlook(project, plan, left)):
                screen.note(told)

        def each(epoch: "Epoch") -> None:
            nonlocal held_back
            if epoch.validation is not None:
                held_back = validation_facts(epoch, plan.task.metric)
            facts = "  ".join(filter(None, (held_back, training_facts(epoch))))
            bar.update(task, completed=epoch.epoch, epoch=epoch.epoch, facts=facts)
            if epoch.epoch == joint + 1:
                screen.note("and now without the loss prediction module")
            if not screen.err.is_terminal and (epoch.validation is not None or epoch.epoch % joint == 0):
                screen.note(f"epoch {epoch.epoch}/{total}  {facts}")

        # Closing saves the last whole epoch.
        with closing(run_training(project, plan, progress, stepped, _begun)) as events:
            return to_the_end(events, each)


def _begun(weights: str) -> None:
    """Print what training starts from, where that is no matter of course."""
    from alctl.cli import screen

    if weights != "none":
        screen.note(f"initial weights: {weights}")


def _bar() -> "Bar":
    """Return the bar of a training, which moves with every step; a step can take minutes."""
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    from alctl.cli import screen

    columns = (
        TextColumn("epoch {task.fields[epoch]}/{task.total}"), BarColumn(20), TextColumn("{task.fields[facts]}"),
        TimeRemainingColumn(),
    )  # fmt: skip
    return Bar(*columns, console=screen.err, disable=not screen.err.is_terminal, speed_estimate_period=WINDOW)


class Pace:
    """How long training takes, told from its first steps."""

    def __init__(self, epochs: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.epochs = epochs
        self.clock = clock
        self.since: float | None = None
        self.warm = self.said = False

    def left(self, done: float, share: float) -> float | None:
        """Return once how many seconds are left after a step, and None else.

        That is after the second one, or the first if it took `SLOW` seconds: it also warms the machine up.
        """
        now = self.clock()
        took, self.since = now - (now if self.since is None else self.since), now
        if self.said or not share or not (self.warm or took >= SLOW):
            self.warm = self.warm or share > 0
            return None
        self.said = True
        return took / share * (self.epochs - done)


def outlook(project: "Project", plan: "Plan", left: float) -> str:
    """Return how long the rest takes, in seconds ``left``, where anybody would want to know.

    Beside a probe where that is long and a probe could do; both are measured.
    """
    from alctl.model.task import WHOLE_IMAGES
    from alctl.rounds.train_probe import seconds_of

    if left < WORTH_TELLING:
        return ""
    said = f"{plan.epochs} epochs take about {duration(left)} on this {plan.config.device}"
    probe = seconds_of(project, plan) if left >= LONG and plan.task.units == WHOLE_IMAGES else None
    if probe is None or probe > left / 10:
        return said
    return (
        f"{said}; `alctl train --head probe` takes about {duration(probe)} and is usually better with few labels. "
        "Ctrl-C keeps what is trained so far"
    )


def validation_facts(epoch: "Epoch", metric: str) -> str:
    """Return what was measured after an epoch on held-back images, which alone is evidence."""
    order = epoch.validation_ranking
    ranking = "" if order is None else f"ranking accuracy {order:.3f}, "
    return f"validation: {ranking}{metric.replace('_', ' ')} {epoch.validation:.3f}"


def training_facts(epoch: "Epoch") -> str:
    """Return what an epoch's own images gave: the model learns from them, so their order is no evidence."""
    facts = [f"loss {epoch.target_loss:.3f}"]
    if epoch.ranking_loss is not None:
        order = epoch.ranking_accuracy
        ranking = "" if order is None else f", ranking accuracy {order:.3f}"
        facts.append(f"within training batches: ranking loss {epoch.ranking_loss:.3f}{ranking}")
    facts.append(f"{epoch.images_per_second:,.0f} images/s")
    return "  ".join(facts)


def show_run(project: "Project", finished: "FinishedRun", *, already: bool, json: bool) -> None:
    """Print a finished training run and its metrics."""
    from alctl.cli import screen
    from alctl.rounds.cold_start_guard import in_words

    run, resumed = finished.run, finished.resumed
    quarantined = dict(finished.quarantined)
    if json:
        left = {"quarantined": quarantined, "missing": finished.missing, "idle": finished.idle}
        screen.as_json({**run.plain(), "already": already, "resumed": resumed, **left})
        return
    screen.left_out(finished.missing)
    if finished.idle:
        screen.warn(
            f"{screen.counted(len(finished.idle), 'labeled image')} left out that teach nothing, such as item "
            f"{min(finished.idle)}: {finished.idle[min(finished.idle)]}"
        )
    for item, reason in quarantined.items():
        screen.warn(f"item {item} cannot be used and was left out: {reason}")
    if already:
        screen.say(f"training run {run.id} is this already: the same labels, settings and seed")
    else:
        since = f", resumed after epoch {resumed}" if resumed else ""
        screen.say(f"training run {run.id}: {run.labeled:,} images in {run.seconds:.0f} s{since}")
        screen.say(f"  initial weights: {run.weights}")
    show_metrics(run.plain()["metrics"])
    told = run.metrics.get("validation")
    if told and told.lead:
        screen.say(f"  {in_words(told, told.lead)}")
    screen.next_step_of(project)


def show_metrics(metrics: Mapping[str, Mapping[str, object]]) -> None:
    """Print metrics as `TrainingRun.plain` gives them, by split; those of the model to report are below."""
    from alctl.cli import screen

    joint = {split: values for split, values in metrics.items() if split != "report"}
    own = dict.fromkeys(name for values in joint.values() for name in of_task(values))
    names = [name for name in own if OF_CLASS not in name]
    names += [
        "target_loss",
        "ranking_accuracy",
        "entropy_ranking_accuracy",
        "margin_ranking_accuracy",
        "spearman",
    ]
    titles = [name.replace("_ranking_accuracy", "'s").replace("_", "\n") for name in names]
    if joint:
        rows = [[split, *(values.get(name) for name in names)] for split, values in joint.items()]
        for split, values in metrics.get("report", {}).items():
            if isinstance(values, Mapping):
                rows.append([f"{split}, module left out", *(values.get(name) for name in names)])
        screen.table("", ["", *titles], rows)
        if classes := [name for name in own if OF_CLASS in name]:
            rows = [[name, *(values.get(name) for values in joint.values())] for name in classes]
            screen.table("", ["", *joint], rows)
    else:
        screen.say("  no validation or test image is labeled yet, so nothing could be measured")


@app.command(rich_help_panel="Models")
def evaluate(
    project: ProjectOption = None,
    split: Annotated[Literal["validation", "test"], typer.Option(help="Which reserved images.")] = "test",
    device: DeviceOption = "auto",
    json: JsonOption = False,
) -> None:
    """Measure the trained model on the reserved images that are labeled by now.

    [dim]Example:[/dim]
      alctl evaluate --split validation
    """
    from alctl.cli import screen
    from alctl.project import open_project
    from alctl.rounds import trained_model

    opened = open_project(project)
    with screen.bars() as progress:
        model = trained_model.required_model(opened, device)
        metrics = trained_model.evaluate(opened, model, split, progress).by_name()
    if json:
        screen.as_json({"run": model.run.id, "split": split, "metrics": metrics})
        return
    screen.say(f"training run {model.run.id}")
    show_metrics({split: metrics})
    screen.next_step("alctl report", "all of it on one page")


@app.command(rich_help_panel="Models")
def predict(
    out: Annotated[Path, typer.Option("--out", help="The CSV to write.")],
    project: ProjectOption = None,
    split: Annotated[
        Literal["pool", "validation", "test", "all"], typer.Option(help="Which images.")
    ] = "pool",
    device: DeviceOption = "auto",
    json: JsonOption = False,
) -> None:
    """Write class, probability and predicted loss of every usable image.

    [dim]Example:[/dim]
      alctl predict --out predictions.csv
    """
    from alctl.cli import screen
    from alctl.project import open_project
    from alctl.rounds import predict, trained_model

    opened = open_project(project)
    with screen.bars() as progress:
        model = trained_model.required_model(opened, device)
        count, missing = predict.predict(opened, model, out, split, progress)
    if json:
        screen.as_json({"run": model.run.id, "file": out, "images": count, "missing": missing})
        return
    screen.left_out(missing)
    screen.say(f"{count:,} predictions of training run {model.run.id} are in {out}")
    screen.next_step_of(opened)
