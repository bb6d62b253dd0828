import colorsys

import pytest
import torch
from torchvision.ops import box_iou

from alctl.model import warps

FRAME = (40, 60)


def generator(seed):
    return torch.Generator().manual_seed(seed)


def whole(n, frame=FRAME):
    return torch.tensor([[0.0, 0, frame[1], frame[0]]]).expand(n, 4)


def dotted(points, frame=FRAME, radius=2):
    """Return an image with a white square around each point, (1, 3, H, W) uint8."""
    image = torch.zeros(1, 3, *frame, dtype=torch.uint8)
    for x, y in points:
        image[:, :, int(y) - radius : int(y) + radius, int(x) - radius : int(x) + radius] = 255
    return image


def middle_of(image):
    """Return the x and y of the middle of what is bright, pixel i covering [i, i + 1)."""
    weight = image[0].float()
    y, x = torch.meshgrid(*(torch.arange(n) + 0.5 for n in weight.shape), indexing="ij")
    return torch.stack(((x * weight).sum(), (y * weight).sum())) / weight.sum()


def test_the_window_of_the_whole_image_changes_nothing():
    images = torch.randint(0, 256, (2, 3, *FRAME), generator=generator(0), dtype=torch.uint8)
    maps = warps.window(whole(2), FRAME)
    assert torch.equal(warps.warped_images(images, maps, FRAME), images)
    assert torch.equal(warps.warped_masks(images[:, 0], maps, FRAME), images[:, 0])


def test_a_flip_is_a_flip():
    images = torch.randint(0, 256, (2, 3, *FRAME), generator=generator(0), dtype=torch.uint8)
    flipped = warps.window(whole(2), FRAME, torch.tensor([True, False]))
    result = warps.warped_images(images, flipped, FRAME)
    assert torch.equal(result[0], images[0].flip(2))
    assert torch.equal(result[1], images[1])
    boxes = torch.tensor([[[5.0, 10, 20, 30]], [[5, 10, 20, 30]]])
    assert warps.warped_boxes(boxes, flipped).tolist() == [[[40, 10, 55, 30]], [[5, 10, 20, 30]]]


@pytest.mark.parametrize(
    "maps",
    [
        warps.window(torch.tensor([[10.0, 5, 50, 35]]), (64, 96)),
        warps.window(torch.tensor([[-30.0, -20, 90, 60]]), (64, 96), torch.tensor([True])),
        warps.after(
            warps.turned(torch.tensor([0.4]), torch.tensor([1.2]), torch.tensor([[30.0, 20]])),
            warps.window(whole(1), (64, 96)),
        ),
    ],
)
def test_points_boxes_and_masks_go_where_the_picture_goes(maps):
    """A bright square's middle, its corners as points, its box and its mask stay on it."""
    image = dotted([(32, 18)], radius=4)
    result = warps.warped_images(image, maps, (64, 96), fill=(0, 0, 0))
    point = warps.warped_points(torch.tensor([[[32.0, 18]]]), maps)[0, 0]
    assert (middle_of(result[0, :1]) - point).norm() < 0.3
    mask = warps.warped_masks((image[:, 0] > 0).to(torch.uint8), maps, (64, 96), fill=0)
    assert (middle_of(mask) - point).norm() < 0.6
    box = warps.warped_boxes(torch.tensor([[[28.0, 14, 36, 22]]]), maps)[0, 0]
    y, x = torch.nonzero(result[0, 0] > 127, as_tuple=True)
    found = torch.stack((x.min(), y.min(), x.max() + 1, y.max() + 1)).float()
    assert (found - box).abs().max() <= 1.5


def test_a_map_and_its_inverse_come_to_nothing():
    maps = warps.turned(torch.tensor([0.7]), torch.tensor([0.8]), torch.tensor([[30.0, 20]]))
    points = torch.rand(1, 5, 2, generator=generator(1)) * 40
    there_and_back = warps.after(maps, warps.inverse(maps))
    torch.testing.assert_close(warps.warped_points(points, there_and_back), points, atol=1e-4, rtol=0)
    torch.testing.assert_close(
        warps.warped_points(torch.tensor([[[30.0, 20]]]), maps), torch.tensor([[[30.0, 20]]])
    )


def test_outside_of_an_image_is_grey_and_outside_of_a_mask_is_unknown():
    maps = warps.window(torch.tensor([[-60.0, -40, 60, 40]]), FRAME)
    result = warps.warped_images(dotted([]), maps, FRAME)
    assert result[0, :, 0, 0].tolist() == [123, 117, 104]
    mask = warps.warped_masks(torch.ones(1, *FRAME, dtype=torch.uint8), maps, FRAME)
    assert sorted(mask.unique().tolist()) == [1, 255]
    assert (mask == 1).float().mean().item() == pytest.approx(0.25)


def test_objects_whose_centre_is_not_shown_are_gone_and_others_are_cut():
    boxes = torch.tensor([[[0.0, 0, 12, 12], [8, 8, 30, 30], [40, 20, 60, 40], [20, 20, 20.5, 30]]])
    classes = torch.tensor([[0, 1, 2, 3]])
    shown = torch.tensor([[10.0, 10, 40, 30]])
    seen = warps.seen_objects(boxes, classes, warps.window(shown, (20, 30)), (20, 30), FRAME)
    assert seen.classes.tolist() == [[-1, 1, -1, -1]]
    assert seen.boxes.tolist() == [[[0, 0, 0, 0], [0, 0, 20, 20], [0, 0, 0, 0], [0, 0, 0, 0]]]


def random_objects(n, count, seed):
    low = torch.rand(n, count, 2, generator=generator(seed)) * torch.tensor([40.0, 25])
    boxes = torch.cat((low, low + 3 + torch.rand(n, count, 2, generator=generator(seed + 1)) * 15), -1)
    return boxes, torch.randint(-1, 3, (n, count), generator=generator(seed + 2))


def test_every_crop_shows_objects_and_overlaps_all_of_them_by_what_was_asked():
    """Pitfall 35: the least overlap of a crop is one of those that can be drawn, never none at all."""
    boxes, classes = random_objects(200, 3, 0)
    for least in (0.1, 0.3, 0.5):
        shown = warps.ssd_windows(boxes, classes, FRAME, generator(3), (least,))
        crops = 0
        for i in range(200):
            inside_image = (shown[i, :2] >= 0).all() and (shown[i, 2:] <= torch.tensor([60.0, 40])).all()
            centre = (boxes[i, :, :2] + boxes[i, :, 2:]) / 2
            held = ((centre > shown[i, :2]) & (centre < shown[i, 2:])).all(1) & (classes[i] >= 0)
            if not inside_image or torch.equal(shown[i], whole(1)[0]) or not (classes[i] >= 0).any():
                continue
            crops += 1
            assert held.any()
            assert (box_iou(shown[i : i + 1], boxes[i][held]) >= least).all()
        assert crops > {0.1: 25, 0.3: 5, 0.5: 0}[least]


def test_crops_have_ordinary_shapes_and_canvases_hold_the_whole_image():
    """A frame of 320 × 480 is at most four times as large on its canvas, one of 100 × 150 a third larger."""
    for times, most in ((8, 4.0), (2.5, 4 / 3)):
        sides = torch.tensor([60.0, 40]) * times
        boxes, classes = random_objects(300, 3, 4)
        frame = (int(40 * times), int(60 * times))
        shown = warps.ssd_windows(boxes * times, classes, frame, generator(5))
        size = shown[:, 2:] - shown[:, :2]
        shape = size[:, 0] / size[:, 1] / 1.5
        assert ((shape > 0.49) & (shape < 2.01)).all()
        assert (size >= 0.29 * sides).all()
        assert (size <= most * sides + 0.01).all()
        assert (size[:, 0] > (1 + most) / 2 * sides[0]).any()
        assert 30 < (size[:, 0] > sides[0]).sum() < 270
        again = warps.ssd_windows(boxes * times, classes, frame, generator(5))
        assert torch.equal(shown, again)


def test_mild_windows_show_nearly_all_of_every_image():
    shown = warps.mild_windows(200, FRAME, generator(2))
    share = (shown[:, 2:] - shown[:, :2]) / torch.tensor([60.0, 40])
    assert share.min() >= 0.75
    assert share.max() <= 1.27
    assert share.std() > 0.05
    assert torch.equal(shown, warps.mild_windows(200, FRAME, generator(2)))


@pytest.mark.parametrize("length", [0, 2])
def test_images_without_objects_are_cropped_too(length):
    boxes, classes = torch.zeros(50, length, 4), torch.full((50, length), -1)
    shown = warps.ssd_windows(boxes, classes, FRAME, generator(6))
    assert shown.isfinite().all()
    assert (shown[:, 2] - shown[:, 0] < 60).sum() > 10
    seen = warps.seen_objects(boxes, classes, warps.window(shown, FRAME), FRAME, FRAME)
    assert (seen.classes == -1).all()


def test_recolouring_differs_by_image_follows_its_generator_and_keeps_grey_grey():
    images = torch.randint(40, 200, (16, 3, 8, 8), generator=generator(7), dtype=torch.uint8)
    once, again = (warps.recoloured(images, generator(8)) for _ in range(2))
    assert torch.equal(once, again)
    changed = (once.float() - images.float()).abs().mean((1, 2, 3))
    assert len(set(changed.tolist())) > 8
    grey = torch.full((64, 3, 1, 1), 128, dtype=torch.uint8)
    result = warps.recoloured(grey, generator(9)).float()
    assert (result - result.mean(1, keepdim=True)).abs().max() <= 1
    assert result.min() < 100
    assert result.max() > 160


def test_hue_turns_by_at_most_18_degrees():
    red = torch.tensor([180.0, 60, 60]).to(torch.uint8)[None, :, None, None].expand(256, 3, 1, 1)
    result = warps.recoloured(red, generator(10))[:, :, 0, 0].double() / 255
    hues = [colorsys.rgb_to_hsv(*colour)[0] * 360 for colour in result.tolist()]
    turns = [min(hue, 360 - hue) for hue in hues]
    assert 8 < max(turns) < 30  # of YIQ; in HSV the same turn differs a little by colour
