"""ESC's parts against recorded outputs of the official code."""

import pytest
import torch
from torch.testing import assert_close

from golden_files import golden_files, load_golden
from official_networks import deviation, layout_of
from srlab.models.esc.blocks import (
    ChannelNorm,
    ConvolutionalAttention,
    ConvolutionStep,
    EscBlock,
    MapFeedForward,
    SymmetricKernel,
    WindowAttention,
    convolve_each,
)
from srlab.models.esc.esc import ESC
from srlab.models.esc.esc_fp import EscFP, FactorizedAttention, FactorizedKernel

BLOCKS = golden_files("esc/blocks.npz", beyond_selection=True)


def official(module, golden, name, *, inside, ours, network=ESC):
    """``module`` with the recorded weights, which are those at ``inside`` of an official network."""
    weights = {inside + key: value for key, value in golden.weights(f"{name}/w/").items()}
    state = layout_of(network).to_ours(weights)
    module.load_state_dict({key.removeprefix(ours): value for key, value in state.items()})
    return module.double()


def attention():
    return WindowAttention(dim=16, num_heads=2, window_size=8)


@pytest.mark.parametrize("name", BLOCKS)
def test_norm_is_the_official_one(name):
    golden = load_golden(name)
    norm = ChannelNorm(dim=16)
    norm.load_state_dict(golden.weights("layernorm/w/"))
    assert deviation(norm.double()(golden.arrays["x"].double()), golden.arrays["layernorm/y"]) <= 1e-12


@pytest.mark.parametrize("name", BLOCKS)
def test_feed_forward_network_is_the_official_one(name):
    golden = load_golden(name)
    module = official(
        MapFeedForward(dim=16, hidden_dim=20), golden, "convffn", inside="blocks.0.proj.",
        ours="encoder.blocks.0.feed_forward.",
    )  # fmt: skip
    assert deviation(module(golden.arrays["x"].double()), golden.arrays["convffn/y"]) <= 1e-12


@pytest.mark.parametrize("name", BLOCKS)
def test_convolutional_attention_is_the_official_one(name):
    golden = load_golden(name)
    module = official(
        ConvolutionalAttention(dim=16, mixed_dim=4), golden, "convattn", inside="blocks.0.pconvs.0.",
        ours="encoder.blocks.0.steps.0.mixer.",
    )  # fmt: skip
    x, kernel = golden.arrays["x"].double(), golden.arrays["plk"].double()
    assert deviation(module(x, kernel), golden.arrays["convattn/y"]) <= 1e-12


@pytest.mark.parametrize("name", BLOCKS)
def test_factorized_attention_is_the_official_one(name):
    golden = load_golden(name)
    module = official(
        FactorizedAttention(dim=16, mixed_dim=4), golden, "fp_convattn", inside="blocks.0.pconvs.0.",
        ours="encoder.blocks.0.steps.0.mixer.", network=EscFP,
    )  # fmt: skip
    kernel = tuple(golden.arrays[part].double() for part in ("lk_channel", "lk_spatial"))
    result = module(golden.arrays["x"].double(), kernel)
    assert deviation(result, golden.arrays["fp_convattn/y"]) <= 1e-12


@pytest.mark.parametrize("backend", ["reference", "sdpa"])
@pytest.mark.parametrize("name", BLOCKS)
def test_window_attention_is_the_official_one(name, backend):
    golden = load_golden(name)
    module = official(
        attention(), golden, "window_attention", inside="blocks.0.attn.", ours="encoder.blocks.0.attention."
    )
    result = module(golden.arrays["x"].double(), backend)
    assert deviation(result, golden.arrays["window_attention/y"]) <= 1e-12


@pytest.mark.parametrize("backend", ["reference", "sdpa"])
@pytest.mark.parametrize("name", BLOCKS)
def test_block_is_the_official_one(name, backend):
    golden = load_golden(name)
    steps = [
        ConvolutionStep(
            dim=16, hidden_dim=20, mixer=ConvolutionalAttention(dim=16, mixed_dim=4), normed=False
        )
        for _ in range(2)
    ]
    block = EscBlock(dim=16, hidden_dim=32, attention=attention(), steps=steps)
    official(block, golden, "block", inside="blocks.0.", ours="encoder.blocks.0.")
    result = block(golden.arrays["x"].double(), golden.arrays["plk"].double(), backend)
    assert deviation(result, golden.arrays["block/y"]) <= 1e-12


@pytest.mark.parametrize(
    "name",
    [
        name
        for pattern in ("esc/esc_x*.npz", "esc/escreal*.npz")
        for name in golden_files(pattern, beyond_selection=True)
    ],
)
def test_shared_kernel_is_averaged_as_officially(name):
    golden = load_golden(name)
    weight = golden.arrays["w/plk_filter"]
    kernel = SymmetricKernel(dim=len(weight), side=weight.shape[-1])
    kernel.load_state_dict({"weight": weight})
    assert deviation(kernel.double()(), golden.arrays["plk_geo_f64"]) <= 1e-15


def test_shared_kernel_is_the_mean_of_all_rotations_and_reflections():
    kernel = SymmetricKernel(dim=3, side=5).double()
    turned = [torch.rot90(kernel.weight, times, (2, 3)) for times in range(4)]
    assert_close(kernel(), sum(turned + [turn.flip(-1) for turn in turned]) / 8)


def test_every_channel_of_every_image_meets_its_own_kernel():
    features, kernels = torch.rand(2, 3, 6, 5).double(), torch.rand(2, 3, 3, 3).double()
    expected = [
        torch.nn.functional.conv2d(features[i : i + 1, c : c + 1], kernels[i : i + 1, c : c + 1], padding=1)
        for i in range(2)
        for c in range(3)
    ]
    assert_close(convolve_each(features, kernels), torch.cat(expected).view_as(features))


def test_windows_see_nothing_of_one_another():
    module = attention().double()
    features = torch.rand(1, 16, 8, 16, dtype=torch.float64)
    apart = [module(half, "reference") for half in features.chunk(2, dim=-1)]
    assert_close(module(features, "reference"), torch.cat(apart, dim=-1))


def test_shared_kernels_start_orthogonal_and_predictions_from_nothing():
    weight = SymmetricKernel(dim=4, side=5).weight.flatten(1)
    assert_close(weight @ weight.T, torch.eye(4), rtol=0, atol=1e-5)
    spatial = FactorizedKernel(dim=4, side=5).spatial.flatten(1)
    assert_close(spatial @ spatial.T, torch.eye(4), rtol=0, atol=1e-5)
    predictor = ConvolutionalAttention(dim=8, mixed_dim=4).predictor
    assert not predictor(torch.rand(2, 4, 3, 3)).any()
