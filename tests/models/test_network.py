"""What all networks have in common."""

import pytest
import torch
from torch.testing import assert_close

import srlab
from srlab.models.network import AttentionNetwork

SMALL = {
    "elan_demo": {"depth": 2},
    "swinir_light": {"depths": [2], "num_heads": [2], "dim": 8},
    "edsr_baseline": {"depth": 1, "dim": 4},
}


@pytest.mark.parametrize("backend", ["reference", "sdpa", "auto"])
@pytest.mark.parametrize("name", SMALL)
def test_compiles_to_one_graph_that_computes_the_same(name, backend):
    network = srlab.create_model(name, scale=2, **SMALL[name]).eval()
    if isinstance(network, AttentionNetwork):
        network.use_backend(backend)
    elif backend != "auto":
        pytest.skip(f"{name} has one implementation")
    torch.compiler.reset()
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    image = torch.rand(1, 3, 9, 10)
    with torch.no_grad():
        assert_close(compiled(image), network(image))


@pytest.mark.parametrize("name", srlab.list_models())
def test_output_is_not_clamped_and_keeps_the_dtype(name):
    network = srlab.create_model(name, scale=2, **SMALL.get(name, {})).double().eval()
    image = 3 * torch.rand(1, 3, 4, 5, dtype=torch.float64)
    with torch.no_grad():
        output = network(image)
    assert output.dtype == torch.float64
    assert output.max() > 1 or name != "bicubic"


@pytest.mark.parametrize("name", SMALL)
def test_official_state_restores_the_network_exactly(name):
    first, second = (srlab.create_model(name, scale=3, **SMALL[name]).eval() for _ in range(2))
    second.load_state_dict(type(second).from_official(first.to_official()))
    image = torch.rand(2, 3, 7, 6)
    with torch.no_grad():
        assert_close(second(image), first(image), rtol=0, atol=0)
