"""A second look: labeled images whose label is most likely wrong go out again, without the label they have.

Two rankings take turns. One is of disagreement: 1 - the mean likeness of an image's answers (see `agreement`). The
other is of surprise: images whose true loss is far above the predicted one. A predicted loss is meant to rank images and
has a scale of its own, so ranks are compared, not losses: the difference of an image's rank by true loss and its rank
by predicted loss, divided by the standard deviation of these differences. A model has small losses on what it was
trained on, wrong labels included; what it could not fit, or has not seen yet, stands out all the same.

Images that have had a second look come after those that have had none; those that are out for one are left alone.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import zip_longest
from typing import NamedTuple

import numpy as np
from scipy import stats
from sqlalchemy import Connection

from alctl.agreement.measures import agreement_of, pairs_of
from alctl.annotators import ledger
from alctl.database import consensus, items, labels, rounds, rounds_out
from alctl.database.bulk import discard
from alctl.database.rounds import Chosen
from alctl.errors import AlctlError
from alctl.images.decode import BrokenImages, MissingImages, allow_missing, check_decodable
from alctl.progress import Progress
from alctl.project import Project, required_state
from alctl.rounds.model import Model
from alctl.rounds.pool import quarantine, source_of
from alctl.rounds.select import Selected, asked_after, record
from alctl.rounds.select_options import Limits, SelectOptions
from alctl.rounds.trained_model import last_model, losses


class Suspect(NamedTuple):
    """An image whose label deserves a second look."""

    item: int
    score: float
    why: str


def select(project: Project, options: SelectOptions, progress: Progress) -> Selected:
    """Choose up to ``k`` labeled images of the pool for a second look, and record them as a round."""
    _refuse_what_means_nothing(options)
    due, terms = ledger.due_at(options.due), ledger.terms(options.annotators, options.overlap)
    model = last_model(project, options.device)
    with project.held("select", "select.lock"):
        surprising = surprises(project, model, progress) if model is not None else []
        quarantined, missing = dict[int, str](), dict[int, str]()
        while True:
            selected = _choose(project, options, surprising, model, missing)
            try:
                _look(project, selected, progress)
            except BrokenImages as broken:
                quarantine(project, broken, progress)
                quarantined |= broken.reasons
                continue
            except MissingImages as gone:
                missing |= gone.reasons
                allow_missing(missing, selected.candidates + len(missing))
                continue
            selected = replace(selected, params=terms.params(), quarantined=quarantined, missing=missing)
            with project.recording("select", progress) as connection:
                if not _still_labeled(connection, selected):
                    continue
                selected = asked_after(selected, rounds_out.newest_label(connection))
                state = required_state(connection, project.folder)
                seed = state.seed if options.seed is None else options.seed
                if selected.picks:
                    record(connection, selected, seed, due)
                if options.dry_run:
                    discard(connection)
            return selected


def _refuse_what_means_nothing(options: SelectOptions) -> None:
    if options.strategy or options.params or options.control or options.resend:
        raise AlctlError(
            "--relabel chooses by disagreement and loss; leave out --strategy, --param, --control and --resend"
        )
    if options.limits != Limits():
        raise AlctlError(
            "--relabel takes no limits: leave out --duplicates, --balance, --per-class and --max-share"
        )


def _choose(
    project: Project,
    options: SelectOptions,
    surprising: list[Suspect],
    model: Model | None,
    missing: Mapping[int, str],
) -> Selected:
    with project.reading() as connection:
        required_state(connection, project.folder)
        looked = rounds_out.second_looks(connection)
        usable = set(labels.labeled_ids(connection)) - missing.keys()
        disputed = [suspect for suspect in disputes(connection) if suspect.item in usable]
        number = rounds.next_round(connection)
    out = {item for item, (_, is_out) in looked.items() if is_out}
    free = usable - out
    rankings = [
        sorted(
            (suspect for suspect in some if suspect.item in free),
            key=lambda suspect: (looked.get(suspect.item, (0, False))[0], -suspect.score, suspect.item),
        )
        for some in (disputed, surprising)
    ]
    chosen = in_turns(rankings[0], rankings[1])[: options.k]
    return Selected(
        number,
        rounds_out.RELABEL,
        options.k,
        candidates=len(free),
        left=len(free),
        run=None if model is None else model.run.id,
        params={},
        picks=[
            Chosen(suspect.item, rank, suspect.score, suspect.why)
            for rank, suspect in enumerate(chosen, start=1)
        ],
    )


def in_turns(first: Iterable[Suspect], second: Iterable[Suspect]) -> list[Suspect]:
    """Return both rankings in turns, each image once."""
    found: dict[int, Suspect] = {}
    for both in zip_longest(first, second):
        for suspect in both:
            if suspect is not None:
                found.setdefault(suspect.item, suspect)
    return list(found.values())


def disputes(connection: Connection) -> list[Suspect]:
    """Return the usable images of the pool about which annotators do not quite agree."""
    judge = consensus.judge(connection)
    found = []
    for shared in consensus.shared(connection, judge, split="pool"):
        apart = 1 - agreement_of(pairs_of(judge, shared))
        if apart > 0:
            found.append(Suspect(shared.item, apart, f"disagreement {apart:.2f}"))
    return found


def surprises(project: Project, model: Model, progress: Progress) -> list[Suspect]:
    """Return the labeled images of the pool that the model is further off on than its loss prediction expects."""
    answers = losses(project, model, progress)
    if answers is None or answers.said.target_loss is None:
        return []
    said, ids = answers.said, [source.id for source in answers.labeled.sources]
    true = np.asarray(answers.said.target_loss, dtype=np.float64)
    predicted = None if said.predicted_loss is None else said.predicted_loss.double().numpy()
    found = []
    for i, difference in enumerate(excess(true, predicted)):
        if difference > 0:
            expected = "" if predicted is None else f" against {predicted[i]:.3g} predicted"
            found.append(Suspect(ids[i], float(difference), f"loss {true[i]:.3g}{expected}"))
    return found


def excess(true: np.ndarray, predicted: np.ndarray | None) -> np.ndarray:
    """Return how far the rank of each true loss is above that of the predicted one, in standard deviations, (N,).

    Without predicted losses, how far it is above the middle.
    """
    difference = stats.rankdata(true) - (
        (len(true) + 1) / 2 if predicted is None else stats.rankdata(predicted)
    )
    spread = float(difference.std())
    return np.asarray(difference / spread if spread else np.zeros(len(true)))


def _look(project: Project, selected: Selected, progress: Progress) -> None:
    """See that every image can be decoded, before anybody is asked to look at it."""
    with project.reading() as connection:
        root = required_state(connection, project.folder).root
        ids = np.array([pick.item for pick in selected.picks], dtype=np.int64)
        sources = [source_of(root, item) for item in items.fetch(connection, ids)]
    check_decodable(sources, progress)


def _still_labeled(connection: Connection, selected: Selected) -> bool:
    """Tell whether every pick is still labeled, and none has gone out for a second look meanwhile."""
    usable = set(labels.labeled_ids(connection))
    out = {item for item, (_, is_out) in rounds_out.second_looks(connection).items() if is_out}
    return {pick.item for pick in selected.picks} <= usable - out
