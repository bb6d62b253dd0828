"""Facts of a report written by hand: two runs, a round, and what a test changes of them."""

from dataclasses import replace
from typing import Any

from alctl.database.counts import SPLITS, STATES, State
from alctl.labels.annotation import Split
from alctl.report.contents import Facts, Gain, RoundFacts, Run
from alctl.report.measures import Estimate

RUN = Run(
    id=1,
    labeled=100,
    metrics={"test": {"accuracy": 0.5}},
    config={"model": "resnet18-cifar", "lr": 0.1, "device": "cpu"},
    seconds=1.0,
    seed=0,
    created_at="2026-01-01T00:00:00Z",
    environment={},
    file="models/run-0001.safetensors",
    digest="",
    round=None,
)
LATER = replace(RUN, id=2, labeled=200, metrics={"test": {"accuracy": 0.7}})
ROUND = RoundFacts(
    id=1, strategy="random", params={}, seed=0, requested=100, candidates=1_000, run_id=None, created_at=RUN.created_at,
    due_at=None, images=100, control=0, picked=100, reserved=0, answered=100, quarantined=0, out=0, shown=[],
)  # fmt: skip


def states(unlabeled: int, labeled: int = 200) -> dict[Split, dict[State, int]]:
    found: dict[Split, dict[State, int]] = {split: dict.fromkeys(STATES, 0) for split in SPLITS}
    found["pool"] |= {"labeled": labeled, "unlabeled": unlabeled}
    return found


def facts(gain: Gain | None = None, **changes: Any) -> Facts:
    known = Facts(
        project="p", folder="/p", root="/images", task="classification", metric="accuracy", created_at=RUN.created_at,
        generated_at=RUN.created_at, classes=["cat", "dog"], items=1_200, states=states(1_000), runs=[RUN, LATER],
        imports=1, balance=[], rounds=[ROUND], agreement=None, time=None, unusable=[], split="test", measured=400,
        gain=gain,
    )  # fmt: skip
    return replace(known, **changes)


def gain(low: float, high: float) -> Gain:
    rise = Estimate((low + high) / 2, low, high)
    return Gain(1, 2, 100, 200, images=400, how="paired", gain=rise, per_100=rise, changed=[])
