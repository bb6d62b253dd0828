"""Selecting a round, step by step: what the pool holds, what the strategy chooses of it, the record.

What takes torch is imported only where a strategy needs it (`alctl.rounds.choose`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from sqlalchemy import Connection

from alctl.annotators import ledger
from alctl.database import rounds, rounds_out, training_runs
from alctl.database.bulk import discard
from alctl.database.rounds import Chosen
from alctl.errors import AlctlError
from alctl.images.decode import BrokenImages, MissingImages, allow_missing, check_decodable
from alctl.plugins import Plugins, unknown
from alctl.progress import Progress
from alctl.project import Project, now
from alctl.rounds.answer import Decided, Kept, at_random
from alctl.rounds.pool import Found, Incomparable, look, quarantine
from alctl.rounds.select_options import AUTO, RANDOM, Limits, SelectOptions

if TYPE_CHECKING:
    from alctl.rounds.cold_start_guard import Judgement
    from alctl.rounds.duplicates import Duplicates
    from alctl.rounds.strategy_choice import Choice


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
    guard: "Judgement | None" = None
    """Whether the predicted losses may choose, and why; None where nobody asked: no guard, or no predicted losses."""
    choice: "Choice | None" = None
    """Who chooses where no strategy was named, and why."""
    quarantined: Mapping[int, str] = field(default_factory=dict)
    """Images that turned out not to decode and were replaced, by item id, and why."""
    missing: Mapping[int, str] = field(default_factory=dict)
    """Images that are not there and were left out, by item id, and where they should be."""
    incomparable: Sequence[int] = ()
    """Items that a strategy that compares images could not choose: their embedding is zero or not finite."""
    stale: Sequence[str] = ()
    """Classes that the model has never seen, because they were added after it was trained."""
    duplicates: "Duplicates | None" = None
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
    check_strategies(options)
    due, terms = ledger.due_at(options.due), ledger.terms(options.annotators, options.overlap)
    choose = _chooser(project, options, progress)
    quarantined, missing, incomparable = dict[int, str](), dict[int, str](), set[int]()
    with project.held("select", "select.lock"):
        while True:
            found = look(project, options, missing, incomparable)
            try:
                decided = choose(found)
                picked = [source for source, _ in decided.answer.of(found.subset)]
                out = [*picked, *found.control, *found.reserved]
                check_decodable(out, progress)  # before anybody is asked to label them
            except BrokenImages as broken:
                quarantine(project, broken, progress)
                quarantined |= broken.reasons
                continue
            except Incomparable as useless:
                incomparable |= useless.ids
                continue
            except MissingImages as gone:
                allow_missing(missing := missing | gone.reasons, found.looked_at)
                continue
            selected = _selected(options, found, decided, terms)
            left_out = sorted(incomparable)
            selected = replace(selected, quarantined=quarantined, missing=missing, incomparable=left_out)
            with project.recording("select", progress) as connection:
                if not _still_free(connection, selected, options):
                    continue  # labels of some of them were imported meanwhile
                if options.resend:
                    selected = asked_after(selected, rounds_out.newest_label(connection))
                _record(connection, selected, found.seed, due, decided)
                if options.dry_run:
                    discard(connection)
            return selected


def check_strategies(options: SelectOptions) -> None:
    """Refuse strategies that do not exist, before anything is imported or read for them."""
    names = Plugins("alctl.model.strategies", object).names()
    for name in (options.strategy, options.fallback):
        if name not in {"", AUTO, *names}:
            raise AlctlError(unknown(name, names, "strategies"))


def _chooser(project: Project, options: SelectOptions, progress: Progress) -> Callable[[Found], Decided]:
    """Return who chooses."""
    if _plainly_random(project, options):
        return lambda found: at_random(found, options)
    from alctl.rounds.choose import chooser

    return chooser(project, options, progress)


def _plainly_random(project: Project, options: SelectOptions) -> bool:
    """Tell whether a round is random and nothing else: nobody looks at an image or asks a model."""
    if options.params or options.limits != Limits():
        return False
    if options.strategy or project.config.select.first != RANDOM:
        return options.strategy == RANDOM
    with project.reading() as connection:
        return training_runs.last_run(connection) is None


def _selected(options: SelectOptions, found: Found, decided: Decided, terms: rounds_out.Terms) -> Selected:
    """Return the round as it is to be recorded: the strategy's picks, then the control, then the reserved items."""
    answer = decided.answer
    picks = [
        Chosen(source.id, rank, None if decided.strategy == RANDOM else score, "picked")
        for rank, (source, score) in enumerate(answer.of(found.subset), start=1)
    ]
    control = enumerate(found.control, start=len(picks) + 1)
    picks += [Chosen(source.id, rank, None, rounds.CONTROL) for rank, source in control]
    reserved = zip(found.reserved, found.splits, strict=True)
    picks += [Chosen(source.id, None, None, split) for source, split in reserved]
    known = found.classes if decided.known is None else decided.known
    return Selected(
        found.number,
        decided.strategy,
        options.k,
        len(found.subset),
        found.left,
        decided.run,
        {**decided.params, **terms.params(), **decided.judged, **answer.params},
        picks,
        len(found.reserved),
        len(found.control),
        decided.judgement,
        decided.choice,
        stale=[name for name in found.classes if name not in known],
        duplicates=answer.duplicates,
        limits=answer.kept,
    )


def asked_after(selected: Selected, label: int) -> Selected:
    """Return a round that takes only answers newer than this label, because its items have older ones."""
    return replace(selected, params={**selected.params, rounds_out.AFTER: label})


def _still_free(connection: Connection, selected: Selected, options: SelectOptions) -> bool:
    """Tell whether none of the picks was answered or sent since the subset was drawn."""
    ids = np.array([pick.item for pick in selected.picks if pick.rank], dtype=np.int64)
    return len(rounds.free_of(connection, ids, resend=options.resend)) == len(ids)


def _record(connection: Connection, selected: Selected, seed: int, due: str | None, decided: Decided) -> None:
    """Write the round, if it picked anything, and which embeddings it compared images by, if it did."""
    if selected.picks:
        record(connection, selected, seed, due)
    if decided.used is not None:
        from alctl.rounds.backbones import use

        use(connection, decided.used)


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
