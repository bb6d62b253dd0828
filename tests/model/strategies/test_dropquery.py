from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from alctl.errors import AlctlError
from alctl.model.strategies.dropquery import DropQuery, mismatches, unstable
from alctl.model.strategy import Prediction
from tests.model.strategies.fakes import FakeCandidates, chance, evenly, random_candidates

PLAIN = torch.tensor([0, 1, 2, 0, 1, 1])
DRAWN = torch.tensor([(0, 1, 0, 0, 0, 1), (0, 0, 0, 0, 1, 1), (1, 0, 1, 0, 0, 1)]).T
NOTHING = random_candidates(0, seed=1)


@dataclass
class Written(FakeCandidates):
    """Six images whose passes give the classes of DRAWN."""

    def map(self, fn: Callable[[Prediction], Tensor], *, dropout_passes: int = 0) -> Tensor:
        p = one_hot(PLAIN[:, None], 3).float()
        again = [one_hot(classes[:, None], 3).float() for classes in DRAWN.T]
        return fn(Prediction(p, self.embedding, self.predicted_loss, evenly, again=lambda: iter(again)))


SIX = Written(torch.empty(6, 1, 3), torch.randn(6, 4, generator=chance(1)), torch.zeros(6))


def test_passes_that_differ_from_the_one_without_dropout_are_counted():
    assert mismatches(SIX, 3).tolist() == [1, 2, 3, 0, 2, 0]


@pytest.mark.parametrize(
    ("wanted", "expected"), [(25, [0, 1, 2, 4]), (1, [1, 2, 4]), (3, [1, 2, 4]), (4, [0, 1, 2, 4])]
)
def test_more_than_half_of_the_passes_differ_or_fewer_while_that_is_not_enough(wanted, expected):
    assert unstable(mismatches(SIX, 3), 3, wanted).tolist() == expected


def test_the_most_doubtful_come_first_and_images_without_doubt_at_random():
    found = [DropQuery().query(SIX, NOTHING, 5, chance(seed)) for seed in range(10)]
    for positions, scores in found:
        assert positions[:4].tolist() == [2, 1, 4, 0]
        assert scores.tolist() == pytest.approx([1, 2 / 3, 2 / 3, 1 / 3, 0])
    assert {int(positions[4]) for positions, _ in found} == {3, 5}


def test_doubtful_images_come_from_different_clusters():
    corners = torch.eye(4).repeat_interleave(30, dim=0) + 0.01 * torch.randn(120, 4, generator=chance(3))
    pool = replace(random_candidates(120, seed=1), embedding=corners, dropout=5.0)
    positions = DropQuery(enough=5).query(pool, NOTHING, 4, chance()).positions
    assert sorted(position // 30 for position in positions.tolist()) == [0, 1, 2, 3]
    assert bool((mismatches(pool, 3)[positions] > 1).all())


def test_a_model_without_dropout_is_refused():
    with pytest.raises(AlctlError, match="dropout"):
        DropQuery().query(replace(random_candidates(9, seed=1), dropout=None), NOTHING, 2, chance())
