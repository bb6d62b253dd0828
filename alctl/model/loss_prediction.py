"""The target model with its taps, the loss prediction module, and the losses that train it.

Source: Yoo & Kweon, Learning Loss for Active Learning, CVPR 2019 (LL4AL); sections and equations are its own.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alctl.config import TrainConfig
from alctl.errors import AlctlError
from alctl.model.device import LAYOUT, sound
from alctl.model.tensors import Frame, Raw, floats


class Output(NamedTuple):
    """One forward pass of a target model over B images."""

    raw: Raw
    """What the task's loss reads: (B, C) logits for classification."""
    features: list[Tensor]
    """What was tapped, (B, C_m, H_m, W_m) maps or (B, N_m, C_m) tokens, live in the autograd graph."""
    embedding: Tensor
    """(B, D), such as the input of the last linear layer."""


class Norm(NamedTuple):
    """The mean and the standard deviation of each channel that a network's images are normalised by, 0 to 255."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


class TargetModel(nn.Module):
    """Any network plus the names of the layers that the loss prediction module reads.

    A name is that of a layer, for what comes out of it, or begins with "<", for what goes into it: SSD's first map
    exists only as the input of a head. The layers stay where they are and are read through forward hooks, so the state
    dict is the network's own.
    """

    def __init__(
        self,
        network: nn.Module,
        taps: Sequence[str],
        embedding: str,
        shape: Frame,
        weights: str = "none",
        norm: Norm | None = None,
    ) -> None:
        """Tap ``network``, whose input is (B, 3, *shape).

        Args:
            network: Returns a tensor, or a dict of tensors, with a row for each image.
            taps: What the loss prediction module reads: maps (B, C, H, W) or tokens (B, N, C).
            embedding: What the strategies compare images by; averaged over the positions of a map or of tokens.
            shape: Height and width of the input.
            weights: What the network started from, as a person would say it.
            norm: The normalisation that pretrained weights were made with; None for that of the training images.
        """
        super().__init__()
        self.network = network
        self.taps = tuple(taps)
        self.embedding = embedding
        self.shape = shape
        self.weights = weights
        self.norm = norm
        self._seen: dict[str, Tensor] = {}
        modules = dict(network.named_modules())
        for name in dict.fromkeys((*taps, embedding)):
            if (layer := modules.get(_layer(name))) is None:
                raise AlctlError(
                    f"the model has no layer {_layer(name)!r}; its layers are: {', '.join(modules)[:600]}"
                )
            if name.startswith("<"):
                layer.register_forward_pre_hook(partial(_remember_input, self._seen, name))
            else:
                layer.register_forward_hook(partial(_remember, self._seen, name))
        self.channels = self._probe()

    @property
    def pretrained(self) -> bool:
        """Whether the network started from weights that were learned before."""
        return not self.weights.startswith("none")

    @property
    def head(self) -> str:
        """The layer at the embedding; for a classifier the last linear one, which has a row for each class."""
        return _layer(self.embedding)

    def forward(self, images: Tensor) -> Output:
        """Run the network over (B, 3, H, W) normalised images."""
        try:
            with sound(images.device):
                raw = self.network(images)
            seen = dict(self._seen)
        finally:
            self._seen.clear()  # after a failure too: what is kept here would outlive it in memory
        if not isinstance(raw, Tensor):
            raw = dict(raw)
        return Output(raw, [seen[name] for name in self.taps], _averaged(seen[self.embedding]))

    def drop_out(self, share: float) -> None:
        """Leave out a share of the embedding's numbers in training; the embedding is what there was before that."""
        self.dropout = nn.Dropout(share)
        head = self.network.get_submodule(self.head)
        if self.embedding.startswith("<"):
            head.register_forward_pre_hook(partial(_drop_input, self.dropout))
        else:
            head.register_forward_hook(partial(_drop, self.dropout))

    def _probe(self) -> list[int]:
        """Return the channels of each tap, from one blank image."""
        was_training = self.training
        self.eval()
        with torch.no_grad():
            features = self(torch.zeros(1, 3, *self.shape)).features
        self.train(was_training)
        for name, feature in zip(self.taps, features, strict=True):
            if feature.dim() not in {3, 4}:
                raise AlctlError(
                    f"layer {name!r} gives {tuple(feature.shape)}; a tap must give maps (B, C, H, W) or tokens (B, N, C)"
                )
        return [feature.shape[1 if feature.dim() == 4 else 2] for feature in features]


def _layer(name: str) -> str:
    """Return the layer of a tap."""
    return name.removeprefix("<")


def _averaged(embedding: Tensor) -> Tensor:
    """Return (B, D) of a vector for each image, of a map (B, D, H, W) or of tokens (B, N, D)."""
    if embedding.dim() == 4:
        return embedding.mean((2, 3))
    return embedding.mean(1) if embedding.dim() == 3 else embedding


def _remember(
    seen: dict[str, Tensor], name: str, _module: nn.Module, _inputs: object, output: Tensor
) -> None:
    """Keep a layer's output; a partial of this, unlike a closure, follows its model into a deep copy."""
    seen[name] = output


def _remember_input(
    seen: dict[str, Tensor], name: str, _module: nn.Module, inputs: tuple[Tensor, ...]
) -> None:
    seen[name] = inputs[0]


def _drop(dropout: nn.Dropout, _module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
    dropped: Tensor = dropout(output)
    return dropped


def _drop_input(dropout: nn.Dropout, _module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (dropout(inputs[0]), *inputs[1:])


class _GlobalAveragePool(torch.autograd.Function):
    """(B, C, H, W) → (B, C), with a gradient that is dense in the layout of the input.

    The plain mean's gradient is a broadcast view, which slows every layer of the backward pass that it goes through;
    benchmarks/train.py measures what is left of the module's cost.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor) -> Tensor:
        ctx.shape = features.shape
        ctx.channels_last = features.is_contiguous(memory_format=torch.channels_last)
        pooled: Tensor = F.avg_pool2d(features, features.shape[2:]).flatten(1)
        return pooled

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        height, width = ctx.shape[2:]
        dense: Tensor = (grads[0] / (height * width))[:, :, None, None].expand(ctx.shape)
        layout = torch.channels_last if ctx.channels_last else torch.contiguous_format
        return dense.contiguous(memory_format=layout)


class LossPredictionModule(nn.Module):
    """Per tap: global average pool → linear → ReLU; concatenated → linear → one predicted loss (LL4AL, figure 2).

    The deeper one (LL4AL, supplement) has a 3 × 3 convolution with batch normalisation and ReLU before each pool. Tokens
    are a map of one column. The linear layers run in float32 whatever autocast says: bfloat16 has so few distinct
    values that thousands of predicted losses would tie, and the top K would be cut through ties.
    """

    def __init__(self, channels: Sequence[int], width: int = 128, *, deeper: bool = False) -> None:
        """Read taps of the given channels; ``width`` is 128 in the paper."""
        super().__init__()
        self.convolve = nn.ModuleList(_convolution(c, width) for c in channels) if deeper else None
        self.compress = nn.ModuleList(nn.Linear(width if deeper else c, width) for c in channels)
        self.predict = nn.Linear(width * len(channels), 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Return the predicted loss of each image, shape (B,), float32; it may be negative."""
        features = [tap.mT[..., None] if tap.dim() == 3 else tap for tap in features]
        if self.convolve is not None:
            features = [layer(feature) for layer, feature in zip(self.convolve, features, strict=True)]
        pooled: list[Tensor] = [_GlobalAveragePool.apply(feature) for feature in features]
        with torch.autocast(features[0].device.type, enabled=False):
            hidden = [F.relu(layer(pool.float())) for layer, pool in zip(self.compress, pooled, strict=True)]
            out: Tensor = self.predict(torch.cat(hidden, dim=1)).squeeze(1)
        return out


def _convolution(inputs: int, outputs: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def new_module(channels: Sequence[int], config: TrainConfig) -> LossPredictionModule | None:
    """Return an untrained loss prediction module for taps of these channels; None if `loss_weight` is 0."""
    if not config.loss_weight:
        return None
    return LossPredictionModule(channels, config.embedding, deeper=config.module == "deeper")


class Trained(nn.Module):
    """A target model with its loss prediction module and the normalisation of the images they were trained on."""

    mean: Tensor
    """(3,) in pixel values, 0 to 255."""
    std: Tensor
    """(3,) in pixel values, 0 to 255."""

    def __init__(
        self,
        model: TargetModel,
        module: LossPredictionModule | None,
        mean: Tensor,
        std: Tensor,
        config: TrainConfig,
    ) -> None:
        """Join the parts; ``module`` is None when ``config.loss_weight`` is 0."""
        super().__init__()
        self.model = model
        self.module = module
        self.config = config
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        if config.dropout:
            model.drop_out(config.dropout)

    @property
    def device(self) -> torch.device:
        """Where the images must be."""
        device: torch.device = self.mean.device
        return device

    def forward(self, images: Tensor, *, detach: bool = False) -> tuple[Output, Tensor | None]:
        """Run (B, 3, H, W) uint8 images; return the output in float32 and the predicted losses (B,).

        With ``detach`` the loss prediction module learns from features that pass no gradient back (section 4.1).
        """
        bf16 = self.config.precision == "bf16"
        normal = (images.float() - self.mean[:, None, None]) / self.std[:, None, None]
        with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=bf16):
            output = self.model(normal.contiguous(memory_format=LAYOUT))
            features = [feature.detach() for feature in output.features] if detach else output.features
            predicted = None if self.module is None else self.module(features)
        return Output(floats(output.raw), features, output.embedding.float()), predicted


def pairs(n: int, pairing: str, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Return the two index vectors of the pairs among ``n`` images; an odd image out is left out.

    ``half`` is (i, i + n//2), disjoint as in section 3.3; ``flip`` is (i, n-1-i); ``all`` is every unordered pair.
    """
    if pairing == "all":
        both = torch.triu_indices(n, n, offset=1, device=device)
        return both[0], both[1]
    half = n // 2
    first = torch.arange(half, device=device)
    return first, (first + half if pairing == "half" else 2 * half - 1 - first)


def rank_loss(
    predicted: Tensor, target: Tensor, *, kind: str = "hinge", pairing: str = "half", margin: float = 1.0
) -> Tensor:
    """Return the loss of the loss prediction module over a batch, a scalar: the mean over its pairs.

    ``hinge`` is LL4AL eq. 2 (a tie counts as −1); ``mse`` its baseline over single images; ``bce`` the ranker of
    TA-VAAL ("learning loss v2"); ``kl`` LearningLoss++ (Shukla & Ahmed 2021). The target loss is detached here:
    it is the ground truth. Both must be (B,): (B, 1) against (B,) would broadcast to B × B without a word.
    """
    if predicted.dim() != 1 or predicted.shape != target.shape:
        raise ValueError(
            f"per-image losses of shape (B,) wanted, not {(*predicted.shape,)} and {(*target.shape,)}"
        )
    predicted, target = predicted.float(), target.detach().float()
    if kind == "mse":
        return F.mse_loss(predicted, target)
    first, second = pairs(len(predicted), pairing, predicted.device)
    if len(first) == 0:
        return predicted.sum() * 0.0
    difference = predicted[first] - predicted[second]
    higher = target[first] > target[second]
    if kind == "hinge":
        sign = torch.where(higher, 1.0, -1.0)
        return F.relu(margin - sign * difference).mean()
    if kind == "bce":
        return F.binary_cross_entropy_with_logits(difference, higher.to(difference.dtype))
    return _kl(difference, target[first], target[second])


def _kl(difference: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Return the mean KL(p‖q): p the pair's shares of its true loss, q the softmax of its predicted losses.

    Two losses of 0 have no shares: such a pair adds 0 to the sum, and no gradient.
    """
    total = first + second
    share = first / total.clamp_min(torch.finfo(first.dtype).tiny)
    log_q = torch.stack([F.logsigmoid(difference), F.logsigmoid(-difference)], dim=1)
    of_pair = F.kl_div(log_q, torch.stack([share, 1 - share], dim=1), reduction="none").sum(dim=1)
    return torch.where(total > 0, of_pair, 0.0).mean()
