"""What the model says of every image of a split, as a CSV file."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from alctl.database import items
from alctl.errors import AlctlError
from alctl.files import whole_file
from alctl.images.decode import BrokenImages, MissingImages, allow_missing
from alctl.labels.annotation import one_class_each
from alctl.labels.spreadsheet_cells import safe_cell
from alctl.model.strategy import Prediction
from alctl.progress import Progress
from alctl.project import Project, required_state
from alctl.rounds.model import Model
from alctl.rounds.pool import quarantine, source_of


class Predicted(NamedTuple):
    """What `predict` wrote."""

    images: int
    missing: Mapping[int, str]
    """Images that are not there, by item id, and where they should be."""


def predict(project: Project, model: Model, out: Path, split: str, progress: Progress) -> Predicted:
    """Write class, probability and predicted loss of every usable image of a split to a CSV.

    Images pass through memory in batches; what is kept of each is its path and three numbers. Those that cannot be
    decoded are quarantined and left out, those that are not there are left out too; MissingImages if they are many.
    AlctlError for a model of objects, of which an image may have any number.
    """
    if not one_class_each(model.task.labels):
        raise AlctlError(
            f"predict writes one class for each image, and this model says {model.task.units}: a round that goes out "
            "with --predictions holds them"
        )
    with project.reading() as connection:
        root = required_state(connection, project.folder).root
        usable = items.fetch(connection, items.usable(connection, split))
    found = [source_of(root, item) for item in usable]
    answer_of = _class_and_loss if model.predicts_losses else _class
    paths = {item.id: item.path for item in usable}
    missing: dict[int, str] = {}
    while True:
        try:
            answer = model.candidates(project, found, progress).map(answer_of).cpu()
            break
        except BrokenImages as broken:
            quarantine(project, broken, progress)
            found = [source for source in found if source.id not in broken.reasons]
        except MissingImages as gone:
            allow_missing(gone.reasons, len(found))
            missing = gone.reasons
            found = [source for source in found if source.id not in missing]
    model.check_finite(answer, "answers are")
    _write_predictions(out, model, [(source.id, paths[source.id]) for source in found], answer.tolist())
    return Predicted(len(found), missing)


def _class(prediction: Prediction) -> Tensor:
    """Return (B, 2): the most probable class and its probability."""
    probability, category = prediction.distributions.likeliest()
    return torch.stack([category.double(), probability.double()], dim=1)


def _class_and_loss(prediction: Prediction) -> Tensor:
    """Return (B, 3): the most probable class, its probability, the predicted loss."""
    return torch.cat([_class(prediction), prediction.predicted_loss.double()[:, None]], dim=1)


def _write_predictions(
    out: Path, model: Model, found: list[tuple[int, str]], answer: list[list[float]]
) -> None:
    with whole_file(out) as partial_file, partial_file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("item", "path", "predicted", "probability", "predicted_loss"))
        for (item_id, path), (category, probability, *loss) in zip(found, answer, strict=True):
            name = safe_cell(model.task.names[int(category)])
            writer.writerow(
                (item_id, safe_cell(path), name, f"{probability:.6f}", f"{loss[0]:.6g}" if loss else "")
            )
