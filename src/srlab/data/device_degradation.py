"""The second half of a training sample on the training device: shrink a batch of windows, turn its crops.

Loader processes then only copy windows of HR pixels and say how each is turned; what arrives at the network
is the same, bit for bit.
"""

import torch
from torch import Tensor

from srlab.data.bicubic_window import aligned_context, kernel_weights
from srlab.data.sampling import FLIP_COLUMNS, FLIP_ROWS, TRANSPOSE

__all__ = ["shrink_on_device", "turn_on_device"]

# Scales at which sums of float32 are exact, or far from a tie (``ops.resize`` says why).
_EXACT_IN_FLOAT32 = (2, 3, 4)


def shrink_on_device(windows: Tensor, scale: int) -> Tensor:
    """MATLAB's bicubic of aligned windows, as ``bicubic_window.shrink_aligned``.

    Sums of products, tap by tap: matrix products may be told to run in TF32 or bfloat16, and autocast changes
    none of these operations.

    Args:
        windows: (..., s*h + 2m, s*w + 2m) uint8 with m = ``aligned_context(scale)``.
        scale: s.

    Returns:
        (..., h, w) uint8.
    """
    pixels = windows.to(torch.float32 if scale in _EXACT_IN_FLOAT32 else torch.float64)
    for axis in (-2, -1):
        pixels = _shrink_axis(pixels, axis, scale).add_(0.5).floor_().clamp_(0, 255)
    return pixels.to(torch.uint8)


def turn_on_device(images: Tensor, turns: Tensor) -> Tensor:
    """Each image transposed, then flipped, as its code says.

    Args:
        images: (B, C, S, S).
        turns: (B,) uint8, sums of ``TRANSPOSE``, ``FLIP_ROWS`` and ``FLIP_COLUMNS``.
    """
    codes = turns[:, None, None, None]
    images = torch.where((codes & TRANSPOSE).bool(), images.mT, images)
    images = torch.where((codes & FLIP_ROWS).bool(), images.flip(-2), images)
    # torch.where may answer with transposed strides
    return torch.where((codes & FLIP_COLUMNS).bool(), images.flip(-1), images).contiguous()


def _shrink_axis(pixels: Tensor, axis: int, scale: int) -> Tensor:
    weights = kernel_weights(scale)
    margin = aligned_context(scale)
    count = (pixels.shape[axis] - 2 * margin) // scale
    # the taps of the first pixel lie around its middle
    first = margin - (len(weights) - scale) // 2
    rest = (slice(None),) * (-1 - axis)
    shape = [*pixels.shape]
    shape[axis] = count
    total = pixels.new_zeros(shape)
    for tap, weight in enumerate(weights, start=first):
        total.add_(pixels[(..., slice(tap, tap + scale * (count - 1) + 1, scale), *rest)], alpha=weight)
    return total
