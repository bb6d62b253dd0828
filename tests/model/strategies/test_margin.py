import pytest

from alctl.model.strategies.margin import Margin
from tests.model.strategies.fakes import chance, from_probabilities


def test_the_smallest_margin_comes_first():
    pool = from_probabilities([[1, 0, 0], [0.5, 0.3, 0.2], [0.25, 0.25, 0.5], [0.4, 0.4, 0.2]])
    positions, scores = Margin().query(pool, pool, 4, chance())
    assert positions.tolist() == [3, 1, 2, 0]
    assert scores.tolist() == pytest.approx([0, -0.2, -0.25, -1])
