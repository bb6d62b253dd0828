"""Options that several commands share, and options made of the settings of `alctl.toml`."""

import inspect
import math
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import wraps
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Literal, Union, get_args, get_origin

import typer

from alctl.config import TrainConfig
from alctl.errors import AlctlError
from alctl.plugins import Plugins

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def complete_strategies() -> list[str]:
    """Return the names of the query strategies, without importing them."""
    return Plugins("alctl.model.strategies", object).names()


def complete_formats() -> list[str]:
    """Return the names of the label formats, without importing them."""
    return Plugins("alctl.labels.formats", object).names()


LARGEST = 2**31 - 1
"""The largest number that a column of the database takes."""


def storable(value: int | list[int] | None) -> int | list[int] | None:
    """Refuse numbers that no column of the database takes, where an option is given.

    A range would stand in the help, and its column leave little room for words.
    """
    for number in value if isinstance(value, list) else [value]:
        if number is not None and abs(number) > LARGEST:
            raise typer.BadParameter(f"{number} is larger than {LARGEST}.")
    return value


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
        "--seed",
        min=0,
        callback=storable,
        show_default=False,
        metavar="N",
        help="Seed of all chance; else the project's.",
    ),
]
DeviceOption = Annotated[
    str, typer.Option("--device", help="cpu, cuda, cuda:1, mps, or auto: the best there is.")
]

AnyDatasetArgument = Annotated[
    str, typer.Argument(help="A folder of images, a .csv/.tsv/.jsonl manifest, or a torchvision name.")
]
TaskOption = Annotated[str, typer.Option("--task", help="What is labeled.")]
ProjectSeedOption = Annotated[
    int,
    typer.Option("--seed", min=0, callback=storable, metavar="N", help="Seed of all chance in this project."),
]
AddClassesOption = Annotated[bool, typer.Option("--add-classes", help="Make unknown classes new ones.")]
SkipBadOption = Annotated[
    bool,
    typer.Option(
        "--skip-bad", help="Take the good rows; list the others, and write them to FILE.rejected.csv."
    ),
]
RoundArgument = Annotated[int, typer.Argument(metavar="ROUND", callback=storable, help="The round's number.")]
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


def finite(value: float | None) -> float | None:
    """Refuse "inf" and "nan", which Python reads as numbers, where an option is given."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a finite number.")
    return value


Settings = Mapping[str, object]
"""Training settings that were given on the command line, by name."""


def option_groups(command: Callable[..., None]) -> Callable[..., None]:
    """Give ``command`` the options of its groups: parameters whose type is a dataclass with an option for each field.

    The options stand where the group stands among the parameters, and the command gets them as one object.
    """
    own = inspect.signature(command).parameters.values()
    groups: dict[str, type[DataclassInstance]] = {
        p.name: p.annotation for p in own if isinstance(p.annotation, type) and is_dataclass(p.annotation)
    }

    @wraps(command)
    def wrapped(**values: object) -> None:
        for name, group in groups.items():
            values[name] = group(**{field.name: values.pop(field.name) for field in fields(group)})
        command(**values)

    made = [p for one in own for p in (_options(groups[one.name]) if one.name in groups else [one])]
    wrapped.__signature__ = inspect.Signature(made)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {p.name: p.annotation for p in made}
    return wrapped


def _options(group: "type[DataclassInstance]") -> list[inspect.Parameter]:
    """Return the fields of a group as parameters of a command."""
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is MISSING else field.default,
            annotation=field.type,
        )
        for field in fields(group)
    ]


def settings_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give ``command`` an option for every training setting; its ``settings`` gets the ones that were given."""
    kinds = typing.get_type_hints(TrainConfig)

    @wraps(command)
    def wrapped(**values: object) -> None:
        settings = {f.name: values.pop(f.name) for f in fields(TrainConfig)}
        command(settings={name: value for name, value in settings.items() if value is not None}, **values)

    own = [p for p in inspect.signature(command).parameters.values() if p.name != "settings"]
    made = [_parameter(f.name, kinds[f.name], f.default, f.metadata["doc"]) for f in fields(TrainConfig)]
    wrapped.__signature__ = inspect.Signature([*own, *made])  # type: ignore[attr-defined]
    wrapped.__annotations__ = {p.name: p.annotation for p in [*own, *made]}
    return wrapped


def _parameter(name: str, kind: object, default: object, doc: str) -> inspect.Parameter:
    """Return the option of one setting; its default is left to `alctl.toml`."""
    choices = get_args(kind) if get_origin(kind) is Literal else ()
    flag = name.replace("_", "-")
    switch = isinstance(default, bool) or bool in get_args(kind)
    option = typer.Option(
        f"--{flag}/--no-{flag}" if switch else f"--{flag}",
        show_default=False,
        rich_help_panel="Settings of the train section in alctl.toml",
        help=f"{doc} (default: {_typed(default)})",
        autocompletion=(lambda: list(choices)) if choices else None,
    )
    plain: type = (
        str if get_origin(kind) in {UnionType, Union} else type(default)
    )  # a number, or a word instead
    annotation: object = Annotated[(bool if switch else plain) | None, option]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _typed(default: object) -> str:
    """Return a default as one would type it."""
    if isinstance(default, bool):
        return "yes" if default else "no"
    return str(default) if default != "" else "found"


def parameters(given: list[str], option: str = "--param") -> dict[str, str]:
    """Turn ``["beta=4"]`` into ``{"beta": "4"}``."""
    pairs = [text.partition("=") for text in given]
    if wrong := [name for name, equals, _ in pairs if not equals]:
        raise AlctlError(f"{option} {wrong[0]!r} is not NAME=VALUE")
    return {name.replace("-", "_"): value for name, _, value in pairs}


def by_strategy(given: list[str], names: list[str]) -> dict[str, dict[str, str]]:
    """Turn ``["stochastic.temperature=0.5"]`` into parameters of each strategy."""
    found: dict[str, dict[str, str]] = {name: {} for name in names}
    for text in given:
        strategy, _, rest = text.partition(".")
        if strategy not in found:
            raise AlctlError(f"--param {text!r} is not STRATEGY.NAME=VALUE of one of: {', '.join(names)}")
        found[strategy] |= parameters([rest])
    return found
