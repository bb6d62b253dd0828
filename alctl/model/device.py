"""The machine that a training run runs on, and what "auto" means there."""

import platform
from dataclasses import replace
from typing import Any

import torch
import torchvision

from alctl.config import TrainConfig
from alctl.errors import AlctlError

SMALL = 64
"""Images up to this size keep their size and get the network made for them."""


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


def resolve(config: TrainConfig, largest: tuple[int, int]) -> TrainConfig:
    """Replace every "auto" by what it means for images of this size on this machine."""
    side = max(largest)
    size = config.image_size or (side if side <= SMALL else 224)
    device = config.device if config.device != "auto" else best_device()
    precision = config.precision
    if precision == "auto":
        precision = "bf16" if device.startswith("cuda") else "fp32"
    model = config.model if config.model != "auto" else ("resnet18-cifar" if size <= SMALL else "resnet18")
    report = config.report_model and config.loss_weight > 0  # else the model has no module as it is
    return replace(
        config, image_size=size, device=device, precision=precision, model=model, report_model=report
    )


def check_device(name: str) -> None:
    """Refuse a device that is not there, before anything takes time."""
    try:
        torch.zeros(1, device=name).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        why = str(error).partition("\n")[0]
        raise AlctlError(f"device {name!r} cannot be used: {why}; auto takes the best there is") from error
