import hashlib
import socket
import threading

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file

from alctl.errors import AlctlError
from alctl.labels.annotation import Annotation
from alctl.model.task import TASKS
from alctl.model.tasks.classification import Classification

TASK = Classification(["cat", "dog", "owl"])


def model(name="resnet18-cifar", weights="none", **options):
    settings = {"image_size": 32, "width": 4, "taps": (), **options}
    return TASK.model(name, weights, **settings)


def picture(width, height):
    """An RGB image whose red is the column and whose green is the row."""
    rows, columns = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([columns, rows, columns * 0], axis=2).astype(np.uint8))


# --- images and targets -----------------------------------------------------------------------------------------------


def test_an_image_of_the_right_size_is_taken_as_it_is():
    image = picture(32, 32)
    assert (TASK.encode_image(image, 32) == np.asarray(image).transpose(2, 0, 1)).all()


@pytest.mark.parametrize("size", [(100, 60), (60, 100), (33, 32), (5, 200), (1, 1)])
def test_every_image_becomes_its_central_square(size):
    encoded = TASK.encode_image(picture(*size), 16)
    assert encoded.shape == (3, 16, 16)
    assert encoded.dtype == np.uint8
    assert encoded[0].mean() == pytest.approx((size[0] - 1) / 2, abs=1)
    assert encoded[1].mean() == pytest.approx((size[1] - 1) / 2, abs=1)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1"])
def test_other_colour_modes_become_rgb(mode):
    assert TASK.encode_image(picture(20, 20).convert(mode), 8).shape == (3, 8, 8)


def test_shrinking_averages_instead_of_skipping_pixels():
    fine = Image.fromarray((np.indices((256, 256)).sum(0) % 2 * 255).astype(np.uint8))
    assert TASK.encode_image(fine, 32).std() < 5


def test_the_target_is_the_index_of_the_class():
    target = TASK.encode_target([Annotation("owl")])
    assert target.dtype == torch.int64
    assert target.shape == ()
    assert target.item() == 2


@pytest.mark.parametrize(
    ("annotations", "words"),
    [
        ([], "exactly one class"),
        ([Annotation("cat"), Annotation("dog")], "exactly one class for an image, not 2"),
        ([Annotation("cow")], "'cow' is none of the classes: cat, dog, owl"),
        ([Annotation("cat", bbox=(0, 0, 5, 5))], "'cat' is an object in it"),
    ],
)
def test_labels_that_are_not_one_known_class_are_refused(annotations, words):
    with pytest.raises(AlctlError, match=words):
        TASK.encode_target(annotations)


# --- augmentation -----------------------------------------------------------------------------------------------------


def test_augmentation_is_a_crop_of_the_zero_padded_image_and_a_flip():
    images = torch.randint(1, 256, (200, 3, 32, 32), dtype=torch.uint8)
    targets = torch.arange(200)
    got, same = TASK.augment(images, targets, torch.Generator().manual_seed(0))
    assert torch.equal(same, targets)
    assert got.dtype == torch.uint8
    padded = torch.nn.functional.pad(images, (2, 2, 2, 2))
    seen = set()
    for before, after in zip(padded, got, strict=True):
        crops = {(y, x): before[:, y : y + 32, x : x + 32] for y in range(5) for x in range(5)}
        matches = [
            (*at, flip)
            for at, crop in crops.items()
            for flip in (0, 1)
            if torch.equal(crop.flip(2) if flip else crop, after)
        ]
        assert len(matches) == 1
        seen.add(matches[0])
    assert len(seen) >= 40


def test_augmentation_depends_on_its_generator_only():
    images = torch.randint(0, 256, (8, 3, 16, 16), dtype=torch.uint8)
    torch.manual_seed(1)
    first = TASK.augment(images, images, torch.Generator().manual_seed(5))[0]
    torch.manual_seed(2)
    again = TASK.augment(images, images, torch.Generator().manual_seed(5))[0]
    assert torch.equal(first, again)
    assert not torch.equal(first, TASK.augment(images, images, torch.Generator().manual_seed(6))[0])


# --- losses, predictions, metrics -------------------------------------------------------------------------------------


def test_the_loss_is_the_cross_entropy_of_each_image():
    raw = torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    assert TASK.loss(raw, torch.tensor([0, 2])).tolist() == pytest.approx([0.2395448, 1.0986123])


def test_probabilities_are_exact_and_finite_for_extreme_logits():
    probabilities = TASK.probabilities(torch.tensor([[0.0, -200.0, -200.0]], dtype=torch.bfloat16))
    assert probabilities.dtype == torch.float32
    assert probabilities.tolist() == [[[1.0, 0.0, 0.0]]]


def test_a_prediction_is_the_most_probable_class():
    probabilities = torch.tensor([[[0.2, 0.5, 0.3]], [[0.9, 0.1, 0.0]]])
    assert TASK.decode(probabilities, [(1, 1), (1, 1)]) == [(Annotation("dog"),), (Annotation("cat"),)]


def test_balanced_accuracy_averages_over_the_classes_that_occur():
    probabilities = torch.eye(3)[[0, 0, 0, 0]][:, None]
    metrics = TASK.evaluate(probabilities, torch.tensor([0, 0, 0, 1]))
    assert metrics == {"accuracy": 0.75, "balanced_accuracy": 0.5}


def test_classification_is_found_by_name():
    assert TASKS.load("classification") is Classification
    assert Classification.metric in TASK.evaluate(torch.ones(1, 1, 3), torch.tensor([0]))


# --- models -----------------------------------------------------------------------------------------------------------


def test_the_paper_s_network_has_its_stages_and_size():
    paper = model(width=64)
    assert paper.channels == [64, 128, 256, 512]
    assert paper.taps == ("layer1", "layer2", "layer3", "layer4")
    assert sum(p.numel() for p in paper.parameters()) == 11_173_962 - 7 * 513
    features = paper.eval()(torch.zeros(1, 3, 32, 32)).features
    assert [feature.shape[-1] for feature in features] == [32, 16, 8, 4]


@pytest.mark.parametrize(
    ("name", "taps", "channels"),
    [
        ("resnet18", ("layer1", "layer2", "layer3", "layer4"), [64, 128, 256, 512]),
        ("mobilenet_v3_small", ("features.1", "features.3", "features.8", "features"), [16, 24, 48, 576]),
        (
            "densenet121",
            ("features.denseblock1", "features.denseblock2", "features.denseblock3", "features"),
            [256, 512, 1024, 1024],
        ),
        ("swin_t", ("permute",), [768]),
    ],
)
def test_torchvision_models_are_tapped_at_the_end_of_each_stage(name, taps, channels):
    built = model(name, image_size=64)
    assert built.taps == taps
    assert built.channels == channels
    assert built.eval()(torch.zeros(2, 3, 64, 64)).raw.shape == (2, 3)


def test_looking_for_taps_changes_neither_weights_nor_chance():
    torch.manual_seed(0)
    built = model("mobilenet_v3_small", image_size=32)
    after = torch.rand(1)
    torch.manual_seed(0)
    same = model("mobilenet_v3_small", image_size=32, taps=("features.1",))
    assert torch.equal(after, torch.rand(1))
    assert all(
        torch.equal(a, b)
        for a, b in zip(built.state_dict().values(), same.state_dict().values(), strict=True)
    )
    assert all(int(v) == 0 for k, v in built.state_dict().items() if k.endswith("num_batches_tracked"))


def test_taps_can_be_named():
    assert model(taps=("layer4",)).channels == [32]
    with pytest.raises(AlctlError, match="no layer 'layer5'"):
        model(taps=("layer5",))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("resnet19", "'resnet19' is neither .* did you mean 'resnet1"),
        ("squeezenet1_1", "does not end in a linear layer"),
        pytest.param("vit_b_16", "no feature maps", marks=pytest.mark.slow),
        ("inception_v3", "cannot read images of 32 × 32"),
    ],
)
@pytest.mark.filterwarnings("ignore:The default weight initialization")
def test_models_that_cannot_be_used_are_refused_with_the_reason(name, words):
    with pytest.raises(AlctlError, match=words):
        model(name, image_size=224 if name == "vit_b_16" else 32)


@pytest.mark.filterwarnings("ignore:The default weight initialization")
def test_a_model_with_several_outputs_is_refused():
    with pytest.raises(AlctlError, match="more than one output"):
        model("googlenet", image_size=64)


# --- weights ----------------------------------------------------------------------------------------------------------


def test_without_pretrained_weights_auto_says_so_and_pretrained_fails():
    assert model(weights="auto").weights == "none (there are no pretrained weights for resnet18-cifar)"
    with pytest.raises(AlctlError, match="no pretrained weights for resnet18-cifar"):
        model(weights="pretrained")


def test_weights_that_cannot_be_downloaded_are_a_sentence_or_random(monkeypatch, tmp_path, capfd):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(AlctlError, match="of resnet18 could not be downloaded"):
        model("resnet18", "pretrained")
    assert model("resnet18", "auto").weights.startswith(
        "none (the pretrained weights of resnet18 could not be"
    )


@pytest.mark.slow
def test_a_download_that_hangs_is_given_up(monkeypatch, tmp_path, capfd):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("no_proxy", "")
        worker = threading.Thread(target=model, args=("resnet18", "auto"), daemon=True)
        worker.start()
        worker.join(25)
        assert not worker.is_alive()


def test_pretrained_weights_get_a_head_for_the_classes_at_hand(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    best = torchvision.models.get_model_weights("mobilenet_v3_small").DEFAULT
    downloaded = tmp_path / "hub" / "checkpoints" / best.url.rpartition("/")[2]
    downloaded.parent.mkdir(parents=True)
    source = torchvision.models.mobilenet_v3_small().state_dict()
    torch.save(source, downloaded)
    built = model("mobilenet_v3_small", "auto", image_size=64)
    assert built.weights == "torchvision IMAGENET1K_V1"
    assert built.eval()(torch.zeros(2, 3, 64, 64)).raw.shape == (2, 3)
    assert torch.equal(built.network.state_dict()["features.0.0.weight"], source["features.0.0.weight"])
    downloaded.write_bytes(b"half a file")
    with pytest.raises(AlctlError, match="pretrained weights of mobilenet_v3_small could not"):
        model("mobilenet_v3_small", "pretrained", image_size=64)


@pytest.mark.network
def test_pretrained_weights_are_loaded_and_named():
    built = model("mobilenet_v3_small", "pretrained", image_size=64)
    assert built.weights == "torchvision IMAGENET1K_V1"
    assert built.eval()(torch.zeros(1, 3, 64, 64)).raw.shape == (1, 3)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_weights_come_from_a_file(tmp_path, suffix):
    path = tmp_path / f"start{suffix}"
    source = model().network.state_dict()
    torch.save({"state_dict": source}, path) if suffix == ".pt" else save_file(source, path)
    built = model(weights=str(path))
    assert all(torch.equal(value, source[key]) for key, value in built.network.state_dict().items())
    assert built.weights == f"file {path.name} sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def test_a_head_for_other_classes_stays_random(tmp_path):
    path = tmp_path / "start.pt"
    source = (
        Classification(["a", "b"]).model("resnet18-cifar", "none", image_size=32, width=4, taps=()).network
    )
    torch.save(source.state_dict(), path)
    built = model(weights=str(path)).network.state_dict()
    assert built["fc.weight"].shape == (3, 32)
    assert torch.equal(built["layer4.1.conv2.weight"], source.state_dict()["layer4.1.conv2.weight"])


def test_weights_that_do_not_fit_are_named(tmp_path):
    path = tmp_path / "start.pt"
    state = model().network.state_dict()
    del state["layer1.0.conv1.weight"]
    state["conv1.weight"] = torch.zeros(4, 1, 3, 3)
    torch.save(state, path)
    with pytest.raises(AlctlError, match=r"do not fit the model: conv1.weight, layer1.0.conv1.weight"):
        model(weights=str(path))


class Hostile:
    def __reduce__(self):
        return (print, ("this must never run",))


def test_a_hostile_file_of_weights_runs_nothing(tmp_path, capsys):
    path = tmp_path / "evil.pt"
    torch.save({"conv1.weight": Hostile()}, path)
    with pytest.raises(AlctlError, match=r"evil.pt holds no weights"):
        model(weights=str(path))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["absent.pt", "notes.txt", "broken.pt", "broken.safetensors", "list.pt"])
def test_files_that_hold_no_weights_are_refused(tmp_path, name):
    path = tmp_path / name
    if name.startswith(("broken", "notes")):
        path.write_bytes(b"nothing of use")
    elif name == "list.pt":
        torch.save([1, 2], path)
    with pytest.raises(AlctlError, match=name):
        model(weights=str(path))
