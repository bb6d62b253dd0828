"""Write docs/commands.md from the commands' own help: `python docs/generate.py > docs/commands.md`."""

import os
import sys
from collections.abc import Iterator
from typing import Any

# Before rich is imported, which looks at them then.
os.environ |= {"COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}
for name in ("FORCE_COLOR", "GITHUB_ACTIONS", "PY_COLORS", "TERMINAL_WIDTH", "ALCTL_PROJECT"):
    os.environ.pop(name, None)

TITLE = """# Commands

Every command's own `--help`, as `python docs/generate.py > docs/commands.md` writes it down.
"""


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the words of every command, groups before their members."""
    yield path
    for name, member in getattr(command, "commands", {}).items():
        yield from commands(member, (*path, name))


def page() -> str:
    """Return the whole page."""
    from typer.main import get_command
    from typer.testing import CliRunner

    from alctl.cli import app

    parts = [TITLE]
    for path in commands(get_command(app)):
        shown = CliRunner().invoke(app, [*path, "--help"], prog_name="alctl").stdout
        lines = [line.rstrip() for line in shown.strip("\n").splitlines()]
        parts.append("\n".join([f"## {' '.join(('alctl', *path))}", "", "```text", *lines, "```", ""]))
    return "\n".join(parts)


if __name__ == "__main__":
    sys.stdout.write(page())
