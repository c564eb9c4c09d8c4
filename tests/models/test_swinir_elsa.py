"""SwinIR with ELSA: our own construction, held against closed forms and against itself.

The attention and the block are held against the official ELSA in tests/layers/test_elsa.py.
"""

import copy
import json
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

import srlab
from official_networks import counted, detect, deviation
from rounding import assert_equal_up_to_rounding, outputs_and_gradients
from srlab.checkpoints import official_state
from srlab.counts.complexity import multiply_adds
from srlab.models.swinir_elsa import SwinIRElsa

RECORDED = json.loads((Path(__file__).parents[1] / "recorded" / "swinir_light_elsa.json").read_text())
SMALL = {
    "scale": 2, "dim": 12, "depths": [2, 1], "num_heads": [2, 3], "kernel_side": 3, "group_width": 4,
    "lam": 0, "gamma": 1.0, "mlp_ratio": 2, "head": "pixelshuffledirect", "connection": "1conv",
    "value_range": 1.0, "drop_path": 0.0, "backend": "reference",
}  # fmt: skip


def small(**overrides):
    torch.manual_seed(0)
    return SwinIRElsa(**{**SMALL, **overrides})


# Closed forms: one layer a line, derived by hand; C features, Q channels of queries, K side of the filters,
# M heads, g width of a group.
C, Q, K, M, G, BLOCKS, GROUPS = 60, 40, 7, 6, 8, 24, 4


def closed_form_parameters(scale):
    block = sum(
        [
            2 * (2 * C),  # two norms
            C * (2 * Q + C) + (2 * Q + C),  # query, key, value
            Q * G * K**2 + Q,  # grouped convolution of the products
            Q * M * K**2 + M * K**2,  # filters of all heads
            C * K**2,  # ghost head: the addend alone
            C * C + C,  # after the attention
            C * 2 * C + 2 * C + 2 * C * C + C,  # feed-forward network
        ]
    )
    convolution = 9 * C * C + C
    ends = (9 * 3 * C + C) + (9 * C * 3 * scale**2 + 3 * scale**2)
    return BLOCKS * block + (GROUPS + 1) * convolution + 2 * (2 * C) + ends


def closed_form_multiply_adds(scale):
    """For each low-resolution pixel; nothing is padded."""
    block = sum(
        [
            C * (2 * Q + C),
            Q * G * K**2,
            Q * M * K**2,
            C * K**2,  # filters times neighbours
            C * C,
            2 * (C * 2 * C),
        ]
    )
    pixels = -(-720 // scale) * -(-1280 // scale)
    return pixels * (BLOCKS * block + (GROUPS + 1) * 9 * C * C + 9 * 3 * C + 9 * C * 3 * scale**2)


@pytest.mark.parametrize("scale", [4, *(pytest.param(scale, marks=pytest.mark.slow) for scale in (2, 3))])
def test_size_and_cost_are_those_of_the_closed_forms(scale):
    recorded = RECORDED[f"x{scale}"]
    parameters, cost = closed_form_parameters(scale), closed_form_multiply_adds(scale)
    assert recorded["parameters"] == recorded["trainable"] == parameters
    assert recorded["giga_multiply_adds"] == round(cost / 1e9, 2)
    with torch.device("meta"):
        network = srlab.create_model("swinir_light_elsa", scale=scale)
    assert counted(network) == (parameters, parameters)
    assert multiply_adds(network) == cost


def test_only_the_attention_differs_from_swinir():
    """Outside the attention both have the same names and shapes, so also the same sizes."""

    def outside(name):
        with torch.device("meta"):
            state = srlab.create_model(name, scale=4).state_dict()
        return {key: value.shape for key, value in state.items() if ".attention." not in key}

    assert outside("swinir_light_elsa") == outside("swinir_light")


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (3, 2), (8, 5)])
@pytest.mark.parametrize("backend", SwinIRElsa.plain_backends)
@pytest.mark.parametrize(("head", "scale"), [("pixelshuffledirect", 3), ("pixelshuffle", 4)])
def test_every_size_is_enlarged_exactly(head, scale, backend, size):
    network = small(head=head, scale=scale, kernel_side=7, backend=backend)
    sr_image = network(torch.rand(2, 3, *size))
    assert sr_image.shape == (2, 3, scale * size[0], scale * size[1])
    sr_image.square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize(("lam", "gamma"), [(0, 1.0), (1, 0.5), (2, 0.0), (0, 0.0)])
def test_both_backends_are_one_function_with_one_gradient(lam, gamma):
    first = small(lam=lam, gamma=gamma, kernel_side=5).double()
    second = copy.deepcopy(first)
    second.use_backend("fused")
    image = torch.rand(2, 3, 6, 9, dtype=torch.float64)
    assert_equal_up_to_rounding(outputs_and_gradients(second, image), outputs_and_gradients, first, image)


@pytest.mark.parametrize("kernel_side", [3, 5])
@pytest.mark.parametrize("backend", SwinIRElsa.plain_backends)
def test_a_pixel_acts_within_the_accumulated_radius_and_nowhere_else(backend, kernel_side):
    network = small(backend=backend, kernel_side=kernel_side, lam=1).double().eval()
    # Weights and values are both gathered around the same pixel: a block reaches K // 2 pixels. Besides, five
    # 3 x 3 convolutions: the first, one for each of two groups, after the body, the head.
    radius = 3 * (kernel_side // 2) + 5
    lr_image = torch.rand(1, 3, 1, 40, dtype=torch.float64)
    changed = lr_image.clone()
    changed[..., 0] += 1.0
    with torch.no_grad():
        difference = (network(changed) - network(lr_image)).abs().amax((0, 1, 2))
    assert difference.nonzero().max().item() // 2 == radius


@pytest.mark.slow  # compiles
@pytest.mark.parametrize("backend", SwinIRElsa.plain_backends)
def test_compiles_without_a_graph_break_and_gives_the_same(backend):
    torch.compiler.reset()  # each process may compile for a few shapes only
    network, lr_image = small(depths=[1], num_heads=[2], backend=backend, lam=1), torch.rand(2, 3, 5, 7)
    expected = network(lr_image)
    result = torch.compile(network, fullgraph=True, backend="aot_eager")(lr_image)
    assert_close(result, expected)
    parameters = list(network.parameters())
    gradients = [torch.autograd.grad(image.square().sum(), parameters) for image in (result, expected)]
    for ours, plain in zip(*gradients, strict=True):
        assert_close(ours, plain, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("backend", SwinIRElsa.plain_backends)
def test_runs_in_bfloat16_and_under_its_autocast(backend):
    network, image = small(backend=backend), torch.rand(2, 3, 8, 8)
    plain = network(image)
    with torch.inference_mode():
        assert deviation(copy.deepcopy(network).bfloat16()(image.bfloat16()), plain) < 0.05
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = network(image)
        mixed.square().mean().backward()
    assert deviation(mixed, plain) < 0.05


def test_drop_path_grows_linearly_from_zero_over_all_blocks():
    blocks = [block for group in small(drop_path=0.3).groups for block in group.blocks]
    assert [block.drop_path.probability for block in blocks] == pytest.approx([0.0, 0.15, 0.3])


def test_there_is_no_official_layout():
    with pytest.raises(ValueError, match=r"SwinIRElsa has no official implementation"):
        official_state(small())
    assert detect(SwinIRElsa, official_state(srlab.create_model("swinir_light", scale=2))) is None


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"dim": 13}, r"dim=13 must be a multiple of num_heads=2"),
        ({"depths": [2]}, r"depths has 1 entries and num_heads has 2 entries; give one of each"),
        ({"depths": [], "num_heads": []}, r"depths must be a list of at least one integer, got \[\]"),
        ({"depths": [2, 0]}, r"depths\[1\] must be an integer of at least 1, got 0"),
        ({"num_heads": [2, 0]}, r"num_heads\[1\] must be an integer of at least 1, got 0"),
        ({"kernel_side": 8}, r"kernel_side must be odd"),
        ({"lam": 0.5}, r"lam must be an integer of at least 0, got 0.5"),
        ({"backend": "sdpa"}, r"SwinIRElsa has no backend 'sdpa'; choose one of reference, fused, auto"),
    ],
)
def test_impossible_arguments_are_refused(overrides, message):
    with pytest.raises(ValueError, match=message):
        small(**overrides)
