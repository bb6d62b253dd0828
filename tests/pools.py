"""Pools without image files: rows straight into a database, SQLite or PostgreSQL, for tests of the state half."""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, make_url

from alctl.database import (
    categories,
    project_row,
    rounds,
    staged_labels,
    staged_matches,
    staged_problems,
    training_runs,
)
from alctl.database.bulk import insert_rows, run
from alctl.database.connection import engine_of, upgrade, writing
from alctl.database.labels import ImportCounts
from alctl.database.staged_labels import StagedLabel
from alctl.database.tables import item, reserved
from tests.project_files import lasting_folder

CLASSES = ("cat", "dog", "owl")
NOW = "2026-01-01T00:00:00Z"


@cache
def migrated_file() -> Path:
    """Return a SQLite database that has its tables and nothing in them, to be copied: it is migrated once a process."""
    file = lasting_folder() / "alctl.db"
    migrate(f"sqlite:///{file}")
    return file


def migrate(url: str) -> None:
    """Give a database its tables."""
    engine = engine_of(url)
    upgrade(engine)
    engine.dispose()


@contextmanager
def pool(url: str, n: int) -> Iterator[Engine]:
    """Give a database with ``n`` items called 1.jpg, 2.jpg …, and the classes cat, dog, owl."""
    engine = engine_of(url)
    file = make_url(url).database
    if engine.dialect.name == "sqlite" and file and not Path(file).exists():
        shutil.copyfile(migrated_file(), file)
    upgrade(engine)
    with writing(engine) as connection:
        project_row.create_project(connection, root="/images", task="classification", seed=7, now=NOW)
        categories.add_categories(connection, CLASSES)
        insert_rows(connection, item, ((i, f"{i}.jpg", i.to_bytes(32, "big"), 8, 8) for i in range(1, n + 1)))
    try:
        yield engine
    finally:
        engine.dispose()


def answer(
    connection: Connection,
    rows: Iterable[Sequence[Any]],
    *,
    digest: str = "",
) -> int:
    """Import rows of (item id, annotator, class or "skip" or "unusable") as one batch; return its number."""
    known = categories.resolver(connection)
    staged_labels.stage(
        connection,
        (
            StagedLabel(
                n, n + 2, "", id_, "", None, who, what if what not in CLASSES else "labeled",
                known[what] if what in CLASSES else None,
            )
            for n, (id_, who, what) in enumerate(rows)
        ),
    )  # fmt: skip
    staged_matches.match_exactly(connection)
    staged_matches.mark_unknown(connection)
    staged_problems.mark_misfits(connection)
    staged_problems.mark_repeats(connection)
    assert staged_problems.problems(connection) == []
    fates = staged_labels.decide_fates(connection)
    counts = ImportCounts(fates["added"], fates["changed"], fates["unchanged"])
    return staged_labels.write_batch(
        connection, file="f.csv", digest=digest, kind="csv", counts=counts, now=NOW
    )


def send(connection: Connection, ids: Iterable[int]) -> int:
    """Write a round of these items; return its number."""
    number = rounds.next_round(connection)
    picked = list(ids)
    made = rounds.Round(number, "random", {}, 7, len(picked), len(picked), None, NOW)
    chosen = [rounds.Chosen(i, n, 0.0, "test") for n, i in enumerate(picked, start=1)]
    rounds.write_round(connection, made, chosen)
    return number


def write_run(
    connection: Connection,
    number: int,
    learned: Iterable[int],
    categories: Sequence[str] = ("cat",),
    **facts: Any,
) -> None:
    """Write a training run that learned from these items; ``facts`` are its environment."""
    items = list(learned)
    run = training_runs.TrainingRun(
        number, "f", 7, {}, list(categories), len(items), {}, {}, facts, "m", "d", 1.0, NOW
    )
    training_runs.write_run(connection, run, items)


def reserve(connection: Connection, split: str, ids: Iterable[int]) -> None:
    """Reserve exactly these items."""
    insert_rows(connection, reserved, ((i, split) for i in ids))


def rows_of(connection: Connection, table: str) -> list[tuple[Any, ...]]:
    """Return every row of a table, in an order that does not depend on the database."""
    return sorted(tuple(row) for row in run(connection, f"SELECT * FROM {table}"))
