"""Networks of timm as backbones, with random weights: nothing is downloaded. Skipped where timm is not installed."""

import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from alctl.errors import AlctlError
from alctl.model.embedding import backbone

timm = pytest.importorskip("timm")
VIT, CONVNEXT, DINOV2 = "test_vit.r160_in1k", "test_convnext.r160_in1k", "vit_small_patch14_dinov2.lvd142m"


def noise(width: int = 260, height: int = 300) -> Image.Image:
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def weights_of(tmp_path, name, seed=0, **options):
    """Write random weights of a network to a file; return both."""
    torch.manual_seed(seed)
    network = timm.create_model(name, **options).eval()
    file = tmp_path / f"{seed}.safetensors"
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, file)
    return network, file


def named(name, file):
    return f"file:timm:{name}={file}"


@pytest.mark.parametrize("name", [VIT, CONVNEXT])
def test_images_are_prepared_as_timm_does_and_the_vector_is_what_the_classifier_reads(tmp_path, name):
    network, file = weights_of(tmp_path, name)
    made = backbone(named(name, file), None, 500, "cpu")
    prepare = timm.data.create_transform(**timm.data.resolve_model_data_config(network))
    with torch.no_grad():
        expected = network.forward_head(network.forward_features(prepare(noise())[None]), pre_logits=True)
    found = made.embed(torch.from_numpy(made.encode(noise()))[None])
    assert found.shape == (1, made.dimension) == (1, 64)
    assert torch.allclose(found, expected, atol=1e-5)
    assert (made.preprocessing["size"], made.preprocessing["crop_share"], made.least) == (160, 0.95, 168)
    assert made.name == f"timm:{name}"
    assert made.licence in {"apache-2.0", ""}  # older versions of timm do not say


@pytest.mark.parametrize("name", [VIT, CONVNEXT])
def test_another_size_is_another_preparation_of_the_same_weights(tmp_path, name):
    _, file = weights_of(tmp_path, name)
    small = backbone(named(name, file), 96, 500, "cpu")
    assert small.encode(noise()).shape == (3, 96, 96)
    assert small.embed(torch.zeros(2, 3, 96, 96, dtype=torch.uint8)).shape == (2, 64)
    assert small.preprocessing["size"] == 96


def test_a_head_for_other_classes_or_none_gives_the_same_vectors(tmp_path):
    network, file = weights_of(tmp_path, CONVNEXT)
    state = {key: value.contiguous() for key, value in network.state_dict().items()}
    headless = {key: value for key, value in state.items() if not key.startswith("head.fc.")}
    save_file(headless, tmp_path / "headless.safetensors")
    torch.save({"state_dict": {**headless, "head.fc.weight": torch.zeros(7, 64), "head.fc.bias": torch.zeros(7)}},
               tmp_path / "seven.pt")  # fmt: skip
    files = [file, tmp_path / "headless.safetensors", tmp_path / "seven.pt"]
    made = [backbone(named(CONVNEXT, one), None, 500, "cpu") for one in files]
    assert len({one.weights for one in made}) == 1


@pytest.mark.slow  # 4 s: a network of 22 million weights
def test_dinov2_sees_224_pixels(tmp_path):
    _, file = weights_of(tmp_path, DINOV2, num_classes=0)
    made = backbone(named(DINOV2, file), None, 500, "cpu")
    assert (made.dimension, made.preprocessing["size"], made.preprocessing["crop_share"]) == (384, 224, 1.0)
    assert made.embed(torch.from_numpy(made.encode(noise()))[None]).shape == (1, 384)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("timm:test_vitt", "timm has no network 'test_vitt'; did you mean 'test_vit"),
        ("timm:test_vit.nothing", "timm has no such weights"),
        ("timm:hf-hub:somebody/net", "timm has no network"),
    ],
)
def test_a_network_that_timm_does_not_have_is_refused_in_a_sentence(name, sentence):
    with pytest.raises(AlctlError, match=sentence):
        backbone(name, None, 500, "cpu")


def test_weights_that_lack_a_layer_are_refused_and_name_it(tmp_path):
    network, _ = weights_of(tmp_path, VIT)
    state = {key: value.contiguous() for key, value in network.state_dict().items()}
    del state["blocks.0.attn.qkv.weight"]
    save_file(state, tmp_path / "less.safetensors")
    with pytest.raises(AlctlError, match=r"do not fit timm's test_vit.*blocks\.0\.attn\.qkv\.weight"):
        backbone(named(VIT, tmp_path / "less.safetensors"), None, 500, "cpu")


def test_weights_that_cannot_be_fetched_are_a_sentence_with_what_to_do(tmp_path, monkeypatch):
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path))
    hub.close_session()
    try:
        with pytest.raises(
            AlctlError, match=r"could not be downloaded: .*--backbone file:timm:test_vit.*=PATH"
        ):
            backbone(f"timm:{VIT}", None, 500, "cpu")
    finally:
        monkeypatch.undo()
        hub.close_session()


def test_without_timm_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(AlctlError, match=r"pip install 'alctl\[timm\]'"):
        backbone(f"timm:{VIT}", None, 500, "cpu")
