"""Scoring and evaluation: what a trained model says of images, without augmentation and without gradient."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from alctl.chance import stream
from alctl.errors import AlctlError
from alctl.metrics import Metrics, UncertaintyRanking
from alctl.model.loss_prediction import Trained
from alctl.model.ranking import loss_ranking, ranking_interval, ranking_lead
from alctl.model.strategy import Prediction, UntrainedError
from alctl.model.task import Meter, Task
from alctl.model.tensors import Raw, Targets, moved, rows
from alctl.model.uncertainty import entropy, margin

Batches = Callable[[], Iterator[np.ndarray]]
"""Each call starts again at the first image and yields (B, 3, H, W) uint8 in order."""
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
        targets: Targets | None = None,
        seed: int = 0,
    ) -> None:
        """Score the ``n`` images of ``batches``; ``targets`` theirs if labeled; ``seed`` is for dropout only."""
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
        """Yield the images in batches of (B, 3, H, W) uint8 on the CPU, in order."""
        for batch in self.batches():
            yield torch.from_numpy(batch)

    def map(self, fn: Callable[[Prediction], Tensor], *, dropout_passes: int = 0) -> Tensor:
        """Apply ``fn`` to each batch and concatenate, as `Candidates.map` promises.

        With dropout passes, ``embedding`` and ``predicted_loss`` come from one further pass without dropout.
        """
        results = [fn(said) for said in self.each(dropout_passes=dropout_passes)]
        result = torch.cat(results) if results else torch.empty(0, device=self.trained.device)
        if self.trained.module is None and bool(torch.isnan(result).any()):
            raise AlctlError(
                "this model predicts no losses, because it was trained with loss_weight 0: "
                "train it again with a loss_weight, or choose another strategy"
            )
        return result

    def each(self, *, dropout_passes: int = 0) -> Iterator[Prediction]:
        """Yield what the model says of each batch, in order."""
        self.trained.eval()
        passes = _DropoutPasses(self.trained, dropout_passes, self.seed) if dropout_passes else None
        embeddings: list[Tensor] = []
        done = 0
        for batch in self.images():
            said = self._prediction(batch.to(self.trained.device, non_blocking=True), done, passes)
            yield said
            if self.n * said.embedding.shape[1] <= KEPT:
                embeddings.append(said.embedding)
            done += len(batch)
        if done != self.n:
            raise RuntimeError(f"{self.n} images were promised and {done} came")
        self._last = torch.cat(embeddings) if embeddings else None

    def _prediction(self, images: Tensor, start: int, passes: "_DropoutPasses | None") -> Prediction:
        some = rows(self.targets or {}, slice(start, start + len(images)))
        seen, targets = self.task.view(images, moved(some, images.device))
        with torch.no_grad():
            output, predicted = self.trained(seen)
        return Prediction(
            output.raw,
            output.embedding,
            output.embedding.new_full((len(seen),), math.nan) if predicted is None else predicted,
            self.task.distributions,
            None if self.targets is None else targets,
            None if passes is None else partial(passes.of, seen),
        )


class _DropoutPasses:
    """Passes in which only the dropout layers are stochastic; their chance goes on from one batch to the next."""

    def __init__(self, trained: Trained, count: int, seed: int) -> None:
        self.trained = trained
        self.count = count
        self.layers = [
            m for m in trained.modules() if isinstance(m, nn.modules.dropout._DropoutNd) and m.p > 0
        ]
        self.state = torch.Generator(trained.device).manual_seed(stream(seed, "dropout")).get_state()
        if not self.layers:
            raise AlctlError(
                "this strategy needs a model with dropout, and this one has none: its passes would all be the same; "
                "`alctl train --dropout 0.2` trains one"
            )

    def of(self, images: Tensor) -> Iterator[Raw]:
        """Yield what the network says of a batch in each pass."""
        for _ in range(self.count):
            yield self._one(images)

    def _one(self, images: Tensor) -> Raw:
        device = images.device
        chance: Any = torch.random if device.type == "cpu" else torch.get_device_module(device)
        which = (device,) if device.type == "cuda" else ()
        before = chance.get_rng_state(*which)
        chance.set_rng_state(self.state, *which)
        try:
            for layer in self.layers:
                layer.train()
            with torch.no_grad():
                raw: Raw = self.trained(images)[0].raw
            self.state = chance.get_rng_state(*which)
        finally:
            for layer in self.layers:
                layer.eval()
            chance.set_rng_state(before, *which)
        return raw


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
    """What a model says of N images, on the CPU: nothing that grows with boxes or pixels."""

    likeliest: Tensor
    """(N,) int64: the class of the highest mean probability."""
    confidence: Tensor
    """(N,) that probability."""
    entropy: Tensor
    """(N,) float64, the mean over an image's distributions, as the margin is: how unsure the model is."""
    margin: Tensor
    """(N,) float64: the highest minus the second highest probability."""
    predicted_loss: Tensor | None
    """(N,) float32; None without a loss prediction module."""
    target_loss: Tensor | None
    """(N,) float32; None without targets, as are quality and meter."""
    quality: Tensor | None
    """(N,) float64: how good each answer is, from 0 to 1."""
    meter: Meter | None
    """What has measured all of them."""


class Collector:
    """Takes in what a model says, batch by batch, and keeps of each image what `Predictions` holds."""

    def __init__(self, task: Task) -> None:
        """Collect what models of this task say."""
        self.task = task
        self.meter = task.meter()
        self.said: dict[str, list[Tensor]] = {}

    def add(self, raw: Raw, targets: Targets | None, predicted: Tensor | None) -> None:
        """Take in what is said of a batch, with its ``targets`` if it is labeled; without gradient."""
        distributions = self.task.distributions(raw)
        confidence, likeliest = distributions.likeliest()
        found = {
            "likeliest": likeliest, "confidence": confidence,
            "entropy": distributions.mean(entropy), "margin": distributions.mean(margin),
        }  # fmt: skip
        if predicted is not None:
            found["predicted_loss"] = predicted
        if targets:
            found["target_loss"] = self.task.loss(raw, targets)
            found["quality"] = self.meter.update(raw, targets)
        for name, values in found.items():
            self.said.setdefault(name, []).append(values)

    def predictions(self) -> Predictions:
        """Return what was said of all images."""
        found = {name: torch.cat(values).cpu() for name, values in self.said.items()}
        labeled = "quality" in found
        return Predictions(
            found["likeliest"], found["confidence"], found["entropy"], found["margin"],
            found.get("predicted_loss"), found.get("target_loss"), found.get("quality"),
            self.meter if labeled else None,
        )  # fmt: skip


def predict(
    trained: Trained,
    task: Task,
    images: Tensor | np.ndarray,
    targets: Targets | None = None,
    *,
    batch_size: int = 256,
) -> Predictions:
    """Return the predictions for (N, 3, H, W) uint8 images, measured and with the true losses if there are ``targets``.

    AlctlError where what the model says is not a finite number: it can be neither measured nor used.
    """
    if len(images) == 0:
        raise AlctlError("there are no images to predict")
    collector, device = Collector(task), trained.device
    was_training = trained.training
    trained.eval()
    with torch.no_grad():
        for start in range(0, len(images), batch_size):
            part = images[start : start + batch_size]
            batch = part if isinstance(part, Tensor) else torch.from_numpy(np.array(part))
            some = moved(rows(targets or {}, slice(start, start + batch_size)), device)
            seen, some = task.view(batch.to(device, non_blocking=True), some)
            output, predicted = trained(seen)
            collector.add(output.raw, some, predicted)
    trained.train(was_training)
    said = collector.predictions()
    check_finite(said.entropy, "probabilities are", trained)
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
    trained: Trained, task: Task, images: Tensor | np.ndarray, targets: Targets, *, batch_size: int = 256
) -> Metrics:
    """Return the metrics of a model on labeled images: see `measure`."""
    return measure(predict(trained, task, images, targets, batch_size=batch_size))


def measure(predictions: Predictions, *, interval: bool = False) -> Metrics:
    """Return the task's metrics, the mean true loss, and how well images are put into the order of their true losses.

    By predicted losses, and beside them by entropy and margin, which are free. What cannot be said, such as a
    correlation of constants or anything about a missing module, is None. With ``interval``, also that of the ranking
    accuracy, the number of images it is from, and the lead of predicted losses over the margin. ValueError for
    predictions about images without labels.
    """
    if predictions.meter is None or predictions.target_loss is None:
        raise ValueError("only predictions about labeled images can be measured")
    of_task = predictions.meter.compute()
    true = predictions.target_loss.double().numpy()
    close = -predictions.margin.numpy()
    unsure = (loss_ranking(values, true).ranking_accuracy for values in (predictions.entropy.numpy(), close))
    found = Metrics(of_task, float(true.mean()), uncertainty=UncertaintyRanking(*unsure))
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
        lead=ranking_lead(predicted, close, true),
    )
