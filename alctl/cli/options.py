"""Options that several commands share, and options made of the settings of `alctl.toml`."""

import inspect
import typing
from collections.abc import Callable
from dataclasses import asdict, fields
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import typer

from alctl.config import TrainConfig, check_config
from alctl.errors import AlctlError
from alctl.plugins import Plugins


def complete_strategies() -> list[str]:
    """Return the names of the query strategies, without importing them."""
    return Plugins("alctl.model.strategies", object).names()


def complete_formats() -> list[str]:
    """Return the names of the label formats, without importing them."""
    return Plugins("alctl.labels.formats", object).names()


LARGEST = 2**31 - 1
"""The largest number that a column of the database takes."""

ProjectOption = Annotated[
    Path | None,
    typer.Option(
        "--project", "-p", metavar="FOLDER", show_default=False,
        help="The project folder; else $ALCTL_PROJECT, or the nearest one from here upwards.",
    ),
]  # fmt: skip
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Say what would happen and change nothing.")]
SeedOption = Annotated[
    int | None,
    typer.Option(
        "--seed", min=0, max=LARGEST, show_default=False, help="Seed of all chance; else the project's."
    ),
]
DeviceOption = Annotated[
    str, typer.Option("--device", help="cpu, cuda, cuda:1, mps, or auto: the best there is.")
]

AddClassesOption = Annotated[bool, typer.Option("--add-classes", help="Make unknown classes new ones.")]
SkipBadOption = Annotated[
    bool,
    typer.Option(
        "--skip-bad", help="Take the good rows; list the others, and write them to FILE.rejected.csv."
    ),
]
RoundArgument = Annotated[int, typer.Argument(metavar="ROUND", max=LARGEST, help="The round's number.")]
ServerNameOption = Annotated[
    str,
    typer.Option(
        "--name", metavar="TITLE", show_default=False,
        help='The project on the server (default: the one pushed to before, or "alctl" and this project\'s name).',
    ),
]  # fmt: skip
TokenOption = Annotated[
    str,
    typer.Option(
        "--token-env", metavar="NAME", show_default=False,
        help="Environment variable with the access token (default: LABEL_STUDIO_API_KEY, else the system's keyring).",
    ),
]  # fmt: skip


def settings_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give ``command`` an option for every training setting; its ``settings`` gets the ones that were given."""
    kinds = typing.get_type_hints(TrainConfig)

    @wraps(command)
    def wrapped(**values: Any) -> None:
        settings = {f.name: values.pop(f.name) for f in fields(TrainConfig)}
        command(settings={name: value for name, value in settings.items() if value is not None}, **values)

    own = [p for p in inspect.signature(command).parameters.values() if p.name != "settings"]
    made = [_parameter(f.name, kinds[f.name], f.default, f.metadata["doc"]) for f in fields(TrainConfig)]
    wrapped.__signature__ = inspect.Signature([*own, *made])  # type: ignore[attr-defined]
    wrapped.__annotations__ = {p.name: p.annotation for p in [*own, *made]}
    return wrapped


def _parameter(name: str, kind: Any, default: Any, doc: str) -> inspect.Parameter:
    """Return the option of one setting; its default is left to `alctl.toml`."""
    choices = get_args(kind) if get_origin(kind) is Literal else ()
    flag = name.replace("_", "-")
    option = typer.Option(
        f"--{flag}/--no-{flag}" if isinstance(default, bool) else f"--{flag}",
        show_default=False,
        rich_help_panel="Settings of the train section in alctl.toml",
        help=f"{doc} (default: {_typed(default)})",
        autocompletion=(lambda: list(choices)) if choices else None,
    )
    annotation: Any = Annotated[type(default) | None, option]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _typed(default: Any) -> str:
    """Return a default as one would type it."""
    if isinstance(default, bool):
        return "yes" if default else "no"
    return str(default) if default != "" else "found"


def train_config(base: TrainConfig, settings: dict[str, Any]) -> TrainConfig:
    """Return the project's training settings with those of the command line over them."""
    return check_config({"train": {**asdict(base), **settings}}, "the command line").train


def parameters(given: list[str], option: str = "--param") -> dict[str, str]:
    """Turn ``["beta=4"]`` into ``{"beta": "4"}``."""
    pairs = [text.partition("=") for text in given]
    if wrong := [name for name, equals, _ in pairs if not equals]:
        raise AlctlError(f"{option} {wrong[0]!r} is not NAME=VALUE")
    return {name.replace("-", "_"): value for name, _, value in pairs}
