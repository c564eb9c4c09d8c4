"""Between the planes of a film's frame, Y'CbCr with or without subsampled chroma, and RGB in [0, 1].

Equations and ranges: ITU-T H.273, sections 8.2 and 8.3. Chroma of 4:2:0 and 4:2:2 is taken to lie beside the
left one of two columns and, in 4:2:0, between two rows (``chroma_sample_loc_type`` 0, the default of H.264).
"""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srlab.extensions.upscale.enlarging import FloatImage

Plane = NDArray[np.floating[Any]]

# Kr and Kb by H.273's MatrixCoefficients
_WEIGHTS = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
}
_UNSPECIFIED = 2
_FULL = 2
_SUBSAMPLING = {"420": (2, 2), "422": (1, 2), "444": (1, 1)}


@dataclass(frozen=True)
class Colors:
    """How the planes of a frame encode colours.

    Attributes:
        matrix: H.273's MatrixCoefficients.
        full: whether samples use all levels, instead of 16 to 235 (240) of 256.
        bits: of a sample.
        rows: of luma for a row of chroma.
        columns: of luma for a column of chroma.
    """

    matrix: int
    full: bool
    bits: int
    rows: int
    columns: int


def describe_colors(pixel_format: str, matrix: int, color_range: int, height: int) -> Colors:
    """What the names of FFmpeg mean; an unspecified matrix is BT.709 from 720 rows on, BT.601 below.

    Args:
        pixel_format: such as ``yuv420p10le``.
        matrix: H.273's MatrixCoefficients.
        color_range: FFmpeg's ``AVColorRange``: 2 is full, all else limited.
        height: of the frame.

    Raises:
        ValueError: neither planar Y'CbCr without alpha, nor a matrix with constant weights.
    """
    name = re.fullmatch(r"yuv(j?)(420|422|444)p(?:(10|12)le)?", pixel_format)
    if name is None:
        raise ValueError(
            f"its pixel format is {pixel_format}; supported are yuv420p, yuv422p and yuv444p with 8, 10 or "
            "12 bits; convert it first"
        )
    if matrix == _UNSPECIFIED:
        matrix = 1 if height >= 720 else 6
    if matrix not in _WEIGHTS:
        raise ValueError(
            f"its matrix coefficients are number {matrix} of ITU-T H.273; supported are "
            f"{', '.join(map(str, _WEIGHTS))}; convert it first"
        )
    rows, columns = _SUBSAMPLING[name[2]]
    return Colors(matrix, bool(name[1]) or color_range == _FULL, int(name[3] or 8), rows, columns)


def to_rgb(planes: tuple[Plane, Plane, Plane], colors: Colors) -> FloatImage:
    """(H, W, 3) in [0, 1], values outside are clamped, of Y', Cb and Cr as stored."""
    height, width = planes[0].shape
    black, span, neutral, chroma_span = _levels(colors)
    luma = (planes[0] - black) / span
    blue, red = (_upsample((plane - neutral) / chroma_span, colors)[:height, :width] for plane in planes[1:])
    kr, kb = _WEIGHTS[colors.matrix]
    r = luma + 2 * (1 - kr) * red
    b = luma + 2 * (1 - kb) * blue
    g = (luma - kr * r - kb * b) / (1 - kr - kb)
    return np.clip(np.stack([r, g, b], axis=2), 0, 1, dtype=np.float32)


def from_rgb(image: FloatImage, colors: Colors) -> tuple[NDArray[np.uint16], ...]:
    """Y', Cb and Cr as stored, clamped and rounded, of (H, W, 3); sides are multiples of the subsampling.

    Raises:
        ValueError: values that are not finite.
    """
    if not np.isfinite(image).all():
        raise ValueError("the network returned NaN or infinite values; try --precision float32")
    r, g, b = np.moveaxis(np.clip(image, 0, 1), 2, 0)
    kr, kb = _WEIGHTS[colors.matrix]
    luma = kr * r + (1 - kr - kb) * g + kb * b
    black, span, neutral, chroma_span = _levels(colors)
    planes = [luma * span + black]
    for primary, weight in ((b, kb), (r, kr)):
        chroma = (primary - luma) / (2 * (1 - weight))
        planes.append(_downsample(chroma, colors) * chroma_span + neutral)
    top = 2**colors.bits - 1
    return tuple(np.clip(np.floor(plane + 0.5), 0, top).astype(np.uint16) for plane in planes)


def _levels(colors: Colors) -> tuple[float, float, float, float]:
    """Black, luma's span, neutral chroma, chroma's span."""
    if colors.full:
        top = 2**colors.bits - 1
        return 0.0, top, 2 ** (colors.bits - 1), top
    unit = 2 ** (colors.bits - 8)
    return 16 * unit, 219 * unit, 128 * unit, 224 * unit


def _upsample(plane: Plane, colors: Colors) -> Plane:
    """Linear interpolation; the border is repeated."""
    if colors.rows == 2:
        above, below = np.vstack([plane[:1], plane[:-1]]), np.vstack([plane[1:], plane[-1:]])
        plane = _alternate(0.25 * above + 0.75 * plane, 0.75 * plane + 0.25 * below, axis=0)
    if colors.columns == 2:
        right = np.hstack([plane[:, 1:], plane[:, -1:]])
        plane = _alternate(plane, 0.5 * (plane + right), axis=1)
    return plane


def _alternate(even: Plane, odd: Plane, axis: int) -> Plane:
    shape = list(even.shape)
    shape[axis] *= 2
    return np.stack([even, odd], axis=axis + 1).reshape(shape)


def _downsample(plane: Plane, colors: Colors) -> Plane:
    """Weights 1/4, 1/2, 1/4 around every second column; the mean of pairs of rows."""
    if colors.columns == 2:
        left = np.hstack([plane[:, :1], plane[:, 1:-1:2]])
        plane = 0.25 * left + 0.5 * plane[:, ::2] + 0.25 * plane[:, 1::2]
    if colors.rows == 2:
        plane = 0.5 * (plane[::2] + plane[1::2])
    return plane
