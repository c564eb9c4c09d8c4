"""Two shift-convolutions with a ReLU between them in one kernel: what lies between never reaches memory.

The second one reads each hidden channel at one place only, the one that its group is shifted from. So a tile
of pixels needs each hidden channel for as many pixels as it has, none twice: fusing costs no arithmetic.

Shape legend: C channels in and out, N hidden channels.
"""
# ruff: noqa: N803, N806 - constants of a kernel are written in capitals
# Triton turns numbers into constants and unrolls loops over them, which its annotations cannot say:
# pyright: reportArgumentType=false, reportGeneralTypeIssues=false, reportCallIssue=false

import triton
import triton.language as tl

from srlab.extensions.kernels.triton.placement import View
from srlab.extensions.kernels.triton.shift_kernels import Pixels, Spot, elements, neighbours, spots

__all__ = ["mix_locally"]


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
    spot = spots(tl.program_id(0) * BLOCK + tl.arange(0, BLOCK), size)
    outputs = tl.arange(0, BLOCK_O)
    total = tl.zeros((BLOCK, BLOCK_O), tl.float32)
    for group in tl.static_range(5):
        near = neighbours(spot, group, 1, size)
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
    total += tl.load(elements(source, spot, outputs, ALIGNED), mask=mask, other=0.0).to(tl.float32)
    pointers = elements(result, spot, outputs, ALIGNED)
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
        near = neighbours(spot, group, 1, size)
        for start in range(0, FIFTH if group < 4 else LAST, BLOCK_C):
            within = start + tl.arange(0, BLOCK_C)
            held = within < (FIFTH if group < 4 else LAST)
            channels = group * FIFTH + within
            x = tl.load(
                elements(source, near, channels, ALIGNED),
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
