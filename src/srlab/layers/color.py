"""Colour range: what networks subtract and multiply before their first convolution."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = [
    "RGB_MEAN",
    "MeanShift",
    "is_rounding_of",
    "mean_shift_entries",
    "rgb_mean",
    "stored_mean_shift",
]

# Mean colour of DIV2K in [0, 1], as in EDSR and its descendants.
RGB_MEAN = (0.4488, 0.4371, 0.4040)
# Others in use: DF2K's in github.com/yulunzhang/RCAN, ImageNet's, the middle of the range.
_KNOWN_MEANS = (RGB_MEAN, (0.4690, 0.4490, 0.4036), (0.485, 0.456, 0.406), (0.5, 0.5, 0.5))
_KNOWN_RANGES = (255.0, 1.0)


class MeanShift(NamedTuple):
    """What a network sees: (image - mean) * value_range; ``is_known``: no other pair is likely."""

    mean: tuple[float, ...]
    value_range: float
    is_known: bool


def rgb_mean(value_range: float = 1.0, mean: Sequence[float] = RGB_MEAN) -> Tensor:
    """(3, 1, 1), computed in float32 as in the published networks: in float64 the difference would show.

    Raises:
        ValueError: ``mean`` is not three finite numbers.
    """
    numbers = [] if isinstance(mean, str) or not isinstance(mean, Sequence) else list(mean)
    if len(numbers) != 3 or not all(isinstance(n, (int, float)) and math.isfinite(n) for n in numbers):
        raise ValueError(f"mean must be three numbers, one for each colour in [0, 1], got {mean!r}")
    return (value_range * torch.tensor(numbers, dtype=torch.float32)).view(3, 1, 1)


def mean_shift_entries(offset: Tensor) -> dict[str, Tensor]:
    """The frozen 1x1 convolutions in which EDSR's descendants store mean colour times value range, (3,)."""
    identity = torch.eye(3).to(offset).view(3, 3, 1, 1)
    return {
        "sub_mean.weight": identity,
        "sub_mean.bias": -offset,
        "add_mean.weight": identity,
        "add_mean.bias": offset,
    }


def stored_mean_shift(state: Mapping[str, Tensor]) -> MeanShift:
    """What the entries of :func:`mean_shift_entries` in a file say; without them nothing is subtracted."""
    if "add_mean.bias" in state:
        return _divide(state["add_mean.bias"])
    return _divide(-state["sub_mean.bias"] if "sub_mean.bias" in state else torch.zeros(3))


def _divide(offset: Tensor) -> MeanShift:
    """Mean colour and value range from their product; without a shift, images are most likely in [0, 1]."""
    for value_range in _KNOWN_RANGES:
        for mean in _KNOWN_MEANS:
            if is_rounding_of(offset, rgb_mean(value_range, mean).flatten()):
                return MeanShift(mean, value_range, is_known=True)
    numbers = offset.double().tolist()
    value_range = 255.0 if max(map(abs, numbers)) > 1 else 1.0
    return MeanShift(tuple(number / value_range for number in numbers), value_range, is_known=False)


def is_rounding_of(stored: Tensor, exact: Tensor) -> bool:
    """Whether a file's tensor is ``exact``, rounded to its own precision or by way of one with 16 bits."""
    if stored.shape != exact.shape or not stored.is_floating_point():
        return False
    computed = 4 * torch.finfo(torch.float32).eps  # constants are computed in float32

    def agrees(dtype: torch.dtype, tolerance: float) -> bool:
        rounded = exact.to(dtype).double()
        return torch.allclose(stored.double(), rounded, rtol=max(tolerance, computed), atol=0.0)

    halves = (torch.float16, torch.bfloat16)
    return agrees(stored.dtype, torch.finfo(stored.dtype).eps) or any(agrees(half, 0.0) for half in halves)
