"""Colour range: what networks subtract and multiply before their first convolution."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

# Mean colour of DIV2K in [0, 1], as in EDSR and its descendants.
RGB_MEAN = (0.4488, 0.4371, 0.4040)


def rgb_mean(value_range: float = 1.0, mean: Sequence[float] = RGB_MEAN) -> Tensor:
    """(3, 1, 1), computed in float32 as in the published networks: in float64 the difference would show.

    Raises:
        ValueError: ``mean`` is not three finite numbers.
    """
    numbers = [] if isinstance(mean, str) or not isinstance(mean, Sequence) else list(mean)
    if len(numbers) != 3 or not all(isinstance(n, (int, float)) and math.isfinite(n) for n in numbers):
        raise ValueError(f"mean must be three numbers, one for each colour in [0, 1], got {mean!r}")
    return (value_range * torch.tensor(numbers, dtype=torch.float32)).view(3, 1, 1)
