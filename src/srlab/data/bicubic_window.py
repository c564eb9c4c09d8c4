"""MATLAB's bicubic downsampling of windows of 8-bit images, fast: the same bytes as ``ops.resize.imresize``.

At x2, x3, x4 and x8 this is torch's antialiased bicubic of uint8 images: it has the same kernel, rounds half
up to 8 bits after each pass, and works in fixed point with 16 bits or more after the point. MATLAB's weights
are multiples of 1/256, 1/81, 1/4096 and 1/65536. Powers of two lose nothing. Over 81 the rounding errors of
all weights add up to less than 0.0052 grey levels, while a sum stays at least 1/162 = 0.0061 away from a tie.
torch cuts the kernel off where MATLAB mirrors the image: windows carry two more LR pixels on each side, whose
results are dropped. torch does not document any of this, so each process checks it once on noise.

Other scales take sums of products in floating point, as do tensors on any device; even scales that are not
powers of two are refused: there MATLAB's own rounding of ties depends on the position in the image.

A scale may also be a ``Fraction``. The window's result is then that of a whole image one of whose LR pixels
begins where the window does, but for the same ties: window and image may round them differently.
"""

import logging
import math
from fractions import Fraction
from functools import lru_cache

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from srlab.ops.resize import imresize, resize_taps, weighted_sums

log = logging.getLogger(__name__)

_EXACT_IN_FIXED_POINT = (2, 3, 4, 8)
# Scales at which sums of float32 are exact, or far from a tie (``ops.resize`` says why).
_EXACT_IN_FLOAT32 = (2, 3, 4)
# LR pixels on each side of a window that are computed and dropped; the kernel reaches less far.
_DROPPED = 2


def context(scale: int | Fraction) -> int:
    """HR pixels that a window needs on each side, two LR pixels.

    Raises:
        ValueError: for a whole scale at which windows are not exact.
    """
    if isinstance(scale, Fraction):
        return math.ceil(_DROPPED * scale)
    if not _has_exact_windows(scale):
        raise ValueError(
            f"exact bicubic windows exist at 2, 4, 8 … and odd scales from 3 on, got scale={scale}"
        )
    return _DROPPED * scale


def _has_exact_windows(scale: int) -> bool:
    return scale >= 2 and (scale % 2 == 1 or scale & (scale - 1) == 0)


def downsample_window(window: NDArray[np.uint8], scale: int | Fraction) -> NDArray[np.uint8]:
    """(C, s*h + 2m, s*w + 2m) with m = ``context(scale)`` to (C, h, w).

    Args:
        window: part of an image, aligned to multiples of the scale; beyond the image's border the context is
            the mirrored image, edge repeated. Fastest if it is contiguous and its width a multiple of four.
        scale: s.
    """
    if not isinstance(scale, Fraction) and _is_exact_here(scale):
        return _fixed_point(window, scale)
    return downsample_tensor(torch.from_numpy(np.ascontiguousarray(window)), scale).numpy()


def downsample_tensor(windows: Tensor, scale: int | Fraction) -> Tensor:
    """``downsample_window`` of (..., s*h + 2m, s*w + 2m) on any device.

    Sums of products, tap by tap: matrix products may run in TF32 or bfloat16, and autocast changes none of
    these operations. (``imresize`` takes ten times as long.)
    """
    if isinstance(scale, Fraction):
        return _downsample_by_fraction(windows, scale)
    pixels = windows.to(torch.float32 if scale in _EXACT_IN_FLOAT32 else torch.float64)
    for axis in (-2, -1):
        pixels = _downsample_axis(pixels, axis, scale).add_(0.5).floor_().clamp_(0, 255)
    return pixels.to(torch.uint8)


def downsample(image: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    """A whole (C, H, W) image, whose sides whole LR pixels cover (``ops.axis.corresponding_sides``)."""
    if not isinstance(scale, int) or not _has_exact_windows(scale):
        size = int(image.shape[1] / scale + 0.5), int(image.shape[2] / scale + 0.5)
        return imresize(torch.from_numpy(np.array(image)), size=size, mode="uint8").numpy()
    margin = context(scale)
    sides = ((0, 0), (margin, margin), (margin, margin))
    return downsample_window(np.pad(image, sides, mode="symmetric"), scale)


@lru_cache(maxsize=8)
def _is_exact_here(scale: int) -> bool:
    """Whether this build of torch downsamples noise as MATLAB does; takes a millisecond."""
    if scale not in _EXACT_IN_FIXED_POINT:
        return False
    random = np.random.Generator(np.random.Philox(0))
    noise = random.integers(0, 256, (2, 26 * scale, 31 * scale)).astype(np.uint8)
    noise[0] = noise[0] // 128 * 255  # extremes overshoot, and often end in exact halves
    exact = np.array_equal(_fixed_point(noise, scale), downsample_tensor(torch.from_numpy(noise), scale))
    if not exact:
        log.warning(
            "torch %s rounds its bicubic differently on this machine: x%d crops are made in floating point, "
            "slower and with the same result",
            *(torch.__version__, scale),
        )
    return exact


def _downsample_by_fraction(windows: Tensor, scale: Fraction) -> Tensor:
    """Rows first, as MATLAB does where both axes have one factor."""
    margin = context(scale)
    pixels = windows.to(torch.float64)
    for axis in (-2, -1):
        side = windows.shape[axis] - 2 * margin
        weights, positions = resize_taps(int(side / scale), int(side / scale) / side, True)
        pixels = weighted_sums(pixels, axis, weights, positions + margin).add_(0.5).floor_().clamp_(0, 255)
    return pixels.to(torch.uint8)


def _downsample_axis(pixels: Tensor, axis: int, scale: int) -> Tensor:
    weights = resize_taps(8, 1 / scale, True)[0][4]
    used = np.flatnonzero(np.abs(weights) > 1e-9)
    weights = weights[used[0] : used[-1] + 1].tolist()
    margin = context(scale)
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


def _fixed_point(window: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    """Rows first, as MATLAB does; then columns, as rows of the transposed planes."""
    for _ in range(2):
        rows = _downsample_rows(window, scale)
        window = np.stack([cv2.transpose(plane) for plane in rows])  # NumPy's copy takes twice as long
    return window


def _downsample_rows(planes: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    """(C, s*h + 2m, X) to (C, h, X).

    Pixels of a row do not mix, so four neighbours can pass as channels of one: torch has a fast loop for
    channels-last images. (A window of 272x272: 149 us with NumPy's float32 products, 72 us with this.)
    """
    channels, height, width = planes.shape
    padded = np.pad(planes, ((0, 0), (0, 0), (0, -width % 4))) if width % 4 else np.ascontiguousarray(planes)
    pixels = torch.from_numpy(padded).view(channels, height, -1, 4).permute(0, 3, 1, 2)
    small = F.interpolate(pixels, (height // scale, pixels.shape[-1]), mode="bicubic", antialias=True)
    lines = small.permute(0, 2, 3, 1).reshape(channels, height // scale, -1)
    return lines[:, _DROPPED:-_DROPPED, :width].numpy()
