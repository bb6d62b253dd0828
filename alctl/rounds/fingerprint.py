"""Fingerprints of training runs: two runs with the same fingerprint get the same weights.

A fingerprint is a digest of the class list, the settings, the seed and the labels and, after a warm start, of the run
whose weights it starts from.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from alctl.config import TrainConfig
from alctl.database.training_runs import TrainingRun

LATER: Mapping[str, frozenset[object]] = {
    "dropout": frozenset({0.0}),
    "flip": frozenset({True, "auto"}),
    "image_height": frozenset({0}),
    "optimizer": frozenset({"sgd"}),
    "power": frozenset({0.9}),
    "schedule": frozenset({"step"}),
    "task": frozenset({""}),
}
BEFORE: Mapping[str, Mapping[float, float]] = {"epochs": {0: 200}, "lr": {0.0: 0.1}}
"""What these settings were by default before they followed from weights and labels."""
"""Settings that came later, with the values at which a run is the same as before there was one."""


def fingerprint_of(
    categories: Sequence[str],
    config: TrainConfig,
    seed: int,
    learned: Sequence[object],
    *,
    fine_tuned: bool = False,
) -> str:
    """Return the fingerprint of a cold start; ``learned`` is the labeled images as plain data, fit for JSON.

    Training from weights that were learned before differs from what it was under the same settings.
    """
    left_out = {"checkpoint_every", "head", "head_l2"} | {
        k for k, old in LATER.items() if getattr(config, k) in old
    }
    settings = {k: v for k, v in asdict(config).items() if k not in left_out}
    if fine_tuned:
        settings["fine_tuned"] = True
    else:
        settings |= {k: known.get(settings[k], settings[k]) for k, known in BEFORE.items()}
    text = json.dumps([categories, settings, seed, learned], allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def fingerprint_of_probe(
    categories: Sequence[str], config: TrainConfig, embedding: str, learned: Sequence[object]
) -> str:
    """Return the fingerprint of a probe on the embeddings with this key: neither chance nor other settings matter."""
    text = json.dumps([categories, "probe", config.head_l2, embedding, learned], allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def fingerprint_after(own: str, before: TrainingRun | None) -> str:
    """Return the fingerprint of a warm start from the weights of ``before``; of a cold start where that is None.

    ``own`` is the fingerprint that the run would have as a cold start.
    """
    return own if before is None else hashlib.sha256(f"{own} after {before.fingerprint}".encode()).hexdigest()


def run_to_start_from(own: str, every: Sequence[TrainingRun]) -> TrainingRun | None:
    """Return the training run whose weights a warm start begins with: the last of ``every`` run, oldest first.

    If the last one is what would be trained again, it is the one that this started from: training again with the same
    labels and settings is the same run and not one more.
    """
    if not every:
        return None
    last = every[-1]
    earlier = next((run for run in every if run.id == last.started_from), None)
    return earlier if last.fingerprint == fingerprint_after(own, earlier) else last
