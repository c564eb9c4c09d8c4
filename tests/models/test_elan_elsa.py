"""ELAN with ELSA: our own construction, held against closed forms, loops and itself.

The weights of neighbours and the ghost head are held against the official ELSA in tests/layers/test_elsa.py,
the frame against the official ELAN in tests/models/test_elan.py.
"""

import copy
import itertools
import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

import srlab
from official_networks import counted, detect, deviation
from rounding import assert_equal_up_to_rounding, outputs_and_gradients
from srlab.checkpoints import official_state
from srlab.counts.complexity import extra_multiply_adds, multiply_adds
from srlab.models.elan_elsa import ElanElsa, GroupHadamardAttention

RECORDED = json.loads((Path(__file__).parents[1] / "recorded" / "elan_light_elsa.json").read_text())
SMALL = {
    "scale": 2, "dim": 12, "depth": 4, "n_share": 1, "kernel_sides": [3, 1, 5], "group_width": 2, "lam": 0,
    "gamma": 1.0, "expansion": 2, "backend": "reference",
}  # fmt: skip


def small(**overrides):
    torch.manual_seed(0)
    return ElanElsa(**{**SMALL, **overrides})


def attention(*, computes, **overrides):
    """One module in evaluation mode; its batch norm has seen a batch, so that it is no identity."""
    torch.manual_seed(int(computes))
    arguments = {"dim": 12, "kernel_sides": [3, 1, 5], "group_width": 2, "lam": 1, "gamma": 0.5, **overrides}
    module = GroupHadamardAttention(**arguments, computes_weights=computes).double()
    module.norm(torch.randn(8, module.norm.num_features, 4, 4, dtype=torch.float64) + 0.3)
    return module.eval()


# Closed forms: one layer a line, derived by hand; C features, D channels of a group, T taps of all kernels
# together, W width of the groups that gather.
C, D, W, BLOCKS, MODULES = 60, 20, 4, 12, 24
T = 3**2 + 5**2 + 7**2


def closed_form_parameters(scale):
    local = (C * 2 * C + 2 * C) + (2 * C * C + C)  # two 1x1 convolutions; shifts have no parameters
    computing = sum(
        [
            C * 2 * C + 2 * C,  # query and value
            2 * (2 * C),  # batch norm
            D * W * T + 3 * D,  # grouped convolutions of the products
            D * T + T,  # weights of one head a group
        ]
    )
    following = C * C + C + 2 * C  # value, batch norm
    every = D * T + C * C + C  # ghost heads: the addends alone; after the attention
    ends = (9 * 3 * C + C) + (9 * C * 3 * scale**2 + 3 * scale**2)
    return BLOCKS * (computing + following) + MODULES * (local + every) + ends


def closed_form_multiply_adds(scale):
    """For each low-resolution pixel; nothing is padded. Shifts are convolutions, as ELAN is counted."""
    local = 9 * C + C * 2 * C + 9 * 2 * C + 2 * C * C
    computing = C * 2 * C + D * W * T + D * T
    following = C * C
    every = D * T + C * C  # filters times neighbours; after the attention
    pixels = -(-720 // scale) * -(-1280 // scale)
    ends = 9 * 3 * C + 9 * C * 3 * scale**2
    return pixels * (BLOCKS * (computing + following) + MODULES * (local + every) + ends)


@pytest.mark.parametrize("scale", [4, *(pytest.param(scale, marks=pytest.mark.slow) for scale in (2, 3))])
def test_size_and_cost_are_those_of_the_closed_forms(scale):
    recorded = RECORDED[f"x{scale}"]
    parameters, cost = closed_form_parameters(scale), closed_form_multiply_adds(scale)
    assert recorded["parameters"] == recorded["trainable"] == parameters
    assert recorded["giga_multiply_adds"] == round(cost / 1e9, 2)
    with torch.device("meta"):
        network = srlab.create_model("elan_light_elsa", scale=scale)
    held = sum(parameter.numel() for parameter in network.parameters())
    assert counted(network) == (held, held) == (parameters, parameters)
    assert multiply_adds(network) == cost


def test_only_the_attention_differs_from_elan():
    """Outside the attention both have the same names and shapes; in it, the same projections."""

    def state(name):
        with torch.device("meta"):
            return srlab.create_model(name, scale=4).state_dict()

    ours, elan = state("elan_light_elsa"), state("elan_light")
    added = {key for key in ours if ".weights." in key or ".ghost_heads." in key}
    assert {key: ours[key].shape for key in ours.keys() - added} == {key: elan[key].shape for key in elan}


def softmax_weights(query, weights):
    return weights.spread(F.gelu(weights.gather(query**2))).softmax(dim=1)


def by_hand(values, weights, ghost_head, side):
    """One group pixel by pixel and tap by tap."""
    result, reach, (height, width) = torch.zeros_like(values), side // 2, values.shape[2:]
    taps = list(itertools.product(range(-reach, reach + 1), repeat=2))
    for row, column in itertools.product(range(height), range(width)):
        for tap, (down, right) in enumerate(taps):
            if 0 <= row + down < height and 0 <= column + right < width:
                weight = weights[:, tap, row, column, None] * ghost_head.mul.flatten(1)[:, tap]
                weight = weight + 0.5 * ghost_head.add.flatten(1)[:, tap]
                result[..., row, column] += weight * values[..., row + down, column + right]
    return result


@pytest.mark.parametrize("backend", ElanElsa.plain_backends)
def test_both_kinds_of_module_give_what_loops_give(backend):
    """Oracle: products, filters and sums written out for each pixel."""
    computing, sharing = attention(computes=True), attention(computes=False)
    features = torch.randn(2, 12, 4, 3, dtype=torch.float64)
    with torch.no_grad():
        projected = computing.norm(computing.project(features))
        own = sharing.norm(sharing.project(features))
        expected, reused, filters = [], [], []
        for group, side in enumerate([3, 1, 5]):
            query, value = projected[:, 8 * group : 8 * group + 8].split(4, dim=1)
            filters.append(softmax_weights(query, computing.weights[group]))
            expected.append(by_hand(value, filters[-1], computing.ghost_heads[group], side))
            value = own[:, 4 * group : 4 * group + 4]
            reused.append(by_hand(value, filters[-1], sharing.ghost_heads[group], side))
        result, shared = computing(features, None, backend=backend)
        assert_close(result, computing.mix(torch.cat(expected, dim=1)))
        assert_close([weights[:, 0] for weights in shared], filters)
        result, handed_on = sharing(features, shared, backend=backend)
        assert_close(result, sharing.mix(torch.cat(reused, dim=1)))
    assert handed_on is shared


@pytest.mark.parametrize("backend", ElanElsa.plain_backends)
def test_following_modules_use_the_filters_of_the_first_whatever_these_are(backend):
    """With filters that read the pixel itself, a following module without ghost head only mixes values."""
    network = small(depth=3, n_share=2, gamma=0.0, backend=backend).eval()
    block = network.body[0]
    seen, outputs = [], []
    for module in block.attention[1:]:
        module.register_forward_pre_hook(lambda _, given: seen.append(given))
        module.register_forward_hook(lambda _, given, result: outputs.append(result[0]))

    def centre(weights):
        itself = torch.zeros_like(weights)
        itself[:, :, weights.shape[2] // 2] = 1.0
        return itself

    image = torch.rand(2, 3, 6, 5)
    with torch.no_grad():
        network(image)
        assert seen[0][1] is seen[1][1]
        handle = block.attention[0].register_forward_hook(
            lambda _, given, result: (result[0], list(map(centre, result[1])))
        )
        network(image)
        handle.remove()
        for index, module in enumerate(block.attention[1:], start=2):
            features, result = seen[index][0], outputs[index]
            assert_close(result, module.mix(module.norm(module.project(features))))
            assert not torch.allclose(result, outputs[index - 2])


def test_only_the_first_module_of_a_block_computes_weights_and_each_has_its_own_ghost_heads():
    for block in small(depth=6, n_share=2).body:
        assert [len(module.weights) for module in block.attention] == [3, 0, 0]
        assert [len(module.ghost_heads) for module in block.attention] == [3, 3, 3]
    parameters = [parameter for _, parameter in small().named_parameters()]
    assert len({id(parameter) for parameter in parameters}) == len(parameters)


@pytest.mark.parametrize("computes", [True, False])
def test_a_module_in_the_wrong_place_is_refused(computes):
    module, features = attention(computes=computes), torch.zeros(1, 12, 2, 2, dtype=torch.float64)
    shared = [torch.zeros(1, 1, side**2, 2, 2, dtype=torch.float64) for side in (3, 1, 5)]
    with pytest.raises(ValueError, match=r"first module of a block computes its weights, the others need"):
        module(features, shared if computes else None, backend="reference")


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (3, 2), (8, 5)])
@pytest.mark.parametrize("backend", ElanElsa.plain_backends)
@pytest.mark.parametrize("scale", [1, 3])
def test_every_size_is_enlarged_exactly(scale, backend, size):
    network = small(scale=scale, kernel_sides=[3, 5, 7], backend=backend)
    sr_image = network(torch.rand(2, 3, *size))
    assert sr_image.shape == (2, 3, scale * size[0], scale * size[1])
    sr_image.square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize(
    ("lam", "gamma", "sides"), [(0, 1.0, [3, 1, 5]), (1, 0.5, [5]), (2, 0.0, [3, 3]), (0, 0.0, [1, 3, 5, 7])]
)
def test_both_backends_are_one_function_with_one_gradient(lam, gamma, sides, training):
    first = small(dim=24, lam=lam, gamma=gamma, kernel_sides=sides).double().train(training)
    second = copy.deepcopy(first)
    second.use_backend("fused")
    image = torch.rand(2, 3, 6, 9, dtype=torch.float64)
    assert_equal_up_to_rounding(outputs_and_gradients(second, image), outputs_and_gradients, first, image)


@pytest.mark.parametrize("sides", [[1, 3], [5, 3]], ids=str)
@pytest.mark.parametrize("backend", ElanElsa.plain_backends)
def test_a_pixel_acts_within_the_accumulated_radius_and_nowhere_else(backend, sides):
    # Wide, and with statistics: else a ReLU or a saturated soft-max may end the way of the outermost pixel.
    network = small(dim=40, backend=backend, kernel_sides=sides, depth=3, n_share=2, lam=1).double()
    network(torch.rand(4, 3, 8, 8, dtype=torch.float64))
    network.eval()
    # Each of three modules: two shifts, and weights and values gathered around the same pixel. Besides, two
    # 3 x 3 convolutions: the head and the tail.
    radius = 3 * (2 + max(sides) // 2) + 2
    lr_image = torch.rand(1, 3, 1, 40, dtype=torch.float64)
    changed = lr_image.clone()
    changed[..., 0] += 1.0
    with torch.no_grad():
        difference = (network(changed) - network(lr_image)).abs().amax((0, 1, 2))
    assert difference.nonzero().max().item() // 2 == radius


def test_images_of_a_batch_do_not_see_one_another_in_evaluation():
    network, images = small(backend="fused").eval(), torch.rand(3, 3, 6, 7)
    with torch.no_grad():
        alone = torch.cat([network(image[None]) for image in images])
        assert_close(network(images), alone, rtol=1e-5, atol=1e-5)


@pytest.mark.slow  # compiles
@pytest.mark.parametrize("backend", ["reference", "auto"])  # auto is fused
def test_compiles_without_a_graph_break_and_gives_the_same(backend):
    torch.compiler.reset()  # each process may compile for a few shapes only
    network, lr_image = small(depth=2, backend=backend, lam=1).eval(), torch.rand(2, 3, 5, 7)
    expected = network(lr_image)
    result = torch.compile(network, fullgraph=True, backend="eager")(lr_image)
    assert_close(result, expected)
    parameters = list(network.parameters())
    gradients = [torch.autograd.grad(image.square().sum(), parameters) for image in (result, expected)]
    for ours, plain in zip(*gradients, strict=True):
        assert_close(ours, plain, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("backend", ElanElsa.plain_backends)
def test_runs_under_bfloat16_autocast(backend):
    network, image = small(backend=backend), torch.rand(2, 3, 8, 8)
    plain = copy.deepcopy(network)(image)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = network(image)
        mixed.square().mean().backward()
    assert deviation(mixed, plain) < 0.2


def test_there_is_no_official_layout():
    network = small()
    with pytest.raises(ValueError, match=r"ElanElsa has no official implementation"):
        official_state(network)
    assert extra_multiply_adds(network, (17, 30)) == 0
    assert detect(ElanElsa, official_state(srlab.create_model("elan_demo", scale=2))) is None


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            {"dim": 20},
            r"dim=20 channels cannot be divided equally among 3 kernels \[3, 1, 5\]; use a multiple",
        ),
        ({"dim": 0}, r"dim must be an integer of at least 1, got 0"),
        (
            {"group_width": 3},
            r"group_width=3 does not divide the 4 channels of each of 3 kernels; use 1, 2, 4",
        ),
        ({"group_width": 0}, r"group_width must be an integer of at least 1, got 0"),
        ({"kernel_sides": [3, 4, 5]}, r"kernel_sides must be odd, .* got \(3, 4, 5\)"),
        ({"kernel_sides": [3, 0, 5]}, r"kernel_sides\[1\] must be an integer of at least 1, got 0"),
        ({"kernel_sides": []}, r"at least one integer, got \[\]"),
        ({"kernel_sides": 7}, r"kernel_sides must be a list .* got 7"),
        ({"depth": 5}, r"depth=5 modules do not divide .* use depth=4 or 6"),
        ({"n_share": -1}, r"n_share must be an integer of at least 0, got -1"),
        ({"expansion": 0}, r"expansion must be an integer of at least 1, got 0"),
        ({"lam": 0.5}, r"lam must be an integer of at least 0, got 0.5"),
        ({"scale": 0}, r"scale must be an integer of at least 1, got 0"),
        ({"backend": "sdpa"}, r"ElanElsa has no backend 'sdpa'; choose one of reference, fused, auto"),
    ],
)
def test_impossible_arguments_are_refused(overrides, message):
    with pytest.raises(ValueError, match=message):
        small(**overrides)
