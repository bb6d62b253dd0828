"""Weights on disk: one safetensors file with JSON beside the tensors, there whole or not at all, never a pickle."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from alctl.config import TrainConfig, check_config
from alctl.errors import AlctlError
from alctl.files import whole_file
from alctl.labels.annotation import Category
from alctl.model.device import LAYOUT
from alctl.model.loss_prediction import Norm, Trained, new_module
from alctl.model.task import Task
from alctl.model.tensors import Frame

KEY = "alctl"
"""The one metadata entry, which holds all of the JSON."""


def write(path: Path, named: Mapping[str, Tensor], info: Mapping[str, Any]) -> None:
    """Write tensors and JSON to ``path``; what stood there before stays until the new file is safe on the disk."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in named.items()}
    content = save(plain, metadata={KEY: json.dumps(info, allow_nan=False)})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as partial:
            partial.write_bytes(content)
    except OSError as error:
        raise AlctlError(f"{path} cannot be written: {error}") from error


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
        "norm": trained.model.norm,
        "info": dict(info),
    }
    write(path, trained.state_dict(), header)


def as_plain(classes: Sequence[Category]) -> list[object]:
    """Return classes as a file of weights records them: by name, and with their keypoints where they have some."""
    return [list(one) if one.keypoints else one.name for one in classes]


def from_plain(recorded: Sequence[Any]) -> list[Category]:
    """Return the classes that `as_plain` made that of."""
    return [Category(one) if isinstance(one, str) else _category(*one) for one in recorded]


def _category(name: str, keypoints: Sequence[str], skeleton: Sequence[Sequence[int]]) -> Category:
    return Category(
        str(name), tuple(keypoints), tuple((int(first), int(second)) for first, second in skeleton)
    )


def load_model(
    path: Path, task: Callable[[str, list[Category], Frame], Task]
) -> tuple[Trained, dict[str, Any]]:
    """Load a finished model on the CPU, in eval mode, with its ``info``.

    ``task`` makes a task from its name and classes, which ``info`` has under "task" and "categories", and its frame.
    What the file says is read first, so that a failure of the code that builds a network is not taken for damage.
    """
    weights, header = read(path)
    try:
        info, taps, origin = dict(header["info"]), ",".join(header["taps"]), str(header["weights"])
        config = check_config({"train": header["config"]}, str(path)).train
        name, classes = str(info["task"]), from_plain(info["categories"])
    except (KeyError, TypeError, ValueError) as error:
        raise AlctlError(f"{path} is damaged or was not written by alctl: {error}") from error
    made = task(name, classes, config.frame)
    with torch.device("meta"):  # takes no memory, whatever size the file claims
        _compare(path, _empty(made, config, taps), weights)
    trained = _empty(made, config, taps)
    trained.load_state_dict(weights)
    trained.model.weights = origin
    trained.to(memory_format=LAYOUT)
    return trained.eval(), info


def _empty(task: Task, config: TrainConfig, taps: str) -> Trained:
    """Return a model of this shape, whose weights mean nothing."""
    model = task.model(replace(config, taps=taps), "none")
    return Trained(model, new_module(model.channels, config), torch.zeros(3), torch.ones(3), config)


def _compare(path: Path, wanted: Trained, found: Mapping[str, Tensor]) -> None:
    """Refuse a file unless its tensors are those of the model, by name and shape."""
    shapes = {name: tuple(tensor.shape) for name, tensor in wanted.state_dict().items()}
    for name in [*shapes, *found]:
        there = tuple(found[name].shape) if name in found else None
        if there != shapes.get(name):
            raise AlctlError(
                f"{path} is damaged or was not written by alctl: its {name} is {there}, and its own settings say "
                f"{shapes.get(name)}"
            )


def carry_over(path: Path, trained: Trained) -> None:
    """Start ``trained`` from the weights of a finished model: its target model's, and its module's if both have one.

    Classes are only ever appended, so the head's rows of the known classes come along, and those of new classes stay
    as they were initialised. The normalisation stays that of the new images, unless pretrained weights brought theirs.
    """
    weights, header = read(path)
    trained.model.norm = _norm(header)
    keep = set() if trained.model.norm else {"mean", "std"}
    if trained.module is None or not any(name.startswith("module.") for name in weights):
        keep |= {name for name in (*weights, *trained.state_dict()) if name.startswith("module.")}
    elif list(header.get("taps", ())) != list(trained.model.taps):
        raise AlctlError(_other_network(path, "taps"))
    own = trained.state_dict()
    for name in dict.fromkeys((*own, *weights)):
        if name in keep:
            continue
        old, new = weights.get(name), own.get(name)
        grows = name.startswith(f"model.network.{trained.model.head}.")
        if old is None or new is None or not _fits(old, new, grows=grows):
            raise AlctlError(_other_network(path, name))
        new[: len(old)].copy_(old) if grows else new.copy_(old)


def _norm(header: Mapping[str, Any]) -> Norm | None:
    """Return the normalisation that pretrained weights brought; files of before there was any have none."""
    return Norm(*map(tuple, header["norm"])) if header.get("norm") else None


def _fits(old: Tensor, new: Tensor, *, grows: bool) -> bool:
    return old.shape == new.shape or (grows and old.shape[1:] == new.shape[1:] and len(old) < len(new))


def _other_network(path: Path, difference: str) -> str:
    return (
        f"a warm start needs the network of the training run before, and {path.name} differs in {difference}; "
        "use the same model, width, taps, module and embedding, or --start cold"
    )


class State(NamedTuple):
    """All that training needs to go on after a whole epoch."""

    epochs: int
    """How many are finished."""
    micro_batch: int
    """Images that fitted into memory at once; 0 if nobody tried yet."""
    tensors: dict[str, Tensor]
    """Weights by name; what the optimizer keeps of a parameter under its own word for it, a colon and the name."""


MOMENTUM = "momentum"
"""What files of before there was more than SGD call its `momentum_buffer`."""


def snapshot(trained: Trained, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return copies of the weights and of all that the optimizer keeps, on their device."""
    copies = {name: tensor.clone() for name, tensor in trained.state_dict().items()}
    for name, parameter in trained.named_parameters():
        for word, value in optimizer.state.get(parameter, {}).items():
            if value is not None:
                copies[f"{word}:{name}"] = value.clone()
    return copies


def restore(trained: Trained, optimizer: torch.optim.Optimizer, copies: Mapping[str, Tensor]) -> None:
    """Set the weights and the optimizer to what `snapshot` returned."""
    trained.load_state_dict({name: value for name, value in copies.items() if ":" not in name})
    optimizer.state.clear()
    kept = dict(trained.named_parameters())
    for key, value in copies.items():
        word, colon, name = key.partition(":")
        if not colon:
            continue
        parameter = kept[name]
        like = torch.empty_like(parameter if value.shape == parameter.shape else value)
        word = "momentum_buffer" if word == MOMENTUM else word
        optimizer.state[parameter][word] = like.copy_(value)


def check_weights(trained: Trained, epoch: int) -> None:
    """Refuse a model whose weights or running statistics are no longer finite after an epoch, before it is kept."""
    for name, value in trained.state_dict().items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise AlctlError(
                f"training diverged: {name} is no longer finite after epoch {epoch}; "
                f"try a lower learning rate than --lr {trained.config.lr:g}, or a lower --weight-decay"
            )


def save_state(path: Path, fingerprint: str, trained: Trained, state: State) -> None:
    """Write a checkpoint of the run that ``fingerprint`` stands for."""
    info = {
        "fingerprint": fingerprint,
        "epochs": state.epochs,
        "micro_batch": state.micro_batch,
        "weights": trained.model.weights,
        "norm": trained.model.norm,
        "lr": trained.config.lr,
    }
    write(path, state.tensors, info)


def resume(path: Path | None, fingerprint: str, trained: Trained, optimizer: torch.optim.Optimizer) -> State:
    """Restore and return the state to go on from: the start, if there is no checkpoint of this very run."""
    if path is not None and path.exists():
        try:
            copies, info = read(path)
            if info["fingerprint"] == fingerprint:
                state = State(int(info["epochs"]), int(info["micro_batch"]), copies)
                restore(trained, optimizer, copies)
                trained.model.weights = str(info["weights"])
                trained.model.norm = _norm(info)
                trained.config = replace(trained.config, lr=float(info.get("lr", trained.config.lr)))
                return state
        except (AlctlError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise AlctlError(f"{path} cannot be resumed; delete it to start again ({error})") from error
    return State(0, 0, snapshot(trained, optimizer))
