"""How long and how fast a model is trained: epochs, learning rates, and the optimizer that takes the steps."""

import math
from dataclasses import replace

import torch

from alctl.config import TrainConfig
from alctl.model.loss_prediction import Trained

EPOCHS, STEPS = 200, 400
"""Epochs of LL4AL section 4.1, and the steps that they come to at least: 50 labels are one step an epoch."""
FINE_TUNING_EPOCHS, FINE_TUNING_STEPS = 30, 200
"""The same from weights that were learned before: such networks are large, and much of it is learned."""
RATES = {"sgd": 0.1, "rmsprop": 1e-3, "adamw": 1e-3}
"""Learning rates from random weights: the paper's with sgd. From pretrained weights a tenth, so that they last."""


def enough_epochs(images: int, config: TrainConfig, *, fine_tuned: bool) -> int:
    """Return over how many epochs to train on so many images where nobody says it."""
    epochs, steps = (FINE_TUNING_EPOCHS, FINE_TUNING_STEPS) if fine_tuned else (EPOCHS, STEPS)
    return max(epochs, math.ceil(steps / max(1, math.ceil(images / config.batch_size))))


def with_rate(config: TrainConfig, *, fine_tuned: bool) -> TrainConfig:
    """Return the settings with a learning rate, the usual one where nobody gave any."""
    usual = RATES[config.optimizer] / (10 if fine_tuned else 1)
    return config if config.lr else replace(config, lr=usual)


def learning_rate(config: TrainConfig, done: float) -> float:
    """Return the learning rate after so many epochs, of which the last may be in part: that of the next step."""
    if config.schedule == "poly":
        return config.lr * float((1 - done / config.epochs) ** config.power)
    if config.schedule == "cosine":
        return config.lr * (1 + math.cos(math.pi * done / config.epochs)) / 2
    return config.lr / (10 if math.floor(done) >= round(config.lr_drop * config.epochs) else 1)


def detaches(config: TrainConfig, epoch: int) -> bool:
    """Return whether the ranking loss no longer reaches the target model in a 0-based epoch (section 4.1)."""
    return epoch >= round(config.grad_stop * config.epochs)


def new_optimizer(trained: Trained) -> torch.optim.Optimizer:
    """Return one optimizer with the same settings for the target model and the loss prediction module."""
    config = trained.config
    parts = [trained.model] if trained.module is None else [trained.model, trained.module]
    groups = [{"params": [p for p in part.parameters() if p.requires_grad]} for part in parts]
    decay = config.weight_decay
    if config.optimizer == "rmsprop":
        return torch.optim.RMSprop(groups, lr=config.lr, momentum=config.momentum, weight_decay=decay)
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.lr, betas=(config.momentum, 0.999), weight_decay=decay)
    return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, weight_decay=decay)
