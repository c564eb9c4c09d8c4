"""The bias of relative positions: what it says, and when it may be remembered."""

import copy

import pytest
import torch
from torch.testing import assert_close

from srlab.layers.position_bias import RelativePositionBias


def test_entry_belongs_to_the_distance_from_key_to_query():
    layer = RelativePositionBias(num_heads=2, side=3, std=0.02)
    with torch.no_grad():
        layer.table.copy_(torch.arange(50.0).view(25, 2))
    bias = layer()
    for head in range(2):
        for query in range(9):
            for key in range(9):
                down, right = query // 3 - key // 3, query % 3 - key % 3
                assert bias[head, query, key] == 2 * ((down + 2) * 5 + right + 2) + head


def changed_in_place(layer):
    layer.table.add_(1.0)


def loaded(layer):
    layer.load_state_dict({"table": torch.rand(25, 2)})


def halved(layer):
    layer.half().float()


def replaced(layer):
    layer.table.data = torch.rand(25, 2)


@pytest.mark.parametrize("change", [changed_in_place, loaded, halved, replaced])
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_remembered_bias_follows_every_change_of_the_table(change, mode):
    layer = RelativePositionBias(num_heads=2, side=3, std=1.0).eval()
    with mode():
        assert layer() is layer()
    with torch.no_grad():
        change(layer)
    with mode():
        assert_close(layer(), layer._expanded(), rtol=0, atol=0)


def test_training_after_inference_has_a_gradient():
    layer = RelativePositionBias(num_heads=2, side=3, std=1.0)
    with torch.inference_mode():
        layer()
    layer().sum().backward()
    assert layer.table.grad is not None
    assert layer.table.grad.sum() == 2 * 81  # every entry of the bias counts once
    layer.table.requires_grad_(False)
    scale = torch.ones((), requires_grad=True)
    (layer() * scale).square().sum().backward()  # what was remembered takes part in others' gradients
    assert scale.grad is not None


def test_copies_and_large_biases_are_not_remembered():
    layer = RelativePositionBias(num_heads=2, side=3, std=1.0)
    with torch.no_grad():
        layer()
        assert copy.deepcopy(layer)._kept is None
        large = RelativePositionBias(num_heads=4, side=32, std=1.0)
        large()
    assert large._kept is None
