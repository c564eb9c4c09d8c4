"""Networks whose attention runs by the Triton kernels: the same function and gradients as step by step."""

import copy

import pytest
import torch
from torch.testing import assert_close

import srlab

SMALL = {
    "swinir_light": {"dim": 12, "depths": [2], "num_heads": [2], "window_size": 4},
    "esc_light": {"dim": 16, "depth": 1, "steps_per_block": 1, "num_heads": 2, "window_size": 4},
}


@pytest.mark.parametrize("name", SMALL)
def test_backend_fused_is_the_same_function_with_the_same_gradients(device, name):
    """An odd size, in training mode; the bias gets a gradient that differs from zero."""
    network = srlab.create_model(name, scale=2, **SMALL[name], **no_drop_path(name)).to(device)
    image = torch.rand(1, 3, 7, 6, device=device)
    outcomes = []
    for backend in ("reference", "fused"):
        network.use_backend(backend)
        network.zero_grad()
        result = network(image)
        (result - 0.3).square().sum().backward()
        gradients = {key: parameter.grad.clone() for key, parameter in network.named_parameters()}
        outcomes.append((result.detach(), gradients))
    (expected, expected_gradients), (result, gradients) = outcomes
    assert_close(result, expected, rtol=1e-4, atol=1e-5)
    biases = [key for key in gradients if key.endswith("position_bias.table")]
    assert biases
    assert all(gradients[key].abs().max() > 1e-7 for key in biases)
    for key, gradient in gradients.items():
        bound = 1e-4 * expected_gradients[key].abs().max().clamp(min=1e-3)
        assert (gradient - expected_gradients[key]).abs().max() <= bound, key


def no_drop_path(name):
    """A branch skipped by chance would differ from run to run."""
    return {"drop_path": 0.0} if name.startswith("swinir") else {}


@pytest.mark.parametrize("name", SMALL)
def test_a_compiler_sees_one_graph(device, name):
    network = srlab.create_model(name, scale=2, **SMALL[name], backend="fused").to(device).eval()
    torch.compiler.reset()
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    image = torch.rand(1, 3, 7, 6, device=device)
    with torch.no_grad():
        assert_close(compiled(image), network(image))


@pytest.mark.parametrize(
    ("window_sizes", "n_share", "training"),
    [
        ([2, 4], 1, True),
        ([4], 0, False),
        pytest.param([2, 4, 8], 1, True, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_elan_is_the_same_function_with_the_same_gradients_and_statistics(
    device, window_sizes, n_share, training
):
    """Unscaled logits are kept small: where soft-max saturates, rounding decides who wins."""
    torch.manual_seed(0)
    network = srlab.create_model(
        "elan_light",
        scale=2,
        dim=12,
        depth=1 + n_share,
        n_share=n_share,
        window_sizes=window_sizes,
        shift_schedule="every",
    )
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.constant_(module.weight, 0.3)
            torch.nn.init.uniform_(module.running_var, 0.5, 2.0)
    image = torch.rand(2, 3, 3, 5, device=device)
    outcomes = []
    for backend in ("reference", "fused"):
        copied = copy.deepcopy(network).to(device).train(training)
        copied.use_backend(backend)
        result = copied(image)
        (result - 0.3).square().sum().backward()
        gradients = {key: parameter.grad for key, parameter in copied.named_parameters()}
        outcomes.append((result.detach(), gradients, dict(copied.named_buffers())))
    (expected, expected_gradients, statistics), (result, gradients, ours) = outcomes
    assert_close(result, expected, rtol=1e-4, atol=1e-5)
    for key, statistic in statistics.items():
        assert_close(ours[key], statistic, rtol=1e-4, atol=1e-4)
    largest = max(gradient.abs().max() for gradient in expected_gradients.values())
    for key, gradient in gradients.items():
        assert (gradient - expected_gradients[key]).abs().max() <= 1e-5 * largest, key
