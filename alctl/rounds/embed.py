"""Embedding the pool: one vector for each image from a frozen backbone, computed once and shared by all commands.

First `plan_embedding`, which says how many images lack a vector and about how long they take, then `embed`. What is
there already is found by the content of the images, so the same command goes on where it was stopped.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from sqlalchemy import Connection

from alctl.database import items, labels, rounds
from alctl.database.random_order import Ids
from alctl.errors import AlctlError
from alctl.images.decode import BrokenImages, Source
from alctl.images.embeddings import BLOCK, Embeddings, Key
from alctl.model.embedding import LITE0
from alctl.progress import Progress
from alctl.project import Project, required_state
from alctl.rounds.altered_copies import calibrate
from alctl.rounds.backbones import (
    MODEL,
    TABLE,
    ProjectBackbone,
    Used,
    fill,
    images_per_second,
    key_of,
    source_named,
    use,
    used,
    whole_name,
)
from alctl.rounds.own_vectors import OwnVectors
from alctl.rounds.pool import quarantine, source_of


@dataclass(frozen=True)
class EmbedOptions:
    """What is embedded, and by what."""

    backbone: str = ""
    """Empty: the project's, at first ``efficientnet-lite0``."""
    size: int | None = None
    """Input in pixels; None: the project's, else the backbone's own."""
    views: int | None = None
    """2: each image and its mirror image; None: the project's, else 1."""
    device: str = "auto"
    subset: int | None = None
    """Only the random subset of this size of the next round, the labeled images and the reserved ones."""


@dataclass(frozen=True)
class Plan:
    """What `embed` is going to do."""

    name: str
    """The backbone, as one would type it."""
    key: Key
    ids: Ids
    """The usable images that lack a vector and are going to get one."""
    already: int
    """Usable images that have one."""
    elsewhere: int
    """Usable images that lack one and are not among ``ids``: outside of the subset, or of the user's table."""
    images_per_second: float | None
    """Measured on the first images; None where nothing has to be computed."""
    source: ProjectBackbone | OwnVectors

    @property
    def licence(self) -> str:
        """That of the network's weights, where it is known."""
        return "" if isinstance(self.source, OwnVectors) else self.source.licence

    @property
    def seconds(self) -> float:
        """About how long `embed` takes."""
        return len(self.ids) / self.images_per_second if self.images_per_second else 0.0


@dataclass(frozen=True)
class Embedded:
    """What `embed` did."""

    backbone: str
    dimension: int
    embedded: int
    already: int
    lacking: int
    """Usable images that still have no vector."""
    excluded: int
    """Images of the whole table whose vector is zero or not finite: strategies cannot tell where they are."""
    seconds: float
    images_per_second: float
    quarantined: Mapping[int, str]
    """Images that turned out not to decode, by item id, and why."""
    missing: Mapping[int, str]
    """Images that are not there, by item id, and where they should be."""


def plan_embedding(project: Project, options: EmbedOptions) -> Plan:
    """Find which images lack a vector, and measure on the first of them how long one takes; nothing is written.

    Raises:
        AlctlError: There is no such backbone, its weights cannot be had, or a table of vectors fits no image.
    """
    with project.reading() as connection:
        remembered = used(connection)
    name = whole_name(options.backbone or (remembered.name if remembered else LITE0))
    source = _source(project, name, options, remembered)
    key = key_of(source)
    with project.reading() as connection:
        ids, digests = items.digests(connection)
        lacking = Embeddings(project.cache, key).rows(digests) < 0
        wanted = np.isin(ids, _wanted(project, connection, source, options.subset))
        root = required_state(connection, project.folder).root
    todo = ids[lacking & wanted]
    rate = None
    if isinstance(source, ProjectBackbone) and len(todo):
        rate = images_per_second(source, _sources(project, root, todo[: source.batch]))
    return Plan(name, key, todo, int((~lacking).sum()), int((lacking & ~wanted).sum()), rate, source)


def _source(
    project: Project, name: str, options: EmbedOptions, remembered: Used | None
) -> ProjectBackbone | OwnVectors:
    """Return what gives the vectors; size and views that nobody asked for are those that the backbone had before."""
    size, views = options.size, options.views
    if size is not None and (name == MODEL or name.startswith(TABLE)):
        raise AlctlError(f"{name} has a size of its own; leave --size out")
    if views is not None and name.startswith(TABLE):
        raise AlctlError(f"{name} has its vectors already; leave --views out")
    if remembered and name == remembered.name:
        size = remembered.size if size is None and name != MODEL else size
        views = views or remembered.views
    return source_named(project, name, size, options.device, views=views or 1)


def _wanted(
    project: Project, connection: Connection, source: ProjectBackbone | OwnVectors, subset: int | None
) -> Ids:
    """Return the ids of the items that are to get a vector if they lack one."""
    every = items.usable(connection, "all")
    if subset is not None:
        seed = required_state(connection, project.folder).seed
        drawn = rounds.subset(connection, subset, seed, rounds.next_round(connection))
        reserved = every[~np.isin(every, items.usable(connection, "pool"))]
        every = np.union1d(np.union1d(drawn, reserved), np.array(labels.labeled_ids(connection), np.int64))
    if isinstance(source, OwnVectors):
        known = [id_ for id_, path in items.paths(connection) if path in source.rows]
        if not known:
            shown = ", ".join(list(source.rows)[:3])
            raise AlctlError(f"no image of the project has a path of the table, such as {shown}")
        every = np.intersect1d(every, np.array(known, np.int64))
    return every


def _sources(project: Project, root: str, ids: Ids) -> list[Source]:
    with project.reading() as connection:
        return [source_of(root, item) for item in items.fetch(connection, ids)]


def embed(project: Project, plan: Plan, progress: Progress) -> Embedded:
    """Give every image of the plan its vector, and make the backbone the project's.

    Vectors are kept as they come, so nothing that took long is lost when it is stopped. Images that cannot be decoded
    are quarantined. At the end it is measured how alike two images have to be to count as near-duplicates.

    Raises:
        AlctlError: Another process is doing the same, or more than a tenth of the files are not there.
    """
    chosen = Used(plan.name, plan.key)
    with project.recording("embed", progress) as connection:
        use(connection, chosen)
    table = Embeddings(project.cache, plan.key)
    root, start, total = project.state().root, time.perf_counter(), len(plan.ids)
    blocks = (_sources(project, root, plan.ids[place : place + BLOCK]) for place in range(0, total, BLOCK))
    left_out = fill(table, plan.source, root, blocks, total, progress)
    broken, missing = left_out.broken, left_out.missing
    done = total - len(broken) - len(missing)
    if broken:
        quarantine(project, BrokenImages(broken), progress)
    seconds = time.perf_counter() - start
    if isinstance(plan.source, ProjectBackbone):
        calibrate(project, chosen, plan.source, progress)
    return Embedded(
        plan.name,
        plan.key.dimension,
        done,
        plan.already,
        plan.elsewhere + len(missing),
        table.excluded,
        seconds,
        done / seconds,
        broken,
        missing,
    )
