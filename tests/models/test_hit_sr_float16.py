"""HiT-SR in 16 bits: its correlation leaves the range of float16, and must not."""

import copy
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import srlab
from official_networks import deviation


def beyond_float16(name):
    """A small network whose features reach 1e5 and whose correlation 1e15, as those of trained ones do."""
    torch.manual_seed(0)
    network = srlab.create_model(name, scale=2, dim=32, depths=[2], num_heads=[2], window_sizes=[8, 16])
    with torch.no_grad():
        for group in network.groups:
            for block in group.blocks:
                block.correlation.features.gate.weight *= 1e5
                block.correlation.proj.weight *= 1e3
    return network


def reached(network, image):
    """Output, and the largest value of each block's features and correlation."""
    largest = []
    for block in network.groups[0].blocks:
        for module in (block.correlation.features, block.correlation):
            module.register_forward_hook(lambda *given: largest.append(given[-1].abs().max().item()))
    with torch.no_grad():
        return network(image), largest


@pytest.mark.parametrize("backend", ["reference", "linear"])
@pytest.mark.parametrize("name", ["hit_sir", "hit_sng", "hit_srf"])
def test_autocast_to_float16_keeps_the_correlation_in_float32(name, backend):
    network, image = beyond_float16(name).eval(), torch.rand(1, 3, 20, 20)
    network.use_backend(backend)
    expected, largest = reached(copy.deepcopy(network), image)
    assert min(largest) > torch.finfo(torch.float16).max
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.float16):
        result = network(image)
    # rounded to float16 in each of some 10 layers, whose results are of the size of the output
    assert deviation(result, expected) <= 10 * torch.finfo(torch.float16).eps * expected.abs().max().item()


def test_a_scaled_training_step_has_finite_gradients():
    network = beyond_float16("hit_srf").train()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    with torch.autocast("cpu", dtype=torch.float16):
        loss = network(torch.rand(2, 3, 20, 20)).abs().mean()
    scaler.scale(loss).backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


def test_weights_in_float16_are_refused_by_name():
    network = beyond_float16("hit_srf").half().eval()
    with pytest.raises(
        ValueError,
        match=r"HiTSR cannot have weights in float16, .* 65504: the correlation .*; use bfloat16, or keep",
    ):
        network(torch.rand(1, 3, 8, 8).half())


@pytest.fixture
def published():
    """HiT-SRF x4 as its authors trained it, and a photograph's corner."""
    weights, images = os.environ.get("SRLAB_WEIGHTS"), os.environ.get("SRLAB_DATA")
    if not weights or not images:
        pytest.skip("needs the published HiT-SRF x4 and photographs: set SRLAB_WEIGHTS and SRLAB_DATA")
    network = srlab.load_model(Path(weights) / "NTIRE2025_team54_HITSR.pth").eval()
    pixels = np.asarray(Image.open(Path(images) / "benchmark/Set5/LR_bicubic/X4/babyx4.png"))[:64, :64]
    return network, torch.from_numpy(pixels / np.float32(255)).permute(2, 0, 1)[None]


@pytest.mark.slow
def test_the_published_network_needs_that(published):
    network, image = published
    with torch.no_grad():
        expected = network(image)
        with torch.autocast("cpu", dtype=torch.float16):
            result = network(image)
    assert deviation(result, expected) < 1 / 255
