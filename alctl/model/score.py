"""Scoring and evaluation: what a trained model says of images, without augmentation and without gradient."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from alctl.chance import stream
from alctl.errors import AlctlError
from alctl.metrics import Metrics, UncertaintyRanking
from alctl.model.loss_prediction import Output, Trained
from alctl.model.ranking import loss_ranking, ranking_interval, ranking_lead
from alctl.model.strategy import Prediction, UntrainedError
from alctl.model.task import Task
from alctl.model.uncertainty import entropy, margin

Batches = Callable[[], Iterator[np.ndarray]]
"""Each call starts again at the first image and yields (B, 3, S, S) uint8 in order."""
KEPT = 2**26
"""Numbers of embeddings that are kept after a pass at most: 256 MiB, or 131,072 images of 512."""


class Scorer:
    """The `Candidates` of a strategy: a trained model and a way to go through the images in order."""

    def __init__(
        self,
        trained: Trained,
        task: Task,
        batches: Batches,
        n: int,
        *,
        targets: Tensor | None = None,
        seed: int = 0,
    ) -> None:
        """Score the ``n`` images of ``batches``; ``targets`` (n, …) if labeled; ``seed`` is for dropout only."""
        self.trained = trained
        self.task = task
        self.batches = batches
        self.n = n
        self.targets = targets
        self.seed = seed
        self._last: Tensor | None = None

    def __len__(self) -> int:
        """Return how many images there are."""
        return self.n

    def embeddings(self) -> Tensor:
        """Return the model's embeddings (n, D) in float32 on its device.

        They are kept from the last pass if they are few, so that predictions and embeddings cost one pass.
        """
        return self.map(lambda seen: seen.embedding) if self._last is None else self._last

    def images(self) -> Iterator[Tensor]:
        """Yield the images in batches of (B, 3, S, S) uint8 on the CPU, in order."""
        for batch in self.batches():
            yield torch.from_numpy(batch)

    def map(self, fn: Callable[[Prediction], Tensor], *, dropout_passes: int = 0) -> Tensor:
        """Apply ``fn`` to each batch and concatenate, as `Candidates.map` promises.

        With dropout passes, ``embedding`` and ``predicted_loss`` come from one further pass without dropout.
        """
        self.trained.eval()
        dropout = self._dropout_layers() if dropout_passes else ()
        device = self.trained.device
        results: list[Tensor] = []
        embeddings: list[Tensor] = []
        done = 0
        forked = [device] if device.type == "cuda" else []
        with torch.no_grad(), torch.random.fork_rng(devices=forked):
            torch.manual_seed(stream(self.seed, "dropout"))
            for batch in self.images():
                images = batch.to(device, non_blocking=True)
                output, predicted = self.trained(images)
                probabilities = self._probabilities(images, output, dropout, dropout_passes)
                target = None if self.targets is None else self.targets[done : done + len(batch)].to(device)
                results.append(
                    fn(Prediction(probabilities, output.embedding, self._known(output, predicted), target))
                )
                if self.n * output.embedding.shape[1] <= KEPT:
                    embeddings.append(output.embedding)
                done += len(batch)
        if done != self.n:
            raise RuntimeError(f"{self.n} images were promised and {done} came")
        self._last = torch.cat(embeddings) if embeddings else None
        result = torch.cat(results) if results else torch.empty(0, device=device)
        if self.trained.module is None and bool(torch.isnan(result).any()):
            raise AlctlError(
                "this model predicts no losses, because it was trained with loss_weight 0: "
                "train it again with a loss_weight, or choose another strategy"
            )
        return result

    def _known(self, output: Output, predicted: Tensor | None) -> Tensor:
        """Return the predicted losses; without a module NaN, which no ranking accepts."""
        return output.raw.new_full((len(output.raw),), math.nan) if predicted is None else predicted

    def _probabilities(
        self, images: Tensor, output: Output, dropout: Sequence[nn.Module], passes: int
    ) -> Tensor:
        if not passes:
            return self.task.probabilities(output.raw)
        for layer in dropout:
            layer.train()
        drawn = [self.task.probabilities(self.trained(images)[0].raw) for _ in range(passes)]
        for layer in dropout:
            layer.eval()
        return torch.cat(drawn, dim=1)

    def _dropout_layers(self) -> Sequence[nn.Module]:
        layers = [
            m for m in self.trained.modules() if isinstance(m, nn.modules.dropout._DropoutNd) and m.p > 0
        ]
        if not layers:
            raise AlctlError(
                "this strategy needs a model with dropout, and this one has none: its passes would all be the same; "
                "`alctl train --dropout 0.2` trains one"
            )
        return layers


class Unscored:
    """The `Candidates` of a project without a trained model: images without predictions."""

    def __init__(self, n: int, frozen: Tensor | None = None) -> None:
        """Take ``n`` images, with the vectors ``frozen`` (n, D) of a frozen backbone if there are any."""
        self.n = n
        self.frozen = frozen

    def __len__(self) -> int:
        """Return how many images there are."""
        return self.n

    def map(self, fn: Callable[[Prediction], Tensor], *, dropout_passes: int = 0) -> Tensor:
        """Refuse: there is no model."""
        raise UntrainedError(
            "this strategy needs a trained model; run `alctl train` first, or use --strategy random"
        )

    def embeddings(self) -> Tensor:
        """Return the frozen vectors (n, D); without them there is nothing to compare images by."""
        if self.frozen is None:
            raise AlctlError(
                "this strategy compares images by their embeddings, and there are none yet; "
                "run `alctl embed`, or run `alctl train` first, or use --strategy random"
            )
        return self.frozen

    def images(self) -> Iterator[Tensor]:
        """Refuse: without a model there is no input size to read images at."""
        raise UntrainedError(
            "this strategy needs a trained model; run `alctl train` first, or use --strategy random"
        )


class Predictions(NamedTuple):
    """What a model says of N images, on the CPU."""

    probabilities: Tensor
    """(N, M, C) float32."""
    predicted_loss: Tensor | None
    """(N,) float32; None without a loss prediction module."""
    target_loss: Tensor | None
    """(N,) float32; None without targets."""


def predict(
    trained: Trained,
    task: Task,
    images: Tensor | np.ndarray,
    targets: Tensor | None = None,
    *,
    batch_size: int = 256,
) -> Predictions:
    """Return the predictions for (N, 3, S, S) uint8 images, with the true losses if there are ``targets``.

    AlctlError where what the model says is not a finite number: it can be neither measured nor used.
    """
    if len(images) == 0:
        raise AlctlError("there are no images to predict")
    probabilities, predicted_losses, true_losses = [], [], []
    was_training = trained.training
    trained.eval()
    with torch.no_grad():
        for start in range(0, len(images), batch_size):
            part = images[start : start + batch_size]
            batch = part if isinstance(part, Tensor) else torch.from_numpy(np.array(part))
            output, predicted = trained(batch.to(trained.device, non_blocking=True))
            probabilities.append(task.probabilities(output.raw))
            if predicted is not None:
                predicted_losses.append(predicted)
            if targets is not None:
                target = targets[start : start + batch_size].to(trained.device)
                true_losses.append(task.loss(output.raw, target))
    trained.train(was_training)
    said = Predictions(
        torch.cat(probabilities).cpu(),
        torch.cat(predicted_losses).cpu() if predicted_losses else None,
        torch.cat(true_losses).cpu() if true_losses else None,
    )
    check_finite(said.probabilities, "probabilities are", trained)
    if said.predicted_loss is not None:
        check_finite(said.predicted_loss, "predicted losses are", trained)
    return said


def not_finite(values: Tensor) -> int:
    """Return for how many of N images a value of (N, …) is no finite number."""
    return int((~torch.isfinite(values.reshape(len(values), -1))).any(dim=1).sum())


def check_finite(values: Tensor, what: str, trained: Trained) -> None:
    """Refuse what a model says of N images, (N, …), if any of it is no finite number; ``what`` is its name with "are"."""
    if bad := not_finite(values):
        raise AlctlError(
            f"the training of this model diverged within {trained.config.epochs} epochs: its {what} no finite numbers "
            f"for {bad:,} of {len(values):,} images; train with a lower learning rate than --lr {trained.config.lr:g}"
        )


def evaluate(
    trained: Trained, task: Task, images: Tensor | np.ndarray, targets: Tensor, *, batch_size: int = 256
) -> Metrics:
    """Return the metrics of a model on labeled images: see `measure`."""
    return measure(predict(trained, task, images, targets, batch_size=batch_size), task, targets)


def measure(predictions: Predictions, task: Task, targets: Tensor, *, interval: bool = False) -> Metrics:
    """Return the task's metrics, the mean true loss, and how well images are put into the order of their true losses.

    By predicted losses, and beside them by entropy and margin, which are free. What cannot be said, such as a
    correlation of constants or anything about a missing module, is None. With ``interval``, also that of the ranking
    accuracy, the number of images it is from, and the lead of predicted losses over the margin.
    """
    of_task = task.evaluate(predictions.probabilities, targets.cpu())
    if predictions.target_loss is None:
        return Metrics(of_task)
    true = predictions.target_loss.double().numpy()
    unsure = _uncertainty(predictions.probabilities)
    found = Metrics(
        of_task,
        float(true.mean()),
        uncertainty=UncertaintyRanking(*(loss_ranking(values, true).ranking_accuracy for values in unsure)),
    )
    if predictions.predicted_loss is None:
        return found
    predicted = predictions.predicted_loss.double().numpy()
    found = replace(found, ranking=loss_ranking(predicted, true))
    if not interval:
        return found
    return replace(
        found,
        images=len(true),
        interval=ranking_interval(predicted, true),
        lead=ranking_lead(predicted, unsure.margin, true),
    )


class _Uncertainty(NamedTuple):
    """How unsure a model is of each image, (N,): as the strategies entropy and margin rank, highest first."""

    entropy: np.ndarray
    margin: np.ndarray
    """Turned round: high where the two most probable classes are close."""


def _uncertainty(probabilities: Tensor) -> _Uncertainty:
    """Return entropy and margin of (N, M, C) probabilities, each the mean of an image's M distributions."""
    return _Uncertainty(entropy(probabilities).mean(-1).numpy(), -margin(probabilities).mean(-1).numpy())
