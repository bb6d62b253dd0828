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

from tests.kill_points import SCENARIOS, Bench, Interrupted, once_for_all
from tests.system_calls import Call

AGAIN = ("init", "export", "export again", "backup", "restore")
"""Commands that have to clear away something when they are run again: they are killed in that, too."""
SLOW = ("embed", "train")
DAMAGED = "DAMAGED"

Result = tuple[str, str, str, str]
"""What was done, command, point, what was found."""


def kills(bench: Bench) -> Iterator[Result]:
    for number, call in enumerate(bench.calls, 1):
        yield tried(bench, "killed", call, (number,))


def second_kills(bench: Bench) -> Iterator[Result]:
    for number in range(1, len(bench.calls), 2):
        yield tried(bench, "killed twice", bench.calls[number - 1], (len(bench.calls) // 2, number))


def no_room(bench: Bench) -> Iterator[Result]:
    for number in bench.needing_room():
        yield tried(bench, "no room", bench.calls[number - 1], (number,))


def tried(bench: Bench, what: str, call: Call, numbers: tuple[int, ...]) -> Result:
    found: Interrupted | None
    try:
        found = bench.refused(*numbers) if what == "no room" else bench.killed(*numbers)
    except AssertionError as error:
        return what, bench.scenario.name, plain(call), f"{DAMAGED}: {str(error).splitlines()[0]}"
    if found is None:
        return what, bench.scenario.name, plain(call), "had ended"
    result = "done, and said so" if found.acknowledged else "done" if found.recorded else "as before"
    return what, bench.scenario.name, plain(found.call), result


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
    killed = sum(what.startswith("killed") and found != "had ended" for what, *_, found in results)
    damaged = [result for result in results if result[3].startswith(DAMAGED)]
    said = sum(found == "done, and said so" for what, *_, found in results if what == "killed")
    print("# Kills and full disks, before every system call that writes\n")
    print(
        f"`python -m benchmarks.kill_points`, {datetime.now(UTC):%Y-%m-%d}, two cores of an AMD EPYC, SQLite on a local "
        "disk, other work on the machine.\n"
    )
    print(
        f"{killed:,} kills, {said} of them after the command had said that it was done; "
        f"{sum(what == 'no room' for what, *_ in results):,} times no room from one call on. Damaged: {len(damaged)}.\n"
    )
    print(EXPLAINED)
    print(
        "| command | what | calls | as before | done | done, and said so | damaged |\n|---|---|---|---|---|---|---|"
    )
    counted = Counter((command, what, found.split(":")[0]) for what, command, _, found in results)
    for command, what in dict.fromkeys((command, what) for what, command, *_ in results):
        cells = [
            counted[command, what, found] for found in ("as before", "done", "done, and said so", DAMAGED)
        ]
        print(f"| {command} | {what} | {sum(cells)} | {' | '.join(map(str, cells))} |")
    for result in damaged:
        print(f"\n- {' | '.join(result)}")
    print("\n## Each point\n\n| command | what | before | times | found |\n|---|---|---|---|---|")
    for (what, command, point, found), times in Counter(results).items():
        print(f"| {command} | {what} | {point} | {times} | {found.split(':')[0]} |")


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
