import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from alctl.errors import AlctlError
from alctl.labels.annotation import Annotation, Category
from alctl.model.boxes import encoded
from alctl.model.loss_prediction import LossPredictionModule
from alctl.model.ssd import anchors
from alctl.model.tasks.detection import Detection
from alctl.model.tensors import Distributions
from alctl.model.uncertainty import entropy
from tests.fakes import tiny

NAMES = ("cell", "plate", "ghost")
TASK = Detection(tuple(map(Category, NAMES)), (64, 64))
SIZE = (128, 64)
PRIORS = anchors([(8, 8), (4, 4)], (64, 64), (0.2, 0.4, 0.7), ((2.0,), (2.0,)))
OBJECTS = (
    Annotation("cell", bbox=(10.0, 10.0, 40.0, 20.0)),
    Annotation("plate", bbox=(60.5, 20.25, 60.0, 30.5), difficult=True),
)


def perfect(*images, task=TASK, sure=9.0):
    """Return what a network would say that knows the labels: each box on one anchor, the others sure of nothing."""
    logits = torch.zeros(len(images), len(PRIORS), len(NAMES) + 1)
    logits[..., 0] = sure
    offsets = torch.zeros(len(images), len(PRIORS), 4)
    for i, annotations in enumerate(images):
        target = task.encode_target(annotations, SIZE)
        for box, k in zip(torch.from_numpy(target["boxes"]), target["classes"].tolist(), strict=True):
            place = (encoded(box[None], PRIORS).abs().sum(1)).argmin()
            logits[i, place, 0], logits[i, place, 1 + k] = 0, sure
            offsets[i, place] = encoded(box, PRIORS[place])
    return {"logits": logits, "offsets": offsets, "priors": PRIORS.expand(len(images), -1, -1)}


def targets(*images, task=TASK):
    return task.stack([task.encode_target(annotations, SIZE) for annotations in images])


def test_boxes_come_back_from_the_frame_as_they_were():
    (said,) = TASK.decode(perfect(OBJECTS), [SIZE])
    assert sorted(a.category for a in said) == ["cell", "plate"]
    for true, found in zip(OBJECTS, sorted(said, key=lambda a: a.category), strict=True):
        assert found.bbox == pytest.approx(true.bbox, abs=0.05)


def test_less_sure_boxes_are_decoded_only_where_less_is_asked():
    raw = perfect(OBJECTS, sure=1.0)
    assert TASK.decode(raw, [SIZE]) == [()]
    assert len(TASK.decode(raw, [SIZE], sure=0.4)[0]) == 2


def test_a_perfect_answer_is_measured_as_one_and_a_silent_one_as_zero():
    meter = TASK.meter()
    quality = meter.update(perfect(OBJECTS, ()), targets(OBJECTS, ()))
    assert quality.tolist() == [1, 1]
    assert meter.compute()[TASK.metric] == 1
    assert meter.confusion()[0] == "boxes"
    silent = TASK.meter()
    assert silent.update(perfect((), ()), targets(OBJECTS, ())).tolist() == [0, 1]
    assert silent.compute()[TASK.metric] == 0


def test_a_difficult_object_is_learned_and_is_not_measured():
    without = perfect(OBJECTS[:1])
    assert TASK.loss(without, targets(OBJECTS)) > TASK.loss(perfect(OBJECTS), targets(OBJECTS)) + 1
    meter = TASK.meter()
    assert meter.update(without, targets(OBJECTS)).item() == 1
    assert set(meter.compute()) & {"AP: cell", "AP: plate"} == {"AP: cell"}


def test_a_crowd_is_not_learned():
    crowd = replace(OBJECTS[1], crowd=True, difficult=False)
    raw = perfect(OBJECTS[:1])
    assert TASK.loss(raw, targets((OBJECTS[0], crowd))) == TASK.loss(raw, targets(OBJECTS[:1]))


def test_an_image_without_objects_teaches_that_nothing_is_there():
    nothing = targets((), ())
    assert nothing["boxes"].shape == (2, 0, 4)
    right, wrong = TASK.loss(perfect((), OBJECTS), nothing).tolist()
    assert 0 < right < 0.01
    assert wrong > 5
    assert "none of the 2 labeled images has an object" in TASK.check(nothing)
    assert TASK.check(targets(OBJECTS, ())) == ""


def test_boxes_are_cut_where_the_image_ends_and_are_a_pixel_wide_at_least():
    target = TASK.encode_target(
        (Annotation("cell", bbox=(100.0, -5.0, 60.0, 30.0)), Annotation("cell", bbox=(50.0, 20.0, 0.2, 0.2))),
        SIZE,
    )
    assert target["boxes"][0].tolist() == [50, 0, 64, 25]
    x1, y1, x2, y2 = target["boxes"][1].tolist()
    assert (x2 - x1, y2 - y1) == pytest.approx((1, 1))
    assert TASK.loss(perfect(OBJECTS), TASK.stack([target])).isfinite().all()


def test_an_outline_without_a_box_has_the_box_around_it():
    outline = Annotation("cell", segmentation=((10.0, 10.0, 50.0, 10.0, 50.0, 30.0),))
    assert TASK.encode_target((outline,), SIZE)["boxes"].tolist() == [[5, 10, 25, 30]]


@pytest.mark.parametrize(
    ("annotation", "problem"),
    [
        (Annotation("cell"), "detection needs boxes, but 'cell' is a class without one"),
        (Annotation("cells", bbox=(1.0, 1.0, 5.0, 5.0)), "'cells'"),
    ],
)
def test_a_label_that_is_no_object_of_a_known_class_is_a_sentence(annotation, problem):
    with pytest.raises(AlctlError, match=problem):
        TASK.encode_target((annotation,), SIZE)


def test_an_images_entropy_is_the_mean_over_its_boxes():
    """Oracle O12, with background as the third class."""
    raw = perfect(OBJECTS)
    places = (raw["logits"][0].argmax(1) > 0).nonzero()[:, 0]
    raw["logits"][0, places[0]] = torch.tensor([0.2, 0.5, 0.3, 1e-30]).log()
    raw["logits"][0, places[1]] = torch.tensor([0.05, 0.9, 0.05, 1e-30]).log()
    both = Distributions(torch.zeros(0), torch.full((1, 2), 0.5), places[None])
    assert TASK.distributions(raw, both).mean(entropy).item() == pytest.approx(0.7120253528, abs=1e-6)
    found = TASK.distributions(raw)
    assert set(found.place[found.weight > 0].tolist()) == set(places.tolist())


def test_without_any_box_the_distributions_are_of_the_likeliest_anchors():
    raw = perfect((), OBJECTS, sure=12.0)
    found = TASK.distributions(raw)
    assert found.p.shape[1] == 20
    assert int((found.weight[0] > 0).sum()) == 20
    assert int((found.weight[1] > 0).sum()) == 2
    assert found.p[0, :, -1].min() > 0.9


def test_merged_classes_are_learned_found_and_measured_as_the_first_of_them():
    merged = replace(TASK, merged=((0, 1),))
    raw = perfect(OBJECTS)
    (said,) = merged.decode(raw, [SIZE])
    assert [a.category for a in said] == ["cell", "cell"]
    as_one = targets((OBJECTS[0], replace(OBJECTS[1], category="cell")))
    assert torch.equal(merged.loss(raw, targets(OBJECTS)), merged.loss(raw, as_one))
    meter = merged.meter()
    meter.update(raw, targets((OBJECTS[0], replace(OBJECTS[1], difficult=False))))
    assert meter.compute()["AP: cell"] == 1


def test_the_mean_of_batch_pos_is_the_loss_of_the_paper():
    task = replace(TASK, loss_norm="batch_pos")
    raw, some = perfect((), OBJECTS, OBJECTS[:1]), targets(OBJECTS, OBJECTS, ())
    each, summed = task.loss(raw, some), replace(TASK, loss_norm="sum").loss(raw, some)
    assert each.sum().item() == pytest.approx((summed / summed.sum() * each.sum()).sum().item())
    assert not torch.allclose(each, TASK.loss(raw, some))


@pytest.mark.parametrize("crops", ["ssd", "mild"])
def test_what_is_in_a_box_stays_in_it_through_augmentation(crops):
    """A bright square's middle is in the middle of its box, whatever window, light and mirror image are drawn."""
    image = np.full((64, 64, 3), 30, np.uint8)
    image[24:40, 30:46] = (230, 230, 230)
    images = torch.from_numpy(image).permute(2, 0, 1).expand(40, 3, 64, 64)
    where = Annotation("cell", bbox=(60.0, 24.0, 32.0, 16.0))
    some = targets(*[(where,)] * 40)
    task = replace(TASK, crops=crops)
    shown, moved = task.augment(images, some, torch.Generator().manual_seed(3))
    seen = 0
    for picture, boxes, classes in zip(shown, moved["boxes"], moved["classes"], strict=True):
        if classes[0] < 0:
            continue
        seen += 1
        x1, y1, x2, y2 = (round(value) for value in boxes[0].tolist())
        inner = picture[:, y1 : max(y2, y1 + 1), x1 : max(x2, x1 + 1)].float()
        assert inner.mean() > picture.float().mean() or (x2 - x1) * (y2 - y1) > 3000
    assert seen > 30


def test_the_whole_image_is_squeezed_into_the_frame():
    picture = Image.new("L", (100, 50), 0)
    picture.paste(255, (50, 0, 100, 50))
    encoded_image = TASK.encode_image(picture)
    assert encoded_image.shape == (3, 64, 64)
    assert encoded_image[:, :, :30].max() == 0
    assert encoded_image[:, :, 34:].min() == 255


def test_auto_takes_the_papers_network_but_on_a_cpu_one_that_learns_there_and_says_why():
    chosen, why = Detection.choose(
        tiny(model="auto", image_size=0, lr=0.0, epochs=0, device="cpu"), (640, 480)
    )
    assert (chosen.model, chosen.image_size, chosen.lr, chosen.epochs) == ("ssd-tiny", 128, 0.01, 0)
    assert "ssd300_vgg16 would take about 6 s an image" in why
    chosen, why = Detection.choose(
        tiny(model="auto", image_size=0, lr=0.0, epochs=0, device="cuda"), (640, 480)
    )
    assert (chosen.model, chosen.image_size, why) == ("ssd300_vgg16", 300, "")
    assert (chosen.lr, chosen.epochs) == (0.001, 300)
    asked, why = Detection.choose(tiny(model="ssdlite320_mobilenet_v3_large", image_size=0), (640, 480))
    assert (asked.image_size, why) == (320, "")
    with pytest.raises(AlctlError, match="'resnet18' finds no objects; these networks do: ssd-tiny"):
        Detection.choose(tiny(model="resnet18", image_size=0), (640, 480))


@pytest.mark.slow
def test_ssd300_is_tapped_after_the_l2_norm_and_its_module_has_the_papers_size():
    task = Detection(tuple(map(Category, NAMES)), (300, 300))
    model = task.model(tiny(model="ssd300_vgg16", image_size=300), "none").eval()
    assert model.channels == [512, 1024, 512, 256, 256, 256]
    assert sum(value.numel() for value in LossPredictionModule(model.channels).parameters()) == 361_985
    with torch.no_grad():
        output = model(torch.randn(1, 3, 300, 300))
    assert [tuple(tap.shape[2:]) for tap in output.features] == [(n, n) for n in (38, 19, 10, 5, 3, 1)]
    assert output.features[0].norm(dim=1).max().item() == pytest.approx(20, abs=1e-3)
    assert output.embedding.shape == (1, 1024)
    assert math.isfinite(task.loss(output.raw, targets(OBJECTS, task=task)).item())


def test_weights_of_other_classes_come_along_but_for_the_head(tmp_path):
    one = Detection((Category("cell"),), (64, 64)).model(tiny(model="ssd-tiny"), "none")
    torch.save(one.network.state_dict(), tmp_path / "w.pt")
    model = TASK.model(tiny(model="ssd-tiny"), str(tmp_path / "w.pt"))
    assert model.weights.startswith("file w.pt sha256:")
    old, new = one.network.state_dict(), model.network.state_dict()
    assert all(torch.equal(new[name], old[name]) for name in old if name.startswith("backbone."))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["ssdlite320_mobilenet_v3_large", "retinanet_resnet50_fpn_v2", "fcos_resnet50_fpn"]
)
def test_other_networks_learn_alone_what_they_learn_among_others_and_answer(name):
    task = replace(TASK, frame=(128, 128))
    model = task.model(tiny(model=name, image_size=128), "none")
    some, images = targets(OBJECTS, (), OBJECTS[:1], task=task), torch.randn(3, 3, 128, 128)
    module = LossPredictionModule(model.channels)
    output = model(images)
    (task.loss(output.raw, some).sum() + module(output.features).sum()).backward()
    still = [name for name, value in model.named_parameters() if value.grad is None]
    assert still == []
    with torch.no_grad():
        raw = model.eval()(images).raw
        alone = [task.loss(part, one) for part, one in zip(each(raw), each(some), strict=True)]
    assert torch.allclose(task.loss(raw, some), torch.cat(alone), rtol=1e-4)
    found = task.distributions(raw)
    assert torch.allclose(found.p.sum(-1), torch.ones(()), atol=1e-5)
    assert len(task.decode(raw, [SIZE] * 3, sure=0.2)) == 3
    assert task.meter().update(raw, some).shape == (3,)


def each(values):
    """Return dicts of tensors of one image each."""
    n = len(next(iter(values.values())))
    return [{key: value[i : i + 1] for key, value in values.items()} for i in range(n)]
