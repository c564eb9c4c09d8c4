"""Small networks that differ from their presets."""

import pytest
import torch

import srlab


@pytest.fixture
def elan():
    torch.manual_seed(0)
    network = srlab.create_model("elan_demo", scale=3, window_sizes=[2, 4], depth=4)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.get_buffer("running_mean").normal_()
    return network.eval()


@pytest.fixture
def swinir():
    torch.manual_seed(0)
    changes = {"dim": 12, "depths": [2, 1], "num_heads": [2, 3], "window_size": 4}
    return srlab.create_model("swinir_light", scale=2, **changes).eval()
