"""What a training run follows from, as a digest: labels, settings, seed and, after a warm start, the run before."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from alctl.config import TrainConfig


def fingerprint(categories: Sequence[str], config: TrainConfig, seed: int, learned: Sequence[Any]) -> str:
    """Return the digest of all that the weights of a cold start follow from; ``learned`` is plain data."""
    settings = {k: v for k, v in asdict(config).items() if k != "checkpoint_every"}
    text = json.dumps([categories, settings, seed, learned])
    return hashlib.sha256(text.encode()).hexdigest()


def gone_on(own: str, before: Mapping[str, Any] | None) -> str:
    """Return the fingerprint of a run that goes on from another, if there is one."""
    return (
        own if before is None else hashlib.sha256(f"{own} after {before['fingerprint']}".encode()).hexdigest()
    )


def run_before(own: str, every: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return which of ``every`` run, oldest first, a warm start goes on from: the last one.

    If the last one is what would be trained again, it is the one that this went on from: training again with the same
    labels and settings is the same run and not one more.
    """
    if not every:
        return None
    last = every[-1]
    earlier = next((run for run in every if run["id"] == last["environment"].get("started_from")), None)
    return earlier if last["fingerprint"] == gone_on(own, earlier) else last
