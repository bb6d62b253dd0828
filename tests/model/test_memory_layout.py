import json
import os
import signal
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torchvision.models import get_model

from alctl.model.device import sound
from alctl.model.loss_prediction import TargetModel
from alctl.model.networks import ResNetCifar

CPU = torch.device("cpu")
WIDTHS = range(1, 21)
CLOSE = 0.02
"""Of a gradient's length. Float32 leaves 1e-6, a ReLU near 0 that rounding turns 0.002, the fault 0.08 to 0.8."""
WAIT = 240
"""Seconds: ten times what it takes."""


def outcome(threads):
    """Train everything in a process of its own; return a sentence for what went wrong, or None, and the count."""
    code = f"from tests.model.small_networks import compare_all; compare_all({threads}, {WIDTHS!r})"
    command = [sys.executable, "-c", code]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=WAIT, env=environment, check=False
        )
        printed, ended = done.stdout, done.returncode
    except subprocess.TimeoutExpired as expired:
        printed, ended = (expired.stdout or b"").decode(), None
    lines = [json.loads(line) for line in printed.splitlines()]
    begun, results = [x["begun"] for x in lines[::2]], lines[1::2]
    where = f"training {begun[-1] if begun else 'nothing yet'} with {threads} thread(s)"
    if ended is None:
        return f"{where} hung for {WAIT} s", len(results)
    if ended < 0:
        return f"{where} crashed: signal {signal.Signals(-ended).name}", len(results)
    if ended:
        return f"{where} failed: {done.stderr}", len(results)
    wrong = [
        f"{what}: the gradient of {result['name']} is {result['error']:.1%} off"
        for what, result in zip(begun, results, strict=True)
        if not result["error"] < CLOSE
    ]
    return "; ".join(wrong) or None, len(results)


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
def test_every_width_and_network_trains_with_the_gradients_of_float64(threads):
    wrong, count = outcome(threads)
    assert wrong is None, wrong
    assert count > len(WIDTHS)


def strided(channels, *, size=1, stride=2):
    """Return the arguments of a convolution in channels_last: maps of these channels, and a kernel."""
    maps = torch.randn(2, channels, 8, 8).to(memory_format=torch.channels_last)
    return {"input": maps, "weight": torch.randn(20, channels, size, size), "stride": stride}


def in_channels_last(tensor):
    return tensor.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("arguments", [strided(16), strided(4, stride=1), strided(4, size=2)])
def test_a_convolution_that_is_right_in_channels_last_stays_there(arguments):
    with sound(CPU):
        assert in_channels_last(F.conv2d(**arguments))


@pytest.mark.parametrize("channels", [1, 2, 7, 8, 15])
def test_a_strided_1_x_1_convolution_of_few_channels_does_not(channels):
    arguments = strided(channels)
    plain = F.conv2d(**arguments)
    assert in_channels_last(plain)
    with sound(CPU):
        named = F.conv2d(**arguments)
        in_order = F.conv2d(arguments["input"], arguments["weight"], None, (2, 2), 0, 1, 1)
    assert not in_channels_last(named)
    assert torch.equal(named, in_order)
    assert torch.allclose(named, plain, atol=1e-5)


@pytest.mark.parametrize("device", ["cuda", "mps", "meta"])
def test_other_devices_keep_channels_last(device):
    with sound(torch.device(device)):
        assert in_channels_last(F.conv2d(**strided(4)))


@pytest.mark.parametrize("name", ["resnet18-cifar", "resnet18", "mobilenet_v3_small", "shufflenet_v2_x0_5"])
def test_the_usual_networks_run_in_channels_last_throughout(name):
    network = ResNetCifar(64, 4) if name == "resnet18-cifar" else get_model(name, num_classes=4)
    head = [layer for layer, module in network.named_modules() if isinstance(module, torch.nn.Linear)][-1]
    model = TargetModel(network, (), head, 32).to(memory_format=torch.channels_last).eval()
    seen = []
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(lambda _, __, output: seen.append(in_channels_last(output)))
    with torch.no_grad():
        model(torch.randn(2, 3, 32, 32).contiguous(memory_format=torch.channels_last))
    assert len(seen) > 10
    assert all(seen)
