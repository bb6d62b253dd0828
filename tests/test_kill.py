"""Kill -9 before any system call of any command that writes: whole or not at all, and what was said to be done is there.

Some kills of each command in CI; all of them, and those of `benchmarks/results/kill-points.md`, are marked long.
"""

from pathlib import Path

import pytest

from tests.kill_points import Bench
from tests.kill_scenarios import SCENARIOS, Scenario, once_for_all
from tests.system_calls import AVAILABLE

pytestmark = [
    pytest.mark.skipif(not AVAILABLE, reason="system calls are watched on Linux on x86-64 only"),
    pytest.mark.timeout(600),
]
EVERY = [pytest.param(scenario, id=scenario.name) for scenario in SCENARIOS]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return once_for_all(tmp_path_factory.mktemp("kills"))


def bench_of(base: Path, scenario: Scenario) -> Bench:
    return Bench(base, base.parent, scenario)


@pytest.mark.slow
@pytest.mark.parametrize("scenario", EVERY)
def test_a_killed_command_is_whole_or_never_was_and_runs_again(base: Path, scenario: Scenario):
    bench = bench_of(base, scenario)
    late = len(bench.calls)
    assert str(bench.calls[-1]) == "exit_group"
    moments = (late * 2 // 3, late - 5, late)  # at work, clearing up, through
    found = [bench.killed(number) for number in moments]
    assert [kill.acknowledged for kill in found if kill] == [False, False, True]


@pytest.mark.long
@pytest.mark.timeout(7_200)
@pytest.mark.parametrize("scenario", EVERY)
def test_a_command_killed_before_any_of_its_calls_is_whole_or_never_was(base: Path, scenario: Scenario):
    bench = bench_of(base, scenario)
    assert all(bench.killed(number) for number in range(1, len(bench.calls) + 1))
