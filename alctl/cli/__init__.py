"""The command line: parse, call one function, print. Nothing below this package knows a terminal."""

from alctl.cli.app import app

# isort: split
# In the order in which the help shows the commands and their panels.
from alctl.cli import data, demo

# isort: split
from alctl.cli import loop

# isort: split
from alctl.cli import imports, model, simulate

# isort: split
from alctl.cli import state

# isort: split
from alctl.cli import annotators, report

# isort: split
from alctl.cli import classes, keep, live

__all__ = [
    "annotators",
    "app",
    "classes",
    "data",
    "demo",
    "imports",
    "keep",
    "live",
    "loop",
    "model",
    "report",
    "simulate",
    "state",
]
