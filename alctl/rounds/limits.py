"""Choosing a round under limits: no near-duplicates, shares of groups, classes in balance."""

from collections.abc import Mapping

import torch
from torch import Tensor

from alctl.errors import AlctlError
from alctl.model import quotas
from alctl.model.quotas import Quota
from alctl.model.strategy import Candidates
from alctl.progress import Progress
from alctl.project import Project
from alctl.rounds import duplicates, groups
from alctl.rounds.answer import Answer, Kept
from alctl.rounds.duplicates import Images
from alctl.rounds.groups import Classes, Share
from alctl.rounds.model import Model
from alctl.rounds.select_options import EVERY, Limits
from alctl.rounds.strategy_choice import Asked


class _ByClass:
    """The quotas of predicted classes, which take a look at the candidates."""

    def __init__(self, classes: Classes, limits: Limits, n: int) -> None:
        unknown = sorted(set(limits.per_class) - {EVERY, *classes.names})
        if unknown:
            raise AlctlError(
                f"--per-class: there is no class {unknown[0]!r}; there are: {', '.join(classes.names[:20])}"
            )
        self.classes, self.limits, self.n = classes, limits, n
        self.targets: dict[str, int] = {}

    def quotas(self, candidates: Candidates, fresh: Tensor) -> list[Quota]:
        """Return the limits for the candidates, of which those at ``fresh`` (K,) can be chosen."""
        predicted = self.classes.predicted(candidates)
        found = []
        if self.limits.balance:
            targets = self.classes.balance(predicted, fresh, self.n)
            self.targets = dict(zip(self.classes.names, targets, strict=True))
            found.append(Quota(predicted, targets))
        if self.limits.per_class:
            rest = self.limits.per_class.get(EVERY, self.n)
            found.append(
                Quota(predicted, [self.limits.per_class.get(name, rest) for name in self.classes.names])
            )
        return found


def choose(
    project: Project, asked: Asked, images: Images, candidates: tuple[Candidates, Candidates], n: int,
    rng: torch.Generator, limits: Limits, progress: Progress,
) -> Answer:  # fmt: skip
    """Let a strategy choose n of the candidates, within the limits as far as there are enough.

    ``candidates`` are the unlabeled and the labeled ``images`` as the strategy sees them. No limit touches the random
    control images.

    Raises:
        AlctlError: A limit means nothing here: embeddings, a model, a column or a class are missing.
    """
    model = asked.model
    search = duplicates.search(project, images, asked, limits.duplicates)
    shares = groups.shares(project, images, limits.max_share, n, progress)
    by_class = _ByClass(groups.classes_of(project, model), limits, n) if limits.by_class else None

    def every_quota(unlabeled: Candidates, fresh: Tensor) -> list[Quota]:
        found = [share.quota for share in shares.values()]
        return found + by_class.quotas(unlabeled, fresh) if by_class else found

    choice = quotas.choose(
        asked.strategy,
        *candidates,
        n,
        rng,
        quotas=every_quota if shares or by_class else None,
        collapse=search,
    )
    found = None
    if search is not None and choice.collapsed is not None:
        found = duplicates.said(images, search, choice.collapsed, choice.repeated)
    kept = None
    if shares or by_class:
        kept = _kept(choice.beyond, limits, shares, by_class, model)
    return Answer(choice.positions.tolist(), choice.scores.tolist(), found, kept)


def _kept(
    beyond: int, limits: Limits, shares: Mapping[str, Share], by_class: _ByClass | None, model: Model | None
) -> Kept:
    measured = model.run.metrics.get("validation") if by_class and model else None
    return Kept(
        beyond, by_class.targets if by_class else {}, limits.per_class, limits.max_share,
        {column: share.most for column, share in shares.items()},
        {column: share.unknown for column, share in shares.items()},
        measured.by_name().get("accuracy") if measured else None,
    )  # fmt: skip
