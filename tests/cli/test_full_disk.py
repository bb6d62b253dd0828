"""Real commands on a disk that is full or fails, from one of their system calls on."""

import errno
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
IMPORT = next(scenario for scenario in SCENARIOS if scenario.name == "import-labels")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return once_for_all(tmp_path_factory.mktemp("full"))


@pytest.mark.slow
@pytest.mark.parametrize("scenario", EVERY)
def test_a_command_without_room_says_so_in_a_sentence_and_breaks_nothing(base: Path, scenario: Scenario):
    bench = Bench(base, base.parent, scenario)
    numbers = bench.needing_room()
    for number in (numbers[len(numbers) // 2], numbers[-1]):
        assert bench.refused(number)


@pytest.mark.slow
@pytest.mark.parametrize("error", [errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS])
def test_whatever_the_disk_refuses_it_is_a_sentence(base: Path, error: int):
    bench = Bench(base, base.parent, IMPORT)
    into_log = [i for i, call in enumerate(bench.calls, 1) if str(call) == "pwrite64 alctl.db-wal"]
    bench.refused(into_log[0], error)


@pytest.mark.long
@pytest.mark.timeout(7_200)
@pytest.mark.parametrize("scenario", EVERY)
def test_a_command_without_room_from_any_call_on_breaks_nothing(base: Path, scenario: Scenario):
    bench = Bench(base, base.parent, scenario)
    assert all(bench.refused(number) for number in bench.needing_room())
