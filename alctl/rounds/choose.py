"""A strategy chooses a round: it speaks in positions, the pool in items, and here one becomes the other.

The random subset that a strategy chooses from is drawn by `alctl.database.rounds.subset`.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch

from alctl.chance import stream
from alctl.errors import AlctlError
from alctl.images.decode import Source
from alctl.model.score import Unscored
from alctl.model.strategy import Candidates, Prediction
from alctl.model.tensors import Targets
from alctl.progress import Progress
from alctl.project import Project
from alctl.rounds import limits, training_set
from alctl.rounds.answer import Answer, Decided
from alctl.rounds.duplicates import Images
from alctl.rounds.frozen import FrozenGroups
from alctl.rounds.model import Model
from alctl.rounds.pool import Found
from alctl.rounds.select_options import RANDOM, SelectOptions
from alctl.rounds.strategy_choice import Asked, asked_strategy
from alctl.rounds.trained_model import last_model


@dataclass(frozen=True)
class Chooser:
    """Chooses rounds of a project by the strategy that the options name, or by the default."""

    project: Project
    options: SelectOptions
    model: Model | None
    progress: Progress

    def __call__(self, found: Found) -> Decided:
        """Return what the strategy chooses of the subset; BrokenImages or MissingImages where it cannot see one."""
        frozen = FrozenGroups(
            self.project,
            [found.subset, found.labeled, found.control],
            self.progress,
            device=self.options.device,
            forced=self.options.embed,
            by_default=self.model is None,
        )
        asked = asked_strategy(self.project.config.select, self.options, self.model, frozen)
        answer = _choose(self.project, asked, found, self.options, self.progress)
        model = asked.model
        return Decided(
            asked.name,
            answer,
            asdict(asked.strategy),
            model.run.id if model else None,
            model.task.names if model else None,
            asked.judgement,
            asked.choice,
            frozen.wanted,
        )


def chooser(project: Project, options: SelectOptions, progress: Progress) -> Chooser:
    """Return who chooses, with the newest model unless the strategy is random."""
    model = None if options.strategy == RANDOM else last_model(project, options.device)
    return Chooser(project, options, model, progress)


def _choose(
    project: Project, asked: Asked, found: Found, options: SelectOptions, progress: Progress
) -> Answer:
    """Ask the strategy; return what it chose with the scores, best first: here its positions become items."""
    wanted = options.k - len(found.control)
    if not found.subset or not wanted:
        return Answer()
    unlabeled, labeled = (
        asked.frozen.group(i, _candidates(project, asked.model, some, progress, labeled=bool(i)))
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
    if bad := [score for score in answer.scores if not math.isfinite(score)]:
        raise _not_finite(asked, groups, f"the score of a pick is {bad[0]}")
    return answer


def _not_finite(asked: Asked, groups: Sequence[tuple[Candidates, list[Source]]], why: str) -> AlctlError:
    """Return the error for a strategy that met a number that is not finite, naming the image if the model made it."""
    text = f"strategy {asked.name!r} cannot choose: {why}"
    if asked.model is None:
        return AlctlError(text)
    module = asked.model.predicts_losses

    def is_finite(said: Prediction) -> torch.Tensor:
        read = [said.distributions.p.flatten(1), said.embedding]
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
    project: Project, model: Model | None, sources: list[Source], progress: Progress, *, labeled: bool
) -> Candidates:
    """Return what a strategy may ask of these images."""
    if model is None:
        return Unscored(len(sources))
    targets = _targets(project, model, sources) if labeled else None
    return model.candidates(project, sources, progress, targets)


def _targets(project: Project, model: Model, sources: list[Source]) -> Targets | None:
    """Return the targets of labeled images; None where the model has never seen the class of one."""
    with project.reading() as connection:
        some = training_set.labeled(connection, "", model.task, "pool", known_only=True)
    places = {source.id: place for place, source in enumerate(some.sources)}
    found = [places.get(source.id, -1) for source in sources]
    return some.at(found).targets if found and min(found) >= 0 else None
