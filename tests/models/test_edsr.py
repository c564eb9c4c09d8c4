"""EDSR against recorded outputs of BasicSR."""

import pytest
import torch
from torch.testing import assert_close

import srlab
from golden_files import golden_files, load_golden
from official_networks import (
    assert_initialised_as,
    assert_recorded_outputs,
    counted,
    detect,
    rebuild,
)
from srlab.checkpoints import official_state
from srlab.models.edsr import EDSR


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("name", golden_files("cnn/edsr*.npz"))
def test_whole_network_gives_the_official_output(name, dtype):
    golden = load_golden(name)
    network = rebuild(EDSR, golden, residual_scale=golden.about["config"]["res_scale"]).to(dtype)
    assert_recorded_outputs(network, golden, dtype, levels=256)


@pytest.mark.parametrize("name", golden_files("cnn/edsr*.npz"))
def test_detected_arguments_and_sizes_are_the_recorded_ones(name):
    golden = load_golden(name)
    config, arguments = golden.about["config"], detect(EDSR, golden.weights())
    assert (arguments["scale"], arguments["dim"], arguments["depth"]) == (
        config["upscale"],
        config["num_feat"],
        config["num_block"],
    )
    network = rebuild(EDSR, golden)
    assert counted(network) == (golden.about["params_all"], golden.about["params_trainable"])
    for key, value in golden.weights().items():
        assert_close(official_state(network)[key], value, rtol=0, atol=0)


def test_the_published_large_network_scales_its_residuals():
    state = {key: torch.empty(shape, device="meta") for key, (shape, _) in _keys(256, 32).items()}
    assert detect(EDSR, state)["residual_scale"] == 0.1


def _keys(dim, depth):
    with torch.device("meta"):
        network = EDSR(scale=2, dim=dim, depth=depth, residual_scale=1.0, value_range=255.0)
    return {key: (value.shape, None) for key, value in network.state_dict().items()}


@pytest.mark.parametrize("size", [(1, 1), (5, 2)])
@pytest.mark.parametrize("scale", [1, 2, 3, 4, 8])
def test_every_size_is_enlarged_exactly(size, scale):
    network = EDSR(scale=scale, dim=4, depth=1, residual_scale=1.0, value_range=255.0)
    assert network(torch.rand(2, 3, *size)).shape == (2, 3, scale * size[0], scale * size[1])


def test_weights_are_initialised_as_officially():
    torch.manual_seed(0)
    network = srlab.create_model("edsr_baseline", scale=4)
    recorded = load_golden("keys/init_stats.json").about["edsr_baseline"]
    assert_initialised_as(network, recorded)
