"""What the database says before a selection: the random subset that may be chosen from, and what goes out beside it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from alctl.chance import stream
from alctl.database import categories, items, labels, rounds
from alctl.database.random_order import Ids
from alctl.errors import AlctlError
from alctl.images.decode import BrokenImages, Source
from alctl.progress import Progress, silent
from alctl.project import Project, required_state
from alctl.rounds.select_options import RANDOM, SelectOptions

_NOTHING_TO_COMPARE = (
    "no image that could be chosen has an embedding that tells anything: all are zero or not finite; choose with "
    "--strategy random, or embed with another backbone"
)


class Incomparable(Exception):  # noqa: N818 - it names what it carries
    """The strategy compares images, and the embeddings of some are zero or not finite: ``ids`` of the items."""

    def __init__(self, ids: Collection[int]) -> None:
        super().__init__(f"{len(ids)} images cannot be compared with others")
        self.ids = set(ids)


@dataclass(frozen=True)
class Found:
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


def look(
    project: Project, options: SelectOptions, missing: Mapping[int, str], incomparable: Collection[int] = ()
) -> Found:
    """Read the state of the pool; draw the random subset, and the control images beside it, without the missing ones.

    ``incomparable`` images are neither in the subset nor among the labeled ones that a strategy compares it with;
    AlctlError where that leaves nothing to choose from.
    """
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
            control = rounds.subset(connection, count, stream(seed, "control"), number, resend=options.resend)
            subset = subset[~np.isin(subset, control)]
        labeled = [] if options.strategy == RANDOM else labels.labeled_ids(connection)
        reserved = rounds.unsent_reserved(connection)

        def sources(ids: Ids | list[int]) -> list[Source]:
            found = items.fetch(connection, np.asarray(ids, dtype=np.int64))
            return [source_of(state.root, item) for item in found if item.id not in missing]

        candidates, compared = (
            [one for one in sources(ids) if one.id not in incomparable] for ids in (subset, labeled)
        )
        if incomparable and not candidates:
            raise AlctlError(_NOTHING_TO_COMPARE)
        return Found(
            number, seed, left, state.root, sources(control), candidates, compared,
            sources([item for item, _ in reserved]), [split for item, split in reserved if item not in missing],
            [known.name for known in categories.as_categories(connection, living=True)],
            len(subset) + len(control) + len(labeled) + len(reserved),
        )  # fmt: skip


def source_of(root: str, item: items.Item) -> Source:
    """Return where the pixels of an item are."""
    return Source(item.id, f"{root}/{item.path}", item.digest)


def quarantine(project: Project, broken: BrokenImages, progress: Progress = silent) -> None:
    """Mark images as unusable, for good."""
    with project.recording("quarantine", progress) as connection:
        items.quarantine(connection, broken.reasons)
