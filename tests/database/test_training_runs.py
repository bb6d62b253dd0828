from dataclasses import replace

from alctl.database import training_runs
from alctl.database.connection import writing
from alctl.database.training_runs import TrainingRun
from alctl.metrics import LossRanking, Metrics, RankingInterval
from tests.pools import NOW, pool

RUN = TrainingRun(
    1, "f" * 64, 7, {"model": "resnet18", "epochs": 2, "lr": 0.1}, ["cat", "dog"], 2,
    {
        "validation": Metrics({"accuracy": 0.5}, 1.5, LossRanking(0.6, 0.6, 0, 0, None, None), 20, RankingInterval(0.5, 0.7)),
        "test": Metrics({"accuracy": 0.25}, 2.5),
    },
    {"test": Metrics({"accuracy": 0.75}, 0.5)},
    {"device": "cpu", "weights": "none", "merged": [[0, 1]]}, "models/run-0001.safetensors", "d" * 64, 1.5, NOW,
)  # fmt: skip


def test_a_training_run_is_read_back_as_it_was_written(url):
    second = replace(RUN, id=2, fingerprint="e" * 64, report={}, environment={"started_from": 1})
    with pool(url, 5) as engine, writing(engine) as connection:
        for run in (RUN, second):
            training_runs.write_run(connection, run, [1, 2])
        assert training_runs.every_run(connection) == [RUN, second]
        assert training_runs.last_run(connection) == second
        assert training_runs.last_run(connection, RUN.fingerprint) == RUN
        assert training_runs.last_run(connection, "nothing") is None
        assert training_runs.run_with(connection, 3) is None
    assert (RUN.merged, RUN.weights, RUN.started_from) == ([[0, 1]], "none", None)
    assert (second.merged, second.started_from) == ([], 1)


def test_json_shows_metrics_by_split_and_name_and_those_of_the_model_to_report_beside():
    plain = RUN.plain()
    assert list(plain) == [
        "id", "fingerprint", "seed", "config", "categories", "labeled", "metrics", "environment", "file", "digest",
        "seconds", "created_at",
    ]  # fmt: skip
    assert plain["metrics"]["test"] == {"accuracy": 0.25, "target_loss": 2.5}
    assert plain["metrics"]["report"] == {"test": {"accuracy": 0.75, "target_loss": 0.5}}
    assert "report" not in replace(RUN, report={}).plain()["metrics"]
