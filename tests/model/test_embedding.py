"""Frozen backbones: their weights, what they make of an image, and what is refused."""

import importlib

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from alctl.errors import AlctlError
from alctl.model import efficientnet_lite
from alctl.model.embedding import backbone, crop_centre


def waves(size: int) -> torch.Tensor:
    """Return one image (1, 3, size, size) with a pattern of its own in each channel."""
    y, x = np.mgrid[:size, :size] / size
    patterns = [np.sin(9 * x + 4 * y), np.cos(14 * y * x), np.sin(30 * (x - 0.5) ** 2 + 20 * (y - 0.4) ** 2)]
    return torch.from_numpy(np.stack([(127.5 + 127 * p).astype(np.uint8) for p in patterns]))[None]


def lite0(size: int | None = None, largest: int = 500):
    return backbone("efficientnet-lite0", size, largest, "cpu")


# --- EfficientNet-Lite0 -----------------------------------------------------------------------------------------------


def test_the_vector_of_an_image_is_that_of_the_loader_that_the_weights_were_made_for():
    """The numbers are of `efficientnet_lite_pytorch` 0.1.0, mean of `extract_features((x - 127) / 128)`."""
    found = lite0().embed(waves(224))
    assert found.shape == (1, 1280)
    assert found.dtype == torch.float32
    most = found[0].topk(6)
    assert most.indices.tolist() == [71, 425, 897, 113, 755, 1167]
    expected = torch.tensor([4.8932, 4.65682, 4.28245, 3.89662, 3.3797, 3.09823])
    assert torch.allclose(most.values, expected, atol=1e-4)
    assert found.norm().item() == pytest.approx(17.9525, abs=1e-3)


def test_every_weight_of_the_file_has_its_place_in_the_network():
    network = efficientnet_lite.EfficientNetLite0()
    assert sum(p.numel() for p in network.parameters()) == 4_652_008 - 1_281_000  # without its classifier
    assert not any(p.requires_grad for p in efficientnet_lite.pretrained().parameters())


def test_an_odd_number_of_pixels_is_padded_as_tensorflow_does():
    """⌈97 / 32⌉ = 4 places a side, where padding all sides alike would give other ones."""
    maps: list[torch.Tensor] = []
    network = efficientnet_lite.pretrained()
    network._conv_head.register_forward_hook(lambda module, given, output: maps.append(output))
    with torch.no_grad():
        network(torch.zeros(1, 3, 97, 97))
    assert maps[0].shape[2:] == (4, 4)


def test_a_vector_does_not_depend_on_the_batch_it_is_in():
    images = torch.cat([waves(112).roll(shift, 3) for shift in range(5)])
    embed = lite0(112).embed
    together = embed(images)
    assert torch.allclose(together, torch.cat([embed(image[None]) for image in images]), atol=1e-4)
    assert (together[0] - together[3]).abs().max() > 0.1


def test_other_weights_in_the_place_of_the_known_ones_are_refused(tmp_path, monkeypatch):
    package = tmp_path / efficientnet_lite.PACKAGE
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    with pytest.raises(AlctlError, match="not the file of weights"):
        efficientnet_lite.pretrained()
    torch.save({}, package / efficientnet_lite.WEIGHTS)
    with pytest.raises(AlctlError, match="not the file of weights"):
        efficientnet_lite.pretrained()


# --- preprocessing ----------------------------------------------------------------------------------------------------


def test_a_photo_is_cropped_as_the_weights_were_evaluated_and_a_small_image_is_whole():
    photo = lite0()
    assert photo.least == 256
    assert {name: photo.preprocessing[name] for name in ("size", "resize", "crop_share", "interpolation")} == {
        "size": 224, "resize": "crop", "crop_share": 0.875, "interpolation": "bicubic",
    }  # fmt: skip
    assert photo.preprocessing["mean"] == [127.0] * 3
    assert photo.preprocessing["std"] == [128.0] * 3
    small = lite0(largest=64)
    assert (small.preprocessing["size"], small.preprocessing["crop_share"], small.least) == (112, 1.0, 112)
    assert lite0(largest=65).preprocessing["size"] == 224
    assert small.encode(Image.new("RGB", (32, 32))).shape == (3, 112, 112)


def test_the_crop_is_the_middle_of_the_shorter_side():
    """Everything outside of the middle 140 × 140 of 200 × 300 is red, so a crop of 0.7 must be green alone."""
    image = Image.new("RGB", (200, 300), (255, 0, 0))
    image.paste((0, 255, 0), (26, 76, 174, 224))  # 4 pixels more a side, for the reach of the filter
    found = crop_centre(image, 64, 0.7)
    assert found.shape == (3, 64, 64)
    assert (found[0] == 0).all()
    assert (found[1] == 255).all()
    assert (crop_centre(image, 64, 1.0)[0] > 0).any()


def test_the_crop_is_that_of_resizing_the_shorter_side_first():
    pixels = (np.mgrid[:320, :400].sum(axis=0) % 200).astype(np.uint8)
    image = Image.fromarray(pixels).convert("RGB")
    resized = image.resize((320, 256), Image.Resampling.BICUBIC).crop((48, 16, 272, 240))
    expected = np.moveaxis(np.asarray(resized), 2, 0).astype(int)
    assert np.abs(lite0().encode(image) - expected).max() <= 2


# --- torchvision ------------------------------------------------------------------------------------------------------


def test_a_network_of_torchvision_gives_the_input_of_its_last_linear_layer(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    best = torchvision.models.get_model_weights("mobilenet_v3_small").DEFAULT
    downloaded = tmp_path / "hub" / "checkpoints" / best.url.rpartition("/")[2]
    downloaded.parent.mkdir(parents=True)
    torch.manual_seed(0)
    network = torchvision.models.mobilenet_v3_small().eval()
    torch.save(network.state_dict(), downloaded)

    made = backbone("torchvision:mobilenet_v3_small", None, 500, "cpu")

    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (300, 260, 3), dtype=np.uint8))
    inputs: list[torch.Tensor] = []
    network.classifier[3].register_forward_pre_hook(lambda module, given: inputs.append(given[0]))
    with torch.no_grad():
        network(best.transforms()(image)[None])
    found = made.embed(torch.from_numpy(made.encode(image))[None])
    assert found.shape == (1, made.dimension) == (1, 1024)
    assert torch.allclose(found, inputs[0], atol=1e-5)
    assert made.preprocessing["size"] == 224
    with pytest.raises(AlctlError, match="takes images of 224 pixels"):
        backbone("torchvision:mobilenet_v3_small", 160, 500, "cpu")


@pytest.mark.parametrize(
    ("name", "size", "sentence"),
    [
        ("resnet50", None, "no backbone 'resnet50'; there are efficientnet-lite0, torchvision:NAME"),
        ("timms:vit_small", None, "no backbone 'timms:vit_small'"),
        ("file:weights.pt", None, "does not say which network the weights are of"),
        ("file:resnet50=weights.pt", None, "no backbone 'resnet50'"),
        (
            "file:torchvision:resnet18=weights.pt",
            None,
            r"weights.pt is no .safetensors or .pt file that exists",
        ),
        ("torchvision:resnet5", None, "no classification model 'resnet5'"),
        ("efficientnet-lite0", 31, "31 pixels is not possible: 32 to 1024"),
        ("efficientnet-lite0", 0, "0 pixels is not possible"),
    ],
)
def test_what_cannot_be_a_backbone_is_refused_in_a_sentence(name, size, sentence):
    with pytest.raises(AlctlError, match=sentence):
        backbone(name, size, 500, "cpu")
