import pytest
import torch
from torchvision.models.detection import fcos as their_fcos
from torchvision.models.detection import retinanet as their_retinanet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList

from alctl.model import dense
from alctl.model.ssd import map_sizes

FRAME = (128, 160)
STRIDES = (8, 16, 32, 64, 128)


def raw_of(build, seed=0, n=3, classes=2):
    """Return random answers for a frame, with the network's own anchors."""
    with torch.device("meta"):
        priors = build(classes, FRAME).priors
    rng = torch.Generator().manual_seed(seed)
    raw = {
        "sigmoids": torch.randn(n, len(priors), classes, generator=rng) - 2,
        "offsets": torch.randn(n, len(priors), 4, generator=rng).abs() * 0.5,
        "priors": priors.expand(n, -1, -1),
    }
    if build is dense.fcos:
        raw["centres"] = torch.randn(n, len(priors), generator=rng)
    return raw


def objects(seed=1):
    """Return boxes and classes of three images, the second without any object, the third with one."""
    rng = torch.Generator().manual_seed(seed)
    low = torch.rand(3, 4, 2, generator=rng) * torch.tensor([100.0, 70])
    boxes = torch.cat((low, low + 6 + torch.rand(3, 4, 2, generator=rng) * 50), -1)
    return boxes, torch.tensor([[0, 1, 1, 0], [-1, -1, -1, -1], [1, -1, -1, -1]])


def target(boxes, classes):
    return {"boxes": boxes[classes >= 0], "labels": classes[classes >= 0]}


def their_retinanet_loss(raw, i, boxes, classes):
    net = their_retinanet.RetinaNet.__new__(their_retinanet.RetinaNet)
    torch.nn.Module.__init__(net)
    net.head = their_retinanet.RetinaNetHead(32, 9, 2)
    net.head.regression_head._loss_type = "giou"
    net.proposal_matcher = their_retinanet.det_utils.Matcher(0.5, 0.4, allow_low_quality_matches=True)
    said = {"cls_logits": raw["sigmoids"][i : i + 1], "bbox_regression": raw["offsets"][i : i + 1]}
    return net.compute_loss([target(boxes[i], classes[i])], said, [raw["priors"][i]])


def their_fcos_loss(raw, i, boxes, classes):
    net = their_fcos.FCOS.__new__(their_fcos.FCOS)
    torch.nn.Module.__init__(net)
    net.head, net.center_sampling_radius = their_fcos.FCOSHead(32, 1, 2), 1.5
    said = {
        "cls_logits": raw["sigmoids"][i : i + 1],
        "bbox_regression": raw["offsets"][i : i + 1],
        "bbox_ctrness": raw["centres"][i : i + 1, :, None],
    }
    side = raw["priors"][i][:, 2] - raw["priors"][i][:, 0]
    levels = [int((side == stride).sum()) for stride in STRIDES]
    return net.compute_loss([target(boxes[i], classes[i])], said, [raw["priors"][i]], levels)


@pytest.mark.parametrize(
    ("build", "ours", "theirs"),
    [
        (dense.retinanet, dense.retinanet_loss, their_retinanet_loss),
        (dense.fcos, dense.fcos_loss, their_fcos_loss),
    ],
)
def test_the_loss_of_each_image_is_torchvisions_of_that_image_alone(build, ours, theirs):
    raw, (boxes, classes) = raw_of(build), objects()
    summed, count = ours(raw, boxes, classes)
    assert summed.shape == count.shape == (3,)
    assert count[0] > 0
    for i in range(3):
        expected = sum(theirs(raw, i, boxes, classes).values()).item()
        assert (summed[i] / count[i].clamp_min(1)).item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("build", "loss"), [(dense.retinanet, dense.retinanet_loss), (dense.fcos, dense.fcos_loss)]
)
def test_padding_changes_nothing_and_a_batch_without_boxes_is_finite(build, loss):
    raw, (boxes, classes) = raw_of(build), objects()
    longer = torch.cat((boxes, torch.zeros(3, 5, 4)), 1), torch.cat((classes, torch.full((3, 5), -1)), 1)
    assert torch.equal(loss(raw, boxes, classes)[0], loss(raw, *longer)[0])
    for value in raw.values():
        value.requires_grad_()
    empty, count = loss(raw, torch.zeros(3, 0, 4), torch.zeros(3, 0, dtype=torch.int64))
    assert empty.isfinite().all()
    assert count.tolist() == [0, 0, 0]
    of_classes, of_places = torch.autograd.grad(empty.sum(), (raw["sigmoids"], raw["offsets"]))
    assert of_classes.abs().sum() > 0
    assert of_places.abs().sum() == 0


@pytest.mark.parametrize(("build", "theirs"), [
    (dense.retinanet, their_retinanet._default_anchorgen),
    (dense.fcos, lambda: AnchorGenerator(tuple((s,) for s in STRIDES), ((1.0,),) * 5)),
])  # fmt: skip
def test_anchors_are_torchvisions(build, theirs):
    with torch.device("meta"):
        net = build(2, FRAME)
    maps = [torch.zeros(1, 1, *size) for size in map_sizes(net.backbone, FRAME)[0]]
    (expected,) = theirs()(ImageList(torch.zeros(1, 3, *FRAME), [FRAME]), maps)
    assert torch.equal(net.priors, expected)


@pytest.mark.parametrize(
    ("build", "theirs"),
    [
        (dense.retinanet, their_retinanet.retinanet_resnet50_fpn_v2),
        (dense.fcos, their_fcos.fcos_resnet50_fpn),
    ],
)
def test_weights_go_by_the_names_that_torchvision_gives_them(build, theirs):
    with torch.device("meta"):
        net = build(3, FRAME)
    expected = theirs(weights=None, weights_backbone=None, num_classes=3).state_dict()
    assert {name: value.shape for name, value in net.state_dict().items()} == {
        name: value.shape for name, value in expected.items()
    }


@pytest.mark.parametrize("build", [dense.retinanet, dense.fcos])
def test_probabilities_sum_to_one_where_two_classes_are_sure(build):
    raw = raw_of(build)
    raw["sigmoids"][0] = 4.0
    p = dense.probabilities(raw)
    assert torch.allclose(p.sum(-1), torch.ones(()))
    assert (p >= 0).all()


def test_fcos_places_find_their_way_back_to_the_box():
    raw, (boxes, classes) = raw_of(dense.fcos), objects()
    match = dense._fcos_matches(raw["priors"][0], boxes, classes)
    i, a = (match >= 0).nonzero()[0].tolist()
    box, prior = boxes[i, match[i, a]], raw["priors"][i, a]
    middle, stride = (prior[:2] + prior[2:]) / 2, prior[2] - prior[0]
    raw["offsets"][i, a] = torch.cat((middle - box[:2], box[2:] - middle)) / stride
    torch.testing.assert_close(dense.fcos_boxes(raw)[i, a], box)
