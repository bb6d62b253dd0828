"""The application object, and the one place where an error becomes a sentence and an exit code."""

import json
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from alctl.errors import AlctlError


class Commands(TyperGroup):
    """Commands in the order of the loop; AlctlError is shown without a traceback and exits 1."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the commands in the order in which they were declared."""
        return list(self.commands)

    def invoke(self, ctx: Any) -> Any:
        """Run a command; under --json an error is JSON on standard output too."""
        try:
            return super().invoke(ctx)
        except AlctlError as error:
            from alctl.cli.screen import show_error

            if "--json" in sys.argv:
                problems = [row._asdict() for row in getattr(error, "problems", [])]
                typer.echo(json.dumps({"error": str(error), "problems": problems}))
            show_error(str(error))
            raise typer.Exit(1) from error


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
