"""Training runs: recorded whole, and read back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, insert, update

from alctl.database.bulk import insert_rows, run, scalar
from alctl.database.tables import training_item, training_run
from alctl.metrics import Metrics, metrics_of

Setting = str | int | float | bool | None
Head = Literal["network", "probe"]
PROBE: Head = "probe"
"""The head of a run that fitted a linear probe to frozen embeddings; the others trained a network."""
_REPORT = "report"
"""Where the metrics of the model to report are recorded, beside those of the splits."""


@dataclass(frozen=True)
class TrainingRun:
    """A finished training run."""

    id: int
    fingerprint: str
    """Of labels, settings and seed: what the weights follow from, hexadecimal SHA-256."""
    seed: int
    config: Mapping[str, Setting]
    """The training settings, nothing "auto" any more."""
    categories: Sequence[str]
    """The class list that the model knows."""
    labeled: int
    """Images that it learned from."""
    metrics: Mapping[str, Metrics]
    """By split, "validation" and "test", where images of it were labeled."""
    report: Mapping[str, Metrics]
    """The same of the model to report, which has no loss prediction module; empty if there is none."""
    environment: Mapping[str, str | int | list[list[int]]]
    """Versions and hardware, and what the run started from."""
    file: str
    """Of the weights, relative to the project."""
    digest: str
    """Of that file, hexadecimal SHA-256."""
    seconds: float
    created_at: str

    @property
    def weights(self) -> str:
        """What the network's initial weights are."""
        return str(self.environment["weights"])

    @property
    def head(self) -> str:
        """What was trained: the whole network, or a probe."""
        return str(self.config.get("head", "network"))

    @property
    def started_from(self) -> int | None:
        """The training run whose weights a warm start began with."""
        found = self.environment.get("started_from")
        return found if isinstance(found, int) else None

    @property
    def merged(self) -> list[list[int]]:
        """Places in ``categories`` that count as one class."""
        found = self.environment.get("merged")
        return found if isinstance(found, list) else []

    def plain(self) -> dict[str, Any]:
        """Return the run as it is recorded, and as JSON shows it: metrics by split and name."""
        values = dict(vars(self))
        del values["report"]
        values["metrics"] = {split: found.by_name() for split, found in self.metrics.items()}
        if self.report:
            values["metrics"][_REPORT] = {split: found.by_name() for split, found in self.report.items()}
        return values


def next_run(connection: Connection) -> int:
    """Return the number of the training run that comes next, from 1."""
    return int(scalar(connection, "SELECT coalesce(max(id), 0) + 1 FROM training_run"))


def write_run(connection: Connection, finished: TrainingRun, items: Sequence[int]) -> None:
    """Write a finished training run and the items it learned from."""
    connection.execute(insert(training_run).values(**finished.plain()))
    insert_rows(connection, training_item, [(finished.id, item_id) for item_id in items])


def write_metrics(connection: Connection, finished: TrainingRun) -> None:
    """Put the metrics of a recorded training run, measured again on more labels, in the place of the old ones."""
    metrics = finished.plain()["metrics"]
    connection.execute(update(training_run).where(training_run.c.id == finished.id).values(metrics=metrics))


def every_run(connection: Connection) -> list[TrainingRun]:
    """Return every training run, oldest first."""
    rows = connection.execute(training_run.select().order_by(training_run.c.id)).mappings()
    return [_run_of(row) for row in rows]


def run_with(connection: Connection, number: int) -> TrainingRun | None:
    """Return the training run with this number, None if there is none."""
    row = connection.execute(training_run.select().where(training_run.c.id == number)).mappings().first()
    return None if row is None else _run_of(row)


def last_run(connection: Connection, fingerprint: str | None = None) -> TrainingRun | None:
    """Return the newest training run, or the newest with this fingerprint; None if there is none."""
    number = run(
        connection,
        "SELECT max(id) FROM training_run WHERE :any OR fingerprint = :fingerprint",
        any=fingerprint is None,
        fingerprint=fingerprint or "",
    ).scalar()
    return None if number is None else run_with(connection, number)


def last_network(connection: Connection, digest: str | None = None) -> TrainingRun | None:
    """Return the newest run that trained a network, or the one whose weights have this digest; None if there is none."""
    found = [run for run in every_run(connection) if run.head != PROBE and digest in {None, run.digest}]
    return found[-1] if found else None


def _run_of(row: Mapping[Any, Any]) -> TrainingRun:
    """Return a row of the table as a training run."""
    by_split = {split: found for split, found in row["metrics"].items() if split != _REPORT}
    return TrainingRun(**{
        **row,
        "metrics": {split: metrics_of(found) for split, found in by_split.items()},
        "report": {split: metrics_of(found) for split, found in row["metrics"].get(_REPORT, {}).items()},
    })  # fmt: skip
