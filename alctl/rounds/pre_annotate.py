"""Pre-annotations: what the current model says of a round's images, for annotators to correct."""

from functools import partial

import numpy as np
from torch import Tensor

from alctl.database import items, pre_annotations, rounds, rounds_out
from alctl.errors import AlctlError
from alctl.images.pixels import BrokenImages
from alctl.labels import canonical_json
from alctl.model.score import Scorer
from alctl.model.strategy import Prediction
from alctl.progress import Progress
from alctl.project import Project, required_state
from alctl.rounds.trained_model import required_model
from alctl.rounds.training_set import cache_of, source_of


def predict_round(project: Project, number: int, device: str, progress: Progress) -> int:
    """Record what the last model says of the images that a round picked; return how many there are.

    Reserved images that went out along with them get none: who is shown the model's answer agrees with it too easily,
    and these images are there to measure the model.
    A round that was handed out with predictions keeps them: annotators have corrected those.
    """
    with project.reading() as connection:
        row = rounds.round_row(connection, number)
        if row is None:
            raise AlctlError(f"there is no round {number}")
        if row["strategy"] == rounds_out.RELABEL:
            raise AlctlError(
                f"round {number} is a second look; predictions would tell annotators what the model learned from the "
                "labels in doubt"
            )
        if known := pre_annotations.of_round(connection, number):
            return len(known)
    model = required_model(project, device)
    with project.reading() as connection:
        root = required_state(connection, project.folder).root
        picks = [pick["item_id"] for pick in rounds.picks(connection, number) if pick["rank"] is not None]
        found = items.fetch(connection, np.array(picks, dtype=np.int64))
    sources = [source_of(root, item) for item in found]
    cache = cache_of(project, model.task, model.trained.config.image_size)
    scorer = Scorer(model.trained, model.task, partial(cache.batches, sources, progress), len(sources))
    try:
        probabilities = scorer.map(_probabilities)
    except BrokenImages as broken:
        first, reason = next(iter(sorted(broken.reasons.items())))
        raise AlctlError(f"item {first} of round {number} cannot be read any more: {reason}") from broken
    ids = {name: id_ for name, id_ in zip(model.task.categories, model.ids, strict=True) if id_}
    decoded = model.task.decode(probabilities, [(item.width or 0, item.height or 0) for item in found])
    rows = []
    for item, annotations in zip(found, decoded, strict=True):
        whole = [ids[annotation.category] for annotation in annotations if annotation.whole_image]
        things = [
            (annotation, ids[annotation.category]) for annotation in annotations if not annotation.whole_image
        ]
        text = None if whole else canonical_json.dumps(things, ordered=True)
        rows.append((item.id, whole[0] if whole else None, text))
    with project.writing("predictions") as connection:
        pre_annotations.write(connection, number, rows, model.run["id"])
    return len(rows)


def _probabilities(prediction: Prediction) -> Tensor:
    return prediction.probabilities
