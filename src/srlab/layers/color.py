"""Colour range: what networks subtract and multiply before their first convolution."""

import torch
from torch import Tensor

__all__ = ["RGB_MEAN", "rgb_mean"]

# Mean colour of DIV2K in [0, 1], as in EDSR and its descendants.
RGB_MEAN = (0.4488, 0.4371, 0.4040)


def rgb_mean(value_range: float = 1.0) -> Tensor:
    """(3, 1, 1), computed in float32 as in the published networks: in float64 the difference would show."""
    return (value_range * torch.tensor(RGB_MEAN, dtype=torch.float32)).view(3, 1, 1)
