"""Who chooses a round: the strategy that is named, else one that follows from what is recorded, unless the guard objects.

SELECTION.md §4.2–4.4 has the evidence for the defaults.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from alctl.config import SelectConfig
from alctl.database.training_runs import PROBE
from alctl.errors import AlctlError
from alctl.model.probe_candidates import NO_LOSSES
from alctl.model.strategy import STRATEGIES, QueryStrategy
from alctl.model.task import WHOLE_IMAGES
from alctl.plugins import configured
from alctl.rounds import cold_start_guard
from alctl.rounds.cold_start_guard import FEWEST, Judgement
from alctl.rounds.frozen import AtHand, FrozenGroups
from alctl.rounds.model import Model
from alctl.rounds.select_options import AUTO, RANDOM, SelectOptions

HERDING = "uherding"
"""Chooses wherever embeddings are at hand: without a model it covers the pool, with one its uncertain part."""


@dataclass(frozen=True)
class Choice:
    """The strategy that was chosen where none was named, and why; recorded with the round."""

    strategy: str
    why: str
    """In words, with the numbers."""
    embeddings: AtHand | None
    """What was found out about embeddings; None where it did not matter."""


def chosen(model: Model | None, at_hand: Callable[[], AtHand]) -> Choice:
    """Return who chooses a round: before the first training run, after a probe, after a network."""
    if model is None:
        found = at_hand()
        if found.at_hand:
            return Choice(HERDING, f"nothing is trained yet, and {found.why}", found)
        return Choice("random", f"nothing is trained yet, and there are no embeddings: {found.why}", found)
    if model.run.head == "probe":
        return Choice(HERDING, f"training run {model.run.id} is a probe", None)
    if model.predicts_losses:
        return Choice("learning-loss", f"training run {model.run.id} predicts losses", None)
    found = at_hand()
    if found.at_hand:
        return Choice(HERDING, f"training run {model.run.id} predicts no losses, and {found.why}", found)
    return Choice("margin", f"training run {model.run.id} predicts no losses", found)


def fallback(images: int, at_hand: Callable[[], AtHand]) -> Choice:
    """Return who chooses where predicted losses may not; ``images`` are the validation images they were measured on."""
    found = at_hand()
    if found.at_hand:
        return Choice(HERDING, found.why, found)
    if images >= FEWEST:
        return Choice("margin", f"there are no embeddings: {found.why}", found)
    return Choice("random", f"there are no embeddings, and too few validation images: {found.why}", found)


class Asked(NamedTuple):
    """Who chooses."""

    name: str
    strategy: QueryStrategy
    model: Model | None
    frozen: FrozenGroups
    """The embeddings of the candidates and of the labeled images."""
    judgement: Judgement | None = None
    """What the guard said, if it was asked; where it did not trust predicted losses, the strategy is the fallback."""
    choice: Choice | None = None
    """Why this strategy, where none was named."""


def asked_strategy(
    settings: SelectConfig, options: SelectOptions, model: Model | None, frozen: FrozenGroups
) -> Asked:
    """Return the strategy that was asked for, or the fallback where the guard does not trust its predicted losses."""

    def at_hand() -> AtHand:
        return frozen.at_hand

    name, choice = options.strategy or (settings.first if model is None else settings.strategy), None
    if name == AUTO:
        choice = chosen(model, at_hand)
        name, frozen.by_default = choice.strategy, frozen.by_default or choice.strategy == HERDING
    strategy = _for(model, name, options.params)
    frozen.needed = name != RANDOM and not strategy.needs_model
    asked = Asked(name, strategy, model, frozen, choice=choice)
    if strategy.uses_predicted_loss and model is not None and model.run.head == PROBE:
        raise AlctlError(NO_LOSSES)
    rule = cold_start_guard.rule_of(setting=settings.guard, asked=options.guard)
    if rule is None or not strategy.uses_predicted_loss or model is None or not model.predicts_losses:
        return asked
    judgement = cold_start_guard.judge(model.run, name, rule)
    if judgement.trusted:
        return asked._replace(judgement=judgement)
    name = options.fallback or settings.fallback
    if name == AUTO:
        choice = fallback(judgement.images, at_hand)
        name, frozen.by_default = choice.strategy, choice.strategy == HERDING
    strategy = _for(model, name, {})
    frozen.needed = name != RANDOM and not strategy.needs_model
    if strategy.uses_predicted_loss:
        raise AlctlError(
            f"{name!r} reads predicted losses too and cannot stand in for them; choose another --fallback"
        )
    return Asked(name, strategy, model, frozen, judgement, choice)


def _for(model: Model | None, name: str, params: Mapping[str, object]) -> QueryStrategy:
    """Build a strategy; AlctlError where it cannot read what the model says."""
    strategy = make_strategy(name, params)
    if strategy.one_distribution and model is not None and model.task.units != WHOLE_IMAGES:
        raise AlctlError(
            f"{name} needs one class distribution per image, and this model predicts {model.task.units}; "
            "choose another strategy, such as core-set or learning-loss-diverse"
        )
    return strategy


def make_strategy(name: str, params: Mapping[str, object]) -> QueryStrategy:
    """Build a strategy; a parameter that it does not have, or of the wrong kind, raises AlctlError."""
    return configured(STRATEGIES.load(name), params, f"strategy {name!r}")
