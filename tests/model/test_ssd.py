import pytest
import torch
from torchvision.models.detection import ssd300_vgg16, ssdlite320_mobilenet_v3_large
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator

from alctl.model import ssd
from alctl.model.boxes import lesson, multibox_loss
from alctl.model.loss_prediction import LossPredictionModule

MAPS_300 = [(38, 38), (19, 19), (10, 10), (5, 5), (3, 3), (1, 1)]
CHANNELS = [512, 1024, 512, 256, 256, 256]


@pytest.fixture(scope="module")
def ssd300():
    return ssd.vgg(3, (300, 300)).eval()


def generated(generator, maps, side):
    with torch.no_grad():
        grid = generator._grid_default_boxes(maps, [side, side])
    centre, half = grid[:, :2] * side, grid[:, 2:] * side / 2
    return torch.cat((centre - half, centre + half), 1)


def test_ssd300_has_the_papers_maps_and_anchors(ssd300):
    assert ssd.map_sizes(ssd300.backbone, (300, 300)) == (MAPS_300, CHANNELS)
    assert ssd300.priors.shape == (8732, 4)
    ratios = [[2], [2, 3], [2, 3], [2, 3], [2], [2]]
    scales = [0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05]
    steps = [8, 16, 32, 64, 100, 300]
    theirs = generated(DefaultBoxGenerator(ratios, scales=scales, steps=steps), MAPS_300, 300)
    torch.testing.assert_close(ssd300.priors, theirs, atol=1e-3, rtol=0)


def test_ssdlite_has_torchvisions_anchors():
    maps = [(20, 20), (10, 10), (5, 5), (3, 3), (2, 2), (1, 1)]
    net = ssd.mobile(2, (320, 320))
    assert ssd.map_sizes(net.backbone, (320, 320))[0] == maps
    theirs = generated(DefaultBoxGenerator([[2, 3]] * 6, min_ratio=0.2, max_ratio=0.95), maps, 320)
    torch.testing.assert_close(net.priors, theirs, atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("ours", "theirs", "side"),
    [(ssd.vgg, ssd300_vgg16, 300), (ssd.mobile, ssdlite320_mobilenet_v3_large, 320)],
)
def test_weights_go_by_the_names_that_torchvision_gives_them(ours, theirs, side):
    with torch.device("meta"):
        net = ours(4, (side, side))
        expected = theirs(weights=None, weights_backbone=None, num_classes=5).state_dict()
    assert {name: value.shape for name, value in net.state_dict().items()} == {
        name: value.shape for name, value in expected.items()
    }


def test_the_module_of_ssd300_has_the_parameters_of_table_1_1(ssd300):
    module = LossPredictionModule(ssd.map_sizes(ssd300.backbone, (300, 300))[1])
    assert sum(value.numel() for value in module.parameters()) == 361_985


def test_the_first_tap_of_ssd300_is_its_map_after_the_l2_norm(ssd300):
    seen = []
    head = ssd300.get_submodule(ssd300.taps[0].removeprefix("<"))
    hook = head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        ssd300(torch.randn(1, 3, 300, 300))
    hook.remove()
    assert seen[0].shape == (1, 512, 38, 38)
    lengths = seen[0].norm(dim=1)
    assert ((lengths - 20).abs() < 1e-3).logical_or(lengths == 0).all()
    assert (lengths > 19).any()


def test_anchors_stay_on_the_cpu_where_a_file_of_weights_is_checked():
    with torch.device("meta"):
        net = ssd.tiny(2, (64, 64), width=8)
    assert net.priors.device.type == "cpu"
    assert all(value.is_meta for value in net.parameters())
    assert "priors" not in net.state_dict()


@pytest.mark.parametrize("frame", [(128, 128), (96, 160)])
def test_every_anchor_of_the_small_network_has_an_answer(frame):
    net = ssd.tiny(3, frame, width=8).eval()
    with torch.no_grad():
        raw = net(torch.randn(2, 3, *frame))
    n = len(net.priors)
    assert raw["logits"].shape == (2, n, 4)
    assert raw["offsets"].shape == raw["priors"].shape == (2, n, 4)
    centres = (net.priors[:, :2] + net.priors[:, 2:]) / 2
    assert (centres > 0).all()
    assert (centres < torch.tensor([frame[1], frame[0]])).all()


def test_ssd_of_vgg_with_batch_normalisation_has_the_same_maps():
    with torch.device("meta"):
        net = ssd.vgg(1, (300, 300), normalised=True)
    assert ssd.map_sizes(net.backbone, (300, 300)) == (MAPS_300, CHANNELS)
    assert any(isinstance(layer, torch.nn.BatchNorm2d) for layer in net.modules())


def test_batch_normalisation_from_scratch_settles_within_tens_of_steps():
    for net in (ssd.mobile(1, (320, 320)), ssd.tiny(1, (64, 64))):
        momenta = {layer.momentum for layer in net.modules() if isinstance(layer, torch.nn.BatchNorm2d)}
        assert momenta == {0.1}


def test_the_small_network_learns_two_images_by_heart():
    torch.manual_seed(0)
    net = ssd.tiny(2, (64, 64), width=8)
    images = torch.randn(2, 3, 64, 64)
    boxes = torch.tensor([[[4.0, 4, 30, 30], [34, 30, 60, 60]], [[10, 20, 50, 60], [0, 0, 0, 0]]])
    classes = torch.tensor([[0, 1], [1, -1]])
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    losses = []
    for _ in range(40):
        raw = net(images)
        loss = multibox_loss(raw["logits"], raw["offsets"], lesson(net.priors, boxes, classes)).mean()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.2 * losses[0]
