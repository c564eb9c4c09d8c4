"""Networks whose attention runs by the Triton kernels: the same function and gradients as step by step."""

import pytest
import torch
from torch.testing import assert_close

import srlab

SMALL = {
    "swinir_light": {"dim": 12, "depths": [2], "num_heads": [2], "window_side": 4},
    "esc_light": {"dim": 16, "depth": 1, "steps_per_block": 1, "num_heads": 2, "window_side": 4},
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
