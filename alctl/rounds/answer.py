"""What was chosen for a round, and who chose it: the part of a selection that needs no model."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from alctl.chance import permutation, stream
from alctl.images.decode import Source
from alctl.rounds.pool import Found
from alctl.rounds.select_options import RANDOM, SelectOptions

if TYPE_CHECKING:
    from alctl.rounds.backbones import Used
    from alctl.rounds.cold_start_guard import Judgement
    from alctl.rounds.duplicates import Duplicates
    from alctl.rounds.strategy_choice import Choice

NEAR_DUPLICATES, LIMITS = "near_duplicates", "limits"
"""Where they are recorded among the parameters of a round, beside those of its strategy."""


@dataclass(frozen=True)
class Kept:
    """How far shares and balance were kept."""

    beyond: int
    """Picks whose group was full, because nothing else was left."""
    balance: Mapping[str, int]
    """Images that each class was to get; empty: classes were not balanced."""
    per_class: Mapping[str, int]
    max_share: Mapping[str, float]
    most: Mapping[str, int]
    """For each column of ``max_share`` the images that one of its values could have."""
    unknown: Mapping[str, int]
    """For each of these the candidates that have no value, which it does not limit."""
    right: float | None = None
    """Share of the validation images whose class the model predicts; None: no classes, or not measured."""


class Answer(NamedTuple):
    """What was chosen, best first, and what the limits did."""

    positions: Sequence[int] = ()
    scores: Sequence[float] = ()
    duplicates: "Duplicates | None" = None
    """None where nobody looked for near-duplicates."""
    kept: Kept | None = None
    """None where nothing else was limited."""

    def of(self, candidates: Sequence[Source]) -> list[tuple[Source, float]]:
        """Return what was chosen of these images, with the scores."""
        return [(candidates[i], score) for i, score in zip(self.positions, self.scores, strict=True)]

    @property
    def params(self) -> dict[str, object]:
        """What is recorded with the round."""
        parts = {NEAR_DUPLICATES: self.duplicates, LIMITS: self.kept}
        return {name: asdict(part) for name, part in parts.items() if part is not None}


@dataclass(frozen=True)
class Decided:
    """What was chosen, and by whom."""

    strategy: str
    answer: Answer
    params: Mapping[str, object] = field(default_factory=dict)
    """Of the strategy."""
    run: int | None = None
    """The training run whose model was asked."""
    known: Sequence[str] | None = None
    """The classes that this model tells apart; None without a model."""
    judgement: "Judgement | None" = None
    """What the guard said, if it was asked."""
    choice: "Choice | None" = None
    """Why this strategy, where none was named."""
    used: "Used | None" = None
    """The embeddings by which images were compared, if they were."""

    @property
    def judged(self) -> dict[str, object]:
        """What is recorded of who chose, beside the strategy."""
        said = {"guard": self.judgement, "choice": self.choice}
        return {name: asdict(found) for name, found in said.items() if found is not None}


def at_random(found: Found, options: SelectOptions) -> Decided:
    """Choose as the strategy `random` does, the same images, without importing torch for it."""
    wanted = options.k - len(found.control)
    order = permutation(stream(found.seed, "strategy", found.number), len(found.subset))[:wanted]
    return Decided(RANDOM, Answer(order, [0.0] * len(order)))
