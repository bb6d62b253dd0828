"""Which tasks there is a model for, told without importing torch."""

from alctl.errors import AlctlError
from alctl.plugins import Plugins


def check_learnable(task: str) -> None:
    """Refuse a task whose labels are kept, but not learned yet."""
    if task not in Plugins("alctl.model.tasks", object).names():
        raise AlctlError(
            f"there is no model for {task} yet; `alctl select --strategy random` and `alctl import-labels` work, "
            "and `alctl export-labels` writes the labels for another trainer"
        )
