"""MSRResNet against recorded outputs of BasicSR."""

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

import srlab
from golden_files import golden_files, load_golden
from official_networks import (
    assert_initialised_as,
    assert_recorded_outputs,
    assert_recorded_state,
    assumed,
    detect,
    initial_statistics,
    rebuild,
)
from srlab.models.msrresnet import MSRResNet

SMALL = {"scale": 2, "dim": 8, "depth": 2}


def small(**overrides):
    torch.manual_seed(0)
    return MSRResNet(**{**SMALL, **overrides})


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("name", golden_files("cnn/msrresnet*.npz", beyond_selection=True))
def test_whole_network_gives_the_official_output(name, dtype):
    golden = load_golden(name)
    network = rebuild(MSRResNet, golden).to(dtype)
    assert_recorded_outputs(network, golden, dtype, levels=256)


@pytest.mark.parametrize("name", golden_files("cnn/msrresnet*.npz", beyond_selection=True))
def test_detected_arguments_and_sizes_are_the_recorded_ones(name):
    golden = load_golden(name)
    config = golden.about["config"]
    assert detect(MSRResNet, golden.weights()) == {
        "scale": config["upscale"],
        "dim": config["num_feat"],
        "depth": config["num_block"],
    }
    assert assumed(MSRResNet, golden.weights()) == ()
    network = rebuild(MSRResNet, golden)
    assert_recorded_state(network, golden)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_without_detail_it_is_bilinear_interpolation(scale):
    network, lr_image = small(scale=scale), torch.rand(2, 3, 4, 5)
    for parameter in network.conv_last.parameters():
        torch.nn.init.zeros_(parameter)
    expected = F.interpolate(lr_image, scale_factor=scale, mode="bilinear", align_corners=False)
    assert_close(network(lr_image), expected)


@pytest.mark.parametrize("size", [(1, 1), (5, 2)])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_every_size_is_enlarged_exactly(size, scale):
    network = small(scale=scale)
    sr_image = network(torch.rand(2, 3, *size))
    assert sr_image.shape == (2, 3, scale * size[0], scale * size[1])
    sr_image.square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"scale": 8}, r"MSRResNet upsamples by 2, 3 or 4, got scale=8"),
        ({"scale": 1}, r"MSRResNet upsamples by 2, 3 or 4, got scale=1"),
        ({"dim": 0}, r"dim must be an integer of at least 1, got 0"),
        ({"depth": 0}, r"depth must be an integer of at least 1, got 0"),
    ],
)
def test_impossible_arguments_are_refused(overrides, message):
    with pytest.raises(ValueError, match=message):
        small(**overrides)


def test_weights_are_initialised_as_officially():
    recorded = initial_statistics("msrresnet")
    torch.manual_seed(0)
    assert_initialised_as(srlab.create_model("msrresnet", scale=4), recorded)
