"""Weights on disk: one safetensors file with JSON beside the tensors, there whole or not at all, never a pickle."""

import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from alctl.config import check_config
from alctl.errors import AlctlError
from alctl.models import LossPredictionModule, Trained
from alctl.task import Task

KEY = "alctl"
"""The one metadata entry, which holds all of the JSON."""


def write(path: Path, named: Mapping[str, Tensor], info: Mapping[str, Any]) -> None:
    """Write tensors and JSON to ``path``; what stood there before stays until the new file is safe on the disk."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in named.items()}
    content = save(plain, metadata={KEY: json.dumps(info)})
    temporary = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise AlctlError(f"{path} cannot be written: {error}") from error


def _sync(path: Path) -> None:
    """Return once what was written to the file, or the names in the folder, would survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors, on the CPU, and the JSON of a file made by `write`; any damage is an AlctlError."""
    try:
        with safe_open(path, framework="pt") as file:
            info = json.loads((file.metadata() or {})[KEY])
            found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, ValueError, RecursionError) as error:
        raise AlctlError(f"{path} is damaged or was not written by alctl: {error}") from error
    if not isinstance(info, dict):
        raise AlctlError(f"{path} is damaged or was not written by alctl: its header is no JSON object")
    return found, info


def save_model(path: Path, trained: Trained, info: Mapping[str, Any]) -> None:
    """Save a finished model; ``info`` is the caller's own JSON, which `load_model` gives back."""
    header = {
        "config": asdict(trained.config),
        "taps": trained.model.taps,
        "weights": trained.model.weights,
        "info": dict(info),
    }
    write(path, trained.state_dict(), header)


def load_model(path: Path, task: Callable[[dict[str, Any]], Task]) -> tuple[Trained, dict[str, Any]]:
    """Load a finished model on the CPU, in eval mode, with its ``info``; ``task`` makes the task from that."""
    weights, header = read(path)
    try:
        info, taps, origin = dict(header["info"]), list(header["taps"]), str(header["weights"])
        config = check_config({"train": header["config"]}, str(path)).train
        model = task(info).model(
            config.model, "none", image_size=config.image_size, width=config.width, taps=taps
        )
        module = LossPredictionModule(model.channels, config.embedding) if config.loss_weight > 0 else None
        trained = Trained(model, module, torch.zeros(3), torch.ones(3), config)
        trained.load_state_dict(weights)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise AlctlError(f"{path} is damaged or was not written by alctl: {error}") from error
    model.weights = origin
    trained.to(memory_format=torch.channels_last)
    return trained.eval(), info


class State(NamedTuple):
    """All that training needs to go on after a whole epoch."""

    epochs: int
    """How many are finished."""
    micro_batch: int
    """Images that fitted into memory at once; 0 if nobody tried yet."""
    tensors: dict[str, Tensor]
    """Weights, and momenta under names that begin with ``momentum:``."""


def snapshot(trained: Trained, optimizer: torch.optim.SGD) -> dict[str, Tensor]:
    """Return copies of the weights and momenta, on their device."""
    copies = {name: tensor.clone() for name, tensor in trained.state_dict().items()}
    for name, parameter in trained.named_parameters():
        momentum = optimizer.state.get(parameter, {}).get("momentum_buffer")
        if momentum is not None:
            copies[f"momentum:{name}"] = momentum.clone()
    return copies


def restore(trained: Trained, optimizer: torch.optim.SGD, copies: dict[str, Tensor]) -> None:
    """Set weights and momenta to what `snapshot` returned."""
    trained.load_state_dict({k: v for k, v in copies.items() if not k.startswith("momentum:")})
    optimizer.state.clear()
    for name, parameter in trained.named_parameters():
        if f"momentum:{name}" in copies:
            buffer = torch.empty_like(parameter).copy_(copies[f"momentum:{name}"])
            optimizer.state[parameter] = {"momentum_buffer": buffer}


def save_state(path: Path, fingerprint: str, trained: Trained, state: State) -> None:
    """Write a checkpoint of the run that ``fingerprint`` stands for."""
    info = {
        "fingerprint": fingerprint,
        "epochs": state.epochs,
        "micro_batch": state.micro_batch,
        "weights": trained.model.weights,
    }
    write(path, state.tensors, info)


def resume(path: Path | None, fingerprint: str, trained: Trained, optimizer: torch.optim.SGD) -> State:
    """Restore and return the state to go on from: the start, if there is no checkpoint of this very run."""
    if path is not None and path.exists():
        try:
            copies, info = read(path)
            if info["fingerprint"] == fingerprint:
                state = State(int(info["epochs"]), int(info["micro_batch"]), copies)
                restore(trained, optimizer, copies)
                trained.model.weights = str(info["weights"])
                return state
        except (AlctlError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise AlctlError(f"{path} cannot be gone on from; delete it to start again ({error})") from error
    return State(0, 0, snapshot(trained, optimizer))
