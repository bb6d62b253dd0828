"""Joint training of the target model and the loss prediction module: one explicit loop.

A step, in the terms of LL4AL: forward → target loss of each image l → predicted loss l̂ from the tapped features
(detached once the gradient stop is reached) → mean(l) + λ · ranking loss(l̂, l) → backward → one SGD step for both.
Every epoch draws its chance from streams of (seed, purpose, epoch), so that weights, momentum and the number of
finished epochs are all there is to a checkpoint.
"""

import math
import os
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from alctl.chance import stream
from alctl.config import TrainConfig
from alctl.errors import AlctlError
from alctl.model.checkpoint import State, check_weights, restore, resume, save_state, snapshot
from alctl.model.device import LAYOUT
from alctl.model.epoch_losses import Step, read_losses
from alctl.model.loss_prediction import Trained, new_module, rank_loss
from alctl.model.schedule import detaches, learning_rate, new_optimizer, with_rate
from alctl.model.score import evaluate
from alctl.model.task import Task
from alctl.model.tensors import Targets, cut, moved, rows

Images = Tensor | np.ndarray
"""(N, 3, H, W) uint8; may be a memory map that is larger than memory."""


WAITED_FOR = 2
"""Steps of an epoch that a GPU is waited for, so that their time can be told; the others go on without that."""
Stepped = Callable[[float, float], object]
"""Called before the first step and after each with how many epochs are done, such as 2.25, and what of one a step is."""


def not_told(_done: float, _share: float) -> None:
    """Say nothing of a step."""


class Epoch(NamedTuple):
    """What happened in one pass over the labeled images."""

    epoch: int
    """1-based."""
    epochs: int
    target_loss: float
    ranking_loss: float | None
    """None without a loss prediction module, as is the ranking accuracy."""
    ranking_accuracy: float | None
    """Share of the pairs within batches that were in the right order; equal predictions count half."""
    validation: float | None
    """The task's metric on held-back images, after every `checkpoint_every` epochs and the last."""
    validation_ranking: float | None
    """Ranking accuracy there: unlike the one within batches, it is of images that nothing was learned from."""
    images_per_second: float
    lr: float
    seconds: float
    micro_batch: int
    """Images that go through the network at once; less than `batch_size` where memory was short."""


class _Data(NamedTuple):
    """The labeled images, ready for the device."""

    task: Task
    gather: Callable[[Tensor], Tensor]
    """Positions (B,) on the device → images (B, 3, H, W) uint8 there."""
    targets: Targets
    """Of N images, on the device."""
    n: int


def new_model(task: Task, images: Images, config: TrainConfig, *, seed: int) -> Trained:
    """Return an untrained model on ``config.device``, normalised by its training images (N, 3, H, W) uint8.

    Pretrained weights bring a normalisation of their own. The target model starts from the same weights with and without a loss prediction module.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(stream(seed, "target model"))
        model = task.model(config, config.weights)
        torch.default_generator.manual_seed(stream(seed, "loss prediction module"))
        module = new_module(model.channels, config)
    config = with_rate(config, fine_tuned=model.pretrained)
    mean, std = map(torch.tensor, model.norm) if model.norm else channel_statistics(images)
    trained = Trained(model, module, mean, std, config)
    return trained.to(config.device, memory_format=LAYOUT)  # type: ignore[call-overload,no-any-return]


def channel_statistics(images: Images) -> tuple[Tensor, Tensor]:
    """Return the mean and standard deviation of each channel, (3,) float32 in pixel values 0 to 255."""
    counts = torch.zeros(3, 256, dtype=torch.float64)
    part_size = max(1, 2**24 // int(np.prod(images.shape[1:])))
    for start in range(0, len(images), part_size):
        part = images[start : start + part_size]
        pixels = part if isinstance(part, Tensor) else torch.from_numpy(np.array(part))
        for channel in range(3):
            counts[channel] += torch.bincount(pixels[:, channel].flatten(), minlength=256).cpu()
    values = torch.arange(256, dtype=torch.float64)
    share = counts / counts.sum(dim=1, keepdim=True)
    mean = (share * values).sum(dim=1)
    variance = (share * (values - mean[:, None]) ** 2).sum(dim=1)
    return mean.float(), variance.sqrt().clamp_min(1.0).float()


def train(
    trained: Trained,
    task: Task,
    images: Images,
    targets: Targets,
    ids: Sequence[int],
    *,
    seed: int,
    validation: tuple[Images, Targets] | None = None,
    checkpoint: Path | None = None,
    fingerprint: str = "",
    stepped: Stepped = not_told,
) -> Generator[Epoch, None, None]:
    """Train ``trained`` in place, as its config says, and yield after every epoch.

    ``images`` are (N, 3, H, W) uint8, ``targets`` theirs, ``ids`` the names of the N items in error messages. A
    ``checkpoint`` of the same ``fingerprint`` is resumed, exactly; it is written every `checkpoint_every`
    epochs, and when the caller stops or is stopped, always with the last whole epoch. Longer than 40
    lines because the whole loop reads best in one piece.
    """
    if len(images) < 2:
        raise AlctlError(f"training needs at least 2 labeled images, not {len(images)}")
    device = trained.device
    data = _Data(task, _gatherer(images, device), moved(targets, device), len(images))
    optimizer = new_optimizer(trained)
    state = resume(checkpoint, fingerprint, trained, optimizer)
    config = trained.config  # with the learning rate that the run began with
    saved, micro_batch = state.epochs, state.micro_batch or min(config.batch_size, len(images))
    stepped(state.epochs, 0.0)
    try:
        while state.epochs < config.epochs:
            started = time.perf_counter()
            try:
                steps = _one_epoch(trained, optimizer, data, state.epochs, micro_batch, seed, stepped)
            except torch.OutOfMemoryError:
                steps = None
            if steps is None:  # outside of `except`, whose traceback would keep the memory in use
                micro_batch = _halve(micro_batch)
                restore(trained, optimizer, state.tensors)
                continue
            losses = read_losses(steps, ids, state.epochs + 1, config)
            check_weights(trained, state.epochs + 1)
            seconds = time.perf_counter() - started
            state = State(state.epochs + 1, micro_batch, snapshot(trained, optimizer))
            pause = state.epochs % config.checkpoint_every == 0 or state.epochs == config.epochs
            if checkpoint is not None and pause:
                save_state(checkpoint, fingerprint, trained, state)
                saved = state.epochs
            held_back = (
                _validate(trained, task, validation) if validation and pause else _HeldBack(None, None)
            )
            yield Epoch(
                epoch=state.epochs,
                epochs=config.epochs,
                target_loss=losses.target,
                ranking_loss=losses.ranking,
                ranking_accuracy=losses.accuracy,
                validation=held_back.metric,
                validation_ranking=held_back.ranking_accuracy,
                images_per_second=len(images) / seconds,
                lr=optimizer.param_groups[0]["lr"],
                seconds=seconds,
                micro_batch=micro_batch,
            )
    finally:
        if checkpoint is not None and saved < state.epochs:
            save_state(checkpoint, fingerprint, trained, state)


def _one_epoch(
    trained: Trained,
    optimizer: torch.optim.Optimizer,
    data: "_Data",
    epoch: int,
    micro_batch: int,
    seed: int,
    stepped: Stepped,
) -> list[Step]:
    """Go through all images once, in steps of ``batch_size`` images; leave the model in eval mode."""
    config, device = trained.config, trained.device
    detach = detaches(config, epoch)
    rng = torch.Generator().manual_seed(stream(seed, "augmentation", epoch))
    order = torch.Generator().manual_seed(stream(seed, "order", epoch))
    steps: list[Step] = []
    trained.train()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(stream(seed, "dropout", epoch))
        every = batches(data.n, config.batch_size, order)
        for number, batch in enumerate(every):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(config, epoch + number / len(every))
            items = batch.to(device, non_blocking=True)
            images, targets = data.task.augment(data.gather(items), rows(data.targets, items), rng)
            optimizer.zero_grad()
            steps += _backward(trained, data.task, (items, images, targets), micro_batch, detach=detach)
            optimizer.step()
            if number < WAITED_FOR and device.type == "cuda":
                torch.cuda.synchronize(device)
            stepped(epoch + (number + 1) / len(every), 1 / len(every))
    trained.eval()
    return steps


def batches(n: int, size: int, rng: torch.Generator) -> list[Tensor]:
    """Return the positions 0 to n - 1 in random order and in ⌈n / size⌉ batches that differ by one image at most.

    A small last batch would end every epoch with its own statistics in batch normalisation. An image alone has neither
    a pair nor a variance, so batches of two hold a third one rather.
    """
    count = min(math.ceil(n / size), n // 2) if size > 1 else n
    return list(torch.randperm(n, generator=rng).tensor_split(max(1, count)))


def _backward(
    trained: Trained, task: Task, batch: tuple[Tensor, Tensor, Targets], micro_batch: int, *, detach: bool
) -> list[Step]:
    """Add up the gradient of mean(l) + λ · mean ranking loss of a batch of (items, images, targets).

    Micro-batches hold one image more rather than one image alone, and pairs are made within them.
    """
    config, n = trained.config, len(batch[0])
    count = max(1, math.ceil((n - 1) / micro_batch))
    cuts = (batch[0].tensor_split(count), batch[1].tensor_split(count), cut(batch[2], count))
    pieces = list(zip(*cuts, strict=True))
    every = max(1, sum(_terms(len(items), config) for items, _, _ in pieces))
    steps = []
    for items, images, targets in pieces:
        output, predicted = trained(images, detach=detach)
        loss = task.loss(output.raw, targets)
        total, ranking, terms = loss.sum() / n, None, _terms(len(items), config)
        if predicted is not None:
            ranking = rank_loss(
                predicted, loss, kind=config.rank_loss, pairing=config.pairing, margin=config.margin
            )
            total = total + config.loss_weight * (terms / every) * ranking
            predicted, ranking = predicted.detach(), ranking.detach()
        total.backward()
        steps.append(Step(items, loss.detach(), predicted, ranking, terms))
    return steps


def _terms(n: int, config: TrainConfig) -> int:
    """Return over how many terms the ranking loss of ``n`` images is a mean."""
    if config.rank_loss == "mse":
        return n
    return n * (n - 1) // 2 if config.pairing == "all" else n // 2


class _HeldBack(NamedTuple):
    """What is measured on the validation images while training goes on."""

    metric: float | None
    ranking_accuracy: float | None


def _validate(trained: Trained, task: Task, validation: tuple[Images, Targets]) -> _HeldBack:
    found = evaluate(trained, task, *validation, batch_size=trained.config.batch_size)
    return _HeldBack(found.of_task[task.metric], found.ranking.ranking_accuracy if found.ranking else None)


def _gatherer(images: Images, device: torch.device) -> Callable[[Tensor], Tensor]:
    """Keep the images on the device if they fill at most a quarter of it, else fetch every batch."""
    if isinstance(images, np.ndarray) and images.nbytes > _memory(device) // 4:
        return lambda items: torch.from_numpy(images[items.cpu().numpy()]).to(device, non_blocking=True)
    held = images if isinstance(images, Tensor) else torch.from_numpy(np.array(images))
    if held.nbytes <= _memory(device) // 4:
        held = held.to(device)
    return lambda items: held[items.to(held.device)].to(device, non_blocking=True)


def _memory(device: torch.device) -> int:
    """Return the bytes of memory the device has."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[1])
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _halve(micro_batch: int) -> int:
    """Return half of a micro-batch that did not fit into memory; a single image would have no pair."""
    if micro_batch < 4:
        raise AlctlError(
            f"out of memory even with {micro_batch} images at a time: take a smaller model or image_size"
        )
    return micro_batch // 2
