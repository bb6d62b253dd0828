"""The command line: parse, call one function, print. Nothing below this package knows a terminal."""

from alctl.cli import data, demo, imports, live, loop, model, report, simulate, state
from alctl.cli.app import app

# isort: split
from alctl.cli import annotators, classes, keep  # the commands of the loop come first in the help

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
