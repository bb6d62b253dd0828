"""The networks that find objects, by name; what is learned from their outputs, and how these are read."""

from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from alctl.config import TrainConfig
from alctl.errors import AlctlError
from alctl.model import dense, networks, ssd
from alctl.model.boxes import decoded, inside, lesson, multibox_loss, normalised
from alctl.model.loss_prediction import Norm, TargetModel
from alctl.model.tensors import Frame, Raw


class Detector(NamedTuple):
    """How a network that finds objects is made."""

    build: Callable[[int, Frame, int, nn.Module | None], ssd.SSD | dense.Dense]
    """Of the number of classes, the frame, `TrainConfig.width` and a pretrained classifier, if there is one."""
    embedding: str
    """The layer whose output, averaged over its positions, is what images are compared by."""
    side: int
    """Height and width of the frame that it is made for, in pixels."""
    backbone: str = ""
    """The classification network of torchvision whose pretrained weights it can start from."""
    lr: float = 1e-3
    """The learning rate of SGD (SSD, section 3.1)."""
    epochs: int = 300
    """As LL4AL section 4.2 trains on Pascal VOC; 0: what `schedule.enough_epochs` says."""


DETECTORS = {
    ssd.TINY: Detector(lambda c, frame, width, _: ssd.tiny(c, frame, width * 3 // 4), "backbone.maps.3", 128, "", 1e-2, 0),
    "ssd300_vgg16": Detector(
        lambda c, frame, _, start: ssd.vgg(c, frame, backbone=start), "backbone.extra.0", 300, "vgg16"
    ),
    "ssd300_vgg16_bn": Detector(
        lambda c, frame, _, start: ssd.vgg(c, frame, normalised=True, backbone=start),
        "backbone.extra.0", 300, "vgg16_bn",
    ),
    "ssdlite320_mobilenet_v3_large": Detector(
        lambda c, frame, _, start: ssd.mobile(c, frame, backbone=start),
        "backbone.features.1", 320, "mobilenet_v3_large",
    ),
    "retinanet_resnet50_fpn_v2": Detector(
        lambda c, frame, _, start: dense.retinanet(c, frame, backbone=start), "backbone.body.layer4", 512, "resnet50"
    ),
    "fcos_resnet50_fpn": Detector(
        lambda c, frame, _, start: dense.fcos(c, frame, backbone=start), "backbone.body.layer4", 512, "resnet50"
    ),
}  # fmt: skip


def named(name: str) -> Detector:
    """Return a network by name; AlctlError lists the names there are."""
    if name in DETECTORS:
        return DETECTORS[name]
    near = get_close_matches(name, DETECTORS, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise AlctlError(f"{name!r} finds no objects; these networks do: {', '.join(DETECTORS)}{hint}")


def build(config: TrainConfig, weights: str, classes: int, frame: Frame) -> TargetModel:
    """Build the network of ``config`` for objects of ``classes`` classes; every map that its head reads is tapped.

    ``weights`` is as in `TrainConfig`: pretrained are those of the classifier that it is made of. Those of a file may be
    of other classes, whose head then stays random.
    """
    made = named(config.model)
    start = _backbone(config.model, made.backbone, weights)
    network = made.build(classes, frame, config.width, start.network)
    used = start.weights
    if weights not in {"auto", "pretrained", "none"}:
        used = networks.load_file_into(network, "head", Path(weights))
    taps = tuple(config.tap_names) or network.taps
    return TargetModel(network, taps, made.embedding, frame, used, start.norm)


class _Start(NamedTuple):
    network: nn.Module | None
    weights: str
    norm: Norm | None = None


def _backbone(name: str, backbone: str, weights: str) -> _Start:
    """Return a pretrained classifier to make the network of, where one is wanted and can be had."""
    if weights not in {"auto", "pretrained"}:
        return _Start(None, "none")
    try:
        return _Start(*networks.pretrained(backbone or name))
    except AlctlError as error:
        if weights == "pretrained":
            raise
        return _Start(None, f"none ({error})")


def loss(raw: Raw, boxes: Tensor, classes: Tensor, norm: str) -> Tensor:
    """Return the loss of each image, (B,), for boxes (B, G, 4) of ``classes`` (B, G), -1 for padding."""
    assert isinstance(raw, dict)
    if "logits" in raw:
        return multibox_loss(
            raw["logits"], raw["offsets"], lesson(raw["priors"][0], boxes, classes), norm=norm
        )
    of_network = dense.fcos_loss if "centres" in raw else dense.retinanet_loss
    return normalised(*of_network(raw, boxes, classes), norm)


class Answer(NamedTuple):
    """What a network says of each of A places of B images."""

    p: Tensor
    """(B, A, C + 1): the classes, then nothing."""
    boxes: Tensor
    """(B, A, 4), inside the frame."""


def answer(raw: Raw, frame: Frame) -> Answer:
    """Return the class distribution and the box of each anchor, from what a network says."""
    assert isinstance(raw, dict)
    offsets, priors = raw["offsets"].float(), raw["priors"]
    if "logits" in raw:
        p, boxes = raw["logits"].float().softmax(-1).roll(-1, -1), decoded(offsets, priors)
    elif "centres" in raw:
        p, boxes = dense.probabilities(raw), dense.fcos_boxes(raw)
    else:
        p, boxes = dense.probabilities(raw), decoded(offsets, priors, dense.UNIT)
    return Answer(p, inside(boxes, *frame))


def folded(p: Tensor, merged: tuple[tuple[int, ...], ...]) -> Tensor:
    """Return (…, C + 1) in which the first of merged classes has the probability of all, and the others none."""
    if not merged:
        return p
    p = p.clone()
    for first, *others in merged:
        p[..., first] += p[..., others].sum(-1)
        p[..., others] = 0
    return p


def first_of(classes: Tensor, merged: tuple[tuple[int, ...], ...]) -> Tensor:
    """Return class numbers in which merged classes are the first of them."""
    for first, *others in merged:
        classes = torch.where(torch.isin(classes, classes.new_tensor(others)), first, classes)
    return classes
