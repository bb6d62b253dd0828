"""The machine that a training run runs on."""

import platform
from typing import Any

import torch
import torchvision


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
