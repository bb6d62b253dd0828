"""How long work says how far it is; the command line turns it into bars."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""

WAITING = "waiting for "
"""How a stage begins that is no work, but another process's: it is told where there are no bars, too."""


def duration(seconds: float) -> str:
    """Return how long something takes as a person says it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def silent(stage: str, done: int, total: int) -> None:
    """Say nothing."""
