import pytest

from alctl.metrics import LossRanking, Metrics, RankingInterval, RankingLead, UncertaintyRanking, metrics_of

RANKING = LossRanking(0.75, 0.7, 2, 0, None, 0.5)
FREE = UncertaintyRanking(0.7, 0.6)
LEAD = RankingLead(0.15, 0.05, 0.05, 0.25, 30)


@pytest.mark.parametrize(
    "metrics",
    [
        Metrics({"accuracy": 0.5, "balanced_accuracy": None}),
        Metrics({"pck": 0.5}, 1.25),
        Metrics({"accuracy": 0.5}, 1.25, RANKING),
        Metrics({"accuracy": 0.5}, 1.25, RANKING, 30, RankingInterval(0.6, 0.8)),
        Metrics({"accuracy": 0.5}, 1.25, RANKING, 30, RankingInterval(None, None)),
        Metrics({"accuracy": 0.5}, 1.25, uncertainty=UncertaintyRanking(None, None)),
        Metrics({"accuracy": 0.5}, 1.25, RANKING, 30, RankingInterval(0.6, 0.8), FREE, LEAD),
    ],
)
def test_metrics_come_back_from_their_names(metrics):
    assert metrics_of(metrics.by_name()) == metrics


def test_names_are_those_of_the_database_in_their_order():
    whole = Metrics({"accuracy": 0.5}, 1.25, RANKING, 30, RankingInterval(0.6, 0.8), FREE, LEAD)
    assert list(whole.by_name()) == [
        "accuracy", "target_loss", "ranking_accuracy", "ranking_accuracy_strict", "ties_predicted", "ties_true",
        "pearson", "spearman", "entropy_ranking_accuracy", "margin_ranking_accuracy", "images",
        "ranking_accuracy_low", "ranking_accuracy_high", "lead_over_margin", "lead_se", "lead_low", "lead_high",
        "lead_images",
    ]  # fmt: skip


def test_metrics_of_before_the_comparison_with_margin_still_load():
    old = {
        "accuracy": 0.5,
        "target_loss": 1.0,
        "ranking_accuracy": 0.6,
        "images": 30,
        "ranking_accuracy_low": 0.5,
    }
    found = metrics_of(old)
    assert (found.uncertainty, found.lead) == (None, None)
    assert found.ranking is not None
