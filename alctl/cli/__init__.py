"""The command line: parse, call one function, print. Nothing below this package knows a terminal."""

from alctl.cli import data, demo, imports, live, loop, model, report, simulate, state
from alctl.cli.app import app

__all__ = ["app", "data", "demo", "imports", "live", "loop", "model", "report", "simulate", "state"]
