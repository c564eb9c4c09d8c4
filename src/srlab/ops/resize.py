"""MATLAB's ``imresize`` with the bicubic kernel, for the two ways in which super-resolution uses it.

Kernel: R. Keys, "Cubic convolution interpolation for digital image processing", IEEE TASSP 1981, a = -1/2.
Weights are float64, stretched by the scale when downsampling (antialiasing), each row normalised; border
pixels are mirrored with the edge repeated. The axis with the smaller factor goes first, rows when equal.

``mode="uint8"`` is what MATLAB does to uint8 images: the result is rounded (half up) and clipped to 0..255
after each of the two passes. It reproduces the LR files of the benchmarks exactly. ``"float"`` never rounds.

Why a window of a downsampled image does not depend on how it was computed (scales 1/2, 1/3, 1/4, uint8
mode): the weights are integers divided by 256, 81 and 4096. Division by 256 and 4096 is exact in floating
point, so every sum is exact, ties at .5 included, in any order (even in float32: numerators stay below 2^24).
Over 81 a tie cannot occur, because 81 is odd: sums stay at least 1/162 away from .5, a hundred times the
rounding error of float32. The uint8 result is therefore one well-defined integer per pixel.
"""

import math
from fractions import Fraction
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from srlab.ops.axis import Axis

_KERNEL_WIDTH = 4.0


def imresize(
    image: Tensor,
    *,
    scale: float | Fraction | None = None,
    size: tuple[int, int] | None = None,
    mode: Literal["uint8", "float"],
    antialias: bool = True,
) -> Tensor:
    """Resize the last two axes as MATLAB's ``imresize(image, scale, "bicubic")`` does.

    Differentiable in float mode; half precision is accumulated in float32.

    Args:
        image: (..., H, W); uint8 in uint8 mode, any floating dtype and range in float mode.
        scale: factor of both sides, below 1 to downsample (``Fraction(1, 3)``, ``0.25``, ``4``); the result
            has ceil(side * scale) pixels. Give either this or ``size``.
        size: output (height, width); each axis then has its own factor, output / input.
        mode: ``"uint8"`` rounds and clips after each pass, ``"float"`` does not.
        antialias: stretch the kernel when downsampling.

    Returns:
        The resized image, of the dtype and on the device of ``image``.
    """
    _check_input(image, mode)
    axes = _plan(image.shape[-2:], scale, size)
    working = image.double() if mode == "uint8" else image.to(torch.promote_types(image.dtype, torch.float32))
    for axis, factor, output_side in axes:
        weights, positions = resize_taps(output_side, factor, antialias)
        working = weighted_sums(working, axis, weights, mirrored(positions, working.shape[axis]))
        if mode == "uint8":
            working = torch.floor(working + 0.5).clamp_(0, 255)
    return working.to(image.dtype).contiguous()


def imresize_part(image: Tensor, rows: Axis, columns: Axis) -> Tensor:
    """A part of ``imresize(image, size=…, mode="float")``, from a part of its image, without rounding.

    The axes' part of the image reaches two pixels beyond the wanted ones, or to the border; more where the
    result is the smaller image, whose kernel is wider.

    Args:
        image: (..., H, W), any floating dtype; half precision is accumulated in float32.
        rows: the wanted rows, with those of ``image``.
        columns: likewise.

    Returns:
        (..., h, w), of the dtype of ``image``.

    Raises:
        ValueError: ``image`` does not reach as far.
    """
    working = image.to(torch.promote_types(image.dtype, torch.float32))
    for dimension, axis in sorted(((-2, rows), (-1, columns)), key=lambda pair: _factor(pair[1])):
        weights, positions = resize_taps(axis.side, _factor(axis), True)
        wanted = slice(axis.first, axis.stop)
        _check_reach(positions[wanted][weights[wanted] != 0], axis, working.shape[dimension])
        indices = mirrored(positions[wanted] - axis.start, working.shape[dimension])
        working = weighted_sums(working, dimension, weights[wanted], indices)
    return working.to(image.dtype).contiguous()


def _check_reach(positions: NDArray[np.int64], axis: Axis, length: int) -> None:
    """Whether a part of ``length`` pixels holds the positions, but for those beyond the image's ends."""
    needed = max(int(positions.min()), 0), min(int(positions.max()), axis.lr_side - 1)
    if needed[0] < axis.start or needed[1] >= axis.start + length:
        raise ValueError(
            f"pixels {axis.first} to {axis.stop - 1} of {axis.side} need {needed[0]} to {needed[1]} of the "
            f"image's {axis.lr_side}, and the part has {axis.start} to {axis.start + length - 1}: cut larger "
            "parts, or restore the whole image (tile=0)"
        )


def _factor(axis: Axis) -> float:
    return axis.side / axis.lr_side


def mirrored(positions: NDArray[np.int64], side: int) -> NDArray[np.int64]:
    """Positions on an axis of ``side`` pixels that is mirrored at both ends, edge repeated."""
    wrapped = positions % (2 * side)
    return np.minimum(wrapped, 2 * side - 1 - wrapped)


@lru_cache(maxsize=256)
def resize_taps(
    output_side: int, factor: float, antialias: bool
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """As :func:`resize_weights`, on an axis without ends. Cached: do not write into them.

    Returns:
        (output, taps) weights, rows summing to 1; (output, taps) source positions, the first pixel's 0.
    """
    stretch = min(factor, 1.0) if antialias else 1.0
    width = _KERNEL_WIDTH / stretch
    positions = np.arange(1, output_side + 1, dtype=np.float64)
    # MATLAB's coordinates: the first pixel's centre is 1
    centers = positions / factor + 0.5 * (1.0 - 1.0 / factor)
    first = np.floor(centers - width / 2.0)
    taps = first[:, None] + np.arange(math.ceil(width) + 2)
    weights = stretch * _cubic(stretch * (centers[:, None] - taps))
    weights /= weights.sum(axis=1, keepdims=True)
    used = np.flatnonzero(np.any(weights != 0.0, axis=0))
    weights, taps = weights[:, used[0] : used[-1] + 1], taps[:, used[0] : used[-1] + 1]
    return np.ascontiguousarray(weights), np.ascontiguousarray(taps.astype(np.int64) - 1)


def _cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys' cubic convolution kernel, a = -1/2, zero beyond 2."""
    distance = np.abs(x)
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1.0
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4.0 * distance + 2.0
    return np.where(distance <= 1.0, near, np.where(distance <= 2.0, far, 0.0))


def weighted_sums(
    image: Tensor, axis: int, weights: NDArray[np.float64], indices: NDArray[np.int64]
) -> Tensor:
    """One pass over an axis: each pixel of the result is a sum of some of the image's, times weights.

    Not a matrix product: that may run in TF32 or bfloat16; the taps' order is fixed.

    Args:
        image: (..., H, W).
        axis: -2 or -1.
        weights: (output, taps).
        indices: (output, taps), positions on the axis.
    """
    if axis == -1:  # whole rows are selected several times as fast as columns
        rows = image.transpose(-1, -2).contiguous()
        return weighted_sums(rows, -2, weights, indices).transpose(-1, -2)
    column = torch.from_numpy(weights.T.copy()).to(device=image.device, dtype=image.dtype)[..., None]
    source = torch.from_numpy(indices.T.copy()).to(image.device)
    total = image.index_select(-2, source[0]) * column[0]
    for tap in range(1, len(source)):
        total += image.index_select(-2, source[tap]).mul_(column[tap])
    return total


def _plan(
    sides: torch.Size, scale: float | Fraction | None, size: tuple[int, int] | None
) -> list[tuple[int, float, int]]:
    """(axis, factor, output side) in the order of the passes."""
    if scale is not None and size is None:
        if not (scale > 0 and math.isfinite(scale)):
            raise ValueError(f"scale must be a positive number, got {scale}")
        steps = [(axis, float(scale), math.ceil(sides[axis] * scale)) for axis in (-2, -1)]
    elif size is not None and scale is None:
        if len(size) != 2 or min(size) < 1:
            raise ValueError(f"size must be (height, width) of at least 1x1, got {size}")
        steps = [(axis, size[axis] / sides[axis], size[axis]) for axis in (-2, -1)]
    else:
        raise ValueError(f"give exactly one of scale and size, got scale={scale}, size={size}")
    return sorted(steps, key=lambda step: step[1])


def _check_input(image: Tensor, mode: str) -> None:
    if mode not in ("uint8", "float"):
        raise ValueError(f"mode must be 'uint8' or 'float', got {mode!r}")
    if image.ndim < 2 or 0 in image.shape[-2:]:
        raise ValueError(f"image must be (..., H, W) with sides >= 1, got shape {tuple(image.shape)}")
    fits = image.dtype == torch.uint8 if mode == "uint8" else image.is_floating_point()
    if not fits:
        takes = "a torch.uint8 image" if mode == "uint8" else "a floating-point image"
        raise ValueError(f"mode={mode!r} takes {takes}, got {image.dtype}; convert it or use the other mode")
