"""MATLAB's bicubic shrinking of windows of 8-bit images, fast: the same bytes as ``ops.resize.imresize``.

Both passes are products with a small banded matrix that shrinks a few lines at a time. In float32 they are
exact at scales 2, 3 and 4 (``ops.resize`` says why), so that neither the blocking nor the window changes a
bit. NumPy's products are used because torch's may be told to run in TF32 or bfloat16. Other scales run in
float64; even ones that are no power of two are refused: there MATLAB's own rounding of ties depends on the
position in the image.
"""

from fractions import Fraction
from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

__all__ = ["context", "shrink", "shrink_window"]

_EXACT_IN_FLOAT32 = (2, 3, 4)
# LR lines of one product. Measured at x4 on one Zen core, a 64x64 LR crop: 2: 85 us, 4: 76, 8: 104, 16: 125.
_BLOCK = 4


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


def shrink_window(window: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    """(C, s*h + 2m, s*w + 2m) with m = ``context(scale)`` to (C, h, w).

    Args:
        window: part of an image, aligned to multiples of the scale but for its context; beyond the image's
            border the context is the mirrored image, edge repeated.
        scale: s.
    """
    rows, columns = ((side - 2 * context(scale)) // scale for side in window.shape[-2:])
    band = _band(scale)
    pixels = window.astype(band.dtype, order="C")
    shrunk = _round(_shrink_rows(pixels, rows, scale))
    flat = shrunk.reshape(-1, shrunk.shape[-1])
    result = _round(_shrink_columns(flat, columns, scale))
    return result.astype(np.uint8).reshape(len(window), rows, columns)


def shrink(image: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    """A whole (C, H, W) image, whose sides are multiples of the scale."""
    margin = context(scale)
    padded = np.pad(image, ((0, 0), (margin, margin), (margin, margin)), mode="symmetric")
    return shrink_window(padded, scale)


def _shrink_rows(pixels: NDArray[np.floating], rows: int, scale: int) -> NDArray[np.floating]:
    """(C, s*rows + 2m, X) to (C, rows, X)."""
    channels, _, width = pixels.shape
    plane, line, item = pixels.strides
    result = np.empty((channels, rows, width), pixels.dtype)
    start = 0
    while start < rows:
        band = _band(scale, min(_BLOCK, rows - start))
        size, reach = band.shape
        count = (rows - start) // size
        windows = as_strided(
            pixels[:, start * scale :],
            (channels, count, reach, width),
            (plane, size * scale * line, line, item),
            writeable=False,
        )
        result[:, start : start + count * size] = (band @ windows).reshape(channels, count * size, width)
        start += count * size
    return result


def _shrink_columns(lines: NDArray[np.floating], columns: int, scale: int) -> NDArray[np.floating]:
    """(N, s*columns + 2m) to (N, columns)."""
    line, item = lines.strides
    result = np.empty((len(lines), columns), lines.dtype)
    start = 0
    while start < columns:
        band = _band(scale, min(_BLOCK, columns - start))
        size, reach = band.shape
        count = (columns - start) // size
        windows = as_strided(
            lines[:, start * scale :],
            (count, len(lines), reach),
            (size * scale * item, line, item),
            writeable=False,
        )
        product = windows @ band.T
        result[:, start : start + count * size] = product.transpose(1, 0, 2).reshape(len(lines), count * size)
        start += count * size
    return result


def _round(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """Half up, clipped to 0..255, in place."""
    values += 0.5
    np.floor(values, out=values)
    return np.clip(values, 0, 255, out=values)


@lru_cache(maxsize=32)
def _band(scale: int, lines: int = _BLOCK) -> NDArray[np.floating]:
    """Matrix that shrinks ``lines * scale + 2m`` pixels to ``lines``; float32 where that is exact."""
    taps = scale + 2 * context(scale)
    weights = [float(_weight(Fraction(2 * tap + 1 - taps, 2 * scale)) / scale) for tap in range(taps)]
    matrix = np.zeros(
        (lines, (lines - 1) * scale + taps), np.float32 if scale in _EXACT_IN_FLOAT32 else np.float64
    )
    for row in range(lines):
        matrix[row, row * scale : row * scale + taps] = weights
    return matrix


def _weight(x: Fraction) -> Fraction:
    """Keys' kernel with a = -1/2; its samples at any spacing 1/s sum to s, which needs no normalisation."""
    distance = abs(x)
    if distance <= 1:
        return Fraction(3, 2) * distance**3 - Fraction(5, 2) * distance**2 + 1
    if distance <= 2:
        return -Fraction(1, 2) * distance**3 + Fraction(5, 2) * distance**2 - 4 * distance + 2
    return Fraction(0)
