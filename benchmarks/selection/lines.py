"""The results of experiments as they are kept: one JSON object a line for each arm of each trial."""

import json
from pathlib import Path
from typing import NamedTuple

RESULTS = Path(__file__).parents[1] / "results" / "selection"


class Line(NamedTuple):
    """An arm of a trial."""

    arm: str
    trial: int
    labeled: list[int]
    accuracy: list[float]
    adjusted: list[float]
    """Mean of the classes' accuracies, answers as if all classes were equally frequent."""
    seconds: float
    """Of one processor."""


def read(file: Path, *, mend: bool = False) -> list[Line]:
    """Return what there is; with ``mend`` the half line of a killed run is cut off."""
    if not file.exists():
        return []
    text = file.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if mend and whole != text:
        file.write_text(whole, encoding="utf-8")
    return [Line(**json.loads(line)) for line in whole.splitlines()]
