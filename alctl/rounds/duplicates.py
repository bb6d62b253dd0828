"""Near-duplicates among the candidates of a round, and of labeled images: whether they are looked for, what is recorded."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from alctl.images.decode import Source
from alctl.model import near_duplicates
from alctl.model.near_duplicates import Collapsed
from alctl.project import Project
from alctl.rounds.altered_copies import is_measured, known_threshold
from alctl.rounds.select_options import RANDOM
from alctl.rounds.strategy_choice import Asked

THRESHOLD = 0.92
"""Cosine from which two vectors of efficientnet-lite0 are of near-duplicates (SELECTION.md §1.6)."""
MOST = 20_000
"""Candidates that are compared with each other without being asked for: the time grows with their square."""
CLOSEST = 10
"""Pairs that the report shows."""
LISTED = 100
"""Images that are listed because they are probably labeled already."""


@dataclass(frozen=True)
class Pair:
    """Two images that are nearly the same."""

    item: int
    """The one that was left out, where one was."""
    path: str
    """Of it, relative to the folder of images."""
    like: int
    """The other one, which stands for it then."""
    like_path: str
    cosine: float
    labeled: bool
    """Whether that one is labeled already."""
    apart: bool = False
    """Whether their cosine is below the threshold, so that neither was left out for the other."""


@dataclass(frozen=True)
class Duplicates:
    """The near-duplicates among the candidates of a round."""

    cosine: float
    """From which two images are."""
    groups: int
    """Candidates, and random control images, that stand for others."""
    left_out: int
    """Candidates that one of those stands for."""
    labeled: int
    """Candidates that are probably labeled already: a labeled image is nearly the same."""
    closest: Sequence[Pair]
    """The ten pairs that are most alike, the closest first; not near-duplicates only, but of more than MOST candidates."""
    probably_labeled: Sequence[Pair]
    """Candidates that are probably labeled already, the closest first; the first hundred."""
    repeated: int = 0
    """Near-duplicates that were taken all the same, because nothing else was left."""


@dataclass(frozen=True)
class Images:
    """The images of a round before anything is chosen."""

    root: str
    candidates: Sequence[Source]
    labeled: Sequence[Source]
    control: Sequence[Source]
    """Drawn before anything is left out, so they stay random; candidates that are nearly the same are left out."""

    def pair(self, made: "Search", one: int, other: int, known: int, cosine: float) -> Pair:
        """Return a pair by the positions of a candidate and of another one, or of a known image."""
        item = self.candidates[one]
        like = [*self.labeled, *self.control][known] if known >= 0 else self.candidates[other]
        return Pair(
            item.id, self.relative(item), like.id, self.relative(like), round(cosine, 4),
            labeled=0 <= known < len(self.labeled), apart=cosine < made.cosine - near_duplicates.ROUNDING,
        )  # fmt: skip

    def relative(self, source: Source) -> str:
        """Return the path of an image relative to the folder of images."""
        return source.path.removeprefix(f"{self.root}/")


@dataclass(frozen=True)
class Search:
    """A search for near-duplicates that is going to be made."""

    cosine: float
    vectors: Tensor
    """(N, D) of the candidates."""
    known: Tensor
    """(L, D) of the labeled images and then of the control images."""

    def __call__(self, order: Tensor) -> Collapsed:
        """Return who stands for whom, in an order (N,) of the candidates."""
        return near_duplicates.collapse(self.vectors, self.cosine, known=self.known, order=order)


def search(project: Project, images: Images, choosing: Asked, asked: float | None) -> Search | None:
    """Return the search for near-duplicates, None if there is none to make.

    Args:
        project: Its setting counts where nothing was asked.
        images: Those of the round.
        choosing: Who chooses, with the vectors of the candidates, the labeled and the control images.
        asked: The cosine from which images are near-duplicates; 0: never; None: the setting.

    Raises:
        AlctlError: It was asked for, and not all images have an embedding.
    """
    cosine = _setting(project, images, choosing) if asked is None else asked
    if not cosine or not images.candidates:
        return None
    found = choosing.frozen.required() if asked else choosing.frozen.without_asking
    if found is None:
        return None
    candidates, labeled, control = found
    return Search(cosine, candidates, torch.cat([labeled, control]))


def _setting(project: Project, images: Images, choosing: Asked) -> float:
    """Return the project's threshold, 0 for none: a round that is random is left random unless it is asked otherwise."""
    setting = project.config.select.duplicates
    if choosing.name == RANDOM or len(images.candidates) > MOST:
        return 0.0
    if setting != "auto":
        return setting
    known = choosing.frozen.known
    if known is None or is_measured(known):
        return THRESHOLD
    with project.reading() as connection:
        return known_threshold(connection, known) or 0.0


def said(images: Images, made: Search, found: Collapsed, repeated: int) -> Duplicates:
    """Return what is recorded of the near-duplicates that were found."""
    by, known, cosine = found.by.tolist(), found.known.tolist(), found.cosine.tolist()
    left_out = [images.pair(made, i, by[i], known[i], cosine[i]) for i in range(len(by)) if by[i] != i]
    left_out.sort(key=lambda pair: (-pair.cosine, pair.item))
    probably = [pair for pair in left_out if pair.labeled]
    others = [pair for pair in left_out if not pair.labeled]
    shown = left_out[:CLOSEST]
    if len(by) <= MOST:
        near = near_duplicates.closest(made.vectors, CLOSEST, known=made.known)
        shown = [images.pair(made, *close) for close in near]
    return Duplicates(
        made.cosine, len({pair.like for pair in others}), len(others), len(probably),
        shown, probably[:LISTED], repeated,
    )  # fmt: skip
