import math

import pytest
import torch
from torchvision.models.detection import _utils as theirs
from torchvision.models.detection import ssd as their_ssd
from torchvision.ops import box_iou

from alctl.model.boxes import (
    Lesson,
    decoded,
    encoded,
    inside,
    lesson,
    matched,
    multibox_loss,
    overlaps,
    suppressed,
)
from alctl.model.ssd import anchors

LOGITS = torch.tensor(
    [[[2.0, 0, 0], [0, 2, 0], [1, 0, 0], [0, 0, 1], [3, 0, 0], [0.5, 0, 0], [0, 0, 0], [1.5, 0.5, 0]]]
)
"""Of oracle O19: eight anchors, background and two classes; anchor 1 is the only positive one."""
PRIORS = anchors([(8, 8), (4, 4)], (64, 64), (0.2, 0.4, 0.7), ((2.0,), (2.0,)))


def some_boxes(n, count, seed=0):
    rng = torch.Generator().manual_seed(seed)
    low = torch.rand(n, count, 2, generator=rng) * 40
    return torch.cat((low, low + 4 + torch.rand(n, count, 2, generator=rng) * 20), -1)


def padded(boxes, classes, more):
    n = len(boxes)
    return torch.cat((boxes, torch.zeros(n, more, 4)), 1), torch.cat((classes, torch.full((n, more), -1)), 1)


def test_overlaps_are_torchvisions_and_empty_boxes_overlap_nothing():
    some, others = some_boxes(1, 7)[0], some_boxes(1, 5, 1)[0]
    torch.testing.assert_close(overlaps(some, others), box_iou(some, others))
    assert overlaps(torch.zeros(1, 4), torch.zeros(1, 4)) == 0


def test_the_loss_of_an_image_is_that_of_oracle_o19():
    residual = torch.zeros(1, 8, 4)
    residual[0, 1] = torch.tensor([0.2, -0.4, 1.5, 0])
    positive = torch.tensor([[0, 1, 0, 0, 0, 0, 0, 0]])
    found = multibox_loss(LOGITS, residual, Lesson(positive, torch.zeros(1, 8, 4)))
    assert found.shape == (1,)
    assert found.item() == pytest.approx(4.7839785382, abs=2e-6)
    without_places = multibox_loss(LOGITS, torch.zeros(1, 8, 4), Lesson(positive, torch.zeros(1, 8, 4)))
    assert without_places.item() == pytest.approx(3.6839785382, abs=2e-6)


def torchvision_ssd():
    """Return torchvision's own SSD without a network, to ask for its loss and its matching."""
    net = their_ssd.SSD.__new__(their_ssd.SSD)
    torch.nn.Module.__init__(net)
    net.box_coder = theirs.BoxCoder(weights=(10.0, 10.0, 5.0, 5.0))
    net.proposal_matcher = theirs.SSDMatcher(0.5)
    net.neg_to_pos_ratio = 3.0
    return net


def test_matching_and_the_mean_loss_of_a_batch_are_torchvisions():
    rng = torch.Generator().manual_seed(2)
    boxes, classes = some_boxes(4, 5), torch.randint(0, 3, (4, 5), generator=rng)
    logits = torch.randn(4, len(PRIORS), 4, generator=rng)
    offsets = torch.randn(4, len(PRIORS), 4, generator=rng)
    net = torchvision_ssd()
    targets = [{"boxes": b, "labels": c + 1} for b, c in zip(boxes, classes, strict=True)]
    said = {"bbox_regression": offsets, "cls_logits": logits}
    their_matching = [net.proposal_matcher(box_iou(b, PRIORS)) for b in boxes]
    batch = net.compute_loss(targets, said, [PRIORS] * 4, their_matching)
    assert torch.equal(matched(PRIORS, boxes, classes), torch.stack(their_matching))
    ours = multibox_loss(logits, offsets, lesson(PRIORS, boxes, classes), norm="batch_pos")
    assert ours.mean().item() == pytest.approx(sum(batch.values()).item(), rel=1e-5)


def test_an_image_without_objects_adds_its_three_most_wrong_anchors():
    empty = Lesson(torch.zeros(1, 8, dtype=torch.int64), torch.zeros(1, 8, 4))
    entropy = -LOGITS.log_softmax(2)[0, :, 0]
    expected = entropy.topk(3).values.sum().item()
    assert multibox_loss(LOGITS, torch.ones(1, 8, 4), empty).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("length", [0, 3])
def test_a_batch_without_any_box_has_a_finite_loss_that_moves_the_classes_only(length):
    boxes, classes = torch.zeros(2, length, 4), torch.full((2, length), -1)
    logits = torch.randn(2, len(PRIORS), 3, requires_grad=True)
    offsets = torch.randn(2, len(PRIORS), 4, requires_grad=True)
    loss = multibox_loss(logits, offsets, lesson(PRIORS, boxes, classes))
    assert loss.isfinite().all()
    assert (loss > 0).all()
    classes_move, places_move = torch.autograd.grad(loss.sum(), (logits, offsets))
    assert classes_move.abs().sum() > 0
    assert places_move.abs().sum() == 0


@pytest.mark.parametrize("norm", ["per_pos", "batch_pos", "sum"])
def test_padding_changes_nothing(norm):
    boxes, classes = some_boxes(3, 4), torch.tensor([[0, 1, 0, 1], [1, -1, -1, -1], [-1, -1, -1, -1]])
    logits, offsets = torch.randn(3, len(PRIORS), 3), torch.randn(3, len(PRIORS), 4)
    before = multibox_loss(logits, offsets, lesson(PRIORS, boxes, classes), norm=norm)
    after = multibox_loss(logits, offsets, lesson(PRIORS, *padded(boxes, classes, 9)), norm=norm)
    assert torch.equal(before, after)
    assert (matched(PRIORS, *padded(boxes, classes, 9))[2] == -1).all()


def test_an_image_costs_the_same_alone_and_among_others():
    boxes, classes = some_boxes(3, 4), torch.tensor([[0, 1, 0, 1], [1, -1, -1, -1], [-1, -1, -1, -1]])
    logits, offsets = torch.randn(3, len(PRIORS), 3), torch.randn(3, len(PRIORS), 4)
    together = multibox_loss(logits, offsets, lesson(PRIORS, boxes, classes))
    for i in range(3):
        one = slice(i, i + 1)
        alone = multibox_loss(logits[one], offsets[one], lesson(PRIORS, boxes[one], classes[one]))
        assert alone.item() == pytest.approx(together[i].item(), rel=1e-5)


def test_the_best_anchor_of_a_box_learns_it_however_little_it_overlaps():
    priors = torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 30], [40, 40, 50, 50]])
    far = torch.tensor([[[28.0, 28, 29, 29]]])
    assert matched(priors, far, torch.tensor([[0]])).tolist() == [[-1, 0, -1]]


def test_of_two_boxes_with_the_same_best_anchor_the_later_has_it():
    priors = torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 30]])
    boxes = torch.tensor([[[20.0, 20, 30, 30], [20, 20, 30, 25]]])
    assert matched(priors, boxes, torch.tensor([[0, 1]])).tolist() == [[-1, 1]]


def test_offsets_lead_back_to_the_box_and_are_torchvisions():
    boxes = some_boxes(1, len(PRIORS))[0]
    coder = theirs.BoxCoder(weights=(10.0, 10.0, 5.0, 5.0))
    torch.testing.assert_close(encoded(boxes, PRIORS), coder.encode_single(boxes, PRIORS))
    torch.testing.assert_close(decoded(encoded(boxes, PRIORS), PRIORS), boxes, atol=1e-4, rtol=1e-5)


def test_an_absurd_offset_decodes_to_a_finite_box():
    assert decoded(torch.full((1, 4), 1e6), PRIORS[:1]).isfinite().all()
    assert math.isclose(inside(torch.tensor([-5.0, 3, 99, 99]), 40, 50).sum().item(), 0 + 3 + 50 + 40)


def test_what_overlaps_a_surer_box_of_its_class_is_left_out():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 9], [30, 30, 40, 40]])[None]
    scores = torch.tensor([[0.9, 0.0], [0.7, 0.0], [0.0, 0.8], [0.02, 0.02]])[None]
    found = suppressed(scores, boxes)
    assert found.place.tolist() == [[0, 2]]
    assert found.classes.tolist() == [[0, 1]]
    assert found.scores[0].tolist() == pytest.approx([0.9, 0.8])


def test_images_with_fewer_boxes_are_padded_and_none_may_be_left_at_all():
    boxes = torch.tensor([[0.0, 0, 10, 10], [30, 30, 40, 40]]).expand(2, 2, 4)
    found = suppressed(torch.tensor([[[0.9], [0.8]], [[0.01], [0.6]]]), boxes)
    assert found.classes.tolist() == [[0, 0], [0, -1]]
    assert found.scores[1].tolist() == pytest.approx([0.6, 0])
    nothing = suppressed(torch.zeros(1, 2, 1), boxes[:1])
    assert nothing.classes.shape == (1, 0)


def test_an_untrained_networks_answers_are_cut_before_they_are_compared():
    """An untrained SSD finds all of its 8,732 anchors a little likely; suppression must not see them all."""
    scores = torch.full((1, 8732, 3), 0.25) + torch.rand(1, 8732, 3) * 0.01
    boxes = torch.cat((torch.rand(1, 8732, 2) * 200, 200 + torch.rand(1, 8732, 2) * 100), -1)
    found = suppressed(scores, boxes, overlap=1.0)
    assert found.scores.shape == (1, 200)
    assert found.scores.min() >= scores.flatten(1).topk(1200).values.min()
