"""What turns images into vectors: a frozen network, the newest trained one, or a table that a user has already."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from sqlalchemy import Connection
from torch import Tensor

from alctl.database import items, settings, training_runs
from alctl.errors import AlctlError
from alctl.images.decode import Source, allow_missing
from alctl.images.embeddings import Digests, Embeddings, Key, Vectors, as_digests
from alctl.images.levels import Levels
from alctl.images.pixels import decode_ahead
from alctl.model import embedding
from alctl.model.device import best_device, check_device
from alctl.model.embedding import LITE0, Backbone
from alctl.progress import Progress
from alctl.project import Project
from alctl.rounds import own_vectors
from alctl.rounds.network_model import network_of
from alctl.rounds.own_vectors import OwnVectors

TABLE = "table:"
MODEL = "model"


@dataclass(frozen=True)
class ProjectBackbone(Backbone):
    """A frozen network, and how it sees the images of a project."""

    ranges: Levels = field(default_factory=dict)
    """What black and white are in images of more than 8 bits; part of its record where there are some."""


def _for_project(backbone: Backbone, ranges: Levels) -> ProjectBackbone:
    levels = {"levels": {kind: list(range_) for kind, range_ in ranges.items()}} if ranges else {}
    own = {**vars(backbone), "preprocessing": {**backbone.preprocessing, **levels}}
    return ProjectBackbone(**own, ranges=ranges)


@dataclass(frozen=True)
class Used:
    """The embeddings that a project, or a probe, uses."""

    name: str
    """The backbone, as one would type it."""
    key: Key
    """Of the table of its vectors."""

    def plain(self) -> dict[str, Any]:
        """Return it as JSON knows it."""
        return {"name": self.name, "key": asdict(self.key)}

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> "Used":
        """Return what `plain` returned; KeyError or TypeError for anything else."""
        return cls(str(plain["name"]), Key(**plain["key"]))

    @property
    def size(self) -> int | None:
        """The input of its network in pixels; None for a table."""
        found = self.key.preprocessing.get("size")
        return found if isinstance(found, int) else None


def used(connection: Connection) -> Used | None:
    """Return the embeddings of the project; None where it has none yet."""
    found = settings.read(connection, settings.EMBEDDING)
    return None if found is None else Used.of(found)


def use(connection: Connection, chosen: Used) -> None:
    """Make these the embeddings of the project."""
    if used(connection) != chosen:
        settings.write(connection, settings.EMBEDDING, chosen.plain())


def used_or_default(project: Project, device: str) -> Used:
    """Return the embeddings of the project; where it has none yet, those that it would get."""
    with project.reading() as connection:
        found = used(connection)
    return found or Used(LITE0, key_of(source_named(project, LITE0, None, device)))


def source_of(project: Project, wanted: Used, device: str) -> ProjectBackbone | OwnVectors:
    """Return what gives the vectors of these embeddings; AlctlError where nothing here gives the same any more."""
    name = wanted.name
    if name == MODEL:
        source = source_named(project, name, None, device, weights=wanted.key.weights)
    else:
        source = source_named(project, name, wanted.size, device)
    if key_of(source).digest != wanted.key.digest:
        raise AlctlError(
            f"{name} gives other embeddings here than those in use, because its weights, its file or the library that "
            "reads images have changed; run `alctl embed` to compute them anew, then `alctl train --head probe` to fit "
            "a probe to them"
        )
    return source


def source_named(
    project: Project, name: str, size: int | None, device: str, *, weights: str | None = None
) -> ProjectBackbone | OwnVectors:
    """Return what gives the vectors; ``weights`` is the digest of the training run that "model" means, else the last."""
    if name.startswith(TABLE):
        return own_vectors.read(table_file(name))
    where = best_device() if device == "auto" else device
    check_device(where)
    with project.reading() as connection:
        largest = max(items.sizes(connection))
        ranges = settings.levels(connection)
    if name == MODEL:
        return _for_project(_model(project, where, weights), ranges)
    return _for_project(embedding.backbone(name, size, largest, where), ranges)


def table_file(name: str) -> Path:
    """Return the file of ``table:FILE``."""
    return Path(name.removeprefix(TABLE)).expanduser().resolve()


def _model(project: Project, device: str, weights: str | None) -> Backbone:
    """Return a trained network as a backbone: its embedding is its last linear layer's input."""
    with project.reading() as connection:
        run = training_runs.last_network(connection, weights)
    if run is None:
        raise AlctlError("no network is trained yet; run `alctl train` first")
    model = network_of(project, run, device)
    frame, size = model.task.frame, model.trained.config.image_size

    def embed_batch(images: Tensor) -> Tensor:
        model.trained.eval()
        with torch.inference_mode():
            found: Tensor = model.trained(images.to(model.trained.device))[0].embedding
        return found.float().cpu()

    return Backbone(
        MODEL,
        embed_batch(torch.zeros(1, 3, *frame, dtype=torch.uint8)).shape[1],
        max(frame),
        model.run.digest,
        embedding.record(
            size, mean=model.trained.mean.tolist(), std=model.trained.std.tolist(), resize="the task's"
        ),
        model.task.encode_image,
        embed_batch,
        embedding.batch_of(device),
    )


def key_of(source: ProjectBackbone | OwnVectors) -> Key:
    """Return the key of the table of what a source gives."""
    if isinstance(source, OwnVectors):
        return Key("table", source.digest, {}, source.vectors.shape[1])
    return Key(source.name, source.weights, source.preprocessing, source.dimension)


def images_per_second(backbone: ProjectBackbone, sources: Sequence[Source]) -> float:
    """Embed a few images twice and time the second run: the first one also warms the machine up."""
    for _ in range(2):
        start = time.perf_counter()
        for batch in decode_ahead(sources, backbone.encode, backbone.least, backbone.batch, backbone.ranges):
            if batch.sources:
                backbone.embed(torch.from_numpy(batch.pixels))
    return len(sources) / (time.perf_counter() - start)


class LeftOut(NamedTuple):
    """Images that got no vector, by item id."""

    broken: Mapping[int, str]
    """Why some cannot be decoded."""
    missing: Mapping[int, str]
    """Where others are not."""


def fill(
    table: Embeddings,
    source: ProjectBackbone | OwnVectors,
    root: str,
    blocks: Iterable[Sequence[Source]],
    total: int,
    shown: Progress,
) -> LeftOut:
    """Give ``total`` images their vectors, block by block; return those that got none.

    Vectors are kept as they come, so nothing that took long is lost when it is stopped. MissingImages where more than
    a tenth of the files are not there.
    """
    broken, missing, done = dict[int, str](), dict[int, str](), 0
    with table.writing() as writer:
        for block in blocks:
            lacks = table.rows(digests_of(block)) < 0  # since another process may have been here
            lacking = [image for image, lack in zip(block, lacks, strict=True) if lack]
            done += len(block) - len(lacking)
            for batch in _batches(source, root, lacking):
                writer.append(digests_of(batch.sources), batch.vectors)
                broken |= batch.broken
                missing |= batch.missing
                allow_missing(missing, total)
                done += len(batch.sources)
                shown("embedding images", done + len(broken) + len(missing), total)
    return LeftOut(broken, missing)


class _Batch(NamedTuple):
    """Some images, their vectors (B, D), and why others have none."""

    sources: Sequence[Source]
    vectors: Vectors
    broken: Mapping[int, str]
    missing: Mapping[int, str]


def _batches(source: ProjectBackbone | OwnVectors, root: str, sources: Sequence[Source]) -> Iterator[_Batch]:
    """Yield the vectors of images, in order."""
    if isinstance(source, OwnVectors):
        rows = [source.rows[one.path.removeprefix(f"{root}/")] for one in sources]
        yield _Batch(sources, source.vectors[rows].astype(np.float32), {}, {})
        return
    for batch in decode_ahead(sources, source.encode, source.least, source.batch, source.ranges):
        if batch.sources:
            vectors = source.embed(torch.from_numpy(batch.pixels)).numpy()
        else:
            vectors = np.empty((0, source.dimension), np.float32)
        yield _Batch(batch.sources, vectors, batch.broken, batch.missing)


def digests_of(sources: Sequence[Source]) -> Digests:
    """Return the digests of images' files."""
    return as_digests([source.digest or b"" for source in sources])
