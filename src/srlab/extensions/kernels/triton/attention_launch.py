"""Launches the attention kernels: tiles for every size of window, one launch for heads of one side.

Shape legend: B batch, H/W map size, C channels, M heads, d = C / M, S window side, T = S * S tokens,
N = B * H * W tokens in all.
"""

import math
from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple

import torch
from torch import Tensor

from srlab.extensions.kernels.triton.attention_bias import bias_by_key, bias_kind, gradient_of_bias
from srlab.extensions.kernels.triton.attention_gradient_kernels import (
    block_bias_gradient,
    block_gradients,
    window_gradients,
)
from srlab.extensions.kernels.triton.attention_kernels import attend, row_products
from srlab.extensions.kernels.triton.launching import launch, parts_of, power_of_two, product_precision
from srlab.extensions.kernels.triton.placement import Extent, View, view_of
from srlab.extensions.kernels.triton.tiles import TILE, fits_tile

__all__ = ["Operands", "Run", "attention", "attention_gradients", "equal_heads"]

# Windows of at most as many tokens are cut into blocks of 64 queries, larger ones into blocks of 128: more
# programs, which a map of few windows needs to fill a GPU, against fewer reads of the keys.
_FEW_BLOCKS = 256
# Programs that add up a bias's gradient: a few for each of a large GPU's 132 multiprocessors.
_SUMMING_PROGRAMS = 1024


class Run(NamedTuple):
    """Adjacent heads with windows of one side."""

    side: int
    shift: int
    first: int  # head
    heads: int

    @property
    def fits_tile(self) -> bool:
        """A window is one tile."""
        return fits_tile(self.side)


class Operands(NamedTuple):
    """What all kernels read; the key is None where queries serve as keys."""

    query: Tensor
    key: Tensor | None
    value: Tensor
    bias: Tensor | None
    scale: float
    masked: bool


def equal_heads(sides: Sequence[int], shifts: Sequence[int]) -> list[Run]:
    """Runs of adjacent heads with the same side and shift."""
    runs, first = [], 0
    for (side, shift), group in groupby(zip(sides, shifts, strict=True)):
        heads = len(list(group))
        runs.append(Run(side, shift, first, heads))
        first += heads
    return runs


def attention(operands: Operands, runs: Sequence[Run], mixed: Tensor, statistics: Tensor) -> None:
    """Write the mixed values.

    Args:
        operands: maps (B, H, W, C) with their channels side by side.
        runs: all heads in order.
        mixed: (B, H, W, C), written to.
        statistics: (2, heads in windows larger than a tile, N) in float32, written to: largest logit and sum
            of every row, for the gradients; without entries if there will be none.
    """
    width = operands.query.shape[-1] // sum(run.heads for run in runs)
    kept = 0
    for run in runs:
        keep = not run.fits_tile and statistics.numel() > 0
        rows = statistics[:, kept : kept + run.heads] if keep else (mixed, mixed)
        kept += run.heads if keep else 0
        maps = _of_run((operands.query, operands.key, operands.value, mixed), run, width)
        block, block_k, pack, warps = _forward_tiles(operands, run)
        extent = _extent(operands.query, run)
        tiles = parts_of(extent.windows, pack) * parts_of(pack * run.side**2, block)
        launch(
            attend,
            tiles * run.heads,
            *maps.views,
            _pointer(operands.bias, mixed),
            rows[0],
            rows[1],
            extent,
            run.heads,
            operands.scale,
            SIDE=run.side,
            PACK=pack,
            BLOCK=block,
            BLOCK_K=block_k,
            KEEP=keep,
            MASKED=operands.masked and run.shift > 0,
            **_specialised(operands, run, width, maps.aligned),
            num_warps=warps,
        )


def attention_gradients(
    operands: Operands,
    runs: Sequence[Run],
    mixed: Tensor,
    statistics: Tensor,
    gradient: Tensor,
    bias_gradient: bool,
) -> tuple[Tensor, Tensor | None, Tensor, Tensor | None]:
    """Gradients of query, key (None where queries serve as keys), value and bias (None unless asked for)."""
    to_query, to_value = (_like(tensor) for tensor in (operands.query, operands.value))
    to_key = None if operands.key is None else _like(operands.key)
    to_bias, kept = None, 0
    width = operands.query.shape[-1] // sum(run.heads for run in runs)
    for run in runs:
        tensors = (operands.query, operands.key, operands.value, gradient, to_query, to_key, to_value)
        maps = _of_run(tensors, run, width)
        if run.fits_tile:
            to_bias = _window_gradients(operands, run, maps, width, bias_gradient)
        else:
            rows = statistics[:, kept : kept + run.heads]
            kept += run.heads
            to_bias = _block_gradients(operands, run, maps, width, bias_gradient, rows, mixed, gradient)
    return to_query, to_key, to_value, to_bias


def _window_gradients(
    operands: Operands, run: Run, maps: "Maps", width: int, bias_gradient: bool
) -> Tensor | None:
    """Gradients where a tile holds whole windows; of the maps they are written, the bias's is returned."""
    block, _, pack, warps = _forward_tiles(operands, run)
    extent = _extent(operands.query, run)
    packs = parts_of(extent.windows, pack)
    parts = min(packs, parts_of(_SUMMING_PROGRAMS, run.heads)) if bias_gradient else packs
    groups = parts_of(packs, parts)
    parts = parts_of(packs, groups)
    sums = _bias_parts(operands, run, parts) if bias_gradient else None
    launch(
        window_gradients,
        parts * run.heads,
        *maps.views,
        _pointer(operands.bias, operands.query),
        _pointer(sums, operands.query),
        extent,
        run.heads,
        operands.scale,
        SIDE=run.side,
        PACK=pack,
        BLOCK=block,
        GROUPS=groups,
        BIAS_GRADIENT=bias_gradient,
        MASKED=operands.masked and run.shift > 0,
        **_specialised(operands, run, width, maps.aligned),
        num_warps=warps,
    )
    return None if sums is None else gradient_of_bias(sums.sum(0), operands.bias, run.side)


def _block_gradients(
    operands: Operands,
    run: Run,
    maps: "Maps",
    width: int,
    bias_gradient: bool,
    rows: Tensor,
    mixed: Tensor,
    gradient: Tensor,
) -> Tensor | None:
    """Gradients of windows larger than a tile; of the maps they are written, the bias's is returned."""
    block = 32 if _is_exact(operands) else 64
    extent, blocks = _extent(operands.query, run), parts_of(run.side**2, block)
    grid = extent.windows * blocks * run.heads
    products = torch.empty_like(rows[0], memory_format=torch.contiguous_format)
    output = _of_run((mixed, gradient), run, width)
    shape = {"SIDE": run.side, "BLOCK": block}
    launch(row_products, grid,
        *output.views, products, extent, run.heads, **shape, WIDTH=width, PADDED=_padded(width),
        ALIGNED=output.aligned,
    )  # fmt: skip
    constants = {
        **shape,
        "MASKED": operands.masked and run.shift > 0,
        **_specialised(operands, run, width, maps.aligned),
    }
    bias, by_key = (
        _pointer(b, operands.query) for b in (operands.bias, bias_by_key(operands.bias, run.side))
    )
    launch(
        block_gradients,
        grid,
        *maps.views,
        bias,
        by_key,
        rows[0],
        rows[1],
        products,
        extent,
        run.heads,
        operands.scale,
        **constants,
    )
    if not bias_gradient:
        return None
    tiles = blocks**2 * run.heads
    groups = parts_of(extent.windows, min(extent.windows, parts_of(_SUMMING_PROGRAMS, tiles)))
    parts = parts_of(extent.windows, groups)
    sums = _bias_parts(operands, run, parts)
    launch(
block_bias_gradient, parts * tiles,
        *maps.views[:4], bias, sums, rows[0], rows[1], products, extent, run.heads, operands.scale,
        GROUPS=groups, **constants,
    )  # fmt: skip
    return gradient_of_bias(sums.sum(0), operands.bias, run.side)


def _forward_tiles(operands: Operands, run: Run) -> tuple[int, int, int, int]:
    """Queries and keys of a tile, windows of a tile, warps."""
    tokens = run.side**2
    if not run.fits_tile:
        if _is_exact(operands):
            return 64, 32, 1, 4
        return (64 if tokens <= _FEW_BLOCKS else 128), 64, 1, 4
    block = max(16, power_of_two(tokens))
    pack = 1
    if operands.bias is None:
        # Several small windows fill a tensor core's tile; products between windows are discarded. Without
        # tensor cores, they cost more than a small tile.
        block = block if _is_exact(operands) else TILE
        pack = block // tokens
    return block, block, pack, max(1, block // (8 if _is_exact(operands) else 16))


class Maps(NamedTuple):
    """Views of a run's heads, and a number of elements that divides all their strides and offsets."""

    views: list[View]
    aligned: int


def _of_run(tensors: Sequence[Tensor | None], run: Run, width: int) -> Maps:
    """Views of maps from the first head of a run on; an absent map is never read: any stands for it."""
    stand_in = tensors[0]
    assert stand_in is not None
    views = [view_of(stand_in if tensor is None else tensor, run.first * width) for tensor in tensors]
    numbers = [number for view in views for number in view[1:]]
    return Maps(views, math.gcd(16, width, *numbers))


def _specialised(operands: Operands, run: Run, width: int, aligned: int) -> dict[str, Any]:
    """Constants that all attention kernels are compiled for."""
    return {
        "WIDTH": width,
        "PADDED": _padded(width),
        "SHARED": operands.key is None,
        "BIAS": bias_kind(operands.bias, run.side),
        "ALIGNED": aligned,
        "PRECISION": product_precision(),
    }


def _is_exact(operands: Operands) -> bool:
    """Products that no tensor core forms: they want smaller tiles."""
    return operands.query.dtype == torch.float32 and product_precision() == "ieee"


def _padded(width: int) -> int:
    """Channels of a tile: a power of two, and at least what ``tl.dot`` takes."""
    return max(16, power_of_two(width))


def _extent(tensor: Tensor, run: Run) -> Extent:
    batch, height, width, _ = tensor.shape
    return Extent(height, width, batch * (height // run.side) * (width // run.side), run.shift)


def _bias_parts(operands: Operands, run: Run, parts: int) -> Tensor:
    tokens = run.side**2
    return torch.empty(parts, run.heads, tokens, tokens, dtype=torch.float32, device=operands.query.device)


def _like(tensor: Tensor) -> Tensor:
    return torch.empty_like(tensor, memory_format=torch.contiguous_format)


def _pointer(tensor: Tensor | None, stand_in: Tensor) -> Tensor:
    """An absent tensor is never read or written: any pointer stands for it."""
    return stand_in if tensor is None else tensor
