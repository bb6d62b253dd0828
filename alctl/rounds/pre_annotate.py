"""Pre-annotations: what the current model says of a round's images, for annotators to correct."""

from collections.abc import Mapping, Sequence

import numpy as np
from sqlalchemy import Connection

from alctl.database import items, pre_annotations, rounds, rounds_out
from alctl.database.items import Item
from alctl.errors import AlctlError
from alctl.images.decode import BrokenImages, Source
from alctl.labels import canonical_json
from alctl.labels.annotation import Annotation
from alctl.progress import Progress
from alctl.project import Project, required_state
from alctl.rounds.model import Model
from alctl.rounds.pool import source_of
from alctl.rounds.trained_model import required_model


def predict_round(project: Project, number: int, device: str, progress: Progress) -> int:
    """Record what the last model says of the images that a round picked; return how many there are.

    Reserved images that went out along with them get none: who is shown the model's answer agrees with it too easily,
    and these images are there to measure the model.
    A round that was handed out with predictions keeps them: annotators have corrected those.
    """
    with project.reading() as connection:
        if known := _recorded(connection, number):
            return known
    model = required_model(project, device)
    with project.reading() as connection:
        root = required_state(connection, project.folder).root
        picked = [
            pick.item_id for pick in rounds.picks(connection, number, recalled=False) if pick.rank is not None
        ]
        found = items.fetch(connection, np.array(picked, dtype=np.int64))
    sources = [source_of(root, item) for item in found]
    try:
        decoded = _decoded(model, sources, found, project, progress)
    except BrokenImages as broken:
        first, reason = next(iter(sorted(broken.reasons.items())))
        raise AlctlError(f"item {first} of round {number} cannot be read any more: {reason}") from broken
    ids = {name: id_ for name, id_ in zip(model.task.names, model.ids, strict=True) if id_}
    rows = [(item.id, *_as_recorded(said, ids)) for item, said in zip(found, decoded, strict=True)]
    with project.recording("predictions", progress) as connection:
        pre_annotations.write(connection, number, rows, model.run.id)
    return len(rows)


def _decoded(
    model: Model, sources: Sequence[Source], found: Sequence[Item], project: Project, progress: Progress
) -> list[tuple[Annotation, ...]]:
    """Return what the model says of each image; AlctlError where that is no finite number."""
    sizes = [(item.width or 0, item.height or 0) for item in found]
    decoded: list[tuple[Annotation, ...]] = []
    for said in model.candidates(project, sources, progress).each():
        model.check_finite(said.distributions.p, "probabilities are")
        decoded += model.task.decode(said.raw, sizes[len(decoded) : len(decoded) + len(said.embedding)])
    return decoded


def _recorded(connection: Connection, number: int) -> int:
    """Return how many predictions a round has already; AlctlError if it does not exist or must not have any."""
    found = rounds.find_round(connection, number)
    if found is None:
        raise AlctlError(f"there is no round {number}")
    if found.strategy == rounds_out.RELABEL:
        raise AlctlError(
            f"round {number} is a second look; predictions would tell annotators what the model learned from the "
            "labels in doubt"
        )
    return len(pre_annotations.of_round(connection, number))


def _as_recorded(said: Sequence[Annotation], ids: Mapping[str, int]) -> tuple[int | None, str | None]:
    """Return the class id of the whole image, or else the objects as JSON; ``ids`` holds class ids by name."""
    whole = [ids[annotation.category] for annotation in said if annotation.whole_image]
    if whole:
        return whole[0], None
    return None, canonical_json.dumps([(thing, ids[thing.category]) for thing in said], ordered=True)
