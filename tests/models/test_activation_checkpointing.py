"""Blocks that are computed again in the backward pass: the same training, less kept.

Oracle: the plain pass of the same network.
"""

import copy
import pickle

import pytest
import torch
from torch import nn

import srlab
from preset_cases import narrowed, preset_cases
from srlab.layers.drop_path import DropPath
from srlab.layers.recomputation import recompute_activations
from srlab.models.network import AttentionNetwork

# One of each frame in the quick run.
FRAMES = ("elan_demo", "swinir_light", "esc_light", "rcan")
SMALL = [pytest.param(name, 2, narrowed(name), id=name) for name in FRAMES]
OTHERS = [
    pytest.param(*case.values, narrowed(case.id), id=case.id, marks=pytest.mark.slow)
    for case in preset_cases()
    if case.id not in ("bicubic", *FRAMES)
]


def passed(network, lr_image):
    """One forward and backward pass; bytes that autograd kept in between."""
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    torch.manual_seed(1)  # drop path
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = network(lr_image)
    weights = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    held = sum(size for address, size in kept.items() if address not in weights)
    output.square().mean().backward()
    return output, held


@pytest.mark.parametrize(("name", "scale", "changes"), SMALL + OTHERS)
def test_gradients_and_buffers_are_the_same_to_the_last_bit_and_less_is_kept(name, scale, changes):
    torch.manual_seed(0)
    plain = srlab.create_model(name, scale=scale, **changes).double().train()
    checkpointed = copy.deepcopy(plain)
    checkpointed.use_activation_checkpointing(True)
    lr_image = torch.rand(2, 3, 8, 8, dtype=torch.float64)
    (expected, plain_bytes), (output, checkpointed_bytes) = (
        passed(network, lr_image) for network in (plain, checkpointed)
    )
    assert torch.equal(output, expected)
    for key, parameter in plain.named_parameters():
        assert torch.equal(checkpointed.get_parameter(key).grad, parameter.grad), key
    for key, value in plain.state_dict().items():
        assert torch.equal(checkpointed.state_dict()[key], value), key
    # narrow convolutional networks keep most after their blocks, at high resolution
    share = 0.75 if isinstance(plain, AttentionNetwork) or name == "rcan" else 0.95
    assert checkpointed_bytes < share * plain_bytes


def test_statistics_and_weights_after_several_steps_are_those_of_plain_training():
    torch.manual_seed(0)
    plain = srlab.create_model("elan_demo", scale=2)
    checkpointed = copy.deepcopy(plain)
    checkpointed.use_activation_checkpointing(True)
    for network in (plain, checkpointed):
        optimizer = torch.optim.Adam(network.parameters())
        for step in range(3):
            optimizer.zero_grad()
            network(torch.full((1, 3, 8, 8), 0.1 * step)).square().mean().backward()
            optimizer.step()
    state = checkpointed.state_dict()
    assert int(state["body.0.attention.0.norm.num_batches_tracked"]) == 3
    for key, value in plain.state_dict().items():
        assert torch.equal(state[key], value), key


def test_dropped_branches_are_the_same_when_computed_again():
    torch.manual_seed(0)
    plain = srlab.create_model("swinir_light", scale=2, drop_path=0.5, depths=[2], num_heads=[6])
    checkpointed = copy.deepcopy(plain)
    checkpointed.use_activation_checkpointing(True)
    lr_image = torch.rand(4, 3, 8, 8)
    passed(plain, lr_image)
    passed(checkpointed, lr_image)
    torch.manual_seed(2)
    other = copy.deepcopy(plain)(lr_image)
    assert not torch.equal(other, passed(copy.deepcopy(plain), lr_image)[0]), "nothing was dropped"
    for key, parameter in plain.named_parameters():
        assert torch.equal(checkpointed.get_parameter(key).grad, parameter.grad), key


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda network: pickle.loads(pickle.dumps(network))])
def test_a_copy_computes_with_its_own_weights(copied):
    network = srlab.create_model("edsr_baseline", scale=2, dim=4, depth=1)
    network.use_activation_checkpointing(True)
    other = copied(network)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    other(torch.rand(1, 3, 4, 4)).sum().backward()
    assert other.body[0].conv1.weight.grad.any()
    assert network.body[0].conv1.weight.grad is None


def test_what_is_switched_off_keeps_everything_again():
    network = srlab.create_model("elan_demo", scale=2)
    lr_image = torch.rand(1, 3, 16, 16)
    _, before = passed(network, lr_image)
    network.use_activation_checkpointing(True)
    _, between = passed(network, lr_image)
    network.use_activation_checkpointing(False)
    assert between < before == passed(network, lr_image)[1]


def test_a_network_without_blocks_says_so():
    with pytest.raises(ValueError, match="Bicubic has no blocks whose activations"):
        srlab.create_model("bicubic", scale=2).use_activation_checkpointing(True)


def test_a_failing_recomputation_gives_the_statistics_back():
    class Fails(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm2d(1)
            self.calls = 0

        def forward(self, features):
            self.calls += 1
            mixed = self.norm(features)
            if self.calls > 1:
                raise RuntimeError("again")
            return mixed.exp()

    block = Fails()
    buffers = dict(block.norm._buffers)
    recompute_activations(block)
    result = block(torch.rand(2, 1, 2, 2))
    with pytest.raises(RuntimeError, match="again"):
        result.sum().backward()
    assert all(block.norm._buffers[name] is buffer for name, buffer in buffers.items())


@pytest.mark.slow  # compiles
@pytest.mark.parametrize(("name", "scale", "changes"), SMALL)
def test_compiles_without_a_graph_break_to_the_same_gradients_and_statistics(name, scale, changes):
    torch.compiler.reset()
    torch.manual_seed(0)
    dropped = {"drop_path": 0.0} if name == "swinir_light" else {}  # compilers draw other numbers
    plain = srlab.create_model(name, scale=scale, **changes, **dropped)
    checkpointed = copy.deepcopy(plain)
    checkpointed.use_activation_checkpointing(True)
    lr_image = torch.rand(2, 3, 16, 16)
    plain(lr_image).square().mean().backward()
    compiled = torch.compile(checkpointed.forward, backend="aot_eager", fullgraph=True)
    compiled(lr_image).square().mean().backward()
    for key, parameter in plain.named_parameters():
        torch.testing.assert_close(checkpointed.get_parameter(key).grad, parameter.grad, rtol=1e-4, atol=1e-6)
    for key, value in plain.state_dict().items():
        torch.testing.assert_close(checkpointed.state_dict()[key], value)


class Dropped(nn.Module):
    """One where an image's branch was dropped, above that elsewhere."""

    def __init__(self):
        super().__init__()
        self.drop_path = DropPath(probability=0.5)

    def forward(self, features):
        return self.drop_path(features).exp()


@pytest.mark.slow  # compiles
def test_compiled_blocks_drop_the_same_branches_when_computed_again():
    """Oracle: no gradient flows through a dropped branch, and one does through any other."""
    torch.compiler.reset()
    torch.manual_seed(0)
    block = Dropped()
    recompute_activations(block)
    features = (1 + torch.rand(16, 3)).requires_grad_()
    output = torch.compile(lambda x: block(x), backend="aot_eager")(features)
    output.sum().backward()
    dropped = (output == 1).all(dim=1)
    assert 0 < dropped.sum() < 16
    assert torch.equal((features.grad == 0).all(dim=1), dropped)
