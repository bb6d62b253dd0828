"""The cold-start guard: predicted losses do not choose images while what costs nothing orders them better.

LL4AL is below random while its module has learned from few labels: on human poses in its own supplement (table 3), and
on CIFAR-100 in the logs of Ji et al. (WACV 2023). Margin follows from the probabilities that the model has anyway. So
the reserved validation images are asked, once for each training run: do predicted losses put them into the order of
their true losses worse than margin does? The answer is recorded with the run, and the guard decides from it alone.
"""

from dataclasses import dataclass

from alctl.config import GuardRule
from alctl.database.training_runs import TrainingRun
from alctl.metrics import Metrics, Number, RankingLead
from alctl.model.ranking import Verdict, images_needed, verdict

FEWEST = 20
"""Labeled validation images below which nothing can be said."""


@dataclass(frozen=True)
class Judgement:
    """What the guard decided about a round, and what from; recorded with the round's parameters."""

    run: int
    """The training run whose predicted losses are asked about."""
    rule: GuardRule
    trusted: bool
    """Whether they may choose."""
    instead_of: str | None
    """The strategy that was asked for, where they may not."""
    images: int
    """Labeled validation images that the run was measured on."""
    ranking_accuracy: Number
    margin_ranking_accuracy: Number
    lead: Number
    """The first minus the second; ``low`` and ``high`` are its 95 % interval. None where nothing can be said."""
    low: Number
    high: Number
    verdict: Verdict | None
    reason: str
    """All of this in words."""


def rule_of(*, setting: GuardRule | bool, asked: bool | None) -> GuardRule | None:
    """Return the rule that holds, None for no guard; ``asked`` is the option, which goes before the ``setting``."""
    if asked is False or (asked is None and setting is False):
        return None
    return setting if isinstance(setting, str) else "below"


def judge(run: TrainingRun, strategy: str, rule: GuardRule) -> Judgement:
    """Return whether the predicted losses of a training run may choose images, by what was recorded with it.

    ``strategy`` is the one that would choose by them. By the rule "below" they may unless they are below margin, by
    "above" only if they are above it; by neither where there are too few images to tell.
    """
    measured = run.metrics.get("validation", Metrics({}))
    images, lead = measured.images or 0, measured.lead
    said = verdict(lead) if lead and images >= FEWEST else None
    trusted = said == "above" if rule == "above" else said not in {None, "below"}
    return Judgement(
        run=run.id,
        rule=rule,
        trusted=trusted,
        instead_of=None if trusted else strategy,
        images=images,
        ranking_accuracy=measured.ranking.ranking_accuracy if measured.ranking else None,
        margin_ranking_accuracy=measured.uncertainty.margin_ranking_accuracy
        if measured.uncertainty
        else None,
        lead=lead.lead_over_margin if lead else None,
        low=lead.lead_low if lead else None,
        high=lead.lead_high if lead else None,
        verdict=said,
        reason=_reason(run.id, measured, said, trusted=trusted),
    )


def _reason(run: int, measured: Metrics, said: Verdict | None, *, trusted: bool) -> str:
    """Return in words what speaks for or against the predicted losses, and what changes that."""
    images = measured.images or 0
    if images < FEWEST:
        return (
            f"training run {run} was measured on {images} labeled validation images, and fewer than {FEWEST} say "
            "nothing; label the reserved ones, which go out with every round, or reserve some of new images with "
            f"`alctl add IMAGES --validation {FEWEST}`, then run `alctl train`"
        )
    if measured.uncertainty is None:
        return f"training run {run} was not compared with margin, which `alctl train` does now"
    if measured.lead is None or said is None:
        return (
            f"the true losses of the {images} validation images differ too little to compare orders by them"
        )
    stricter = ', and guard = "above" asks for more' if said != "below" and not trusted else ""
    return in_words(measured, measured.lead) + stricter


def in_words(measured: Metrics, lead: RankingLead) -> str:
    """Return in one sentence how predicted losses order the validation images, compared with margin."""
    module = measured.ranking.ranking_accuracy if measured.ranking else None
    margin = measured.uncertainty.margin_ranking_accuracy if measured.uncertainty else None
    said = verdict(lead)
    found = {"above": "above margin", "below": "below margin", "equal": "equal to margin"}.get(said, said)
    needed = images_needed(lead)
    more = (
        f", about {needed:,} images would tell"
        if said == "not told apart" and needed > lead.lead_images
        else ""
    )
    return (
        f"on {measured.images:,} validation images the ranking accuracy of predicted losses is {_number(module)} and "
        f"that of margin {_number(margin)}, a difference of {lead.lead_over_margin:+.3f} [{lead.lead_low:+.3f}, "
        f"{lead.lead_high:+.3f}]: {found}{more}"
    )


def _number(value: Number) -> str:
    return "–" if value is None else f"{value:.3f}"
