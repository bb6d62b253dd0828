"""Fitting a probe to the frozen embeddings of what is labeled, measuring it, and recording it as a training run."""

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from torch import Tensor

from alctl.chance import stream
from alctl.database import items, settings, training_runs
from alctl.database.training_runs import TrainingRun
from alctl.errors import AlctlError
from alctl.images.decode import BrokenImages, Source
from alctl.images.embeddings import Embeddings
from alctl.metrics import Metrics
from alctl.model import probe as probes
from alctl.model import score
from alctl.model.calibration import Floats
from alctl.model.probe import Probe
from alctl.progress import Progress, silent
from alctl.project import Project, required_state
from alctl.rounds import frozen
from alctl.rounds.backbones import Used, digests_of, use
from alctl.rounds.pool import quarantine, source_of
from alctl.rounds.probe_model import probe_of, said_of
from alctl.rounds.train_plan import FinishedRun, Plan, Trained, record
from alctl.rounds.training_set import Labeled

FEWEST = 1_000
"""Images of the pool that its mean is taken over at least, if it has so many."""

FITTING = 0.002
"""Seconds that fitting takes a label: 7.7 at 5,000 of them, less with fewer."""


class _Embedded(NamedTuple):
    """Labeled images that can be decoded, and their vectors (N, D)."""

    labeled: Labeled
    vectors: Tensor


def fit_probe(project: Project, plan: Plan, used: Used, progress: Progress) -> FinishedRun:
    """Fit a probe to what is labeled and record it; embeddings that are missing are computed first.

    An image that cannot be decoded is quarantined and left out.
    """
    with project.held("train", "train.lock"):
        started, broken = time.perf_counter(), dict[int, str]()
        splits = {
            split: _embedded(project, plan, used, some, broken, progress)
            for split, some in plan.splits.items()
        }
        pool = splits["pool"]
        if not pool.labeled.sources:
            raise AlctlError("none of the labeled images can be decoded, so there is nothing to learn from")
        mean = pool_mean(project, plan, used, broken, progress)
        progress("fitting the probe", 0, 1)
        fitted = probes.fit(
            pool.vectors, pool.labeled.targets["class"], plan.task.names, pool_mean=mean, embedding=used.key.digest,
            l2=plan.config.head_l2,
        )  # fmt: skip
        progress("fitting the probe", 1, 1)
        info = {
            "task": str(project.state().task), "fingerprint": plan.fingerprint, "embedding": used.plain(),
        }  # fmt: skip
        came = Trained(
            plan.config, lambda file: probes.save(file, fitted, info), f"{used.name}, frozen",
            [source.id for source in pool.labeled.sources], _measure(plan, fitted, splits), {},
            time.perf_counter() - started,
        )  # fmt: skip
        with project.recording("train", progress) as connection:
            use(connection, used)
        return FinishedRun(record(project, plan, came, progress), 0, broken, plan.missing, plan.idle)


def seconds_of(project: Project, plan: Plan) -> float | None:
    """Return about how long fitting a probe to what is labeled would take, embeddings included; None if it cannot be.

    Measured on a few images where some lack an embedding.
    """
    sources = [some.sources for some in plan.splits.values()]
    found = frozen.FrozenGroups(project, sources, silent, device=plan.config.device).at_hand
    return found.seconds + FITTING * len(sources[0]) if found.backbone else None


def probe_measured_again(
    project: Project, plan: Plan, finished: TrainingRun, progress: Progress
) -> TrainingRun:
    """Return the finished run of a plan, measured again on what is labeled by now, and recorded if that changed it."""
    model = probe_of(project, finished, plan.config.device)
    with project.held("train", "train.lock"):
        held = {
            split: _embedded(project, plan, model.used, some, {}, progress)
            for split, some in plan.splits.items()
            if split != "pool"
        }
        again = replace(finished, metrics=_measure(plan, model.probe, held))
        if again != finished:
            with project.recording("train", progress) as connection:
                training_runs.write_metrics(connection, again)
    return again


def _embedded(
    project: Project, plan: Plan, used: Used, some: Labeled, broken: dict[int, str], progress: Progress
) -> _Embedded:
    """Return the images that can be decoded, with their vectors; quarantine the others, and add them to ``broken``."""
    while True:
        try:
            return _Embedded(some, frozen.vectors(project, used, some.sources, progress, plan.config.device))
        except BrokenImages as found:
            quarantine(project, found, progress)
            broken |= found.reasons
            some = some.without(found.reasons)


def _measure(plan: Plan, probe: Probe, splits: Mapping[str, _Embedded]) -> dict[str, Metrics]:
    """Return the metrics of a probe on each reserved split that has labels."""
    return {
        split: score.measure(
            said_of(plan.task, probes.predict(probe, vectors), some.targets), interval=split == "validation"
        )
        for split, (some, vectors) in splits.items()
        if split != "pool" and some.sources
    }  # fmt: skip


def pool_mean(project: Project, plan: Plan, used: Used, broken: dict[int, str], progress: Progress) -> Floats:
    """Return the mean (D,) of the pool's unit vectors: found once for these embeddings, and the same ever after.

    It is taken over all images of the pool that have a vector by then, and over `FEWEST` random ones at least.
    """
    name = f"{settings.MEAN} {used.key.digest}"
    with project.reading() as connection:
        known = settings.read(connection, name)
        if known is not None:
            return np.array(known)
        state = required_state(connection, project.folder)
        ids, digests = items.digests(connection)
        pool = np.isin(ids, items.usable(connection, "pool"))
        ids, digests = ids[pool], digests[pool]
        there = Embeddings(project.cache, used.key).rows(digests) >= 0
        lacking = np.random.default_rng(stream(state.seed, "mean")).permutation(ids[~there])
        wanted = lacking[: max(0, FEWEST - int(there.sum()))]
        more = [source_of(state.root, item) for item in items.fetch(connection, wanted)]
    added = _embedded_sources(project, plan, used, more, broken, progress)
    table = Embeddings(project.cache, used.key)
    total, count = np.zeros(used.key.dimension), 0
    every = np.concatenate([digests[there], digests_of(added)])
    for block in table.blocks(every):
        lengths = np.linalg.norm(block.astype(np.float64), axis=1)
        total += (block[lengths > 0] / lengths[lengths > 0, None]).sum(axis=0)
        count += int((lengths > 0).sum())
    mean: Floats = total / max(count, 1)
    with project.recording("train", progress) as connection:
        settings.write(connection, name, mean.tolist())
    return mean


def _embedded_sources(
    project: Project, plan: Plan, used: Used, sources: list[Source], broken: dict[int, str], progress: Progress
) -> list[Source]:  # fmt: skip
    """Give images their vectors, and return those that can be decoded; quarantine the others."""
    try:
        frozen.vectors(project, used, sources, progress, plan.config.device)
    except BrokenImages as found:
        quarantine(project, found, progress)
        broken |= found.reasons
    return [source for source in sources if source.id not in broken]
