"""Selecting a round, step by step: what the pool holds, what the strategy may choose from, its answer, the record.

Strategies speak in positions, the pool in ids, and they meet in `_choose`, once. The random subset that a strategy
chooses from is drawn by `alctl.database.rounds.subset`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

import numpy as np
import torch
from sqlalchemy import Connection

from alctl.annotators import ledger
from alctl.chance import stream
from alctl.database import categories, items, labels, rounds, rounds_out
from alctl.database.bulk import discard
from alctl.database.random_order import Ids
from alctl.database.rounds import Chosen
from alctl.errors import AlctlError
from alctl.images.decode import BrokenImages, MissingImages, Source, allow_missing, check_decodable
from alctl.model.score import Unscored
from alctl.model.strategy import Candidates, Prediction
from alctl.progress import Progress
from alctl.project import Project, now, required_state
from alctl.rounds import limits
from alctl.rounds.backbones import use
from alctl.rounds.cold_start_guard import Judgement
from alctl.rounds.duplicates import Duplicates, Images
from alctl.rounds.frozen import FrozenGroups
from alctl.rounds.limits import Answer, Kept
from alctl.rounds.model import Model
from alctl.rounds.select_options import SelectOptions
from alctl.rounds.strategy_choice import RANDOM, Asked, Choice, asked_strategy
from alctl.rounds.trained_model import last_model
from alctl.rounds.training_set import quarantine, source_of


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
    choice: Choice | None = None
    """Who chooses where no strategy was named, and why."""
    quarantined: Mapping[int, str] = field(default_factory=dict)
    """Images that turned out not to decode and were replaced, by item id, and why."""
    missing: Mapping[int, str] = field(default_factory=dict)
    """Images that are not there and were left out, by item id, and where they should be."""
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
    model = None if options.strategy == RANDOM else last_model(project, options.device)
    quarantined, missing = dict[int, str](), dict[int, str]()
    with project.held("select", "select.lock"):
        while True:
            found = _look(project, options, missing)
            groups = [found.subset, found.labeled, found.control]
            frozen = FrozenGroups(
                project,
                groups,
                progress,
                device=options.device,
                forced=options.embed,
                by_default=model is None,
            )
            try:
                asked = asked_strategy(project.config.select, options, model, frozen)
                chosen = _choose(project, asked, found, options, progress)
                out = [*(source for source, _ in chosen.of(found.subset)), *found.control, *found.reserved]
                check_decodable(out, progress)  # before anybody is asked to label them
            except BrokenImages as broken:
                quarantine(project, broken, progress)
                quarantined |= broken.reasons
                continue
            except MissingImages as gone:
                missing |= gone.reasons
                allow_missing(missing, found.looked_at)
                continue
            selected = _selected(options, asked, found, chosen, terms)
            selected = replace(selected, quarantined=quarantined, missing=missing)
            with project.recording("select", progress) as connection:
                if not _still_free(connection, selected, options):
                    continue  # labels of some of them were imported meanwhile
                if options.resend:
                    selected = asked_after(selected, rounds_out.newest_label(connection))
                _record(connection, selected, found.seed, due, frozen)
                if options.dry_run:
                    discard(connection)
            return selected


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
    looked_at: int
    """How many images there would be in all if none were missing."""


def _look(project: Project, options: SelectOptions, missing: Mapping[int, str]) -> _Found:
    """Read the state of the pool; draw the random subset, and the control images beside it, without the missing ones."""
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
        labeled = [] if options.strategy == RANDOM else labels.labeled_ids(connection)
        reserved = rounds.unsent_reserved(connection)

        def sources(ids: Ids | list[int]) -> list[Source]:
            found = items.fetch(connection, np.asarray(ids, dtype=np.int64))
            return [source_of(state.root, item) for item in found if item.id not in missing]

        return _Found(
            number, seed, left, state.root, sources(control), sources(subset), sources(labeled),
            sources([item for item, _ in reserved]), [split for item, split in reserved if item not in missing],
            [known.name for known in categories.as_categories(connection, living=True)],
            len(subset) + len(control) + len(labeled) + len(reserved),
        )  # fmt: skip


def _choose(
    project: Project, asked: Asked, found: _Found, options: SelectOptions, progress: Progress
) -> Answer:
    """Ask the strategy; return what it chose with the scores, best first: here its positions become items."""
    wanted = options.k - len(found.control)
    if not found.subset or not wanted:
        return limits.NOTHING
    unlabeled, labeled = (
        asked.frozen.group(i, _candidates(project, asked.model, some, progress))
        for i, some in enumerate((found.subset, found.labeled))
    )
    rng = torch.Generator().manual_seed(stream(found.seed, "strategy", found.number))
    groups = [(unlabeled, found.subset), (labeled, found.labeled)]
    try:
        answer = limits.choose(
            project, asked, Images(found.root, found.subset, found.labeled, found.control), (unlabeled, labeled),
            wanted, rng, options.limits, progress,
        )  # fmt: skip
    except FloatingPointError as error:
        raise _not_finite(asked, groups, str(error)) from error
    bad = (~torch.isfinite(answer.scores)).nonzero()
    if len(bad):
        raise _not_finite(asked, groups, f"the score of a pick is {answer.scores[int(bad[0])].item()}")
    return answer


def _not_finite(asked: Asked, groups: Sequence[tuple[Candidates, list[Source]]], why: str) -> AlctlError:
    """Return the error for a strategy that met a number that is not finite, naming the image if the model made it."""
    text = f"strategy {asked.name!r} cannot choose: {why}"
    if asked.model is None:
        return AlctlError(text)
    module = asked.model.predicts_losses

    def is_finite(said: Prediction) -> torch.Tensor:
        read = [said.probabilities.flatten(1), said.embedding]
        read += [said.predicted_loss[:, None]] if module else []
        return torch.stack([torch.isfinite(values).all(dim=1) for values in read]).all(dim=0)

    for candidates, sources in groups:
        bad = (~candidates.map(is_finite)).nonzero()
        if len(bad):
            source = sources[int(bad[0])]
            return AlctlError(
                f"{text}. What training run {asked.model.run.id} says of item {source.id} ({source.path}) is no finite "
                f"number; {asked.model.remedy}"
            )
    return AlctlError(text)


def _candidates(
    project: Project, model: Model | None, sources: list[Source], progress: Progress
) -> Candidates:
    """Return what a strategy may ask of these images."""
    return Unscored(len(sources)) if model is None else model.candidates(project, sources, progress)


def _selected(
    options: SelectOptions,
    asked: Asked,
    found: _Found,
    chosen: Answer,
    terms: rounds_out.Terms,
) -> Selected:
    """Return the round as it is to be recorded: the strategy's picks, then the control, then the reserved items."""
    picks = [
        Chosen(source.id, rank, None if asked.name == RANDOM else score, "picked")
        for rank, (source, score) in enumerate(chosen.of(found.subset), start=1)
    ]
    control = enumerate(found.control, start=len(picks) + 1)
    picks += [Chosen(source.id, rank, None, rounds.CONTROL) for rank, source in control]
    reserved = zip(found.reserved, found.splits, strict=True)
    picks += [Chosen(source.id, None, None, split) for source, split in reserved]
    known = asked.model.task.categories if asked.model else found.classes
    judged = {
        name: asdict(found)
        for name, found in (("guard", asked.judgement), ("choice", asked.choice))
        if found is not None
    }
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
        asked.choice,
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


def _record(
    connection: Connection, selected: Selected, seed: int, due: str | None, frozen: FrozenGroups
) -> None:
    """Write the round, if it picked anything, and which embeddings it compared images by, if it did."""
    if selected.picks:
        record(connection, selected, seed, due)
    if frozen.wanted is not None:
        use(connection, frozen.wanted)


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
