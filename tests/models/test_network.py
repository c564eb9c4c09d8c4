"""What all networks have in common, asked of every preset."""

import copy
import inspect
import re

import pytest
import torch
from torch.testing import assert_close

import srlab
from native_kernels import NEEDS_KERNELS
from official_networks import assumed, detect, layout_of
from preset_cases import narrowed, preset_cases
from rounding import assert_equal_up_to_rounding, outputs_of, settle_statistics
from srlab.checkpoints import official_state
from srlab.checkpoints.layouts import official_layout
from srlab.models.network import AttentionNetwork

BY_PRESET = pytest.mark.parametrize(("name", "scale"), preset_cases())


def narrow(name, scale):
    """A preset with few channels and blocks: what holds for its parts holds for more of them."""
    return srlab.create_model(name, scale=scale, **narrowed(name))


@pytest.fixture(autouse=True)
def _same_weights():
    torch.manual_seed(0)


@BY_PRESET
def test_an_odd_image_in_a_batch_of_two_is_restored_and_every_weight_learns(name, scale):
    network = narrow(name, scale).train()
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():  # what starts at zero can hide what lies before it
                parameter.normal_(std=0.02)
    output = network(torch.rand(2, 3, 7, 5))
    assert output.shape == (2, 3, 7 * scale, 5 * scale)
    if not list(network.parameters()):
        return
    output.square().mean().backward()
    gradients = {key: parameter.grad for key, parameter in network.named_parameters()}
    assert [key for key, gradient in gradients.items() if gradient is None] == []
    # A ReLU may be shut for these two images; a branch that is not connected would be so in every block.
    idle = [key for key, gradient in gradients.items() if not gradient.any()]
    assert len(idle) <= 0.02 * len(gradients), idle
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


@BY_PRESET
def test_images_of_a_batch_do_not_see_one_another(name, scale):
    network, images = narrow(name, scale).double(), torch.rand(2, 3, 7, 5).double()
    settle_statistics(network, images)
    assert_equal_up_to_rounding(_one_by_one(network, images), outputs_of, network, images)


def _one_by_one(network, images):
    """Output for each image of a batch by itself."""
    return [torch.cat([output for image in images for output in outputs_of(network, image[None])])]


@BY_PRESET
@pytest.mark.parametrize("size", [(1, 1), (2, 17)])
def test_any_size_is_restored_without_clamping_in_its_own_dtype(name, scale, size):
    network = narrow(name, scale).double().eval()
    with torch.no_grad():
        output = network(3 * torch.rand(1, 3, *size, dtype=torch.float64))
    assert output.dtype == torch.float64
    assert output.shape == (1, 3, size[0] * scale, size[1] * scale)
    assert output.isfinite().all()


def test_bright_images_stay_brighter_than_white():
    with torch.no_grad():
        assert srlab.create_model("bicubic", scale=2)(3 * torch.ones(1, 3, 4, 4)).max() > 2.9


@BY_PRESET
def test_every_backend_is_the_same_function(name, scale):
    network = narrow(name, scale).double().eval()
    if not isinstance(network, AttentionNetwork):
        assert "backend" not in inspect.signature(type(network)).parameters
        return
    image = torch.rand(1, 3, 9, 6, dtype=torch.float64)
    settle_statistics(network, image)
    # flex has no float64
    others = {*network.plain_backends} - {"reference", "flex"}
    assert others
    reference = copy.deepcopy(network)
    reference.use_backend("reference")
    for backend in others:
        network.use_backend(backend)
        assert_equal_up_to_rounding(outputs_of(network, image), outputs_of, reference, image)


@NEEDS_KERNELS
@pytest.mark.parametrize(
    ("window_size", "schedule", "size"),
    [(4, "alternate", (19, 33)), (7, "every", (19, 33)), (16, "none", (19, 33)), (7, "alternate", (1, 1))],
)
def test_cpu_kernels_are_swinirs_reference_for_any_window_and_schedule(window_size, schedule, size):
    changes = {"dim": 12, "depths": [2, 2], "num_heads": [2, 3], "window_size": window_size}
    network = srlab.create_model("swinir_light", scale=2, shift_schedule=schedule, **changes).eval()
    _check_kernels_against_reference(network, torch.rand(2, 3, *size))


@NEEDS_KERNELS
@pytest.mark.parametrize(
    ("name", "window_size"),
    [
        ("esc_light", 5),
        ("esc_fp", 16),
        pytest.param("esc_light", 32, marks=pytest.mark.slow),
        pytest.param("esc_fp", 4, marks=pytest.mark.slow),
    ],
)
def test_cpu_kernels_are_escs_reference_for_any_window(name, window_size):
    changes = {**narrowed(name), "window_size": window_size}
    network = srlab.create_model(name, scale=2, **changes).eval()
    _check_kernels_against_reference(network, torch.rand(2, 3, 19, 33))


def _check_kernels_against_reference(network, image):
    """With biases that differ from zero, as training leaves them; images of a batch see nothing of others."""
    torch.manual_seed(0)
    for key, parameter in network.named_parameters():
        if key.endswith("position_bias.table"):
            torch.nn.init.normal_(parameter)
    exact = copy.deepcopy(network).double()
    exact.use_backend("reference")
    network.use_backend("fused")
    for results in (outputs_of(network, image), _one_by_one(network, image)):
        assert_equal_up_to_rounding(results, outputs_of, exact, image.double())


@NEEDS_KERNELS
@pytest.mark.slow  # compiles
@pytest.mark.parametrize("name", ["elan_demo", "swinir_light", "esc_light"])
def test_cpu_kernels_compile_into_one_graph(name):
    network = srlab.create_model(name, scale=2, backend="fused", **narrowed(name)).eval()
    torch.compiler.reset()
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    image = torch.rand(1, 3, 9, 10)
    with torch.no_grad():
        assert_close(compiled(image), network(image))


@pytest.mark.filterwarnings("ignore")
def test_traced_networks_hold_pytorchs_own_operators_alone():
    network = srlab.create_model("swinir_light", scale=2, depths=[2], num_heads=[2], dim=8).eval()
    with torch.no_grad():
        traced = torch.jit.trace(network, torch.rand(1, 3, 8, 8), check_trace=False)
    assert not re.search(r"srlab(_native)?::", str(traced.inlined_graph))


@NEEDS_KERNELS
def test_fused_copies_need_no_inference_mode():
    network = srlab.create_model("elan_demo", scale=2).eval().fuse()
    assert network.backend == "fused"
    assert not network(torch.rand(1, 3, 8, 8)).requires_grad


@pytest.mark.slow  # compiles
@pytest.mark.parametrize("backend", ["reference", "sdpa", "auto"])
@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("elan_demo", {"depth": 2}),
        ("swinir_light", {"depths": [2], "num_heads": [2], "dim": 8}),
    ],
)
def test_compiles_to_one_graph_that_computes_the_same(name, changes, backend):
    network = srlab.create_model(name, scale=2, **changes, backend=backend).eval()
    torch.compiler.reset()
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    image = torch.rand(1, 3, 9, 10)
    with torch.no_grad():
        assert_close(compiled(image), network(image))


@BY_PRESET
def test_official_state_restores_the_network_exactly(name, scale):
    first, second = (narrow(name, scale).eval() for _ in range(2))
    if official_layout(type(first)) is None:
        with pytest.raises(ValueError, match="no official"):
            official_state(first)
        return
    official = official_state(first)
    arguments = detect(type(first), official)
    assert arguments is not None
    assert arguments["scale"] == scale or "scale" in assumed(type(first), official)
    second.load_state_dict(layout_of(type(second)).to_ours(official))
    image = torch.rand(2, 3, 7, 6)
    with torch.no_grad():
        assert_close(second(image), first(image), rtol=0, atol=0)


@BY_PRESET
def test_fused_copies_are_the_same_function_without_norms_that_can_be_folded(name, scale):
    network = narrow(name, scale).double().eval()
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, (torch.nn.BatchNorm2d, torch.nn.LayerNorm)):
            for tensor in (*module.parameters(), *module.buffers()):
                if tensor.is_floating_point():
                    torch.nn.init.uniform_(tensor, 0.5, 1.5)
    image, keys = torch.rand(2, 3, 9, 6, dtype=torch.float64), network.state_dict().keys()
    fused = network.fuse()
    assert_equal_up_to_rounding(outputs_of(fused, image), outputs_of, network, image)
    assert network.state_dict().keys() == keys
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in fused.modules())
    with pytest.raises(ValueError, match="a fused network is for inference; train the one"):
        fused.train()
