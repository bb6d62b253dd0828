"""What `tests.warm` imports before it forks: all of alctl, and what its commands import late."""

import gc
import os
import pkgutil
from importlib import import_module

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MPLBACKEND"] = "Agg"

import pydantic.dataclasses
import pydantic.type_adapter
import rich.progress
import rich.table
import sqlalchemy.dialects.sqlite
import torch
import torch._dynamo  # an optimizer imports it when it is made
from PIL import Image

import alctl

for module in pkgutil.walk_packages(alctl.__path__, "alctl."):
    if (
        module.name != "alctl.cli.screen"
    ):  # makes a console after the environment, which each command has its own of
        import_module(module.name)
Image.init()
gc.collect()
gc.freeze()  # or every command would look through all that torch has made, and copy it

__all__ = ["pydantic", "rich", "sqlalchemy", "torch"]
