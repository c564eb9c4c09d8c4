"""Two shift-convolutions with a ReLU between them in one kernel; the map between them never reaches memory.

The channels lie in five groups, see srlab.ops.shift: four of C // 5 read their right, left, lower and upper
neighbour, which is zero outside the map, the rest their own pixel. The second convolution reads each hidden
channel at one place only, the one that its group is shifted from. So a tile of pixels needs each hidden
channel for as many pixels as it has, none twice: fusing costs no arithmetic.

Shape legend: B batch, H/W map size, C channels in and out, N hidden channels.
"""
# ruff: noqa: N803, N806 - constants of a kernel are written in capitals
# Triton turns numbers into constants and unrolls loops over them, which its annotations cannot say:
# pyright: reportArgumentType=false, reportGeneralTypeIssues=false, reportCallIssue=false

from typing import Any, NamedTuple

import triton
import triton.language as tl

from srlab.extensions.kernels.triton.placement import View


class Pixels(NamedTuple):
    """Size of the map, and number of its pixels in the whole batch."""

    height: int
    width: int
    pixels: int


class Spot(NamedTuple):
    """Of each pixel in a tile: is it one, and where."""

    inside: Any
    image: Any
    row: Any
    column: Any


@triton.jit
def _spots(pixels: tl.tensor, size: Pixels) -> Spot:
    """Where pixels lie that are counted through the batch, row by row."""
    within = pixels % (size.height * size.width)
    return Spot(
        inside=pixels < size.pixels,
        image=pixels // (size.height * size.width),
        row=within // size.width,
        column=within % size.width,
    )


@triton.jit
def _neighbours(spot: Spot, group: tl.tensor, size: Pixels) -> Spot:
    """The pixels that a group of channels reads."""
    row = spot.row + (group == 2) * 1 - (group == 3) * 1
    column = spot.column + (group == 0) * 1 - (group == 1) * 1
    inside = (row >= 0) & (row < size.height) & (column >= 0) & (column < size.width)
    return Spot(inside=spot.inside & inside, image=spot.image, row=row, column=column)


@triton.jit
def _elements(view: View, spot: Spot, channels: tl.tensor, ALIGNED: tl.constexpr) -> tl.tensor:
    """(pixels, channels) pointers; maps may hold more than 2**31 elements."""
    start = spot.image.to(tl.int64) * view.image + spot.row.to(tl.int64) * view.row
    start = tl.multiple_of(start + spot.column.to(tl.int64) * view.column + view.offset, ALIGNED)
    return view.storage + (start[:, None] + channels[None, :])


@triton.jit
def mix_locally(
    source: View,
    expand: tl.tensor,
    expand_bias: tl.tensor,
    contract: tl.tensor,
    contract_bias: tl.tensor,
    result: View,
    size: Pixels,
    INPUTS: tl.constexpr,
    HIDDEN: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_H: tl.constexpr,
    BLOCK_O: tl.constexpr,
    ALIGNED: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """A block of pixels, all channels, which ``BLOCK_O`` holds; ``expand`` is (N, C), ``contract`` (C, N)."""
    FIFTH: tl.constexpr = HIDDEN // 5
    LAST: tl.constexpr = HIDDEN - 4 * FIFTH
    spot = _spots(tl.program_id(0) * BLOCK + tl.arange(0, BLOCK), size)
    outputs = tl.arange(0, BLOCK_O)
    total = tl.zeros((BLOCK, BLOCK_O), tl.float32)
    for group in tl.static_range(5):
        near = _neighbours(spot, group, size)
        for start in range(0, FIFTH if group < 4 else LAST, BLOCK_H):
            within = start + tl.arange(0, BLOCK_H)
            held = within < (FIFTH if group < 4 else LAST)
            units = group * FIFTH + within
            hidden = _expanded(
                source, expand, near, units, held, size, INPUTS, BLOCK, BLOCK_C, BLOCK_H, ALIGNED, PRECISION
            )
            hidden += tl.load(expand_bias + units, mask=held, other=0.0).to(tl.float32)[None, :]
            hidden = tl.where(near.inside[:, None], tl.maximum(hidden, 0.0), 0.0)
            w = tl.load(
                contract + units[:, None] + outputs[None, :] * HIDDEN,
                mask=held[:, None] & (outputs < INPUTS)[None, :],
                other=0.0,
            )
            total = tl.dot(hidden.to(w.dtype), w, total, input_precision=PRECISION)
    mask = spot.inside[:, None] & (outputs < INPUTS)[None, :]
    total += tl.load(contract_bias + outputs, mask=outputs < INPUTS, other=0.0).to(tl.float32)[None, :]
    total += tl.load(_elements(source, spot, outputs, ALIGNED), mask=mask, other=0.0).to(tl.float32)
    pointers = _elements(result, spot, outputs, ALIGNED)
    tl.store(pointers, total.to(result.storage.dtype.element_ty), mask=mask)


@triton.jit
def _expanded(
    source: View,
    expand: tl.tensor,
    spot: Spot,
    units: tl.tensor,
    held_units: tl.tensor,
    size: Pixels,
    INPUTS: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_H: tl.constexpr,
    ALIGNED: tl.constexpr,
    PRECISION: tl.constexpr,
) -> tl.tensor:
    """Some hidden channels of the pixels at ``spot``, before bias and ReLU."""
    FIFTH: tl.constexpr = INPUTS // 5
    LAST: tl.constexpr = INPUTS - 4 * FIFTH
    hidden = tl.zeros((BLOCK, BLOCK_H), tl.float32)
    for group in tl.static_range(5):
        near = _neighbours(spot, group, size)
        for start in range(0, FIFTH if group < 4 else LAST, BLOCK_C):
            within = start + tl.arange(0, BLOCK_C)
            held = within < (FIFTH if group < 4 else LAST)
            channels = group * FIFTH + within
            x = tl.load(
                _elements(source, near, channels, ALIGNED),
                mask=near.inside[:, None] & held[None, :],
                other=0.0,
            )
            w = tl.load(
                expand + channels[:, None] + units[None, :] * INPUTS,
                mask=held[:, None] & held_units[None, :],
                other=0.0,
            )
            hidden = tl.dot(x, w, hidden, input_precision=PRECISION)
    return hidden
