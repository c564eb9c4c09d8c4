"""The bias of relative positions: what it says, and when it is remembered."""

import torch

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


def test_every_entry_of_the_bias_has_its_share_in_the_gradient():
    layer = RelativePositionBias(num_heads=2, side=3, std=1.0)
    layer().sum().backward()
    assert layer.table.grad is not None
    assert layer.table.grad.sum() == 2 * 81


def test_small_biases_are_expanded_once_and_large_ones_each_time():
    small = RelativePositionBias(num_heads=2, side=3, std=1.0)
    large = RelativePositionBias(num_heads=4, side=32, std=1.0)
    with torch.no_grad():
        assert small() is small()
        assert large() is not large()
