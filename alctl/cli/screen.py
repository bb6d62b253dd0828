"""What a person sees: tables, progress bars with rate and time left, errors, the next step; and JSON for programs."""

import json
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from alctl.labels.text import visible
from alctl.progress import WAITING, Progress

if TYPE_CHECKING:
    from alctl.project import Project

Row = TypeVar("Row")

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


_HINT = re.compile("(?<!held by )`(alctl [a-z][^`]*)`")
_NO_PROJECT = frozenset({"demo", "init", "restore", "simulate"})
"""Commands that make a project instead of using one; `simulate --mine` uses one."""


def literal(text: str, keep: str = "") -> str:
    """Return a line as it is to be printed: [brackets] mean nothing, and what commands a terminal is escaped.

    Everything that is printed for a person passes here. File names, servers and the database hold what they like, line
    ends too; ``keep`` holds what may stay of a text that is ours.
    Commands between `backticks` are for the project that this command was told to use.
    """
    return escape(visible(_HINT.sub(lambda found: f"`{here(found[1])}`", text), keep))


def show_error(lines: Sequence[str]) -> None:
    """Print an error to standard error."""
    text = "\n".join(map(literal, lines))
    err.print(f"[bold red]error:[/] {text}")


def say(text: str) -> None:
    """Print a line."""
    out.print(literal(text))


def note(text: str) -> None:
    """Print a line on how it goes to standard error."""
    err.print(literal(text))


def warn(text: str) -> None:
    """Print a warning to standard error."""
    err.print(f"[bold yellow]warning:[/] {literal(text)}")


def document(text: str) -> None:
    """Print a whole document to standard output, as it is."""
    sys.stdout.write(visible(text, keep="\n\t"))


def next_step(command: str, why: str = "") -> None:
    """Name the command that comes next, for the project that this command was told to use."""
    command = here(command)
    out.print(
        f"[dim]next:[/] [bold cyan]{literal(command)}[/]" + (f"  [dim]{literal(why)}[/]" if why else "")
    )


def next_step_of(project: "Project") -> None:
    """Name the command that comes next, as `alctl status` does: it follows from the project's state."""
    from alctl.status import next_step as step_of

    step = step_of(project)
    next_step(step.command, step.why)


def open_file(file: object) -> None:
    """Open a file with what the system opens such files with."""
    if typer.launch(str(file)):
        warn(f"nothing here opens {file}; open it yourself")


def here(command: str) -> str:
    """Return a command as it works where this one was typed: with its --project, if it had one."""
    words = command.split()
    named = _named_project()
    of_none = words[1] in _NO_PROJECT and "--mine" not in words
    if not named or of_none or {"-p", "--project"} & set(words):
        return command
    return f"{command} -p {named}"


def _named_project() -> str:
    """Return the --project of this command line, or an empty string."""
    for option, value in pairwise(sys.argv):
        if option in {"-p", "--project"}:
            return shlex.quote(value)
    return next(
        (shlex.quote(word.partition("=")[2]) for word in sys.argv if word.startswith("--project=")), ""
    )


def as_json(result: object) -> None:
    """Print a result as one JSON document; dataclasses in it become objects."""
    sys.stdout.write(json.dumps(result, indent=1, default=_plain, allow_nan=False) + "\n")


def _plain(value: object) -> object:
    """Return a value as JSON knows it; a field that Python cannot call "import" is called so in JSON."""
    if is_dataclass(value):
        return {field.name.removesuffix("_"): getattr(value, field.name) for field in fields(value)}
    return str(value)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a small table; the first column is text, the others are numbers."""
    grid = Table(
        title=literal(title, keep="\n") or None,
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
    )
    for i, column in enumerate(columns):
        grid.add_column(literal(column, keep="\n"), justify="left" if i == 0 else "right", header_style="dim")
    for row in rows:
        grid.add_row(*(literal(number(cell)) for cell in row))
    out.print(grid)


def number(value: object) -> str:
    """Return a number as people read it: thousands separated, four digits of a fraction, a dash for nothing."""
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def counted(count: int, thing: str) -> str:
    """Return a number of things, such as "1 image" or "2,000 images"."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def listed(rows: Sequence[Row], sentence: Callable[[Row], str], shown: int = 5) -> None:
    """Print the first few of many, and how many more there are."""
    for row in rows[:shown]:
        say(f"  {sentence(row)}")
    if len(rows) > shown:
        say(f"  … and {len(rows) - shown:,} more (--json lists all)")


def left_out(missing: Mapping[int, str]) -> None:
    """Print which images are not there and were left out, and what to do about them."""
    if missing:
        from alctl.images.decode import ADVICE

        warn(f"{len(missing):,} {'image is' if len(missing) == 1 else 'images are'} not there and left out:")
        listed(sorted(missing.items()), lambda row: f"item {row[0]}, {row[1]}")
        say(f"  {ADVICE}")


@contextmanager
def bars() -> Iterator[Progress]:
    """Give a progress callback that draws one bar per stage on a terminal, and nothing elsewhere."""
    from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    rate = TextColumn("{task.fields[rate]}")
    with Bars(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), rate, TimeRemainingColumn(),
        console=err, transient=True, disable=not err.is_terminal,
    ) as shown:  # fmt: skip
        tasks: dict[str, TaskID] = {}

        def progress(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                if stage.startswith(WAITING) and not err.is_terminal:
                    note(stage)
                tasks[stage] = shown.add_task(literal(stage), total=total or None, rate="")
            speed = next((task.speed for task in shown.tasks if task.id == tasks[stage]), None)
            shown.update(
                tasks[stage], completed=done, total=total or None, rate=f"{speed:,.0f}/s" if speed else ""
            )

        yield progress
