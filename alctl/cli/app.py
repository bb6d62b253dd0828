"""The application object, and the one place where an error becomes a sentence and an exit code."""

import errno
import json
import sys
from collections.abc import Sequence
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from alctl.errors import AlctlError
from alctl.files import sentence_of


class Commands(TyperGroup):
    """Commands in the order of the loop; AlctlError is shown without a traceback and exits 1.

    So is what the machine refuses, such as a full disk: no command can foresee every place of that.
    """

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the commands in the order in which they were declared."""
        return list(self.commands)

    def invoke(self, ctx: Any) -> object:
        """Run a command; under --json an error is JSON on standard output too."""
        from alctl.cli.stopping import listening

        try:
            with listening():
                return super().invoke(ctx)
        except AlctlError as error:
            _fail(error.args, [row._asdict() for row in getattr(error, "problems", [])])
        except KeyboardInterrupt as stop:
            _stopped(stop)
        except OSError as error:
            if error.errno is None or error.errno == errno.EPIPE:
                raise  # a reader such as `head` has gone, or it is a bug
            _fail([sentence_of(error)], [])


def _fail(lines: Sequence[str], problems: list[dict[str, object]]) -> NoReturn:
    from alctl.cli.screen import show_error

    if "--json" in sys.argv:
        typer.echo(json.dumps({"error": "\n".join(lines), "problems": problems}))
    show_error(lines)
    raise typer.Exit(1)


def _stopped(stop: KeyboardInterrupt) -> NoReturn:
    from alctl.cli.screen import err
    from alctl.cli.stopping import exit_code, sentence

    told = sentence(stop)
    if "--json" in sys.argv:
        typer.echo(json.dumps({"error": told, "problems": []}))
    err.print(told, markup=False)
    raise typer.Exit(exit_code(stop)) from None


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Active-learning rounds on a real image-labeling project.\n\n"
    "init → select → (annotators) → import-labels → train → select → …  Start with [bold]alctl demo[/bold].",
)


def _version(*, value: bool) -> None:
    if value:
        from importlib.metadata import version

        typer.echo(f"alctl {version('alctl')}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=lambda value: _version(value=value), is_eager=True, help="Show the version."
        ),
    ] = False,
) -> None:
    pass
