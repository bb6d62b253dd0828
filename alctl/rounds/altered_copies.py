"""From which cosine on two images are near-duplicates, by a backbone for which nobody has measured that."""

from collections.abc import Callable
from functools import partial
from io import BytesIO

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from sqlalchemy import Connection
from torch import Tensor

from alctl.chance import stream
from alctl.database import items, settings
from alctl.database.project_row import ProjectRow
from alctl.images.decode import Source
from alctl.images.embeddings import Embeddings
from alctl.images.pixels import Pixels, decode_ahead
from alctl.model.embedding import LITE0
from alctl.progress import Progress
from alctl.project import Project, required_state
from alctl.rounds.backbones import ProjectBackbone, Used, digests_of
from alctl.rounds.pool import source_of

SAMPLE = 200
"""Images of the pool that are altered and looked at again."""
FEWEST = 20
"""Of so few images nothing is concluded."""
OTHERS = 2_000
"""Images among which the nearest other one is sought."""


def _saved_again(image: Image.Image) -> Image.Image:
    file = BytesIO()
    image.convert("RGB").save(file, "JPEG", quality=40)
    return Image.open(file).convert("RGB")


def _smaller(image: Image.Image) -> Image.Image:
    return image.resize((max(1, image.width // 2), max(1, image.height // 2)), Image.Resampling.BICUBIC)


def _cropped(image: Image.Image) -> Image.Image:
    across, down = image.width // 40, image.height // 40
    return image.crop((across, down, image.width - across, image.height - down))


ALTERED = (_saved_again, _smaller, _cropped)
"""Saved as JPEG of quality 40, at half the size, without a twentieth of width and height (SELECTION.md §1.6)."""


def is_measured(used: Used) -> bool:
    """Tell whether a backbone's threshold was measured once for everybody."""
    return (used.name, used.views) == (LITE0, 1)


def known_threshold(connection: Connection, used: Used) -> float | None:
    """Return what `calibrate` found for these embeddings; None before that."""
    found: float | None = settings.read(connection, _name(used))
    return found


def _name(used: Used) -> str:
    return f"{settings.NEAR_DUPLICATES} {used.key.digest}"


def calibrate(project: Project, used: Used, source: ProjectBackbone, progress: Progress) -> float | None:
    """Find, record and return the cosine from which two images are near-duplicates by this backbone.

    It is the 5 % quantile of the cosines between images and their altered copies, but never below the 99 % quantile of
    those between images and the nearest other one. None where it is known already, or fewer than twenty images have a
    vector.
    """
    table = Embeddings(project.cache, used.key)
    with project.reading() as connection:
        if is_measured(used) or known_threshold(connection, used) is not None:
            return None
        images = _drawn(connection, table, required_state(connection, project.folder))
    if len(images) < FEWEST:
        return None
    vectors = F.normalize(torch.from_numpy(table.vectors(digests_of(images))))
    some = images[:SAMPLE]
    cosines = list[Tensor]()
    for alter in ALTERED:
        encode = partial(_encoded, source.encode, alter)
        for batch in decode_ahead(some, encode, source.least, source.batch, source.ranges):
            if batch.sources:
                copies = F.normalize(source.embed(torch.from_numpy(batch.pixels)))
                originals = vectors[[some.index(one) for one in batch.sources]]
                cosines.append((copies * originals).sum(1))
                progress("looking at altered copies", sum(map(len, cosines)), len(ALTERED) * len(some))
    found = threshold(torch.cat(cosines), _nearest_other(vectors[: len(some)], vectors))
    with project.recording("embed", progress) as connection:
        settings.write(connection, _name(used), found)
    return found


def _drawn(connection: Connection, table: Embeddings, state: ProjectRow) -> list[Source]:
    """Return a random part of the images that have a vector."""
    ids, digests = items.digests(connection)
    there = ids[table.rows(digests) >= 0]
    drawn = np.random.default_rng(stream(state.seed, "altered copies")).permutation(there)[:OTHERS]
    return [source_of(state.root, item) for item in items.fetch(connection, drawn)]


def _encoded(
    encode: Callable[[Image.Image], Pixels], alter: Callable[[Image.Image], Image.Image], image: Image.Image
) -> Pixels:
    return encode(alter(image))


def _nearest_other(some: Tensor, every: Tensor) -> Tensor:
    """Return the cosine of each of the first of the images (n, D) to the nearest other one of (N, D)."""
    cosines = some @ every.T
    cosines.fill_diagonal_(-1)
    return cosines.amax(1)


def threshold(copies: Tensor, others: Tensor) -> float:
    """Return the threshold from cosines of altered copies to their originals, and of images to the nearest other one."""
    return round(max(copies.quantile(0.05).item(), others.quantile(0.99).item()), 4)
