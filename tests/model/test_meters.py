import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from alctl.model.boxes import Found
from alctl.model.meters import AveragePrecision, Truth


def cells(numbers):
    """Return boxes that overlap nowhere, one for each number."""
    corner = torch.tensor(numbers, dtype=torch.float32)[:, None] * 20
    return torch.cat((corner, corner, corner + 10, corner + 10), 1)


def truth(boxes, classes, difficult=None, crowd=None):
    classes = torch.as_tensor(classes, dtype=torch.int64)[None]
    none = torch.zeros_like(classes)
    marks = (torch.as_tensor(mark)[None] if mark is not None else none for mark in (difficult, crowd))
    return Truth(torch.as_tensor(boxes)[None], classes, *marks)


def found(boxes, classes, scores=None):
    classes = torch.as_tensor(classes, dtype=torch.int64)[None]
    scores = torch.linspace(0.9, 0.6, classes.shape[1]) if scores is None else torch.tensor(scores)
    return Found(boxes[None], scores[None], classes, torch.zeros_like(classes))


def joined(parts, kind):
    """Pad what was found, or what is there, on several images to one length."""
    longest = max(part[0].shape[1] for part in parts)
    pads = [(4,) if i == 0 else () for i in range(4)]
    rows = []
    for i, more in enumerate(pads):
        value = -1 if kind._fields[i] == "classes" else 0
        rows.append(
            torch.cat(
                [
                    torch.cat((p[i], p[i].new_full((1, longest - p[i].shape[1], *more), value)), 1)
                    for p in parts
                ]
            )
        )
    return kind(*rows)


def test_average_precision_is_that_of_oracle_o17():
    """Five objects; by score: right, wrong, right, right, wrong, wrong, right."""
    meter = AveragePrecision(["cell"])
    meter.update(found(cells([0, 10, 1, 2, 11, 12, 3]), [0] * 7), truth(cells(range(5)), [0] * 5))
    metrics = meter.compute()
    assert metrics["mAP@0.5 (11 points)"] == pytest.approx(0.6493506494, abs=1e-9)
    assert metrics["mAP@0.5"] == pytest.approx(0.6142857143, abs=5e-5)
    assert metrics["AP: cell"] == metrics["mAP@0.5"]


def test_finding_an_object_twice_is_wrong_the_second_time():
    meter = AveragePrecision(["cell"])
    quality = meter.update(found(cells([0, 0, 1]), [0] * 3), truth(cells([0, 1]), [0, 0]))
    assert quality.item() == pytest.approx((1 + 2 / 3) / 2)
    assert meter.table.tolist() == [[2, 0], [1, 0]]


def test_difficult_objects_are_neither_to_be_found_nor_wrong_to_be_found():
    """However often one is found, and also in the quality of its image and in the table."""
    meter = AveragePrecision(["cell"])
    there = truth(cells([0, 1, 2]), [0, 0, 0], difficult=[0, 1, 1])
    quality = meter.update(found(cells([1, 1, 0]), [0] * 3), there)
    assert quality.item() == 1
    assert meter.compute()["mAP@0.5"] == meter.compute()["mAP@[.5:.95]"] == 1
    assert meter.table.tolist() == [[1, 0], [0, 0]]


def test_a_difficult_object_of_another_class_excuses_nothing():
    meter = AveragePrecision(["cell", "plate"])
    there = truth(cells([0, 1]), [0, 1], difficult=[0, 1])
    assert meter.update(found(cells([1, 0]), [0, 0]), there).item() == 0.5


def test_in_a_crowd_any_number_may_be_found_or_none():
    crowd = torch.cat((cells([0]), torch.tensor([[100.0, 100, 200, 200]])))
    small = torch.tensor([[110.0, 110, 120, 120], [150, 150, 160, 160]])
    for boxes in (cells([0]), torch.cat((small, cells([0])))):
        meter = AveragePrecision(["cell"])
        said = found(boxes, [0] * len(boxes))
        assert meter.update(said, truth(crowd, [0, 0], crowd=[0, 1])).item() == 1
        assert meter.compute()["mAP@[.5:.95]"] == 1


def test_a_class_that_no_image_has_does_not_count_however_often_it_is_said():
    meter = AveragePrecision(["cell", "ghost"])
    meter.update(found(cells([0, 1, 2]), [1, 0, 1]), truth(cells([1]), [0]))
    assert set(meter.compute()) == {"mAP@0.5", "mAP@0.5 (11 points)", "mAP@[.5:.95]", "AP: cell"}
    assert meter.compute()["mAP@0.5"] == 1
    assert meter.table.tolist() == [[1, 0, 0], [0, 0, 0], [0, 2, 0]]


@pytest.mark.parametrize("scores", [(0.9, 0.4), (0.3, 0.1)])
def test_an_image_without_objects_is_right_where_nothing_sure_is_said(scores):
    meter = AveragePrecision(["cell"])
    quality = meter.update(found(cells([0, 1]), [0, 0], list(scores)), truth(torch.zeros(0, 4), []))
    assert quality.item() == (scores[0] < 0.5)
    assert meter.compute()["mAP@0.5"] == 0


def test_nothing_found_on_images_with_objects_is_zero():
    meter = AveragePrecision(["cell"])
    assert meter.update(found(torch.zeros(0, 4), []), truth(cells([1]), [0])).item() == 0
    assert meter.compute()["mAP@0.5"] == 0
    assert meter.table.tolist() == [[0, 1], [0, 0]]


def random_case(n, classes, seed):
    """Return answers and truths of n images: objects moved a little, some of the wrong class, some invented."""
    rng = np.random.default_rng(seed)
    said, there = [], []
    for _ in range(n):
        objects = int(rng.integers(0, 7))
        low = rng.uniform(0, 80, (objects, 2))
        boxes = np.hstack([low, low + rng.uniform(5, 40, (objects, 2))])
        of_class = rng.integers(0, classes, objects)
        crowd = rng.random(objects) < 0.15
        repeat = rng.integers(0, 4, objects)
        guess = np.repeat(boxes, repeat, 0) + rng.normal(0, 3, (repeat.sum(), 4))
        guess_class = np.where(rng.random(repeat.sum()) < 0.8, np.repeat(of_class, repeat), 0)
        more = int(rng.integers(0, 5))
        low = rng.uniform(0, 80, (more, 2))
        guess = np.vstack([guess, np.hstack([low, low + rng.uniform(5, 40, (more, 2))])])
        guess_class = np.append(guess_class, rng.integers(0, classes, more))
        scores = -np.sort(-rng.uniform(0.05, 1, len(guess))).astype(np.float32)
        said.append(found(torch.tensor(guess).float(), guess_class.astype(np.int64), scores.tolist()))
        there.append(
            truth(torch.tensor(boxes).float(), of_class.astype(np.int64), crowd=crowd.astype(np.int64))
        )
    return said, there


def peers(said, there, classes):
    """Return what pycocotools makes of the same."""

    def entries(parts):
        for i, part in enumerate(parts):
            for k in range(part.classes.shape[1]):
                x1, y1, x2, y2 = part.boxes[0, k].double().tolist()
                box = [x1, y1, x2 - x1, y2 - y1]
                yield (
                    i,
                    k,
                    {
                        "image_id": i,
                        "category_id": int(part.classes[0, k]),
                        "bbox": box,
                        "area": box[2] * box[3],
                    },
                )

    annotations = [
        entry | {"id": number, "iscrowd": int(there[i].crowd[0, k])}
        for number, (i, k, entry) in enumerate(entries(there), 1)
    ]
    results = [entry | {"score": float(said[i].scores[0, k])} for i, k, entry in entries(said)]
    coco = COCO()
    coco.dataset = {
        "info": {},
        "images": [{"id": i} for i in range(len(there))],
        "categories": [{"id": k} for k in range(classes)],
        "annotations": annotations,
    }
    coco.createIndex()
    peer = COCOeval(coco, coco.loadRes(results), "bbox")
    peer.evaluate()
    peer.accumulate()
    peer.summarize()
    return peer.stats


@pytest.mark.parametrize("seed", range(3))
def test_cocos_average_precision_is_that_of_pycocotools(seed):
    said, there = random_case(12, 3, seed)
    meter = AveragePrecision(["a", "b", "c"])
    for some in (slice(0, 5), slice(5, 12)):
        meter.update(joined(said[some], Found), joined(there[some], Truth))
    metrics, expected = meter.compute(), peers(said, there, 3)
    assert metrics["mAP@[.5:.95]"] == pytest.approx(expected[0], abs=1e-6)
    assert metrics["mAP@0.5"] == pytest.approx(expected[1], abs=0.01)  # of 101 points there, of 10,001 here


def test_two_batches_measure_as_one_and_padding_changes_nothing():
    said, there = random_case(9, 3, 5)
    once, often = AveragePrecision(["a", "b", "c"]), AveragePrecision(["a", "b", "c"])
    together = once.update(joined(said, Found), joined(there, Truth))
    alone = torch.cat([often.update(*both) for both in zip(said, there, strict=True)])
    assert torch.equal(together, alone)
    assert once.compute() == often.compute()
    assert np.array_equal(once.table, often.table)
    for ours, theirs in zip(once.confidence(), often.confidence(), strict=True):
        assert np.array_equal(ours, theirs)


def test_every_object_stands_in_the_table_once():
    said, there = random_case(20, 3, 6)
    meter = AveragePrecision(["a", "b", "c"])
    meter.update(joined(said, Found), joined(there, Truth))
    objects = torch.cat([part.classes[part.counts] for part in there]).bincount(minlength=3)
    assert meter.table[:3].sum(1).tolist() == objects.tolist()


def test_scores_for_calibration_stay_within_bounds():
    meter = AveragePrecision(["a", "b", "c"], kept=100)
    for seed in range(6):
        said, there = random_case(15, 3, seed)
        meter.update(joined(said, Found), joined(there, Truth))
    scores, right = meter.confidence()
    assert len(scores) == len(right) <= 200
    assert right.any()
    assert not right.all()
