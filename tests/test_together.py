"""Two commands that write to one project at the same time: as if one had come after the other, or one is refused."""

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path

import pytest

from alctl.project import open_project
from alctl.status import check
from tests.kill_points import Rows, state_of
from tests.kill_scenarios import Words, once_for_all, run_in
from tests.system_calls import AVAILABLE, Call, Listener
from tests.warm import Running, start_watched

pytestmark = [
    pytest.mark.skipif(not AVAILABLE, reason="system calls are watched on Linux on x86-64 only"),
    pytest.mark.timeout(600),
]
COMMANDS: dict[str, Words] = {
    "add": ("add", "more"),
    "backup": ("backup", "new.zip"),
    "classes add": ("classes", "add", "newt"),
    "classes merge": ("classes", "merge", "cat", "dog"),
    "export": ("export", 1),
    "import-labels": ("import-labels", "second.csv", "--add-classes"),
    "recall": ("recall", 1),
    "select": ("select", "--k", 2, "--strategy", "random"),
    "undo-import": ("undo-import", 1),
}
EVERY = [(*pair, where) for pair in combinations(COMMANDS, 2) for where in (1, 2)] + [
    (name, name, 1) for name in COMMANDS
]
SOME = [
    ("import-labels", "undo-import", 1), ("select", "select", 1), ("add", "import-labels", 2), ("recall", "select", 2),
    ("import-labels", "import-labels", 1), ("classes add", "classes merge", 1),
]  # fmt: skip

Codes = tuple[int, int]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return once_for_all(tmp_path_factory.mktemp("together"))


def watched(place: Path, words: Words) -> tuple[Running, Listener]:
    return start_watched(*words, "--project", place / "project", "--json", cwd=place)


def go_on(listener: Listener, until: Callable[[Call, int], bool] = lambda call, n: False) -> None:
    """Let the process go on until it is about to make the call in question, or has ended."""
    number = 0
    while call := listener.next():
        number += 1
        if until(call, number):
            return


def in_turn(base: Path, *commands: Words) -> tuple[list[int], Rows]:
    """Return the exit codes of commands that come one after the other, and what is in the database then."""
    place = Path(shutil.copytree(base, base.with_name("now")))
    codes = [run_in(place, *words).returncode for words in commands]
    rows = state_of(place).rows
    shutil.rmtree(place)
    return codes, rows


def at_once(base: Path, first: Words, second: Words, where: int) -> tuple[Codes, Rows]:
    """Stop the first within its transaction (1) or when it lets go of the lock (2), start the second, let both go on."""
    place = Path(shutil.copytree(base, base.with_name("now")))
    name = "write" if where == 1 else "unlink"
    ours, our_calls = watched(place, first)
    go_on(our_calls, lambda call, _: call.name == name and call.where.endswith(".holder"))
    theirs, their_calls = watched(place, second)
    go_on(their_calls, lambda _, number: number == 25)  # some of them are its asking for the lock
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(go_on, (our_calls, their_calls)))
    ends = [ours.end(), theirs.end()]
    our_calls.close()
    their_calls.close()
    for end in ends:
        assert "Traceback" not in end.stderr
        assert not end.returncode or json.loads(end.stdout)["error"]
    project = open_project(place / "project")
    assert check(project) == []
    project.engine.dispose()
    left = [path for path in place.rglob(".*") if "partial" in path.name or "replaced" in path.name]
    assert not left
    rows = state_of(place).rows
    shutil.rmtree(place)
    return (ends[0].returncode, ends[1].returncode), rows


@pytest.mark.parametrize(
    ("first", "second", "where"),
    [*(pytest.param(*pair, marks=pytest.mark.slow) for pair in SOME),
     *(pytest.param(*pair, marks=pytest.mark.long) for pair in EVERY if pair not in SOME)],
)  # fmt: skip
def test_two_at_once_are_as_two_in_turn_or_one_is_refused(base: Path, first: str, second: str, where: int):
    ours, theirs = COMMANDS[first], COMMANDS[second]
    codes, rows = at_once(base, ours, theirs, where)
    after, before = in_turn(base, ours, theirs), in_turn(base, theirs, ours)
    allowed: list[tuple[Codes, Rows]] = [
        ((after[0][0], after[0][1]), after[1]),
        ((before[0][1], before[0][0]), before[1]),
    ]
    if 1 in codes:  # the refused one has changed nothing
        allowed += [((0, 1), in_turn(base, ours)[1]), ((1, 0), in_turn(base, theirs)[1])]
    assert (codes, rows) in allowed, [
        table for table in rows if all(rows[table] != way[table] for _, way in allowed)
    ]
