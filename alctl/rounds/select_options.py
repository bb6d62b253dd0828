"""How a round is to be selected: what a person can say of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

AUTO = "auto"
"""In place of the name of a strategy: what follows from the project's state."""
RANDOM = "random"
"""The one strategy that asks neither a model nor embeddings."""
EVERY = ""
"""The class that stands for all that are not named."""


@dataclass(frozen=True)
class Limits:
    """What a round is to keep within."""

    duplicates: float | None = None
    """Cosine from which two images are near-duplicates; 0: none are; None: the project's setting."""
    balance: bool = False
    """Whether labels and picks together are to be even among the classes, as far as they are predicted."""
    per_class: Mapping[str, int] = field(default_factory=dict)
    """Most images predicted to be of a class; that of EVERY holds for all other classes."""
    max_share: Mapping[str, float] = field(default_factory=dict)
    """Largest share of one value of a manifest's column, of one ``folder`` or of one ``camera``."""

    @property
    def by_class(self) -> bool:
        """Tell whether they go by predicted classes."""
        return self.balance or bool(self.per_class)


@dataclass(frozen=True)
class SelectOptions:
    """How a round is selected."""

    k: int
    strategy: str = ""
    """Empty: the project's setting, which by default leaves it to `default_strategy`."""
    params: Mapping[str, object] = field(default_factory=dict)
    subset: int | None = None
    seed: int | None = None
    resend: bool = False
    device: str = "auto"
    dry_run: bool = False
    guard: bool | None = None
    """Whether predicted losses have to be as good as margin; None here and below: the project's setting."""
    fallback: str = ""
    embed: bool = False
    """Whether embeddings that are missing are computed however long that takes."""
    control: float | None = None
    due: str = ""
    """When answers are due: "14d", "2w", "12h" from now, or a date."""
    annotators: str = ""
    """How many annotators share the round, or their names with commas between."""
    overlap: float = 0.0
    """Share of the images that all of them get."""
    limits: Limits = Limits()
    """On near-duplicates, shares of groups and classes."""
