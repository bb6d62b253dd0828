import pytest

from alctl.metrics import LossRanking, Metrics, RankingInterval, metrics_of

RANKING = LossRanking(0.75, 0.7, 2, 0, None, 0.5)


@pytest.mark.parametrize(
    "metrics",
    [
        Metrics({"accuracy": 0.5, "balanced_accuracy": None}),
        Metrics({"pck": 0.5}, 1.25),
        Metrics({"accuracy": 0.5}, 1.25, RANKING),
        Metrics({"accuracy": 0.5}, 1.25, RANKING, 30, RankingInterval(0.6, 0.8)),
        Metrics({"accuracy": 0.5}, 1.25, RANKING, 30, RankingInterval(None, None)),
    ],
)
def test_metrics_come_back_from_their_names(metrics):
    assert metrics_of(metrics.by_name()) == metrics


def test_names_are_those_of_the_database_in_their_order():
    whole = Metrics({"accuracy": 0.5}, 1.25, RANKING, 30, RankingInterval(0.6, 0.8))
    assert list(whole.by_name()) == [
        "accuracy", "target_loss", "ranking_accuracy", "ranking_accuracy_strict", "ties_predicted", "ties_true",
        "pearson", "spearman", "images", "ranking_accuracy_low", "ranking_accuracy_high",
    ]  # fmt: skip
