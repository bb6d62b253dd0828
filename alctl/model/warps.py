"""Augmentation of a whole batch on its device: windows, colours, and what both do to boxes, points and masks.

A window is an affine map of each image's pixels to those of the result, (B, 2, 3), where pixel i covers [i, i + 1). Images,
masks, boxes and points go by the same one, in a few operations for the whole batch, however different the windows are.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from alctl.model.boxes import overlaps
from alctl.model.tensors import Frame

GREY = (123.0, 117.0, 104.0)
"""What is seen outside of an image: the mean colour of ImageNet, as SSD has it."""
TRIES = 50
LEAST_OVERLAPS = (0.1, 0.3, 0.5, 0.7, 0.9, 0.0, -1.0)
"""How much of a crop each kept box must be (SSD, section 2.2); 0: anything, -1: no crop."""
_ZOOM, _SMALLEST = 4.0, 75.0
_SHAPES = (0.5, 2.0)
_YIQ = ((0.299, 0.587, 0.114), (0.596, -0.274, -0.322), (0.211, -0.523, 0.312))


def window(boxes: Tensor, frame: Frame, flip: Tensor | None = None) -> Tensor:
    """Return the maps (B, 2, 3) that fill a frame (height, width) with rectangles (B, 4), mirrored where ``flip`` (B,)."""
    low, size = boxes[:, :2], boxes[:, 2:] - boxes[:, :2]
    scale = boxes.new_tensor([frame[1], frame[0]]) / size
    turned = torch.zeros(len(boxes), 2, dtype=torch.bool, device=boxes.device)
    if flip is not None:
        turned[:, 0] = flip
    moved = torch.where(turned, (low + size) * scale, -low * scale)
    return torch.cat((torch.diag_embed(torch.where(turned, -scale, scale)), moved[..., None]), 2)


def turned(angle: Tensor, scale: Tensor, centre: Tensor) -> Tensor:
    """Return the maps (B, 2, 3) that turn by angles (B,), in radians, clockwise on the screen, and scale about (B, 2)."""
    cosine, sine = scale * angle.cos(), scale * angle.sin()
    linear = torch.stack((torch.stack((cosine, -sine), 1), torch.stack((sine, cosine), 1)), 1)
    return torch.cat((linear, (centre - (linear @ centre[..., None])[..., 0])[..., None]), 2)


def after(first: Tensor, second: Tensor) -> Tensor:
    """Return the maps (B, 2, 3) that do ``first`` and then ``second``."""
    linear = second[:, :, :2] @ first[:, :, :2]
    return torch.cat((linear, second[:, :, :2] @ first[:, :, 2:] + second[:, :, 2:]), 2)


def inverse(maps: Tensor) -> Tensor:
    """Return the maps (B, 2, 3) that undo others."""
    linear = torch.linalg.inv(maps[:, :, :2])
    return torch.cat((linear, -linear @ maps[:, :, 2:]), 2)


def warped_images(images: Tensor, maps: Tensor, frame: Frame, fill: Sequence[float] = GREY) -> Tensor:
    """Return (B, 3, *frame) uint8 of images (B, 3, H, W) uint8, interpolated; ``fill`` is the colour outside of them."""
    outside = maps.new_tensor(fill)[:, None, None]
    seen = F.grid_sample(
        images.to(maps.dtype) - outside, _grid(images, maps, frame), mode="bilinear", align_corners=False
    )
    return (seen + outside).round().clamp(0, 255).to(torch.uint8)


def warped_masks(masks: Tensor, maps: Tensor, frame: Frame, fill: int = 255) -> Tensor:
    """Return (B, *frame) of masks (B, H, W) of whole numbers up to 255, by the nearest pixel; ``fill`` outside of them."""
    values = masks[:, None].to(maps.dtype) - fill
    seen = F.grid_sample(values, _grid(masks, maps, frame), mode="nearest", align_corners=False)
    return (seen[:, 0] + fill).to(masks.dtype)


def _grid(images: Tensor, maps: Tensor, frame: Frame) -> Tensor:
    """Return where to look in each image for each pixel, (B, *frame, 2), -1 to 1 from edge to edge."""
    height, width = images.shape[-2:]
    x = torch.arange(frame[1], device=maps.device, dtype=maps.dtype) + 0.5
    y = torch.arange(frame[0], device=maps.device, dtype=maps.dtype) + 0.5
    back = inverse(maps)
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    places = torch.stack((columns, rows), -1).view(1, -1, 2) @ back[:, :, :2].mT + back[:, None, :, 2]
    return (places * 2 / maps.new_tensor([width, height]) - 1).view(-1, *frame, 2)


def warped_points(points: Tensor, maps: Tensor) -> Tensor:
    """Return where points (B, N, 2) come to lie."""
    return points @ maps[:, :, :2].mT + maps[:, None, :, 2]


def warped_boxes(boxes: Tensor, maps: Tensor) -> Tensor:
    """Return upright boxes (B, G, 4) around what boxes become."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    corners = torch.stack((x1, y1, x2, y1, x1, y2, x2, y2), -1).view(len(boxes), -1, 2)
    moved = warped_points(corners, maps).view(*boxes.shape[:2], 4, 2)
    return torch.cat((moved.amin(2), moved.amax(2)), -1)


class Objects(NamedTuple):
    """Boxes (B, G, 4) with their classes (B, G), -1 for padding."""

    boxes: Tensor
    classes: Tensor


def seen_objects(boxes: Tensor, classes: Tensor, maps: Tensor, frame: Frame, original: Frame) -> Objects:
    """Return the objects that windows show: those whose centre they show, cut at the frame, of a pixel a side at least.

    Args:
        boxes: (B, G, 4) in the original images, of ``original`` height and width.
        classes: (B, G), -1 for padding.
        maps: (B, 2, 3).
        frame: Height and width of what the windows show.
        original: Height and width of the images; what reaches out of them is not seen.
    """
    limits = boxes.new_tensor([original[1], original[0]] * 2)
    moved = warped_boxes(boxes.clamp_min(0).minimum(limits), maps)
    centre = (moved[..., :2] + moved[..., 2:]) / 2
    size = boxes.new_tensor([frame[1], frame[0]])
    kept = ((centre >= 0) & (centre < size)).all(-1)
    cut = moved.clamp_min(0).minimum(size.repeat(2))
    kept &= ((cut[..., 2:] - cut[..., :2]) >= 1).all(-1) & (classes >= 0)
    return Objects(cut * kept[..., None], torch.where(kept, classes, -1))


def ssd_windows(
    boxes: Tensor,
    classes: Tensor,
    frame: Frame,
    rng: torch.Generator,
    least_overlaps: Sequence[float] = LEAST_OVERLAPS,
) -> Tensor:
    """Choose for each image what SSD shows of it (section 2.2 and 3.6), (B, 4), by chance from a CPU generator.

    Half of the images lie at random on a canvas up to four times as wide, which leaves an image of 300 pixels 75; no
    smaller frame leaves less, since small objects would vanish. Of the canvas a random crop is shown that
    every box with its centre in it overlaps by a least amount, drawn from ``least_overlaps``, and in which there is one
    at all. All tries are compared at once; where none fits, the whole canvas is shown.

    Args:
        boxes: (B, G, 4) on the CPU, so that nobody waits for another device.
        classes: (B, G), -1 for padding.
        frame: Height and width of the images.
        rng: A CPU generator.
        least_overlaps: What least overlaps are drawn from; 0 is any, -1 no crop.
    """
    n, size = len(boxes), boxes.new_tensor([frame[1], frame[0]])
    most = min(max(min(frame) / _SMALLEST, 1.0), _ZOOM)
    zoom = torch.rand(n, 1, generator=rng) * (most - 1) + 1
    zoom = torch.where(torch.rand(n, 1, generator=rng) < 0.5, zoom, 1.0)
    corner = -torch.rand(n, 2, generator=rng) * (zoom - 1) * size
    canvas = torch.cat((corner, corner + zoom * size), 1)
    shares = torch.rand(n, TRIES, 2, generator=rng) * 0.7 + 0.3
    space = (canvas[:, None, 2:] - canvas[:, None, :2]) * (1 - shares)
    low = canvas[:, None, :2] + torch.rand(n, TRIES, 2, generator=rng) * space
    tries = torch.cat((low, low + shares * zoom[:, None] * size), 2)
    least = torch.tensor(least_overlaps)[torch.randint(len(least_overlaps), (n, 1), generator=rng)]
    aspect = shares[..., 0] / shares[..., 1]
    fits = (aspect > _SHAPES[0]) & (aspect < _SHAPES[1]) & (least >= 0) & _shows(tries, boxes, classes, least)
    first = fits.to(torch.uint8).argmax(1)
    return torch.where(fits.any(1)[:, None], tries[torch.arange(n), first], canvas)


def mild_windows(n: int, frame: Frame, rng: torch.Generator) -> Tensor:
    """Return n windows (n, 4) a fifth smaller to a fifth larger than a frame, where all or nearly all of it is seen.

    Sides differ by a tenth at most. For small frames, and trainings too short for what `ssd_windows` does to objects.
    """
    size = torch.tensor([frame[1], frame[0]], dtype=torch.float32)
    shares = (torch.rand(n, 1, generator=rng) * 0.4 + 0.8) * (torch.rand(n, 2, generator=rng) * 0.1 + 0.95)
    low = torch.rand(n, 2, generator=rng) * (1 - shares) * size
    return torch.cat((low, low + shares * size), 1)


def _shows(tries: Tensor, boxes: Tensor, classes: Tensor, least: Tensor) -> Tensor:
    """Return which of crops (B, T, 4) hold the centre of a box, and overlap all such boxes by ``least`` (B, 1), (B, T)."""
    if not classes.shape[1]:
        return torch.ones(tries.shape[:2], dtype=torch.bool)  # nothing there may be shown from anywhere
    centre = (boxes[:, None, :, :2] + boxes[:, None, :, 2:]) / 2
    held = ((centre > tries[:, :, None, :2]) & (centre < tries[:, :, None, 2:])).all(-1)
    held &= (classes >= 0)[:, None]
    enough = overlaps(tries, boxes) >= least[..., None]
    empty = ~(classes >= 0).any(1, keepdim=True)
    shows: Tensor = (held.any(2) | empty) & (enough | ~held).all(2)
    return shows


def recoloured(images: Tensor, rng: torch.Generator) -> Tensor:
    """Return (B, 3, H, W) uint8 in other light, as SSD does: each of four changes for half of the images.

    Brightness by up to 32 of 255, contrast and saturation by half to one and a half, hue by up to 18 degrees. All are
    linear in red, green and blue, so each image is multiplied by one 3 × 3 matrix; hue turns in the plane of YIQ.
    """
    n = len(images)
    chance = torch.rand(8, n, generator=rng)
    use, amount = chance[:4] < 0.5, chance[4:] * 2 - 1
    brightness = torch.where(use[0], amount[0] * 32, 0.0)
    contrast, saturation = (torch.where(use[k], 1 + amount[k] / 2, 1.0) for k in (1, 2))
    hue = torch.where(use[3], amount[3] * torch.pi / 10, 0.0)
    yiq = torch.tensor(_YIQ)
    change = torch.zeros(n, 3, 3)
    change[:, 0, 0] = 1
    change[:, 1, 1] = change[:, 2, 2] = saturation * hue.cos()
    change[:, 1, 2], change[:, 2, 1] = -saturation * hue.sin(), saturation * hue.sin()
    matrix = (torch.linalg.inv(yiq) @ change @ yiq * contrast[:, None, None]).to(images.device)
    shift = (brightness * contrast)[:, None, None].to(images.device)
    light = (matrix @ images.flatten(2).float() + shift).round().clamp(0, 255)
    result: Tensor = light.to(torch.uint8).view(images.shape)
    return result
