"""MATLAB's bicubic shrinking of windows of 8-bit images, fast: the same bytes as ``ops.resize.imresize``.

At x2, x3, x4 and x8 it is torch's antialiased bicubic of uint8 images, which has the same kernel, rounds half
up to 8 bits after each pass, and works in fixed point with 16 bits or more after the point. MATLAB's weights
are multiples of 1/256, 1/81, 1/4096 and 1/65536. Powers of two lose nothing. Over 81 the rounding errors of
all weights add up to less than 0.0052 grey levels, while a sum stays at least 1/162 = 0.0061 away from a tie.
torch cuts the kernel off where MATLAB mirrors the image: windows carry two LR pixels more on each side, whose
results are dropped. Nothing of this is promised by torch, so each process checks it once on noise.

Other scales take ``imresize`` itself; even ones that are no power of two are refused: there MATLAB's own
rounding of ties depends on the position in the image.
"""

import logging
from fractions import Fraction
from functools import lru_cache

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from srlab.ops.resize import imresize

__all__ = ["aligned_context", "context", "kernel_weights", "shrink", "shrink_aligned", "shrink_window"]

log = logging.getLogger(__name__)

_EXACT_IN_FIXED_POINT = (2, 3, 4, 8)
# LR pixels on each side of an aligned window that are computed and dropped.
_DROPPED = 2


def context(scale: int) -> int:
    """HR pixels on each side of a window that its LR pixels depend on: 3, 4 and 6 at x2, x3 and x4.

    Raises:
        ValueError: for a scale at which windows are not exact.
    """
    if scale < 2 or (scale % 2 == 0 and scale & (scale - 1)):
        raise ValueError(
            f"exact bicubic windows exist at 2, 4, 8 … and odd scales from 3 on, got scale={scale}"
        )
    return 2 * scale - 1 - (scale - 1) // 2


def aligned_context(scale: int) -> int:
    """HR pixels on each side of an aligned window: the least multiple of the scale that covers the reach.

    Raises:
        ValueError: for a scale at which windows are not exact.
    """
    assert context(scale) <= _DROPPED * scale
    return _DROPPED * scale


@lru_cache(maxsize=8)
def kernel_weights(scale: int) -> tuple[float, ...]:
    """Weights of the s + 2m HR pixels, m = ``context(scale)``, that an LR pixel is the sum of."""
    taps = scale + 2 * context(scale)
    return tuple(float(_cubic(Fraction(2 * tap + 1 - taps, 2 * scale)) / scale) for tap in range(taps))


def shrink_aligned(window: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    """(C, s*h + 2m, s*w + 2m) with m = ``aligned_context(scale)`` to (C, h, w).

    Args:
        window: part of an image, aligned to multiples of the scale; beyond the image's border the context is
            the mirrored image, edge repeated. Fastest if it is contiguous and its width a multiple of four.
        scale: s.
    """
    return _fixed_point(window, scale) if _is_exact_here(scale) else _reference(window, scale)


def shrink_window(window: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    """The same of a window whose context is m = ``context(scale)``, aligned but for that."""
    margin = aligned_context(scale) - context(scale)
    return shrink_aligned(np.pad(window, ((0, 0), (margin, margin), (margin, margin))), scale)


def shrink(image: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    """A whole (C, H, W) image, whose sides are multiples of the scale."""
    margin = aligned_context(scale)
    return shrink_aligned(
        np.pad(image, ((0, 0), (margin, margin), (margin, margin)), mode="symmetric"), scale
    )


@lru_cache(maxsize=8)
def _is_exact_here(scale: int) -> bool:
    """Whether this build of torch shrinks noise as ``imresize`` does; a millisecond, once in a process."""
    if scale not in _EXACT_IN_FIXED_POINT:
        return False
    random = np.random.Generator(np.random.Philox(0))
    noise = random.integers(0, 256, (2, 26 * scale, 31 * scale)).astype(np.uint8)
    noise[0] = noise[0] // 128 * 255  # extremes overshoot, and end in exact halves often
    exact = np.array_equal(_fixed_point(noise, scale), _reference(noise, scale))
    if not exact:
        log.warning(
            "torch %s rounds its bicubic otherwise on this machine: x%d crops are made by the slower "
            "imresize, with the same result",
            torch.__version__,
            scale,
        )
    return exact


def _reference(window: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    inner = slice(_DROPPED, -_DROPPED)
    pixels = torch.from_numpy(np.ascontiguousarray(window))
    return imresize(pixels, scale=Fraction(1, scale), mode="uint8").numpy()[:, inner, inner]


def _fixed_point(window: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    """Rows first, as MATLAB does; then columns, as rows of the transposed planes."""
    height, width = window.shape[1:]
    if width % 4 or not window.flags.c_contiguous:
        window = _widened(window)
    lines = _shrink_rows(window, height // scale)[:, :, :width]
    columns = _shrink_rows(_transposed(lines), width // scale)[:, :, : lines.shape[1]]
    return _transposed(columns)[:, :, : columns.shape[1]]


def _shrink_rows(planes: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """(C, s*count, X) to (C, count - 4, X), X being a multiple of four.

    Pixels of a row do not mix, so that four neighbours may pass as channels of one: torch has its fast loop
    for images that are stored with channels last. (A window of 272x272: 149 us in NumPy's float32 products,
    72 so.)
    """
    channels, height, width = planes.shape
    pixels = torch.from_numpy(planes).view(channels, height, width // 4, 4).permute(0, 3, 1, 2)
    shrunk: Tensor = F.interpolate(pixels, (count, width // 4), mode="bicubic", antialias=True)
    return shrunk.permute(0, 2, 3, 1).reshape(channels, count, width)[:, _DROPPED:-_DROPPED].numpy()


def _transposed(planes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(C, X, Y) to (C, Y, X), X rounded up to a multiple of four with columns that nobody reads.

    OpenCV transposes three planes of 64x272 in 7 us, NumPy in 18.
    """
    channels, rows, columns = planes.shape
    result = np.empty((channels, columns, _up_to_four(rows)), np.uint8)
    for source, target in zip(planes, result, strict=True):
        cv2.transpose(source, dst=target[:, :rows])
    return result


def _widened(window: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A contiguous copy whose width is a multiple of four; nobody reads what the new columns become."""
    result = np.empty((*window.shape[:2], _up_to_four(window.shape[2])), np.uint8)
    result[:, :, : window.shape[2]] = window
    return result


def _up_to_four(size: int) -> int:
    return -(-size // 4) * 4


def _cubic(x: Fraction) -> Fraction:
    """Keys' kernel with a = -1/2; its samples at any spacing 1/s sum to s, which needs no normalisation."""
    distance = abs(x)
    if distance <= 1:
        return Fraction(3, 2) * distance**3 - Fraction(5, 2) * distance**2 + 1
    if distance <= 2:
        return -Fraction(1, 2) * distance**3 + Fraction(5, 2) * distance**2 - 4 * distance + 2
    return Fraction(0)
