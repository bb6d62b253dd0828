"""What `tests.warm` imports before it forks: all of alctl, and what its commands import late."""

import gc
import os
import pkgutil
from contextlib import suppress
from importlib import import_module

from tests.project_files import ENVIRONMENT

# Consoles are made while importing, and look at it.
os.environ.update(ENVIRONMENT, MPLBACKEND="Agg", TERM="dumb")

import pydantic.dataclasses
import pydantic.type_adapter
import rich.markdown
import rich.progress
import rich.table
import sqlalchemy.dialects.sqlite
import torch
import torch._dynamo  # an optimizer imports it when it is made
import typer.rich_utils
from PIL import Image

import alctl
import tests.warm

for module in pkgutil.walk_packages(alctl.__path__, "alctl."):
    with suppress(ModuleNotFoundError):  # an extra that is not installed
        import_module(module.name)
Image.init()
gc.collect()
gc.freeze()  # or every command would look through all that torch has made, and copy it

__all__ = ["pydantic", "rich", "sqlalchemy", "tests", "torch", "typer"]
