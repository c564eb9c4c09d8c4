"""RGB to the luma that super-resolution papers score, in each arithmetic that their code uses.

All functions take (..., 3, H, W) with values in 0..255 and return (..., 1, H, W).
"""

import torch
from torch import Tensor

# ITU-R BT.601 luma, studio swing, for RGB in [0, 1]: black is 16 and white 235, as in MATLAB's rgb2ycbcr.
# The full-swing variant (weights summing to 255) reads 1.32 dB lower: 20*log10(255/219).
_LUMA_WEIGHTS = (65.481, 128.553, 24.966)
_LUMA_OFFSET = 16.0


def luma_double(image: Tensor) -> Tensor:
    """Unrounded luma 16..235 in float64, having passed through float32 exactly where BasicSR's metrics do.

    BasicSR@8d56e3a0, basicsr/utils/color_util.py: pixels become float32 in [0, 1], the weighted sum is
    float64, its 255th part float32 again. Leaving those roundings out moves PSNR by up to 2e-5 dB.
    """
    unit = image.to(torch.float32) / 255
    luma = _weighted_sum(unit.to(torch.float64), _LUMA_WEIGHTS) + _LUMA_OFFSET
    return ((luma / 255).to(torch.float32) * 255).to(torch.float64)


def luma_single(image: Tensor) -> Tensor:
    """Unrounded luma 16..235 in float32 throughout (ELAN@97ab3fa0, utils.py)."""
    return _weighted_sum(image.to(torch.float32) / 255, _LUMA_WEIGHTS) + _LUMA_OFFSET


def luma_eight_bit(image: Tensor) -> Tensor:
    """Luma 16..235 rounded half up to whole numbers, in float64 (MATLAB's rgb2ycbcr of a uint8 image)."""
    luma = _weighted_sum(image.to(torch.float64) / 255, _LUMA_WEIGHTS) + _LUMA_OFFSET
    return torch.floor(luma + 0.5)


def gray_level(image: Tensor) -> Tensor:
    """Gray value 0..255 in float64 of the neutral colour with the same luma: full swing, no offset.

    Rounded to float32 on the way, so that equal channels give their common 8-bit value exactly.
    """
    weights = tuple(weight / sum(_LUMA_WEIGHTS) for weight in _LUMA_WEIGHTS)
    return _weighted_sum(image.to(torch.float64), weights).to(torch.float32).to(torch.float64)


def _weighted_sum(image: Tensor, weights: tuple[float, ...]) -> Tensor:
    if image.shape[-3] != len(weights):
        raise ValueError(
            f"luma needs {len(weights)} channels (RGB), got {image.shape[-3]} in shape {tuple(image.shape)}; "
            "a gray image is its own luma"
        )
    red, green, blue = image.split(1, dim=-3)
    return weights[0] * red + weights[1] * green + weights[2] * blue
