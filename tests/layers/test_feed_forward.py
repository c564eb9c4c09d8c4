"""The perceptron of transformer blocks."""

import math

import torch
from torch.testing import assert_close

from srlab.layers.feed_forward import FeedForward


def test_gelu_is_exact():
    """Oracle: x * Phi(x) by the error function, with identity weights."""
    layer = FeedForward(dim=3, hidden_dim=3).double()
    for linear in (layer.expand, layer.contract):
        torch.nn.init.eye_(linear.weight)
        torch.nn.init.zeros_(linear.bias)
    tokens = torch.randn(2, 5, 3, dtype=torch.float64)
    expected = tokens * 0.5 * (1 + torch.erf(tokens / math.sqrt(2)))
    assert_close(layer(tokens), expected)
