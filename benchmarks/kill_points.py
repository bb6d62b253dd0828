"""Does a kill, or a disk that is full, ever leave half of anything, whichever system call it comes before?

Command:  python -m benchmarks.kill_points > benchmarks/results/kill-points.md
Hardware: 2-core x86-64 (AMD EPYC), SQLite on a local disk, other work beside it
Date:     2026-12-01

The result is in results/kill-points.md. Each command is killed once before each of its system calls that write, those
after it has said that it is done too; seven are killed a second time while they are run again; and from each call that
needs room on, each has no room left. `tests/kill_points.py` says what has to hold afterwards.
"""

import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from tests.kill_points import Bench, Interrupted
from tests.kill_scenarios import SCENARIOS, once_for_all
from tests.system_calls import Call

AGAIN = ("init", "export", "export again", "backup", "restore")
"""Commands that have to clear away something when they are run again: they are killed in that, too."""
SLOW = ("init", "embed", "train")
NO_ROOM, DAMAGED = "no room", "damaged"
FOUND = ("as before", "done", "done, and said so", DAMAGED)


class Result(NamedTuple):
    """What came of one kill, or of one disk without room."""

    what: str
    command: str
    point: str
    found: str
    seen_before: bool
    """An earlier one had left the same bytes."""


def kills(bench: Bench) -> Iterator[Result]:
    for number, call in enumerate(bench.calls, 1):
        yield tried(bench, "killed", call, (number,))


def second_kills(bench: Bench) -> Iterator[Result]:
    for number in range(1, len(bench.calls), 2):
        yield tried(bench, "killed twice", bench.calls[number - 1], (len(bench.calls) // 2, number))


def no_room(bench: Bench) -> Iterator[Result]:
    for number in bench.needing_room():
        yield tried(bench, NO_ROOM, bench.calls[number - 1], (number,))


def tried(bench: Bench, what: str, call: Call, numbers: tuple[int, ...]) -> Result:
    found: Interrupted | None
    try:
        found = bench.refused(*numbers) if what == NO_ROOM else bench.killed(*numbers)
    except AssertionError as error:
        print(error, file=sys.stderr)
        return Result(what, bench.scenario.name, plain(call), DAMAGED, seen_before=False)
    if found is None:
        return Result(what, bench.scenario.name, plain(call), "had ended", seen_before=False)
    said = "done, and said so" if found.acknowledged else "done" if found.recorded else "as before"
    return Result(what, bench.scenario.name, plain(found.call), said, found.seen_before)


def plain(call: Call) -> str:
    """Return the call without what differs from run to run."""
    return re.sub(r"\.\w{8}\.partial", ".*.partial", str(call))


def everything(base: Path, work: Path, chosen: Iterable[str]) -> Iterator[Result]:
    benches = [Bench(base, work, scenario) for scenario in SCENARIOS if scenario.name in chosen]
    for bench in sorted(benches, key=lambda bench: bench.scenario.name in SLOW):
        yield from kills(bench)
    for bench in benches:
        if bench.scenario.name in AGAIN:
            yield from second_kills(bench)
    for bench in benches:
        yield from no_room(bench)


def report(results: list[Result]) -> None:
    kills = [result for result in results if result.what != NO_ROOM and result.found != "had ended"]
    said = sum(result.found == FOUND[2] for result in kills)
    damaged = sum(result.found == DAMAGED for result in results)
    print("# Kills and full disks, before every system call that writes\n")
    print(
        f"`python -m benchmarks.kill_points`, {datetime.now(UTC):%Y-%m-%d}, two cores of an AMD EPYC, other work on them, "
        f"SQLite in a file system in memory.\n\n{len(kills):,} kills, {said} of them after the command had said that it was "
        f"done; {sum(result.what == NO_ROOM for result in results):,} times no room from one call on. Damaged: {damaged}.\n\n"
        f"{EXPLAINED}{sum(result.seen_before for result in results):,} left the same bytes on the disk as an earlier one of "
        "the same command, for which the next run had been looked at.\n"
    )
    print(f"| command | what | calls | {' | '.join(FOUND)} |\n|{'---|' * (3 + len(FOUND))}")
    counted = Counter((result.command, result.what, result.found) for result in results)
    for command, what in dict.fromkeys((result.command, result.what) for result in results):
        cells = [counted[command, what, found] for found in FOUND]
        print(f"| {command} | {what} | {sum(cells)} | {' | '.join(map(str, cells))} |")
    print("\n## Each point\n\n| command | what | before | times | found |\n|---|---|---|---|---|")
    for (what, command, point, found), times in Counter(result[:4] for result in results).items():
        print(f"| {command} | {what} | {point} | {times} | {found} |")


EXPLAINED = """\
After each of them the project opened and `db check` found nothing; the database held all that it held before, and of the
command all or nothing; what had said that it was done was there; no backup was cut off. Then the same command was run
again (`alctl export`, where a round was recorded and its files were missing), and ended in the same rows and files,
temporary ones included, as without a kill. "As before" and "done" are what the database says; a command that only writes
files has nothing to record, so that it is "done" from the start.
"""


def main() -> None:
    chosen = sys.argv[1:] or [scenario.name for scenario in SCENARIOS]
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        results = []
        for result in everything(once_for_all(work), work, chosen):
            results.append(result)
            print(*result, sep=" | ", file=sys.stderr, flush=True)
        report(results)


if __name__ == "__main__":
    main()
