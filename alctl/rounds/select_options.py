"""How a round is to be selected: what a person can say of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field


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
