"""`init`, `add`, `relink`: images into the pool."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from alctl.cli.app import app
from alctl.cli.options import AnyDatasetArgument, DryRunOption, JsonOption, ProjectOption, TaskOption
from alctl.cli.options import ProjectSeedOption as SeedOption
from alctl.labels.annotation import KINDS

if TYPE_CHECKING:
    from alctl.dataset.index import Dataset, Ingested
    from alctl.images.levels import Range
    from alctl.progress import Progress

Labels = Literal["none", "folders", "held-out"]
"""Which labels of a dataset are taken over."""
LabelsOption = Annotated[
    Labels,
    typer.Option(
        "--labels",
        help="folders: each image's folder is its label; held-out: only of validation and test images, "
        "as if annotators had to find out the pool's; none: what a manifest says, else nothing.",
    ),
]
VerifyOption = Annotated[bool, typer.Option("--verify", help="Decode every image, not only its header.")]
ClassesOption = Annotated[
    str, typer.Option("--classes", help="Class names, comma separated, or a file with one a line.")
]
ValidationOption = Annotated[
    int | None,
    typer.Option(
        "--validation",
        min=0,
        show_default=False,
        metavar="N",
        help="Images reserved for validation (default: 10 %, at least 20 and at most 500, but no more than a fifth).",
    ),
]
TestOption = Annotated[
    int | None,
    typer.Option(
        "--test",
        min=0,
        show_default=False,
        metavar="N",
        help="Images reserved for the test (default: 5 %, at most 500).",
    ),
]
RangeOption = Annotated[
    str,
    typer.Option(
        "--range",
        metavar="BLACK,WHITE",
        help="Values that are black and white in images of more than 8 bits (default: measured on a sample).",
    ),
]
DatabaseOption = Annotated[
    str, typer.Option("--database", help="PostgreSQL URL of the state (default: SQLite in the project).")
]


@app.command(rich_help_panel="Start")
def init(
    dataset: AnyDatasetArgument,
    project: ProjectOption = None,
    labels: LabelsOption = "none",
    classes: ClassesOption = "",
    task: TaskOption = KINDS[0],
    validation: ValidationOption = None,
    test: TestOption = None,
    seed: SeedOption = 0,
    database: DatabaseOption = "",
    range_: RangeOption = "",
    verify: VerifyOption = False,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Index images and make a project of them.

    Validation and test images are drawn at random, reserved for ever, and go out for labeling with the first round.

    [dim]Examples:[/dim]
      alctl init ./photos --classes cat,dog
      alctl init ./sorted --labels folders
      alctl init cifar10
    """
    from alctl.cli import screen
    from alctl.dataset import index
    from alctl.project import DEFAULT_FOLDER

    names, folder = class_names(classes), project or Path(DEFAULT_FOLDER)
    options = index.Options(known_task(task), names, validation, test, seed, verify, dry_run, database,
                            black_and_white(range_))  # fmt: skip
    with screen.bars() as progress:
        source = find_dataset(dataset, labels, progress)
        report = index.create(folder.absolute(), source, options, progress)
    show_ingested(report, f"project {folder}", json=json, dry_run=dry_run)
    if not json:
        show_how_on(folder, report.validation, task, dry_run=dry_run)


def show_how_on(folder: Path, validation: int, task: str, *, dry_run: bool) -> None:
    """Print what so many validation images can show, and what comes next."""
    from alctl.cli import screen
    from alctl.dataset.reserved import what_shows
    from alctl.plugins import Plugins
    from alctl.project import open_project

    if validation and task in Plugins("alctl.model.tasks", object).names():
        screen.say(f"  {what_shows(validation)}")
    if not dry_run:
        screen.next_step_of(open_project(folder))


@app.command(rich_help_panel="Start")
def add(
    dataset: Annotated[str, typer.Argument(help="A folder of images or a manifest.")],
    project: ProjectOption = None,
    labels: LabelsOption = "none",
    validation: Annotated[
        int, typer.Option(min=0, metavar="N", help="More images reserved for validation.")
    ] = 0,
    test: Annotated[int, typer.Option(min=0, metavar="N", help="More images reserved for the test.")] = 0,
    range_: RangeOption = "",
    verify: VerifyOption = False,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Extend the pool with new images; those it has already are left alone.

    [dim]Example:[/dim]
      alctl add ./photos/september
    """
    from alctl.cli import screen
    from alctl.dataset import index
    from alctl.project import open_project

    opened = open_project(project)
    seed = opened.state().seed
    options = index.Options(
        validation=validation,
        test=test,
        seed=seed,
        verify=verify,
        dry_run=dry_run,
        levels=black_and_white(range_),
    )
    with screen.bars() as progress:
        report = index.add(opened, find_dataset(dataset, labels, progress), options, progress)
    show_ingested(report, f"project {opened.folder}", json=json, dry_run=dry_run)
    if not json:
        screen.next_step_of(opened)


@app.command(rich_help_panel="Start")
def relink(
    folder: Annotated[Path, typer.Argument(help="Where the images are now.")],
    project: ProjectOption = None,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Find the pool's images again after they have moved, by their content.

    [dim]Example:[/dim]
      alctl relink /mnt/new-disk/photos
    """
    from alctl.cli import screen
    from alctl.dataset import moved
    from alctl.project import open_project

    opened = open_project(project)
    with screen.bars() as progress:
        found, missing = moved.relink(opened, folder, progress, dry_run=dry_run)
    if json:
        screen.as_json({"found": found, "missing": missing, "dry_run": dry_run})
        return
    screen.say(f"{'would find' if dry_run else 'found'} {found:,} images below {folder}")
    if missing:
        screen.warn(f"{len(missing):,} images are not there:")
        screen.listed(missing, str)
    screen.next_step_of(opened)


@app.command(rich_help_panel="Start")
def remove(
    missing: Annotated[
        bool,
        typer.Option("--missing", help="Images whose files are gone; the only ones that can be removed."),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Also where more than half are gone.")] = False,
    project: ProjectOption = None,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Take images whose files are gone out of the project; what was said about them stays in its history.

    They are not selected, handed out or trained on any more, until `add` or `relink` finds their files again.

    [dim]Example:[/dim]
      alctl remove --missing --dry-run
    """
    from alctl.cli import screen
    from alctl.dataset import moved
    from alctl.errors import AlctlError
    from alctl.project import open_project

    if not missing:
        raise AlctlError(
            "remove what? `alctl remove --missing` takes out the images whose files are gone; others stay"
        )
    opened = open_project(project)
    with screen.bars() as progress:
        found = moved.remove_missing(opened, progress, force=force, dry_run=dry_run)
    if json:
        screen.as_json({**vars(found), "dry_run": dry_run})
        return
    verb = "would take" if dry_run else "took"
    screen.say(
        f"{verb} {len(found.images):,} images out of the project whose files are gone from {found.root}"
    )
    screen.listed(found.images, str)
    if found.already:
        screen.say(f"  {found.already:,} were taken out before")
    screen.next_step_of(opened)


def black_and_white(given: str) -> "Range | None":
    """Return the range that --range names; AlctlError if it is none."""
    from alctl.errors import AlctlError
    from alctl.images.levels import Range

    if not given:
        return None
    try:
        black, white = map(float, given.split(","))
    except ValueError as error:
        raise AlctlError(f"--range takes two numbers, such as 0,4095, not {given!r}") from error
    if not (math.isfinite(black) and math.isfinite(white) and black < white):
        raise AlctlError(f"--range {given}: black has to be less than white, and both finite")
    return Range(black, white)


def known_task(name: str) -> str:
    """Return the name of a task; AlctlError for one that nothing can be labeled for."""
    from alctl.errors import AlctlError
    from alctl.labels.annotation import KINDS
    from alctl.plugins import Plugins, unknown

    if name not in (tasks := sorted({*KINDS, *Plugins("alctl.model.tasks", object).names()})):
        raise AlctlError(unknown(name, tasks, "tasks"))
    return name


def class_names(given: str) -> list[str]:
    """Return the class list that --classes names, from the option itself or from a file."""
    from alctl.annotators.classes import checked
    from alctl.errors import AlctlError

    file = Path(given)
    if given and "," not in given and file.is_file():
        names = file.read_text(encoding="utf-8-sig").splitlines()
    else:
        names = given.split(",")
    names = [checked(name) for name in names if name.strip()]
    if doubled := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise AlctlError(f"--classes names {doubled[0]!r} twice")
    return names


def find_dataset(given: str, labels: Labels, progress: "Progress") -> "Dataset":
    """Return the dataset that a person means: what is there on disk, or a name that torchvision can load."""
    from alctl.dataset import download, index
    from alctl.errors import AlctlError

    path = Path(given)
    if path.suffix.lower() in index.MANIFESTS:
        return _held_out(index.manifest_dataset(path), labels)
    if not path.exists() and given in download.NAMES:
        known = index.manifest_dataset(download.write_out(given, path, progress))
        return known if labels == "folders" else index.without_pool_labels(known)
    if not path.exists():
        raise AlctlError(
            f"there is no {given!r} here, and torchvision knows no dataset of that name: {', '.join(download.NAMES)}"
        )
    return _held_out(index.folder_dataset(path, class_folders=labels != "none"), labels)


def _held_out(dataset: "Dataset", labels: Labels) -> "Dataset":
    from alctl.dataset import index

    return index.without_pool_labels(dataset) if labels == "held-out" else dataset


def show_ingested(report: "Ingested", where: str, *, json: bool, dry_run: bool) -> None:
    """Print what became of the files of a dataset."""
    from alctl.cli import screen

    if json:
        screen.as_json(report)
        return
    counts = report.counts
    screen.say(
        f"{'would be in' if dry_run else ''} {where}: {report.items:,} items, {counts['new'] + counts['broken']:,} of them new".strip()
    )
    facts = [
        (report.validation, "reserved for validation"), (report.test, "reserved for the test"),
        (report.labels, "labels taken from the dataset"), (counts["known"], "known already"),
        (counts["repaired"], "broken before, whole now"), (counts["found again"], "gone before, found again"),
        (len(report.several), "of several pages or frames, of which the first counts"),
    ]  # fmt: skip
    for count, what in facts:
        if count:
            screen.say(f"  {count:,} {what}")
    for found in report.levels:
        how = f"as {found.images:,} of them show; --range sets it" if found.images else "as --range says"
        screen.say(
            f"  {found.kind} images go from {found.black:,g} (black) to {found.white:,g} (white), {how}"
        )
    if report.classes:
        screen.say(
            f"  {len(report.classes)} classes: {', '.join(report.classes[:12])}{' …' if len(report.classes) > 12 else ''}"
        )
    for what, sentences in _troubles(report).items():
        if sentences:
            screen.warn(f"{len(sentences):,} files {what}:")
            screen.listed(sentences, str)


def _troubles(report: "Ingested") -> dict[str, list[str]]:
    """Return what is wrong with files, by what a count of them is said to be or to have."""
    return {
        "cannot be used and will never be selected": [f"{f.path}: {f.problem}" for f in report.broken],
        "have the same bytes as another and count once": [f"{f.path} = {f.same_as}" for f in report.duplicates],
        "are not the files they were when they were indexed, and were left alone": [f.path for f in report.changed],
        "have the same bytes but different classes; no label was taken": [
            f"{f.path}: {f.category}" for f in report.contradictions
        ],
        "are not images": [f"{f.path}: {f.reason}" for f in report.skipped if not f.image],
        "are images in formats that alctl does not read": [
            f"{f.path}: {f.reason}" for f in report.skipped if f.image
        ],
    }  # fmt: skip
