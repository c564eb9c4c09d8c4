"""RCAN against recorded outputs of BasicSR."""

import pytest
import torch
from torch.testing import assert_close

import srlab
from golden_files import golden_files, load_golden
from official_networks import (
    assert_initialised_as,
    assert_recorded_outputs,
    assert_recorded_state,
    detect,
    initial_statistics,
    layout_of,
    rebuild,
)
from srlab.checkpoints import official_state
from srlab.layers.channel_attention import ChannelAttention
from srlab.models.rcan import RCAN

SMALL = {"scale": 2, "dim": 8, "num_groups": 2, "depth": 1, "squeeze_factor": 4, "value_range": 255.0}


def small(**overrides):
    torch.manual_seed(0)
    return RCAN(**{**SMALL, **overrides})


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("name", golden_files("cnn/rcan*.npz", beyond_selection=True))
def test_whole_network_gives_the_official_output(name, dtype):
    golden = load_golden(name)
    network = rebuild(RCAN, golden).to(dtype)
    assert_recorded_outputs(network, golden, dtype, levels=256)


@pytest.mark.parametrize("name", golden_files("cnn/rcan*.npz", beyond_selection=True))
def test_detected_arguments_and_sizes_are_the_recorded_ones(name):
    golden = load_golden(name)
    config = golden.about["config"]
    assert detect(RCAN, golden.weights()) == {
        "scale": config["upscale"],
        "dim": config["num_feat"],
        "num_groups": config["num_group"],
        "depth": config["num_block"],
        "squeeze_factor": config["squeeze_factor"],
        "value_range": config["img_range"],
        "mean": [0.4488, 0.4371, 0.4040],
    }
    network = rebuild(RCAN, golden)
    assert_recorded_state(network, golden)


@pytest.mark.parametrize(("dim", "squeeze_factor"), [(8, 8), (20, 16), (20, 6), (7, 2)])
def test_a_squeeze_that_does_not_divide_is_detected_by_its_effect(dim, squeeze_factor):
    state = official_state(small(dim=dim, squeeze_factor=squeeze_factor))
    twin = RCAN(**detect(RCAN, state))
    twin.load_state_dict(layout_of(RCAN).to_ours(state))


def test_channels_are_weighted_by_what_their_means_say():
    """Oracle: one hidden channel, by hand."""
    attention = ChannelAttention(dim=2, squeeze_factor=2)
    for parameter, values in zip(
        attention.parameters(), ([3.0, -1.0], [0.5], [2.0, -1.0], [0, 1]), strict=True
    ):
        parameter.data.copy_(torch.tensor(values).view_as(parameter))
    features = torch.tensor([[1.0, 3.0], [5.0, 7.0]]).view(1, 2, 1, 2)
    hidden = 3 * 2 - 6 + 0.5
    weights = torch.sigmoid(torch.tensor([2 * hidden, 1 - hidden])).view(1, 2, 1, 1)
    assert_close(attention(features), features * weights)


@pytest.mark.parametrize("size", [(1, 1), (5, 2)])
@pytest.mark.parametrize("scale", [1, 2, 3, 4, 8])
def test_every_size_is_enlarged_exactly(size, scale):
    network = small(scale=scale)
    sr_image = network(torch.rand(2, 3, *size))
    assert sr_image.shape == (2, 3, scale * size[0], scale * size[1])
    sr_image.square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"dim": 0}, r"dim must be an integer of at least 1, got 0"),
        ({"num_groups": 0}, r"num_groups must be an integer of at least 1, got 0"),
        ({"depth": 0}, r"depth must be an integer of at least 1, got 0"),
        ({"squeeze_factor": 0}, r"squeeze_factor must be an integer of at least 1, got 0"),
        ({"squeeze_factor": 9}, r"squeeze_factor=9 leaves none of dim=8 channels; use at most 8"),
        ({"scale": 5}, r"scale 3 and powers of two, got scale=5"),
    ],
)
def test_impossible_arguments_are_refused(overrides, message):
    with pytest.raises(ValueError, match=message):
        small(**overrides)


def test_weights_are_initialised_as_officially():
    recorded = initial_statistics("rcan")
    torch.manual_seed(0)
    assert_initialised_as(srlab.create_model("rcan", scale=4), recorded)
