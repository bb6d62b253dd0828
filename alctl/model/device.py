"""The machine that a training run runs on: what "auto" means there, and which memory layout is sound."""

import platform
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import torch
import torchvision
from torch import Tensor
from torch.overrides import TorchFunctionMode

from alctl.config import TrainConfig
from alctl.errors import AlctlError

SMALL = 64
"""Images up to this size keep their size and get the network made for them."""
LAYOUT = torch.channels_last
"""The memory layout of images and weights on every device; `sound` makes the one exception."""
FEW = 16
"""Channels that fill a vector of AVX-512; one of AVX2 has 8, but results should not depend on the processor."""
_PLAIN = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_TRANSPOSED = ("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation")
_CONVOLUTIONS: dict[Callable[..., Any], tuple[str, ...]] = {
    torch.conv1d: _PLAIN,
    torch.conv2d: _PLAIN,
    torch.conv_transpose1d: _TRANSPOSED,
    torch.conv_transpose2d: _TRANSPOSED,
}
"""The names of their arguments, in order."""


def best_device() -> str:
    """Return cuda, mps or cpu."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def environment(device: str) -> dict[str, Any]:
    """Return the versions and the hardware that a result depends on."""
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else platform.processor()
    return {
        "device": device,
        "hardware": name or platform.machine(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
    }


def resolve(config: TrainConfig) -> TrainConfig:
    """Replace every "auto" by what it means on this machine; the model and its input are the task's to choose."""
    device = config.device if config.device != "auto" else best_device()
    precision = config.precision
    if precision == "auto":
        precision = "bf16" if device.startswith("cuda") else "fp32"
    report = config.report_model and config.loss_weight > 0  # else the model has no module as it is
    return replace(config, device=device, precision=precision, report_model=report)


def check_device(name: str) -> None:
    """Refuse a device that is not there, before anything takes time."""
    try:
        torch.zeros(1, device=name).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        why = str(error).partition("\n")[0]
        raise AlctlError(f"device {name!r} cannot be used: {why}; auto takes the best there is") from error


def sound(device: torch.device) -> AbstractContextManager[object]:
    """Return what a network on ``device`` has to run in for its backward pass, wherever that runs, to be right.

    oneDNN, which convolves on the CPU, writes past its buffer in the backward pass of a strided 1 × 1 convolution
    in channels_last with fewer channels than a vector (uxlfoundation/oneDNN#6035): a crash, a hang, or wrong
    gradients without a word. Those convolutions run in the contiguous layout, where they are right.

    It looks at the calls and not at the layers of a network, so that functional ones count too, and a network may
    permute its maps itself; all else keeps its layout and its speed. It cannot see into TorchScript, nor the calls
    that activation checkpointing repeats later.
    """
    return _Contiguous() if device.type == "cpu" else nullcontext()


class _Contiguous(TorchFunctionMode):
    """Runs the convolutions that are not sound in channels_last in the contiguous layout."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _CONVOLUTIONS:
            args, kwargs = (), {**dict(zip(_CONVOLUTIONS[func], args, strict=False)), **kwargs}
            if _at_risk(kwargs["weight"], kwargs.get("stride", 1)):
                kwargs |= {name: _contiguous(kwargs[name]) for name in ("input", "weight")}
        return func(*args, **kwargs)


def _at_risk(weight: Tensor, stride: int | Sequence[int]) -> bool:
    """Say so of a strided 1 × 1 convolution with few channels: inputs, or outputs if it is transposed."""
    largest = stride if isinstance(stride, int) else max(stride)
    return weight.shape[1] < FEW and weight.shape[2:].numel() == 1 and largest > 1


def _contiguous(tensor: Tensor) -> Tensor:
    """Return a copy: `Tensor.contiguous` would keep the strides of one channel, which are of either layout."""
    return tensor.clone(memory_format=torch.contiguous_format)
