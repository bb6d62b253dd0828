from alctl.model.strategies.least_confidence import LeastConfidence
from tests.model.strategies.fakes import chance, from_probabilities


def test_the_image_whose_best_class_is_least_probable_comes_first():
    pool = from_probabilities([[0.5, 0.3, 0.2], [1, 0, 0], [0.45, 0.45, 0.1]])
    positions, scores = LeastConfidence().query(pool, pool, 3, chance())
    assert positions.tolist() == [2, 0, 1]
    assert scores.tolist() == [0.55, 0.5, 0]
