"""The command line: parse, call one function, print. Nothing below this package knows a terminal."""

from alctl.cli.app import app

# isort: split
# In the order in which the help shows the commands and their panels.
from alctl.cli import dataset, demo

# isort: split
from alctl.cli import rounds

# isort: split
from alctl.cli import embed, imports, model, simulate

# isort: split
from alctl.cli import status

# isort: split
from alctl.cli import annotators, report

# isort: split
from alctl.cli import backup, classes, label_studio

__all__ = [
    "annotators",
    "app",
    "backup",
    "classes",
    "dataset",
    "demo",
    "embed",
    "imports",
    "label_studio",
    "model",
    "report",
    "rounds",
    "simulate",
    "status",
]
