import pytest
import torch

from alctl.errors import AlctlError
from alctl.model.score import Unscored
from alctl.model.strategies.margin import Margin
from alctl.model.strategies.maxherding import MaxHerding
from alctl.model.strategies.switch import Switch
from alctl.model.strategies.typiclust import TypiClust
from alctl.model.strategy import QueryStrategy
from tests.model.strategies.fakes import FakeCandidates, chance

EMBEDDING = torch.randn(46, 8, generator=chance(1))
P = torch.rand(46, 1, generator=chance(2))


def images(rows: slice) -> FakeCandidates:
    """Return images of two classes."""
    p = torch.stack([P[rows], 1 - P[rows]], dim=-1)
    return FakeCandidates(p, EMBEDDING[rows], torch.zeros(len(p)))


POOL, LABELED = images(slice(40)), images(slice(40, 46))


def chosen(strategy: QueryStrategy, n: int) -> tuple[list[int], list[float]]:
    positions, scores = strategy.query(POOL, LABELED, n, chance())
    return positions.tolist(), scores.tolist()


def test_a_round_up_to_so_many_labels_a_class_is_the_first_strategys_and_one_label_more_the_others():
    switch = Switch(per_class=5)
    assert chosen(switch, 4) == chosen(TypiClust(), 4)
    assert chosen(switch, 5) == chosen(Margin(), 5)
    assert chosen(TypiClust(), 5) != chosen(Margin(), 5)


def test_any_two_strategies_take_turns():
    switch = Switch(first="margin", then="maxherding", per_class=5)
    assert chosen(switch, 4) == chosen(Margin(), 4)
    assert chosen(switch, 5) == chosen(MaxHerding(), 5)


def test_without_a_model_or_a_label_the_first_strategy_chooses():
    pool, labeled = Unscored(40, EMBEDDING[:40]), Unscored(6, EMBEDDING[40:])
    assert not Switch().needs_model
    for known in (labeled, Unscored(0)):
        found = Switch(per_class=1).query(pool, known, 4, chance()).positions.tolist()
        assert found == TypiClust().query(pool, known, 4, chance()).positions.tolist()
    assert Switch(first="margin").needs_model


def test_it_reads_what_its_two_strategies_read():
    assert not Switch().uses_predicted_loss
    assert Switch(then="learning-loss").uses_predicted_loss


def test_a_name_that_does_not_exist_is_a_sentence():
    with pytest.raises(AlctlError, match="did you mean 'margin'"):
        Switch(then="margins").query(POOL, LABELED, 30, chance())
