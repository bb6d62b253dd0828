"""Selecting a round. Strategies speak in positions, the pool in ids, and here they meet, once."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from sqlalchemy import Connection

from alctl.annotators.ledger import due_at
from alctl.annotators.ledger import terms as terms_of
from alctl.chance import stream
from alctl.database import categories, items, labels, rounds, rounds_out
from alctl.database.bulk import discard
from alctl.database.random_order import Ids
from alctl.errors import AlctlError
from alctl.images.pixels import BrokenImages, Source, check_decodable
from alctl.model.score import Scorer, Unscored
from alctl.model.strategy import STRATEGIES, Candidates, QueryStrategy
from alctl.plugins import configured
from alctl.progress import Progress
from alctl.project import Project, now, required_state
from alctl.rounds import cold_start_guard
from alctl.rounds.trained_model import Model, last_model
from alctl.rounds.training_set import cache_of, quarantine, source_of

UNTRAINED = "random"
"""The strategy of a round before anything is trained."""


@dataclass(frozen=True)
class SelectOptions:
    """How a round is selected."""

    k: int
    strategy: str = ""
    """Empty: the project's setting once a model is trained, before that random."""
    params: Mapping[str, Any] = field(default_factory=dict)
    subset: int | None = None
    seed: int | None = None
    resend: bool = False
    device: str = "auto"
    dry_run: bool = False
    guard: bool | None = None
    """Whether predicted losses must have proven themselves; None here and below: the project's setting."""
    fallback: str = ""
    control: float | None = None
    due: str = ""
    """When answers are due: "14d", "2w", "12h" from now, or a date."""
    annotators: str = ""
    """How many annotators share the round, or their names with commas between."""
    overlap: float = 0.0
    """Share of the images that all of them get."""


@dataclass
class Selected:
    """What a selection came to."""

    round: int
    strategy: str
    requested: int
    candidates: int = 0
    left: int = 0
    """Unlabeled items that were there before this round."""
    run: int | None = None
    params: dict[str, Any] = field(default_factory=dict)
    picks: list[dict[str, Any]] = field(default_factory=list)
    reserved: int = 0
    """Validation and test images that go out with this round."""
    control: int = 0
    """Picks that are random, to compare the strategy with; their ranks come last."""
    guard: dict[str, Any] | None = None
    """Why the fallback chose, and instead of which strategy."""
    quarantined: dict[int, str] = field(default_factory=dict)
    stale: list[str] = field(default_factory=list)
    """Classes that the model has never seen, because they were added after it was trained."""


def select(project: Project, options: SelectOptions, progress: Progress) -> Selected:
    """Choose up to ``k`` items for annotators and record the round in one transaction; nothing else moves.

    Images that turn out not to decode are quarantined, and the next ones of the random order take their place.
    """
    due, terms = due_at(options.due), terms_of(options.annotators, options.overlap)
    model = None if options.strategy == UNTRAINED else last_model(project, options.device)
    name = options.strategy or (project.config.select.strategy if model else UNTRAINED)
    strategy = make_strategy(name, options.params)
    doubt = _doubt(project, options, strategy, model)
    if doubt is not None:
        doubt["instead_of"] = name
        name = options.fallback or project.config.select.fallback
        strategy = _fallback(name)
    quarantined: dict[int, str] = {}
    with project.held("select", "select.lock"):
        while True:
            situation = _look(project, options, model)
            try:
                selected = _choose(project, options, strategy, model, situation, progress)
            except BrokenImages as broken:
                quarantine(project, broken)
                quarantined |= broken.reasons
                continue
            selected.strategy, selected.quarantined, selected.guard = name, quarantined, doubt
            selected.params |= terms if doubt is None else {**terms, "guard": doubt}
            with project.writing("select") as connection:
                if not _still_free(connection, selected, options):
                    continue  # labels of some of them were imported meanwhile
                if options.resend:
                    selected.params[rounds_out.AFTER] = rounds_out.newest_label(connection)
                if selected.picks:
                    record(connection, selected, situation.seed, due)
                if options.dry_run:
                    discard(connection)
            return selected


def _doubt(
    project: Project, options: SelectOptions, strategy: QueryStrategy, model: Model | None
) -> dict[str, Any] | None:
    """Return why the strategy's predicted losses are not to be used yet; None if they are, or it needs none."""
    wanted = project.config.select.guard if options.guard is None else options.guard
    if not wanted or not strategy.uses_predicted_loss or model is None or model.trained.module is None:
        return None
    return cold_start_guard.doubt(model.run)


def _fallback(name: str) -> QueryStrategy:
    strategy = make_strategy(name, {})
    if strategy.uses_predicted_loss:
        raise AlctlError(
            f"{name!r} reads predicted losses too and cannot stand in for them; choose another --fallback"
        )
    return strategy


def make_strategy(name: str, params: Mapping[str, Any]) -> QueryStrategy:
    """Build a strategy; a parameter that it does not have, or of the wrong kind, raises AlctlError."""
    return configured(STRATEGIES.load(name), params, f"strategy {name!r}")


@dataclass(frozen=True)
class _Situation:
    """What the database says before a selection."""

    number: int
    seed: int
    left: int
    control: list[Source]
    subset: list[Source]
    labeled: list[Source]
    reserved: list[tuple[Source, str]]
    classes: list[str]


def _look(project: Project, options: SelectOptions, model: Model | None) -> _Situation:
    """Read the state of the pool and draw the random subset."""
    size = project.config.select.subset if options.subset is None else options.subset
    share = project.config.select.control if options.control is None else options.control
    with project.reading() as connection:
        state = required_state(connection, project.folder)
        number = rounds.next_round(connection)
        seed = state.seed if options.seed is None else options.seed
        wanted = max(size, options.k) if size else 0
        subset = rounds.subset(connection, wanted, seed, number, resend=options.resend)
        left = rounds.unlabeled(connection, resend=options.resend)
        control = np.empty(0, dtype=np.int64)
        if share and left:
            count = max(1, round(share * min(options.k, left)))
            own = stream(seed, "control")
            control = rounds.subset(connection, count, own, number, resend=options.resend)
            subset = subset[~np.isin(subset, control)]
        labeled = labels.labeled_ids(connection) if model else []
        reserved = rounds.unsent_reserved(connection)

        def sources(ids: Ids | list[int]) -> list[Source]:
            found = items.fetch(connection, np.asarray(ids, dtype=np.int64))
            return [source_of(state.root, item) for item in found]

        return _Situation(
            number,
            seed,
            left,
            sources(control),
            sources(subset),
            sources(labeled),
            list(zip(sources([i for i, _ in reserved]), [split for _, split in reserved], strict=True)),
            [found.name for found in categories.as_categories(connection, living=True)],
        )


def _choose(
    project: Project,
    options: SelectOptions,
    strategy: QueryStrategy,
    model: Model | None,
    now_: _Situation,
    progress: Progress,
) -> Selected:
    """Ask the strategy, and turn its positions into items."""
    selected = Selected(
        now_.number,
        "",
        options.k,
        len(now_.subset),
        now_.left,
        params=asdict(strategy),
        reserved=len(now_.reserved),
        control=len(now_.control),
    )
    chosen: list[Source] = []
    scores: list[float] = []
    wanted = options.k - len(now_.control)
    if now_.subset and wanted:
        unlabeled = _candidates(project, model, now_.subset, progress)
        labeled = _candidates(project, model, now_.labeled, progress)
        rng = torch.Generator().manual_seed(stream(now_.seed, "strategy", now_.number))
        answer = strategy.query(unlabeled, labeled, wanted, rng)
        chosen = [now_.subset[position] for position in answer.positions.tolist()]
        scores = answer.scores.tolist()
    out = [*chosen, *now_.control, *(source for source, _ in now_.reserved)]
    check_decodable(out, progress)  # before anybody is asked to label them
    if model is not None:
        selected.run = model.run["id"]
        selected.stale = [name for name in now_.classes if name not in model.task.categories]
    selected.picks = [
        {"item": source.id, "rank": rank, "score": value, "why": "picked"}
        for rank, (source, value) in enumerate(zip(chosen, scores, strict=True), start=1)
    ]
    selected.picks += [
        {"item": source.id, "rank": rank, "score": None, "why": rounds.CONTROL}
        for rank, source in enumerate(now_.control, start=len(chosen) + 1)
    ]
    selected.picks += [
        {"item": source.id, "rank": None, "score": None, "why": split} for source, split in now_.reserved
    ]
    return selected


def _candidates(
    project: Project, model: Model | None, sources: list[Source], progress: Progress
) -> Candidates:
    """Return what a strategy may ask of these images."""
    if model is None:
        return Unscored(len(sources))
    cache = cache_of(project, model.task, model.trained.config.image_size)
    return Scorer(model.trained, model.task, partial(cache.batches, sources, progress), len(sources))


def _still_free(connection: Connection, selected: Selected, options: SelectOptions) -> bool:
    """Tell whether none of the picks was answered or sent since the subset was drawn."""
    ids = np.array([pick["item"] for pick in selected.picks if pick["rank"]], dtype=np.int64)
    return len(rounds.free_of(connection, ids, resend=options.resend)) == len(ids)


def record(connection: Connection, selected: Selected, seed: int, due: str | None) -> None:
    """Write the round, every item's rank and score with it."""
    values = {
        "id": selected.round,
        "strategy": selected.strategy,
        "params": selected.params,
        "seed": seed,
        "requested": selected.requested,
        "candidates": selected.candidates,
        "run_id": selected.run,
        "created_at": now(),
        "due_at": due,
    }
    rows = [(selected.round, p["item"], p["rank"], p["score"], p["why"]) for p in selected.picks]
    rounds.write_round(connection, values, rows)
