"""Unsharp masking of the references that networks for degraded photographs are trained on."""

import torch.nn.functional as F
from torch import Tensor

from srlab.ops.blur import gaussian_means

_REACH = 25  # pixels on each side of the blur's 51x51 window
_SIGMA = 8.0  # OpenCV's for a window of 51: 0.3 * ((51 - 1) / 2 - 1) + 0.8
_AMOUNT = 0.5
_THRESHOLD = 10 / 255


def unsharp_mask(images: Tensor) -> Tensor:
    """Sharpen where an image differs by more than 10 of 255 levels from its blurred self, softly bounded.

    Source: X. Wang and others, "Real-ESRGAN", ICCVW 2021, section 3.4, with the constants of its code. With
    the blur G, the detail d = x - G(x) and the mask m = G(|d| > 10/255): m clip(x + d/2) + (1 - m) x.

    Args:
        images: (B, C, H, W) floating point in [0, 1]; borders are reflected.

    Returns:
        The same shape, in [0, 1].

    Raises:
        ValueError: a side has fewer than 26 pixels.
    """
    if min(images.shape[-2:]) <= _REACH:
        raise ValueError(
            f"sharpening needs images of {_REACH + 1}x{_REACH + 1} pixels or more, got "
            f"{images.shape[-2]}x{images.shape[-1]}; set a larger data.patch_size"
        )
    detail = images - _blur(images)
    mask = _blur((detail.abs() > _THRESHOLD).to(images.dtype))
    sharp = (images + _AMOUNT * detail).clamp(0, 1)
    return mask * sharp + (1 - mask) * images


def _blur(images: Tensor) -> Tensor:
    planes = F.pad(images, (_REACH,) * 4, mode="reflect").flatten(0, 1)[:, None]
    return gaussian_means(planes, 2 * _REACH + 1, _SIGMA).view(images.shape)
