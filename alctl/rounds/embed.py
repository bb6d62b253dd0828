"""Embedding the pool: one vector for each image from a frozen backbone, computed once and shared by all commands.

First `plan_embedding`, which says how many images lack a vector and about how long they take, then `embed`. What is
there already is found by the content of the images, so the same command goes on where it was stopped.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from sqlalchemy import Connection
from torch import Tensor

from alctl.database import items, labels, rounds, settings, training_runs
from alctl.database.random_order import Ids
from alctl.errors import AlctlError
from alctl.images.decode import BrokenImages, Source, allow_missing
from alctl.images.embeddings import BLOCK, Digests, Embeddings, Key, Vectors, as_digests
from alctl.images.levels import Levels
from alctl.images.pixels import decode_ahead
from alctl.model import embedding
from alctl.model.device import best_device, check_device
from alctl.model.embedding import LITE0, Backbone
from alctl.progress import Progress
from alctl.project import Project, required_state
from alctl.rounds import own_vectors
from alctl.rounds.own_vectors import OwnVectors
from alctl.rounds.trained_model import required_model
from alctl.rounds.training_set import quarantine, source_of

TABLE = "table:"
MODEL = "model"


@dataclass(frozen=True)
class EmbedOptions:
    """What is embedded, and by what."""

    backbone: str = ""
    """Empty: the project's, at first ``efficientnet-lite0``."""
    size: int | None = None
    """Input in pixels; None: the project's, else the backbone's own."""
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
    source: "Backbone | OwnVectors"
    ranges: Levels
    """What black and white are in images of more than 8 bits."""

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
        remembered = settings.read(connection, settings.EMBEDDING) or {"name": LITE0, "key": {}}
    name = options.backbone or remembered["name"]
    size = options.size
    if size is not None and (name == MODEL or name.startswith(TABLE)):
        raise AlctlError(f"{name} has a size of its own; leave --size out")
    if size is None and name == remembered["name"]:
        size = remembered["key"].get("preprocessing", {}).get("size")
    with project.reading() as connection:
        ranges = settings.levels(connection)
    source = _source(project, name, size, options.device)
    name = f"{TABLE}{_table_file(name)}" if isinstance(source, OwnVectors) else name
    key = _key(source, ranges)
    with project.reading() as connection:
        ids, digests = items.digests(connection)
        lacking = Embeddings(project.cache, key).rows(digests) < 0
        wanted = np.isin(ids, _wanted(project, connection, source, options.subset))
        root = required_state(connection, project.folder).root
    todo = ids[lacking & wanted]
    rate = None
    if isinstance(source, Backbone) and len(todo):
        rate = _images_per_second(source, _sources(project, root, todo[: source.batch]), ranges)
    return Plan(name, key, todo, int((~lacking).sum()), int((lacking & ~wanted).sum()), rate, source, ranges)


def _source(project: Project, name: str, size: int | None, device: str) -> "Backbone | OwnVectors":
    """Return what gives the vectors."""
    if name.startswith(TABLE):
        return own_vectors.read(_table_file(name))
    where = best_device() if device == "auto" else device
    check_device(where)
    if name == MODEL:
        return _model(project, where)
    with project.reading() as connection:
        largest = max(items.sizes(connection))
    return embedding.backbone(name, size, largest, where)


def _table_file(name: str) -> Path:
    return Path(name.removeprefix(TABLE)).expanduser().resolve()


def _model(project: Project, device: str) -> Backbone:
    """Return the model of the newest training run as a backbone: its embedding is its last linear layer's input."""
    model = required_model(project, device)
    size = model.trained.config.image_size

    def embed_batch(images: Tensor) -> Tensor:
        model.trained.eval()
        with torch.inference_mode():
            found: Tensor = model.trained(images.to(model.trained.device))[0].embedding
        return found.float().cpu()

    return Backbone(
        MODEL,
        embed_batch(torch.zeros(1, 3, size, size, dtype=torch.uint8)).shape[1],
        size,
        model.run.digest,
        embedding.record(
            size, mean=model.trained.mean.tolist(), std=model.trained.std.tolist(), resize="the task's"
        ),
        lambda image: model.task.encode_image(image, size),
        embed_batch,
        embedding.batch_of(device),
    )


def _key(source: "Backbone | OwnVectors", ranges: Levels) -> Key:
    """Return the key of a source's vectors; of a project with images of more than 8 bits, what is black and white too."""
    if isinstance(source, OwnVectors):
        return Key("table", source.digest, {}, source.vectors.shape[1])
    levels = {"levels": {kind: list(range_) for kind, range_ in ranges.items()}} if ranges else {}
    return Key(source.name, source.weights, {**source.preprocessing, **levels}, source.dimension)


def _wanted(
    project: Project, connection: Connection, source: "Backbone | OwnVectors", subset: int | None
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


def _images_per_second(backbone: Backbone, sources: Sequence[Source], ranges: Levels) -> float | None:
    """Embed a few images twice and time the second run: the first one also warms the machine up."""
    for _ in range(2):
        start = time.perf_counter()
        for batch in decode_ahead(sources, backbone.encode, backbone.least, backbone.batch, ranges):
            if batch.sources:
                backbone.embed(torch.from_numpy(batch.pixels))
    return len(sources) / (time.perf_counter() - start)


def embed(project: Project, plan: Plan, progress: Progress) -> Embedded:
    """Give every image of the plan its vector, and make the backbone the project's.

    Vectors are kept as they come, so nothing that took long is lost when it is stopped. Images that cannot be decoded
    are quarantined.

    Raises:
        AlctlError: Another process is doing the same, or more than a tenth of the files are not there.
    """
    with project.writing("embed") as connection:
        settings.write(connection, settings.EMBEDDING, {"name": plan.name, "key": asdict(plan.key)})
    table = Embeddings(project.cache, plan.key)
    root = project.state().root
    start, done, broken, missing = time.perf_counter(), 0, dict[int, str](), dict[int, str]()
    with table.writing() as writer:
        for place in range(0, len(plan.ids), BLOCK):
            sources = _sources(project, root, plan.ids[place : place + BLOCK])
            lacks = table.rows(_digests(sources)) < 0  # since another process may have been here
            for batch in _batches(plan, root, [s for s, lack in zip(sources, lacks, strict=True) if lack]):
                writer.append(_digests(batch.sources), batch.vectors)
                broken |= batch.broken
                missing |= batch.missing
                allow_missing(missing, len(plan.ids))
                done += len(batch.sources)
                progress("embedding images", done + len(broken) + len(missing), len(plan.ids))
    if broken:
        quarantine(project, BrokenImages(broken))
    seconds = time.perf_counter() - start
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


class _Batch(NamedTuple):
    """Some images, their vectors (B, D), and why others have none."""

    sources: Sequence[Source]
    vectors: Vectors
    broken: Mapping[int, str]
    missing: Mapping[int, str]


def _batches(plan: Plan, root: str, sources: Sequence[Source]) -> Iterator[_Batch]:
    """Yield the vectors of images, in order."""
    source = plan.source
    if isinstance(source, OwnVectors):
        rows = [source.rows[one.path.removeprefix(f"{root}/")] for one in sources]
        yield _Batch(sources, source.vectors[rows].astype(np.float32), {}, {})
        return
    for batch in decode_ahead(sources, source.encode, source.least, source.batch, plan.ranges):
        if batch.sources:
            vectors = source.embed(torch.from_numpy(batch.pixels)).numpy()
        else:
            vectors = np.empty((0, source.dimension), np.float32)
        yield _Batch(batch.sources, vectors, batch.broken, batch.missing)


def _digests(sources: Sequence[Source]) -> Digests:
    return as_digests([source.digest or b"" for source in sources])


def in_use(connection: Connection) -> bool:
    """Tell whether the project has embeddings at all."""
    return settings.read(connection, settings.EMBEDDING) is not None


def frozen_vectors(project: Project, groups: Sequence[Sequence[Source]]) -> list[Tensor] | None:
    """Return the vectors (N, D) of each group of images in float32; None unless all of them have one.

    They are as the backbone gave them, not normalised; zero where it gave none that is finite. Of ``model`` only those
    of the newest training run count.
    """
    with project.reading() as connection:
        found = settings.read(connection, settings.EMBEDDING)
        run = training_runs.last_run(connection)
    if found is None:
        return None
    key = Key(**found["key"])
    if key.backbone == MODEL and (run is None or run.digest != key.weights):
        return None
    table = Embeddings(project.cache, key)
    digests = [_digests(group) for group in groups]
    if any((table.rows(part) < 0).any() for part in digests):
        return None
    return [torch.from_numpy(table.vectors(part)) for part in digests]
