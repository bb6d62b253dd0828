"""`push`, `pull`, `doctor`: rounds to and from a running annotators' tool."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from alctl.cli.app import app
from alctl.cli.options import (
    AddClassesOption,
    DryRunOption,
    JsonOption,
    ProjectOption,
    RoundArgument,
    ServerNameOption,
    SkipBadOption,
    TokenOption,
    complete_formats,
)

if TYPE_CHECKING:
    from alctl.annotators.label_studio import Pulled, Pushed
    from alctl.annotators.label_studio.doctor import Check

PushedToOption = Annotated[
    str,
    typer.Option(
        "--to", metavar="URL", show_default=False, help="The server, where the round was pushed to several."
    ),
]
AskedServerOption = Annotated[
    str,
    typer.Option(
        "--to", metavar="URL", show_default=False, help="A running server to ask, instead of this machine."
    ),
]
UploadOption = Annotated[
    bool,
    typer.Option("--upload", help="Send the images themselves, to a server that cannot read them from disk."),
]
ToolOption = Annotated[
    str, typer.Option("--format", autocompletion=complete_formats, help="The tool's format.")
]


@app.command(rich_help_panel="Label Studio")
def push(
    number: RoundArgument,
    to: Annotated[str, typer.Option("--to", metavar="URL", show_default=False, help="The server.")],
    project: ProjectOption = None,
    name: ServerNameOption = "",
    token_env: TokenOption = "",
    upload: UploadOption = False,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Hand a round out to a running Label Studio: one task for each image, none of them twice.

    The access token stands on the server's Account & Settings page. It is read from the environment or the system's
    keyring, and never stored.

    [dim]Examples:[/dim]
      alctl push 3 --to http://localhost:8080
      alctl push 3 --to https://labels.example.com --upload --name birds
    """
    from alctl.annotators.label_studio import PushOptions
    from alctl.annotators.label_studio import push as send
    from alctl.cli import screen
    from alctl.project import open_project

    with screen.bars() as progress:
        options = PushOptions(to, token_env, name, upload, dry_run)
        result = send(open_project(project), number, options, progress)
    if json:
        screen.as_json(result)
        return
    show_pushed(result, dry_run=dry_run)


def show_pushed(result: "Pushed", *, dry_run: bool) -> None:
    """Print what a push did, or would do."""
    from alctl.cli import screen

    new = "a new project" if result.created else "the project"
    verb = "would go" if dry_run else "went"
    screen.say(
        f"round {result.round}: {result.sent:,} tasks {verb} to {new} {result.title!r} of {result.place}"
    )
    if result.present:
        screen.say(f"  {result.present:,} of its {result.images:,} images were there already")
    if result.removed:
        screen.say(f"  {result.removed:,} tasks that an interrupted push had left twice were removed")
    if not dry_run:
        screen.next_step(f"alctl pull {result.round}", "as often as you like, when something is annotated")


@app.command(rich_help_panel="Label Studio")
def pull(
    number: RoundArgument,
    project: ProjectOption = None,
    to: PushedToOption = "",
    token_env: TokenOption = "",
    add_classes: AddClassesOption = False,
    skip_bad: SkipBadOption = False,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Take what annotators have done in a round since the last pull, as one import.

    What was pulled is kept as a Label Studio export in the project's folder [bold]pulled[/bold]. Annotations that were
    deleted on the server are counted; their labels stay.

    [dim]Example:[/dim]
      alctl pull 3 --dry-run
    """
    from alctl.annotators.label_studio import PullOptions
    from alctl.annotators.label_studio import pull as take
    from alctl.cli import screen
    from alctl.project import open_project

    opened = open_project(project)
    with screen.bars() as progress:
        options = PullOptions(to, token_env, add_classes, skip_bad, dry_run)
        result = take(opened, number, options, progress)
    if json:
        screen.as_json(result)
        return
    show_pulled(result, dry_run=dry_run)
    if not dry_run:
        screen.next_step_of(opened)


def show_pulled(result: "Pulled", *, dry_run: bool) -> None:
    """Print what a pull did, and how much of the round is still out."""
    from alctl.cli import screen
    from alctl.cli.imports import show_imported

    screen.say(
        f"round {result.round}: {result.tasks:,} tasks of {result.place} have new or changed annotations"
    )
    if result.imported is not None:
        show_imported(result.imported, dry_run=dry_run, file=result.file or "what was pulled")
    if result.deleted:
        screen.warn(f"{result.deleted:,} annotations are gone from the server; their labels stay here")
    screen.say(f"  {result.out:,} of the round's {result.images:,} images are still out")


@app.command(rich_help_panel="Label Studio")
def doctor(
    project: ProjectOption = None,
    format: ToolOption = "label-studio",  # noqa: A002 - the option's natural name
    to: AskedServerOption = "",
    name: ServerNameOption = "",
    token_env: TokenOption = "",
    json: JsonOption = False,
) -> None:
    """Check whether an annotators' tool can show the images, and say what to do; exit 1 if something is missing.

    [dim]Examples:[/dim]
      alctl doctor --format label-studio
      alctl doctor --format label-studio --to http://localhost:8080
    """
    from alctl.annotators.label_studio.doctor import checks
    from alctl.cli import screen
    from alctl.project import open_project

    found = checks(open_project(project), format, to, token_variable=token_env, title=name)
    if json:
        screen.as_json({"format": format, "checks": [check._asdict() for check in found]})
    else:
        show_checks(format, found)
    if not all(check.ok for check in found):
        raise typer.Exit(1)


def show_checks(kind: str, found: "Sequence[Check]") -> None:
    """Print a checklist, each thing that is missing with what to do."""
    from alctl.cli import screen

    if not found:
        screen.say(f"{kind} needs nothing to be set up: its tools open files")
        screen.next_step(f"alctl export ROUND --format {kind}")
        return
    for check in found:
        screen.say(f"{'ok     ' if check.ok else 'missing'}  {check.name}")
        if not check.ok:
            screen.say(f"         {check.advice}")
    if all(check.ok for check in found):
        screen.next_step("alctl push ROUND --to URL")
