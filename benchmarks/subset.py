"""Do the questions about the pool stay quick when it holds 10 million images, and in how much memory?

Command:  python benchmarks/subset.py
Hardware: 2-core x86-64, no GPU, other work beside it: read the ratios, not the milliseconds
Date:     2026-11-21

| items | subset of 10,000 | random() | all ids | status | record 10,000 | peak memory |
|---|---|---|---|---|---|---|
| 100,000 | 16 ms | 4x | 6x | 11 ms | 28 ms | 67 MB |
| 1,000,000 | 13 ms | 28x | 64x | 63 ms | 38 ms | 67 MB |
| 10,000,000 | 29 ms | 153x | 350x | 681 ms | 44 ms | 69 MB |

(--repeats 3.) Wanted at 10 million: the subset and the record below 100 ms, status below a second, 500 MB. All reached.
What status takes is in proportion to the labels, here 200,000, not to the items.

The pools are written by SQL: 2 % of the items labeled, 1,000 reserved for the test. "random()" is SELECT id ... ORDER
BY random() LIMIT 10000, "all ids" fetches every id that is free and draws 10,000 with NumPy; both leave out what
`subset` leaves out. The three are interleaved, the ratios medians of the ratios within a round. Every pool has a
process of its own; its peak memory is read after our own questions, before the others are asked. "record" writes a
round of 10,000 and is rolled back; with the commit of a full sync it depends on the disk.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from sqlalchemy import Connection, text

from alctl.database import counts, rounds
from alctl.database.connection import engine_of, upgrade, writing

K = 10_000
FREE = """SELECT id FROM item WHERE id NOT IN (SELECT item_id FROM reserved) AND id NOT IN (SELECT item_id FROM unusable)
  AND id NOT IN (SELECT item_id FROM label) AND id NOT IN (SELECT item_id FROM selection)"""
FILL = [
    "INSERT INTO project VALUES (1, '/photos', 'classification', 0, '')",
    """WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :n)
       INSERT INTO item SELECT i, printf('folder%05d/%09d.jpg', i / 1000, i), NULL, 640, 480 FROM n""",
    "INSERT INTO category (id, name) VALUES (1, 'cat'), (2, 'dog')",
    "INSERT INTO import_batch (id, file, digest, format, counts, created_at) VALUES (1, 'labels.csv', '', 'csv', '{}', '')",
    """INSERT INTO label (id, item_id, import_id, annotator, status, category_id, created_at)
       SELECT id / 50, id, 1, '', 'labeled', 1 + id % 2, '' FROM item WHERE id % 50 = 0""",
    "INSERT INTO reserved SELECT id, 'test' FROM item WHERE id % 50 = 1 LIMIT 1000",
]


def ours(connection: Connection, seed: int) -> Any:
    return rounds.subset(connection, K, seed, 1)


def by_random(connection: Connection, seed: int) -> Any:
    return connection.execute(text(f"{FREE} ORDER BY random() LIMIT {K}")).scalars().all()


def all_ids(connection: Connection, seed: int) -> Any:
    ids = np.fromiter(connection.execute(text(FREE)).scalars(), dtype=np.int64)
    return np.random.default_rng(seed).choice(ids, K, replace=False)


def status(connection: Connection, seed: int) -> Any:
    return counts.count(connection), counts.per_round(connection)


def timed(function: Callable[[Connection, int], Any], connection: Connection, seed: int) -> float:
    start = time.perf_counter()
    function(connection, seed)
    return (time.perf_counter() - start) * 1000


def record(connection: Connection, ids: Any) -> float:
    """Return the milliseconds that it takes to write a round of 10,000 items."""
    made = rounds.Round(1, "random", {}, 0, K, K, None, "")
    picks = [rounds.Chosen(int(item), rank, 0.5, "random") for rank, item in enumerate(ids, start=1)]
    savepoint = connection.begin_nested()
    start = time.perf_counter()
    rounds.write_round(connection, made, picks)
    milliseconds = (time.perf_counter() - start) * 1000
    savepoint.rollback()
    return milliseconds


def fill(file: Path, n: int) -> None:
    engine = engine_of(f"sqlite:///{file}")
    upgrade(engine)
    with writing(engine) as connection:
        for statement in FILL:
            connection.execute(text(statement), {"n": n} if ":n" in statement else {})
    engine.dispose()


def measure(file: Path, n: int, repeats: int) -> None:
    """Print one row of the table; runs in a process of its own, so that its memory is its own."""
    engine = engine_of(f"sqlite:///{file}")
    with writing(engine) as connection:
        ids = ours(connection, 0)
        assert len(set(map(int, ids))) == K
        recording = median(record(connection, ids) for _ in range(repeats))
        showing = median(timed(status, connection, seed) for seed in range(repeats))
        quick = median(timed(ours, connection, seed) for seed in range(5 * repeats))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        peers: dict[Callable[[Connection, int], Any], list[float]] = {by_random: [], all_ids: []}
        for seed in range(repeats):
            base = timed(ours, connection, seed)
            for peer, ratios in peers.items():
                ratios.append(timed(peer, connection, seed) / base)
    slower = [f"{median(ratios):.0f}x" for ratios in peers.values()]
    cells = [
        f"{n:,}",
        f"{quick:.0f} ms",
        *slower,
        f"{showing:.0f} ms",
        f"{recording:.0f} ms",
        f"{peak:.0f} MB",
    ]
    print("| " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--items", type=int, nargs="+", default=[100_000, 1_000_000, 10_000_000])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.file:
        measure(args.file, args.items[0], args.repeats)
        return
    print("| items | subset of 10,000 | random() | all ids | status | record 10,000 | peak memory |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for n in args.items:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "pool.db"
            fill(file, n)
            command = [
                sys.executable,
                __file__,
                f"--file={file}",
                f"--items={n}",
                f"--repeats={args.repeats}",
            ]
            subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
