"""Selecting a round, step by step: what the pool holds, what the strategy may choose from, its answer, the record.

Strategies speak in positions, the pool in ids, and they meet in `_choose`, once. The random subset that a strategy
chooses from is drawn by `alctl.database.rounds.subset`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import NamedTuple

import numpy as np
import torch
from sqlalchemy import Connection
from torch import Tensor

from alctl.annotators import ledger
from alctl.chance import stream
from alctl.database import categories, items, labels, rounds, rounds_out
from alctl.database.bulk import discard
from alctl.database.random_order import Ids
from alctl.database.rounds import Chosen
from alctl.errors import AlctlError
from alctl.images.pixels import BrokenImages, Source, check_decodable
from alctl.model.score import Unscored
from alctl.model.strategy import STRATEGIES, Candidates, Prediction, QueryStrategy
from alctl.plugins import configured
from alctl.progress import Progress
from alctl.project import Project, now, required_state
from alctl.rounds import cold_start_guard, embed, limits
from alctl.rounds.cold_start_guard import Judgement
from alctl.rounds.duplicates import Duplicates, Images
from alctl.rounds.limits import Answer, Kept, Limits
from alctl.rounds.trained_model import Model, last_model, scorer
from alctl.rounds.training_set import quarantine, source_of

UNTRAINED = "random"
"""The strategy of a round before anything is trained."""


@dataclass(frozen=True)
class SelectOptions:
    """How a round is selected."""

    k: int
    strategy: str = ""
    """Empty: the project's setting once a model is trained, before that random."""
    params: Mapping[str, object] = field(default_factory=dict)
    subset: int | None = None
    seed: int | None = None
    resend: bool = False
    device: str = "auto"
    dry_run: bool = False
    guard: bool | None = None
    """Whether predicted losses have to be as good as margin; None here and below: the project's setting."""
    fallback: str = ""
    control: float | None = None
    due: str = ""
    """When answers are due: "14d", "2w", "12h" from now, or a date."""
    annotators: str = ""
    """How many annotators share the round, or their names with commas between."""
    overlap: float = 0.0
    """Share of the images that all of them get."""
    limits: Limits = Limits()
    """On near-duplicates, shares of groups and classes."""


@dataclass(frozen=True)
class Selected:
    """A round as it was selected."""

    round: int
    strategy: str
    requested: int
    candidates: int
    left: int
    """Unlabeled items that were there before this round."""
    run: int | None
    """The training run whose model was asked."""
    params: Mapping[str, object]
    """As they are recorded: of the strategy, the terms for annotators, the guard's judgement, what limits did."""
    picks: Sequence[Chosen]
    reserved: int = 0
    """Validation and test images that go out with this round."""
    control: int = 0
    """Picks that are random, to compare the strategy with; their ranks come last."""
    guard: Judgement | None = None
    """Whether the predicted losses may choose, and why; None where nobody asked: no guard, or no predicted losses."""
    quarantined: Mapping[int, str] = field(default_factory=dict)
    """Images that turned out not to decode and were replaced, by item id, and why."""
    stale: Sequence[str] = ()
    """Classes that the model has never seen, because they were added after it was trained."""
    duplicates: Duplicates | None = None
    """Candidates that are nearly the same as others or labeled ones; None where nobody looked."""
    limits: Kept | None = None
    """How far shares of groups and classes were kept; None where nothing was limited."""

    @property
    def terms(self) -> rounds_out.Terms:
        """How the round is shared among annotators."""
        return rounds_out.terms_of(self.params)


def select(project: Project, options: SelectOptions, progress: Progress) -> Selected:
    """Choose up to ``k`` items for annotators and record the round in one transaction; nothing else moves.

    Images that turn out not to decode are quarantined, and the next ones of the random order take their place.
    """
    due, terms = ledger.due_at(options.due), ledger.terms(options.annotators, options.overlap)
    model = None if options.strategy == UNTRAINED else last_model(project, options.device)
    asked = _asked(project, options, model)
    quarantined: dict[int, str] = {}
    with project.held("select", "select.lock"):
        while True:
            found = _look(project, options, model)
            try:
                chosen = _choose(project, asked, found, options, progress)
                out = [*(source for source, _ in chosen.of(found.subset)), *found.control, *found.reserved]
                check_decodable(out, progress)  # before anybody is asked to label them
            except BrokenImages as broken:
                quarantine(project, broken)
                quarantined |= broken.reasons
                continue
            selected = replace(_selected(options, asked, found, chosen, terms), quarantined=quarantined)
            with project.writing("select") as connection:
                if not _still_free(connection, selected, options):
                    continue  # labels of some of them were imported meanwhile
                if options.resend:
                    selected = asked_after(selected, rounds_out.newest_label(connection))
                if selected.picks:
                    record(connection, selected, found.seed, due)
                if options.dry_run:
                    discard(connection)
            return selected


class _Asked(NamedTuple):
    """Who chooses."""

    name: str
    strategy: QueryStrategy
    judgement: Judgement | None
    """What the guard said, if it was asked; where it did not trust predicted losses, the strategy is the fallback."""
    model: Model | None


def _asked(project: Project, options: SelectOptions, model: Model | None) -> _Asked:
    """Return the strategy that was asked for, or the fallback where the guard does not trust its predicted losses."""
    name = options.strategy or (project.config.select.strategy if model else UNTRAINED)
    strategy = make_strategy(name, options.params)
    rule = cold_start_guard.rule_of(setting=project.config.select.guard, asked=options.guard)
    if rule is None or not strategy.uses_predicted_loss or model is None or model.trained.module is None:
        return _Asked(name, strategy, None, model)
    judgement = cold_start_guard.judge(model.run, name, rule)
    if judgement.trusted:
        return _Asked(name, strategy, judgement, model)
    name = cold_start_guard.fallback(options.fallback or project.config.select.fallback, judgement.images)
    strategy = make_strategy(name, {})
    if strategy.uses_predicted_loss:
        raise AlctlError(
            f"{name!r} reads predicted losses too and cannot stand in for them; choose another --fallback"
        )
    return _Asked(name, strategy, judgement, model)


def make_strategy(name: str, params: Mapping[str, object]) -> QueryStrategy:
    """Build a strategy; a parameter that it does not have, or of the wrong kind, raises AlctlError."""
    return configured(STRATEGIES.load(name), params, f"strategy {name!r}")


@dataclass(frozen=True)
class _Found:
    """What the database says before a selection."""

    number: int
    seed: int
    left: int
    root: str
    """The folder of the images."""
    control: list[Source]
    subset: list[Source]
    """The random subset: what the strategy may choose from."""
    labeled: list[Source]
    reserved: list[Source]
    splits: list[str]
    """Of each reserved item."""
    classes: list[str]


def _look(project: Project, options: SelectOptions, model: Model | None) -> _Found:
    """Read the state of the pool; draw the random subset, and the control images beside it."""
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
        labeled = labels.labeled_ids(connection) if model or embed.in_use(connection) else []
        reserved = rounds.unsent_reserved(connection)

        def sources(ids: Ids | list[int]) -> list[Source]:
            found = items.fetch(connection, np.asarray(ids, dtype=np.int64))
            return [source_of(state.root, item) for item in found]

        return _Found(
            number, seed, left, state.root, sources(control), sources(subset), sources(labeled),
            sources([item for item, _ in reserved]), [split for _, split in reserved],
            [known.name for known in categories.as_categories(connection, living=True)],
        )  # fmt: skip


def _choose(
    project: Project, asked: _Asked, found: _Found, options: SelectOptions, progress: Progress
) -> Answer:
    """Ask the strategy; return what it chose with the scores, best first: here its positions become items."""
    wanted = options.k - len(found.control)
    if not found.subset or not wanted:
        return limits.NOTHING
    both = [found.subset, found.labeled]
    frozen = None if asked.name == UNTRAINED else embed.frozen_vectors(project, both)
    unlabeled, labeled = (
        _candidates(project, asked.model, some, frozen[i] if frozen else None, progress)
        for i, some in enumerate(both)
    )
    rng = torch.Generator().manual_seed(stream(found.seed, "strategy", found.number))
    groups = [(unlabeled, found.subset), (labeled, found.labeled)]
    try:
        answer = limits.choose(
            project, asked.strategy, asked.model, Images(found.root, found.subset, found.labeled, found.control),
            (unlabeled, labeled), wanted, rng, options.limits, frozen, progress,
        )  # fmt: skip
    except FloatingPointError as error:
        raise _not_finite(asked, groups, str(error)) from error
    bad = (~torch.isfinite(answer.scores)).nonzero()
    if len(bad):
        raise _not_finite(asked, groups, f"the score of a pick is {answer.scores[int(bad[0])].item()}")
    return answer


def _not_finite(asked: _Asked, groups: Sequence[tuple[Candidates, list[Source]]], why: str) -> AlctlError:
    """Return the error for a strategy that met a number that is not finite, naming the image if the model made it."""
    text = f"strategy {asked.name!r} cannot choose: {why}"
    if asked.model is None:
        return AlctlError(text)
    module = asked.model.trained.module is not None

    def is_finite(said: Prediction) -> torch.Tensor:
        read = [said.probabilities.flatten(1), said.embedding]
        read += [said.predicted_loss[:, None]] if module else []
        return torch.stack([torch.isfinite(values).all(dim=1) for values in read]).all(dim=0)

    for candidates, sources in groups:
        bad = (~candidates.map(is_finite)).nonzero()
        if len(bad):
            source, config = sources[int(bad[0])], asked.model.trained.config
            return AlctlError(
                f"{text}. What training run {asked.model.run.id} says of item {source.id} ({source.path}) is no finite number, so "
                f"its training diverged: train with a lower learning rate than --lr {config.lr:g}, or use "
                "--strategy random"
            )
    return AlctlError(text)


def _candidates(
    project: Project, model: Model | None, sources: list[Source], frozen: Tensor | None, progress: Progress
) -> Candidates:
    """Return what a strategy may ask of these images, whose vectors (N, D) of a frozen backbone are ``frozen``."""
    if model is None:
        return Unscored(len(sources), frozen=frozen)
    return scorer(project, model, sources, progress, frozen)


def _selected(
    options: SelectOptions,
    asked: _Asked,
    found: _Found,
    chosen: Answer,
    terms: rounds_out.Terms,
) -> Selected:
    """Return the round as it is to be recorded: the strategy's picks, then the control, then the reserved items."""
    picks = [
        Chosen(source.id, rank, score, "picked")
        for rank, (source, score) in enumerate(chosen.of(found.subset), start=1)
    ]
    control = enumerate(found.control, start=len(picks) + 1)
    picks += [Chosen(source.id, rank, None, rounds.CONTROL) for rank, source in control]
    reserved = zip(found.reserved, found.splits, strict=True)
    picks += [Chosen(source.id, None, None, split) for source, split in reserved]
    known = asked.model.task.categories if asked.model else found.classes
    judged = {"guard": asdict(asked.judgement)} if asked.judgement else {}
    return Selected(
        found.number,
        asked.name,
        options.k,
        len(found.subset),
        found.left,
        asked.model.run.id if asked.model else None,
        {**asdict(asked.strategy), **terms.params(), **judged, **chosen.params},
        picks,
        len(found.reserved),
        len(found.control),
        asked.judgement,
        stale=[name for name in found.classes if name not in known],
        duplicates=chosen.duplicates,
        limits=chosen.kept,
    )


def asked_after(selected: Selected, label: int) -> Selected:
    """Return a round that takes only answers newer than this label, because its items have older ones."""
    return replace(selected, params={**selected.params, rounds_out.AFTER: label})


def _still_free(connection: Connection, selected: Selected, options: SelectOptions) -> bool:
    """Tell whether none of the picks was answered or sent since the subset was drawn."""
    ids = np.array([pick.item for pick in selected.picks if pick.rank], dtype=np.int64)
    return len(rounds.free_of(connection, ids, resend=options.resend)) == len(ids)


def record(connection: Connection, selected: Selected, seed: int, due: str | None) -> None:
    """Write the round, every item's rank and score with it."""
    made = rounds.Round(
        id=selected.round,
        strategy=selected.strategy,
        params=selected.params,
        seed=seed,
        requested=selected.requested,
        candidates=selected.candidates,
        run_id=selected.run,
        created_at=now(),
        due_at=due,
    )
    rounds.write_round(connection, made, selected.picks)
