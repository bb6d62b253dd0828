"""What every query strategy promises, whatever it looks for."""

from dataclasses import replace

import pytest
import torch

from alctl.model.score import Unscored
from alctl.model.strategy import STRATEGIES, QueryStrategy, Ranking, Selection, UntrainedError
from tests.model.strategies.fakes import FakeCandidates, chance, random_candidates

# The order of these is the order of draws or of turns; the others' scores never rise.
UNORDERED = {"badge", "cluster-margin", "learning-loss-diverse", "typiclust"}


@pytest.fixture(params=STRATEGIES.names())
def name(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@pytest.fixture
def strategy(name: str) -> QueryStrategy:
    return STRATEGIES.load(name)()


def duplicates(n: int) -> FakeCandidates:
    """Return ``n`` images that are all the first one."""
    pool = random_candidates(n, seed=1)
    first = torch.zeros(n, dtype=torch.int64)
    return FakeCandidates(pool.probabilities[first], pool.embedding[first], pool.predicted_loss[first])


def check(selection: Selection, n: int, expected: int) -> None:
    positions, scores = selection
    assert positions.dtype == torch.int64
    assert scores.dtype == torch.float64
    assert positions.shape == scores.shape == (expected,)
    assert len(set(positions.tolist())) == expected
    assert all(0 <= position < n for position in positions.tolist())
    assert bool(torch.isfinite(scores).all())


POOL = random_candidates(40, seed=1)
LABELED = random_candidates(9, seed=2)
NONE_LABELED = random_candidates(0, seed=2)


@pytest.mark.parametrize("n", [0, 1, 7, 40, 41, 1000])
def test_as_many_distinct_positions_come_back_as_asked_or_as_there_are(strategy, n):
    selection = strategy.query(random_candidates(40, seed=1), LABELED, n, chance())
    check(selection, 40, min(n, 40))


def test_the_best_come_first(strategy, name):
    scores = strategy.query(random_candidates(200, seed=1), LABELED, 50, chance()).scores
    if name not in UNORDERED:
        assert bool((scores.diff() <= 0).all())


def test_the_picks_of_a_ranking_are_the_first_of_one_order(strategy):
    """What shares and near-duplicates rely on when they walk down it."""
    if isinstance(strategy, Ranking):
        few, every = (strategy.query(POOL, LABELED, n, chance()) for n in (7, len(POOL)))
        assert few.positions.tolist() == every.positions.tolist()[:7]
        assert few.scores.tolist() == every.scores.tolist()[:7]


def test_a_seed_repeats_to_the_bit(strategy):
    pool = random_candidates(300, seed=1)
    first = strategy.query(pool, LABELED, 60, chance(3))
    again = strategy.query(pool, LABELED, 60, chance(3))
    assert first.positions.tolist() == again.positions.tolist()
    assert first.scores.tolist() == again.scores.tolist()


def test_the_batch_size_changes_nothing(strategy):
    pool = random_candidates(129, seed=1)
    selections = [
        strategy.query(replace(pool, batch_size=size), replace(LABELED, batch_size=size), 129, chance())
        for size in (128, 1, 7)
    ]
    for other in selections[1:]:
        assert other.positions.tolist() == selections[0].positions.tolist()
        assert other.scores.tolist() == selections[0].scores.tolist()


def test_a_strategy_says_whether_it_reads_predicted_losses(strategy):
    pool = random_candidates(60, seed=1)
    other = replace(pool, predicted_loss=-pool.predicted_loss)
    picks = [strategy.query(p, LABELED, 10, chance()).positions.tolist() for p in (pool, other)]
    assert (picks[0] != picks[1]) == strategy.uses_predicted_loss


def test_what_needs_no_model_chooses_from_frozen_vectors_alone(strategy):
    if strategy.needs_model:
        with pytest.raises(UntrainedError):
            strategy.query(Unscored(40, POOL.embedding), Unscored(0), 7, chance())
    else:
        check(strategy.query(Unscored(40, POOL.embedding), Unscored(0), 7, chance()), 40, 7)


def test_pool_and_arguments_stay_as_they_were(strategy):
    pool = random_candidates(30, seed=1)
    before = [pool.probabilities.clone(), pool.embedding.clone(), pool.predicted_loss.clone()]
    strategy.query(pool, LABELED, 10, chance())
    after = [pool.probabilities, pool.embedding, pool.predicted_loss]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_no_labeled_image_is_needed(strategy):
    check(strategy.query(random_candidates(40, seed=1), NONE_LABELED, 11, chance()), 40, 11)


def test_a_pool_of_one_image_is_chosen(strategy):
    check(strategy.query(random_candidates(1, seed=1), LABELED, 1, chance()), 1, 1)
    check(strategy.query(random_candidates(1, seed=1), NONE_LABELED, 5, chance()), 1, 1)


@pytest.mark.parametrize("labeled", [LABELED, NONE_LABELED, duplicates(4)], ids=["some", "none", "the same"])
def test_a_pool_of_duplicates_gives_distinct_positions(strategy, labeled):
    check(strategy.query(duplicates(30), labeled, 20, chance()), 30, 20)


def test_certain_predictions_give_finite_scores(strategy):
    pool = random_candidates(30, seed=1)
    certain = torch.nn.functional.one_hot(torch.arange(30) % 5, 5).float()[:, None]
    check(strategy.query(replace(pool, probabilities=certain), LABELED, 12, chance()), 30, 12)


def test_many_distributions_of_an_image_count_as_their_weights_say(strategy):
    if strategy.one_distribution:
        return
    pool = random_candidates(30, seed=1)
    many = replace(pool, probabilities=pool.probabilities.repeat(1, 3, 1), dropout=0.7)
    check(strategy.query(many, LABELED, 12, chance()), 30, 12)


def test_only_what_asks_for_the_answer_itself_needs_a_single_distribution(strategy, name):
    assert strategy.one_distribution == (name in {"badge", "dropquery"})


def test_embeddings_of_zeros_give_finite_scores(strategy):
    pool = random_candidates(30, seed=1)
    check(strategy.query(replace(pool, embedding=torch.zeros(30, 8)), LABELED, 12, chance()), 30, 12)


@pytest.mark.parametrize("name", [name for name in STRATEGIES.names() if name != "random"])
def test_a_prediction_that_is_not_a_number_is_never_chosen_silently(name):
    pool = random_candidates(30, seed=1)
    for broken in (pool.probabilities, pool.embedding, pool.predicted_loss):
        broken[17] = torch.nan
    with pytest.raises(FloatingPointError, match="position 17"):
        STRATEGIES.load(name)().query(pool, LABELED, 3, chance())
