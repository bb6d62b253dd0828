"""What `tests.warm` imports before it forks."""

import os

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MPLBACKEND"] = "Agg"

import torch
import torch._dynamo  # an optimizer imports it when it is made

import alctl.cli
import alctl.demo
import alctl.rounds.select

__all__ = ["alctl", "torch"]
