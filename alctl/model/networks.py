"""The networks that can be trained: the paper's ResNet-18 for small images, and torchvision's by name."""

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from http.client import HTTPException
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
import torchvision
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from alctl.errors import AlctlError
from alctl.files import file_digest
from alctl.model.loss_prediction import Norm, TargetModel
from alctl.model.tensors import Frame

RESNET_CIFAR = "resnet18-cifar"
NETWORK_WAIT = 10.0
"""Seconds that one wait for a server may take before a download counts as impossible."""


class ResNetCifar(nn.Module):
    """ResNet-18 for small images, as in LL4AL section 4.1: a 3 × 3 stem of stride 1 and no max pooling."""

    def __init__(self, width: int, classes: int) -> None:
        """Make four stages of ``width``, 2, 4 and 8 times ``width`` channels; 64 is the paper's network."""
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = _stage(width, width, stride=1)
        self.layer2 = _stage(width, 2 * width, stride=2)
        self.layer3 = _stage(2 * width, 4 * width, stride=2)
        self.layer4 = _stage(4 * width, 8 * width, stride=2)
        self.fc = nn.Linear(8 * width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (B, C) of (B, 3, H, W) images."""
        x = F.relu(self.bn1(self.conv1(images)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        logits: Tensor = self.fc(F.avg_pool2d(x, x.shape[2:]).flatten(1))
        return logits


def _stage(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """Return two basic blocks; the first changes the resolution and the channels."""
    shortcut = None
    if stride != 1:
        convolution = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)
        shortcut = nn.Sequential(convolution, nn.BatchNorm2d(outputs))
    return nn.Sequential(BasicBlock(inputs, outputs, stride, shortcut), BasicBlock(outputs, outputs))


def build(
    name: str, weights: str, *, classes: int, shape: Frame, width: int, taps: Sequence[str]
) -> TargetModel:
    """Build the network called ``name`` for ``classes`` classes, with weights as `TrainConfig.weights` says."""
    choices = [RESNET_CIFAR, *torchvision.models.list_models(module=torchvision.models)]
    if name not in choices:
        near = get_close_matches(name, choices, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise AlctlError(f"{name!r} is neither {RESNET_CIFAR} nor a torchvision classification model{hint}")
    network, used, norm = _start(name, weights, width, classes)
    head = head_of(network, name)
    _fit_head(network, head, classes)
    found = _stages(network, shape, name)
    if weights not in {"auto", "pretrained", "none"}:
        used = load_file_into(network, head, Path(weights))
    if not taps and not found:
        raise AlctlError(
            f"{name} has no feature maps that the loss prediction module could read; "
            "name some layers in `taps`, or take another model"
        )
    return TargetModel(network, tuple(taps) or found, f"<{head}", shape, used, norm)


class Start(NamedTuple):
    """A network with its first weights."""

    network: nn.Module
    weights: str
    """What they really are, as a person would say it."""
    norm: Norm | None = None
    """What its images are normalised by, if the weights were made with that."""


def _start(name: str, weights: str, width: int, classes: int) -> Start:
    """Return the network with pretrained or random weights; a file is loaded later, over random ones."""
    if weights in {"auto", "pretrained"}:
        try:
            return pretrained(name)
        except AlctlError as error:
            if weights == "pretrained":
                raise
            return Start(_start(name, "none", width, classes).network, f"none ({error})")
    if name == RESNET_CIFAR:
        return Start(ResNetCifar(width, classes), "none")
    return Start(torchvision.models.get_model(name, weights=None, num_classes=classes), "none")


def can_be_pretrained(name: str) -> bool:
    """Tell whether there are pretrained weights for the network of this name, wherever they are."""
    known = torchvision.models.list_models(module=torchvision.models)
    return name in known and hasattr(torchvision.models.get_model_weights(name), "DEFAULT")


def pretrained(name: str) -> Start:
    """Return a network of torchvision with its best pretrained weights, and what those are called.

    AlctlError where there are none, or they cannot be downloaded within a short wait.
    """
    if not can_be_pretrained(name):
        raise AlctlError(f"there are no pretrained weights for {name}")
    best = torchvision.models.get_model_weights(name).DEFAULT
    try:
        with _impatient():
            network = torchvision.models.get_model(name, weights=best, progress=False)
    except (OSError, EOFError, RuntimeError, HTTPException, UnpicklingError) as error:
        raise AlctlError(f"the pretrained weights of {name} could not be downloaded: {error}") from error
    return Start(network, f"torchvision {best.name}", _norm_of(best.transforms()))


def _norm_of(transforms: Any) -> Norm | None:
    """Return what a weights' own transforms normalise by, for pixels from 0 to 255; None if they do not say."""
    mean, std = (getattr(transforms, name, None) for name in ("mean", "std"))
    if mean is None or std is None:
        return None
    return Norm(*(tuple(255 * value for value in values) for values in (mean, std)))


@contextmanager
def _impatient() -> Iterator[None]:
    """Make every new connection give up after a while; torch's downloader has no time limit of its own."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(NETWORK_WAIT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def head_of(network: nn.Module, name: str) -> str:
    """Return the name of the last linear layer, which must be the classifier."""
    linear: list[str] = [layer for layer, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise AlctlError(
            f"{name} does not end in a linear layer, whose input the strategies need; take another model"
        )
    return linear[-1]


def _fit_head(network: nn.Module, head: str, classes: int) -> None:
    """Replace a head for other classes, such as ImageNet's, by a random one."""
    old = network.get_submodule(head)
    if isinstance(old, nn.Linear) and old.out_features != classes:
        network.set_submodule(head, nn.Linear(old.in_features, classes))


def _stages(network: nn.Module, shape: Frame, name: str) -> tuple[str, ...]:
    """Return up to four layers to tap: the last of each resolution before the global pooling.

    Two blank images in training mode also show a model that cannot be trained here. Only layers at the top, or one
    level below, count; a bare convolution is no stage, and maps in (B, C, H, W) are as oblong as the images.
    """
    last: dict[tuple[int, ...], str] = {}
    aspect = shape[1] / shape[0]
    pooled: list[str] = []

    def remember(layer: str, module: nn.Module, output: Any) -> None:
        if isinstance(module, nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d):
            pooled.append(layer)
        if not isinstance(output, Tensor) or output.dim() != 4 or pooled or isinstance(module, nn.Conv2d):
            return
        height, width = output.shape[2:]
        if abs(width - height * aspect) < max(1, aspect):  # both are rounded up at each stride
            last.pop((height, width), None)
            last[height, width] = layer

    hooks = [
        module.register_forward_hook(lambda module, _, output, layer=layer: remember(layer, module, output))
        for layer, module in network.named_modules()
        if layer and layer.count(".") <= 1
    ]
    try:
        output = _blank_run(network, shape)
    except (RuntimeError, ValueError) as error:
        raise AlctlError(f"{name} cannot read images of {shape[1]} × {shape[0]} pixels: {error}") from error
    finally:
        for hook in hooks:
            hook.remove()
    if not isinstance(output, Tensor):
        raise AlctlError(f"{name} gives more than one output in training; take another model")
    return tuple(last.values())[-4:]


def _blank_run(network: nn.Module, shape: Frame) -> Any:
    """Return the output for two blank images in training mode, leaving buffers and random numbers as they were."""
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    was_training = network.training
    network.train()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            return torch.func.functional_call(network, buffers, torch.zeros(2, 3, *shape))
    finally:
        network.train(was_training)


def load_file_into(network: nn.Module, head: str, path: Path) -> str:
    """Load a file of weights into ``network``; a head for other classes stays random."""
    state = _read(path)
    own = network.state_dict()
    fits = {
        key: state[key]
        for key in own
        if isinstance(state.get(key), Tensor) and state[key].shape == own[key].shape
    }
    wrong = [
        key
        for key in own
        if key not in fits and not key.startswith(f"{head}.") and not key.endswith("num_batches_tracked")
    ]
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise AlctlError(
            f"the weights in {path} do not fit the model: {', '.join(wrong[:5])}{more} "
            "missing there or of another shape"
        )
    network.load_state_dict(fits, strict=False)
    return f"file {path.name} sha256:{file_digest(path)}"


def _read(path: Path) -> dict[str, Any]:
    """Return the tensors of a .safetensors or .pt file by name; nothing in the file is ever executed."""
    if path.suffix not in {".safetensors", ".pt", ".pth"} or not path.is_file():
        raise AlctlError(
            f"weights {str(path)!r} is none of auto, pretrained and none, and no .safetensors or .pt file that exists"
        )
    try:
        if path.suffix == ".safetensors":
            state: Any = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files raise whatever the parser stumbles over
        raise AlctlError(f"{path} holds no weights that can be read: {str(error).splitlines()[0]}") from error
    if not isinstance(state, dict):
        raise AlctlError(f"{path} holds no weights by name")
    nested = state.get("state_dict", state)
    return {str(key).removeprefix("model.network."): value for key, value in nested.items()}
