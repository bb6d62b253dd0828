"""How long a training takes, told from its first steps; the clock is the test's."""

import itertools

from alctl.cli.model import Pace


def told(clock, steps, epochs=10):
    pace = Pace(epochs, iter(clock).__next__)
    return [pace.left(done, share) for done, share in steps]


def test_the_second_step_tells_how_long_it_takes_because_the_first_one_warms_up():
    assert told([100, 103, 104, 105], [(0, 0), (0.5, 0.5), (1, 0.5), (1.5, 0.5)]) == [None, None, 18, None]


def test_a_first_step_that_takes_long_tells_it_at_once_also_of_a_run_that_goes_on():
    assert told([0, 60, 120], [(8, 0), (8.5, 0.5), (9, 0.5)]) == [None, 180, None]


def test_a_run_of_one_step_has_nothing_left():
    assert told(itertools.count(0, 10), [(0, 0), (1, 1)], epochs=1) == [None, 0]
