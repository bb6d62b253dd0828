"""What the steps of an epoch came to: read from the device once, when the epoch ends."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from alctl.config import TrainConfig
from alctl.errors import AlctlError
from alctl.model.loss_prediction import pairs


class Step(NamedTuple):
    """What is kept of one micro-batch until the epoch's end, on the device: reading it at once would stall."""

    items: Tensor
    loss: Tensor
    predicted: Tensor | None
    ranking: Tensor | None
    terms: int


class Losses(NamedTuple):
    """The means over an epoch; ranking loss and ranking accuracy are None without a module."""

    target: float
    ranking: float | None
    accuracy: float | None


def read_losses(steps: list[Step], ids: Sequence[int], epoch: int, config: TrainConfig) -> Losses:
    """Return the epoch's means, the one time the device is waited for; a loss that is not finite is an AlctlError."""
    items = torch.cat([step.items for step in steps]).cpu()
    sizes = [len(step.items) for step in steps]
    loss = torch.cat([step.loss for step in steps]).cpu().double()
    _check_finite(loss.split(sizes), items.split(sizes), ids, epoch, config)
    predictions = [step.predicted for step in steps if step.predicted is not None]
    rankings = [step.ranking for step in steps if step.ranking is not None]
    if not rankings:
        return Losses(loss.mean().item(), None, None)
    terms = torch.tensor([step.terms for step in steps], dtype=torch.float64)
    ranking = (torch.stack(rankings).cpu().double() * terms).sum() / terms.sum().clamp_min(1)
    predicted = torch.cat(predictions).cpu().double()
    _check_finite(predicted.split(sizes), items.split(sizes), ids, epoch, config)
    accuracy = _pair_accuracy(predicted.split(sizes), loss.split(sizes), config.pairing)
    return Losses(loss.mean().item(), ranking.item(), accuracy)


def _check_finite(
    losses: Sequence[Tensor], items: Sequence[Tensor], ids: Sequence[int], epoch: int, config: TrainConfig
) -> None:
    for loss, batch in zip(losses, items, strict=True):
        bad = batch[~torch.isfinite(loss)]
        if len(bad):
            names = ", ".join(str(ids[int(position)]) for position in bad[:5])
            more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
            raise AlctlError(
                f"the loss is no longer a finite number in epoch {epoch}, first at item {names}{more}: "
                f"try a lower learning rate than {config.lr:g}, or look at the labels of these items"
            )


def _pair_accuracy(predicted: Sequence[Tensor], true: Sequence[Tensor], pairing: str) -> float | None:
    """Return the share of the batches' pairs in the right order; None if no true losses differ."""
    right = every = 0.0
    for guess, loss in zip(predicted, true, strict=True):
        first, second = pairs(len(loss), pairing)
        agrees = torch.sign(guess[first] - guess[second]) * torch.sign(loss[first] - loss[second])
        differs = loss[first] != loss[second]
        right += ((1 + agrees[differs]) / 2).sum().item()
        every += differs.sum().item()
    return right / every if every else None
