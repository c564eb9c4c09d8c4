"""Folded norms give what the norms gave."""

import torch
from torch import nn
from torch.testing import assert_close

from srlab.layers.folding import fold_batch_norm, fold_layer_norm


def randomised(module):
    torch.manual_seed(0)
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.is_floating_point():
            nn.init.uniform_(tensor, 0.5, 2.0)
    return module.double().eval()


def test_batch_norm_becomes_part_of_the_convolution_before_it():
    for bias in (True, False):
        convolution, norm = randomised(nn.Conv2d(3, 5, 3, bias=bias)), randomised(nn.BatchNorm2d(5))
        image = torch.rand(2, 3, 6, 7, dtype=torch.float64)
        folded = nn.functional.conv2d(image, *fold_batch_norm(convolution, norm))
        assert_close(folded, norm(convolution(image)))


def test_a_norm_that_was_folded_before_changes_nothing():
    convolution = nn.Conv2d(3, 5, 1)
    weight, bias = fold_batch_norm(convolution, nn.Identity())
    assert weight is convolution.weight
    assert bias is convolution.bias


def test_layer_norm_hands_its_factors_to_the_linear_map_behind_it():
    tokens = torch.rand(2, 9, 6, dtype=torch.float64)
    norm, linear = randomised(nn.LayerNorm(6)), randomised(nn.Linear(6, 4))
    expected = linear(norm(tokens))
    with torch.no_grad():
        fold_layer_norm(norm, linear)
        assert_close(linear(norm(tokens)), expected)
        assert not list(norm.parameters())
        fold_layer_norm(norm, linear)
        assert_close(linear(norm(tokens)), expected)
