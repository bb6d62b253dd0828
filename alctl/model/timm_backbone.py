"""Networks of timm as frozen backbones, such as DINOv2: prepared as timm says, their weights from its hub or a file.

timm (Apache-2.0) is an extra, imported only when one of its networks is asked for. Weights are read as safetensors, or
from a person's file as `networks.read_weights` reads it: nothing in them is ever executed.
"""

import math
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from alctl.errors import AlctlError
from alctl.model.backbone import Backbone, Pixels, batch_of, record, runner, weights_digest
from alctl.model.networks import NETWORK_WAIT, read_weights

TIMM = "timm:"
DINOV2 = 224
"""Input of DINOv2's networks unless another one is asked for; their own 518 takes eight times as long (§1.1)."""
_WEIGHTS = "model.safetensors"
_LONGEST = 300  # characters of what timm says of weights that do not fit: else a line for each of them


def timm_backbone(name: str, size: int | None, device: str, file: Path | None) -> Backbone:
    """Return the network called ``timm:NAME``; its embedding is what its classifier would read, pooled.

    ``file`` holds its weights; None: timm's own, from the disk if they are there. Without a ``size`` the input is that
    of the weights, and 224 for DINOv2.

    Raises:
        AlctlError: timm is not installed, has no such network or no such input size, or weights cannot be had.
    """
    timm = _timm()
    short = name.removeprefix(TIMM)
    known = _known(timm, short)
    network = _network(timm, short, known, file or _downloaded(name, known))
    config = timm.data.resolve_model_data_config(network)
    own = _side(name, config)
    input_size = size or (DINOV2 if "_dinov2" in short else own)
    dimension = _fit(network, name, own, input_size)
    mean, std = ([255 * value for value in config[which]] for which in ("mean", "std"))
    share, mode, kind = config["crop_pct"], config["crop_mode"], config["interpolation"]
    prepare = timm.data.create_transform(
        (3, input_size, input_size), interpolation=kind, mean=config["mean"], crop_pct=share, crop_mode=mode, normalize=False
    )  # fmt: skip

    def encode(image: Image.Image) -> Pixels:
        return np.ascontiguousarray(prepare(image).numpy())

    return Backbone(
        name,
        dimension,
        math.floor(input_size / share),
        weights_digest(network),
        record(input_size, mean=mean, std=std, resize=mode, crop_share=share, interpolation=kind),
        encode,
        runner(network, mean, std, device),
        batch_of(device),
        known.license or "",
    )


def _timm() -> Any:
    try:
        import timm
    except ModuleNotFoundError as error:
        raise AlctlError("networks of timm need timm: pip install 'alctl[timm]'") from error
    return timm


def _known(timm: Any, short: str) -> Any:
    """Return what timm knows of the pretrained weights of a network; AlctlError where it has no such network."""
    try:
        known = timm.models.get_pretrained_cfg(short) if timm.is_model(short) else None
    except RuntimeError as error:
        raise AlctlError(f"timm has no such weights: {error}") from error
    if known is None:
        near = get_close_matches(short, timm.list_models(), n=1)
        raise AlctlError(f"timm has no network {short!r}{f'; did you mean {near[0]!r}?' if near else ''}")
    return known


def _network(timm: Any, short: str, known: Any, file: Path) -> nn.Module:
    """Return a network without its classifier, with the weights of a file, all of which have to be there.

    It is made with as many classes as the file has, because then timm wants every weight, and fits older files.
    """
    state = read_weights(file)
    heads = (known.classifier,) if isinstance(known.classifier, str) else known.classifier or ()
    classes = next((len(state[name]) for head in heads if (name := f"{head}.weight") in state), 0)
    given = {"state_dict": state, "num_classes": classes, "label_offset": 0}
    try:
        network: Any = timm.create_model(
            short, pretrained=True, num_classes=classes, pretrained_cfg_overlay=given
        )
        network.reset_classifier(0)
    except (RuntimeError, KeyError, ValueError, TypeError, AttributeError) as error:
        why = " ".join(str(error).split())
        raise AlctlError(f"the weights in {file} do not fit timm's {short}: {why[:_LONGEST]}") from error
    found: nn.Module = network.float()
    return found


def _side(name: str, config: Mapping[str, Any]) -> int:
    """Return the input in pixels that weights were made for."""
    height, width = config["input_size"][1:]
    if height != width:
        raise AlctlError(
            f"{name} takes images of {width} × {height} pixels, and only square ones are made here"
        )
    return int(height)


def _fit(network: Any, name: str, own: int, size: int) -> int:
    """Make a network read images of ``size`` pixels, and return how many numbers its vector has."""
    network.eval()
    try:
        resize = getattr(network, "set_input_size", None)
        if size != own and callable(resize):
            resize(img_size=size)
        with torch.inference_mode():
            found = network(torch.zeros(1, 3, size, size))
    except (RuntimeError, ValueError, AssertionError, TypeError) as error:
        raise AlctlError(
            f"{name} cannot read images of {size} × {size} pixels; its own size is {own}: {error}"
        ) from error
    if not isinstance(found, Tensor) or found.dim() != 2:
        raise AlctlError(f"{name} gives no vector of an image; take another network")
    return found.shape[1]


def _downloaded(name: str, known: Any) -> Path:
    """Return timm's weights of a network as a file: from the disk, else fetched from its hub, if that answers soon."""
    import huggingface_hub as hub

    if not known.hf_hub_id:
        raise AlctlError(f"timm has no weights of {name} to fetch; {_by_hand(name)}")
    there = hub.try_to_load_from_cache(known.hf_hub_id, _WEIGHTS)
    if isinstance(there, str):
        return Path(there)
    try:
        hub.get_session().head(hub.hf_hub_url(known.hf_hub_id, _WEIGHTS), timeout=NETWORK_WAIT)  # tried once
        return Path(hub.hf_hub_download(known.hf_hub_id, _WEIGHTS))
    except Exception as error:  # the client's errors have no class in common
        raise AlctlError(
            f"the weights of {name} could not be downloaded: {error}; {_by_hand(name)}"
        ) from error


def _by_hand(name: str) -> str:
    return f"weights from elsewhere are read with --backbone file:{name}=PATH"
