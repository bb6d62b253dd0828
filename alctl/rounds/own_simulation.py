"""What `simulate --mine` found on the project's own labels, as it is kept in the project and shown in its report."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from alctl.errors import AlctlError
from alctl.files import write_whole
from alctl.project import Project

FOLDER = "simulations"
FILE = f"{FOLDER}/mine.json"
FEWEST = 100
"""Labeled images below which nothing could be told: some 30 would be left to measure on."""


@dataclass(frozen=True)
class Replayed:
    """One arm of one trial."""

    arm: str
    trial: int
    accuracy: tuple[float, ...]
    """After each round."""


@dataclass(frozen=True)
class Measured:
    """A number and its 95 % interval; without ends where too little is known for one."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class LabelsSaved:
    """How many labels a strategy needed for what random reached with the most."""

    of: int
    """Labels of random."""
    needed: float
    """The mean over the trials; the median where some trials never got there."""
    at_most: bool
    saved: Measured
    censored: int
    """Trials that never got there."""


@dataclass(frozen=True)
class Rival:
    """A strategy against random."""

    strategy: str
    area: Measured
    """By how much its mean accuracy over the curve is above that of random."""
    deviation: float
    """Of one trial's difference."""
    p: float
    """Of the paired t-test, for all rivals tested together (Holm), and for every look at more trials."""
    verdict: str
    labels: LabelsSaved | None
    """None where it never reached what random did."""
    visible: float
    """About the smallest true difference that so many trials would tell, four times of five."""
    at_best: float
    """And that any number of trials on these labels would."""


@dataclass(frozen=True)
class OwnSimulation:
    """Strategies compared on the project's own labels."""

    key: str
    """Of the labels, vectors, budgets and seed: results with another one cannot stand beside these."""
    images: int
    chosen: int
    """Those of them that a strategy chose, so that they are no random part of the pool."""
    classes: int
    backbone: str
    pool: int
    """Images whose labels are hidden in a trial; the other ``test`` measure."""
    test: int
    budgets: tuple[int, ...]
    seed: int
    created_at: str
    trials: int
    """Those that every arm has finished."""
    looks: tuple[int, ...]
    """The numbers of trials at which the verdicts were looked at."""
    curves: dict[str, tuple[float, ...]]
    """The mean accuracy of each strategy after each round; that of random is of several arms in every trial."""
    rivals: tuple[Rival, ...]
    replayed: tuple[Replayed, ...]


def read(project: Project) -> OwnSimulation | None:
    """Return what was found last; None where nothing was. AlctlError if the file is damaged."""
    from pydantic import TypeAdapter, ValidationError

    file = file_of(project)
    try:
        return TypeAdapter(OwnSimulation).validate_json(file.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise AlctlError(
            f"{file} is damaged; delete it, and run `alctl simulate --mine` again: {str(error).splitlines()[0]}"
        ) from error


def write(project: Project, found: OwnSimulation) -> None:
    """Keep it, whole or not at all."""
    file = file_of(project)
    file.parent.mkdir(exist_ok=True)
    write_whole(file, json.dumps(asdict(found), indent=1, allow_nan=False))


def file_of(project: Project) -> Path:
    """Return where it is kept."""
    return project.folder / FILE
