"""A 1x1 convolution that reads each fifth of its channels one pixel away, and its gradients.

The channels lie in five groups, see srlab.ops.shift: four of C // 5 read their right, left, lower and upper
neighbour, which is zero outside the map, the rest their own pixel. Tiles hold pixels of the whole batch in
order, and channels of one group, so that a tile is read from one shifted place.

Shape legend: B batch, H/W map size, C channels in, O channels out.
"""
# ruff: noqa: N803, N806 - constants of a kernel are written in capitals
# Triton turns numbers into constants and unrolls loops over them, which its annotations cannot say:
# pyright: reportArgumentType=false, reportGeneralTypeIssues=false, reportCallIssue=false

from typing import Any, NamedTuple

import triton
import triton.language as tl

from srlab.extensions.kernels.triton.placement import View

__all__ = [
    "Pixels",
    "Spot",
    "elements",
    "neighbours",
    "shift_mix",
    "shift_mix_input_gradient",
    "shift_mix_weight_gradient",
    "spots",
]


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
def spots(pixels: tl.tensor, size: Pixels) -> Spot:
    """Where pixels lie that are counted through the batch, row by row."""
    within = pixels % (size.height * size.width)
    return Spot(
        inside=pixels < size.pixels,
        image=pixels // (size.height * size.width),
        row=within // size.width,
        column=within % size.width,
    )


@triton.jit
def neighbours(spot: Spot, group: tl.tensor, sign: tl.constexpr, size: Pixels) -> Spot:
    """The pixels that a group of channels reads; against the direction for ``sign`` -1."""
    row = spot.row + sign * ((group == 2) * 1 - (group == 3) * 1)
    column = spot.column + sign * ((group == 0) * 1 - (group == 1) * 1)
    inside = (row >= 0) & (row < size.height) & (column >= 0) & (column < size.width)
    return Spot(inside=spot.inside & inside, image=spot.image, row=row, column=column)


@triton.jit
def elements(view: View, spot: Spot, channels: tl.tensor, ALIGNED: tl.constexpr) -> tl.tensor:
    """(pixels, channels) pointers; maps may hold more than 2**31 elements."""
    start = spot.image.to(tl.int64) * view.image + spot.row.to(tl.int64) * view.row
    start = tl.multiple_of(start + spot.column.to(tl.int64) * view.column + view.offset, ALIGNED)
    return view.storage + (start[:, None] + channels[None, :])


@triton.jit
def shift_mix(
    source: View,
    weight: tl.tensor,
    bias: tl.tensor,
    residual: View,
    result: View,
    size: Pixels,
    INPUTS: tl.constexpr,
    OUTPUTS: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_O: tl.constexpr,
    BIASED: tl.constexpr,
    RESIDUAL: tl.constexpr,
    RELU: tl.constexpr,
    ALIGNED: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """A block of pixels and of output channels; ``weight`` is (O, C)."""
    FIFTH: tl.constexpr = INPUTS // 5
    LAST: tl.constexpr = INPUTS - 4 * FIFTH  # channels of the last group
    BLOCKS: tl.constexpr = (OUTPUTS + BLOCK_O - 1) // BLOCK_O
    program = tl.program_id(0)
    spot = spots(program // BLOCKS * BLOCK + tl.arange(0, BLOCK), size)
    outputs = program % BLOCKS * BLOCK_O + tl.arange(0, BLOCK_O)
    total = tl.zeros((BLOCK, BLOCK_O), tl.float32)
    for group in tl.static_range(5):
        near = neighbours(spot, group, 1, size)
        for start in range(0, FIFTH if group < 4 else LAST, BLOCK_C):
            within = start + tl.arange(0, BLOCK_C)
            channels = group * FIFTH + within
            held = within < (FIFTH if group < 4 else LAST)
            x = tl.load(
                elements(source, near, channels, ALIGNED),
                mask=near.inside[:, None] & held[None, :],
                other=0.0,
            )
            w = tl.load(
                weight + channels[:, None] + outputs[None, :] * INPUTS,
                mask=held[:, None] & (outputs < OUTPUTS)[None, :],
                other=0.0,
            )
            total = tl.dot(x, w, total, input_precision=PRECISION)
    if BIASED:
        total += tl.load(bias + outputs, mask=outputs < OUTPUTS, other=0.0).to(tl.float32)[None, :]
    mask = spot.inside[:, None] & (outputs < OUTPUTS)[None, :]
    if RESIDUAL:
        total += tl.load(elements(residual, spot, outputs, ALIGNED), mask=mask, other=0.0).to(tl.float32)
    if RELU:
        total = tl.maximum(total, 0.0)
    pointers = elements(result, spot, outputs, ALIGNED)
    tl.store(pointers, total.to(result.storage.dtype.element_ty), mask=mask)


@triton.jit
def shift_mix_input_gradient(
    gradient: View,
    weight: tl.tensor,
    to_source: View,
    size: Pixels,
    INPUTS: tl.constexpr,
    OUTPUTS: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_O: tl.constexpr,
    ALIGNED: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """A block of pixels, all input channels: each group reads the gradient against its direction."""
    FIFTH: tl.constexpr = INPUTS // 5
    LAST: tl.constexpr = INPUTS - 4 * FIFTH  # channels of the last group
    spot = spots(tl.program_id(0) * BLOCK + tl.arange(0, BLOCK), size)
    for group in tl.static_range(5):
        near = neighbours(spot, group, -1, size)
        for first in range(0, FIFTH if group < 4 else LAST, BLOCK_C):
            within = first + tl.arange(0, BLOCK_C)
            channels = group * FIFTH + within
            held = within < (FIFTH if group < 4 else LAST)
            total = tl.zeros((BLOCK, BLOCK_C), tl.float32)
            for start in range(0, OUTPUTS, BLOCK_O):
                outputs = start + tl.arange(0, BLOCK_O)
                g = tl.load(
                    elements(gradient, near, outputs, ALIGNED),
                    mask=near.inside[:, None] & (outputs < OUTPUTS)[None, :],
                    other=0.0,
                )
                w = tl.load(
                    weight + outputs[:, None] * INPUTS + channels[None, :],
                    mask=(outputs < OUTPUTS)[:, None] & held[None, :],
                    other=0.0,
                )
                total = tl.dot(g, w, total, input_precision=PRECISION)
            tl.store(
                elements(to_source, spot, channels, ALIGNED),
                total.to(to_source.storage.dtype.element_ty),
                mask=spot.inside[:, None] & held[None, :],
            )


@triton.jit
def shift_mix_weight_gradient(
    source: View,
    gradient: View,
    to_weight: tl.tensor,
    size: Pixels,
    INPUTS: tl.constexpr,
    OUTPUTS: tl.constexpr,
    BLOCK: tl.constexpr,
    TILES: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_O: tl.constexpr,
    ALIGNED: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """A tile of the weight's gradient for ``TILES`` tiles of pixels; ``to_weight`` is (parts, O, C)."""
    FIFTH: tl.constexpr = INPUTS // 5
    LAST: tl.constexpr = INPUTS - 4 * FIFTH  # channels of the last group, which has most
    BLOCKS_C: tl.constexpr = (LAST + BLOCK_C - 1) // BLOCK_C
    BLOCKS_O: tl.constexpr = (OUTPUTS + BLOCK_O - 1) // BLOCK_O
    program = tl.program_id(0)
    outputs = program % BLOCKS_O * BLOCK_O + tl.arange(0, BLOCK_O)
    within = program // BLOCKS_O % BLOCKS_C * BLOCK_C + tl.arange(0, BLOCK_C)
    group = program // BLOCKS_O // BLOCKS_C % 5
    part = program // BLOCKS_O // BLOCKS_C // 5
    channels = group * FIFTH + within
    held = (within < tl.where(group == 4, LAST, FIFTH))[None, :]
    total = tl.zeros((BLOCK_O, BLOCK_C), tl.float32)
    for tile in range(TILES):
        spot = spots((part * TILES + tile) * BLOCK + tl.arange(0, BLOCK), size)
        near = neighbours(spot, group, 1, size)
        x = tl.load(elements(source, near, channels, ALIGNED), mask=near.inside[:, None] & held, other=0.0)
        g = tl.load(
            elements(gradient, spot, outputs, ALIGNED),
            mask=spot.inside[:, None] & (outputs < OUTPUTS)[None, :],
            other=0.0,
        )
        total = tl.dot(tl.trans(g), x, total, input_precision=PRECISION)
    start = part.to(tl.int64) * (OUTPUTS * INPUTS)
    entries = start + outputs[:, None] * INPUTS + channels[None, :]
    tl.store(to_weight + entries, total, mask=(outputs < OUTPUTS)[:, None] & held)
