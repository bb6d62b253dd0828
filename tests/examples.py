"""How many examples hypothesis tries."""

import os

FULL = "CI" in os.environ


def examples(n: int) -> int:
    """Return ``n`` in `.ci/run`, and a quarter where somebody waits, who gets other examples every time."""
    return n if FULL else n // 4
