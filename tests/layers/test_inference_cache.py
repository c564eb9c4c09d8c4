"""What is cached while parameters stay the same, and what clears the cache."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from srlab.layers.inference_cache import InferenceCache


class Squares(nn.Module):
    """The outer product of a parameter with itself; counts how often it is computed."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.runs = 0
        self.kept = InferenceCache()

    def compute(self):
        self.runs += 1
        return self.linear(self.linear.weight)

    def forward(self):
        return self.kept(self.compute, list(self.parameters()))


def changed_in_place(layer):
    layer.linear.bias.add_(1.0)


def loaded(layer):
    layer.load_state_dict({"linear.weight": torch.rand(3, 3), "linear.bias": torch.rand(3)})


def halved(layer):
    layer.half().float()


def replaced(layer):
    layer.linear.weight.data = torch.rand(3, 3)


def trained(layer):
    with torch.enable_grad():
        layer().sum().backward()
    torch.optim.Adam(layer.parameters(), fused=True).step()  # which PyTorch does not count as a write


def averaged(layer):
    layer.eval()  # as Lightning's validation does, before weight averaging swaps the weights in
    layer.linear.weight.data.copy_(torch.rand(3, 3))  # which PyTorch does not count as a write either


@pytest.mark.parametrize("change", [changed_in_place, loaded, halved, replaced, trained, averaged])
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_the_result_is_computed_once_until_a_parameter_changes(change, mode):
    layer = Squares()
    with mode():
        assert layer() is layer()
    assert layer.runs == 1
    with torch.no_grad():
        change(layer)
    with mode():
        assert_close(layer(), layer.linear(layer.linear.weight), rtol=0, atol=0)
        assert layer() is layer()


def test_gradients_flow_and_what_was_kept_takes_part_in_those_of_others():
    layer = Squares()
    with torch.inference_mode():
        layer()
    layer().sum().backward()
    assert layer.linear.weight.grad is not None
    layer.requires_grad_(False)
    scale = torch.ones((), requires_grad=True)
    (layer() * scale).square().sum().backward()
    assert scale.grad is not None


def test_autocast_does_not_round_the_result():
    layer = Squares()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer().dtype == torch.float32
    with torch.no_grad():
        assert_close(layer(), layer.linear(layer.linear.weight), rtol=0, atol=0)
    assert layer.runs == 1


def test_copies_start_empty_and_inference_tensors_are_never_trusted():
    layer = Squares()
    with torch.no_grad():
        layer()
        for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
            twin()
            assert twin.runs == 2
    with torch.inference_mode():
        made_there = Squares()
        made_there()
        made_there()
    assert made_there.runs == 2
