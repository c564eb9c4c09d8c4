"""Starts the attention kernels with tiles for every size of window.

Shape legend: B batch, H/W map size, C channels, M heads, d = C / M, S window side, T = S * S tokens,
N = B * H * W tokens in all.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
import triton
from einops import rearrange
from torch import Tensor

from srlab.extensions.kernels.triton import attention_gradient_kernels, attention_kernels
from srlab.extensions.kernels.triton.launch import launch, product_precision
from srlab.extensions.kernels.triton.placement import Extent, View, view_of
from srlab.ops.windows import roll_map, split_windows

# Tokens of a tile: the logits between so many take 32 of a thread's registers, of 128 threads.
_TILE = 64
# Windows of at most as many tokens are cut into blocks of 64 queries, larger ones into blocks of 128: more
# programs, which a map of few windows needs to fill a GPU, against fewer reads of the keys.
_FEW_BLOCKS = 256
# Programs that add up a bias's gradient: a few for each of a large GPU's 132 multiprocessors.
_SUMMING_PROGRAMS = 1024


class Attention(NamedTuple):
    """What all kernels read; the key is None where queries serve as keys."""

    query: Tensor
    key: Tensor | None
    value: Tensor
    bias: Tensor | None
    side: int
    shift: int
    scale: float
    masked: bool
    heads: int

    @property
    def extent(self) -> Extent:
        """Size of the map, and its windows."""
        batch, height, width, _ = self.query.shape
        windows = batch * (height // self.side) * (width // self.side)
        return Extent(height, width, windows, self.shift)

    @property
    def is_exact(self) -> bool:
        """Products that no tensor core forms: they need smaller tiles."""
        return self.query.dtype == torch.float32 and product_precision() == "ieee"

    def warps(self, block: int) -> int:
        """For tiles of so many rows."""
        return min(8, max(1, block // (8 if self.is_exact else 16)))

    def prepare(self, *tensors: Tensor | None) -> tuple[list[View], dict[str, Any]]:
        """Views of maps, and what the kernels are compiled for.

        Absent maps, and those without entries, are never read or written: the query stands for them.
        """
        width = self.query.shape[-1] // self.heads
        views = [view_of(self.query if t is None or not t.numel() else t) for t in tensors]
        constants = {
            "SIDE": self.side,
            "WIDTH": width,
            "PADDED": max(16, triton.next_power_of_2(width)),  # at least what tl.dot takes
            "BIASED": self.bias is not None,
            "MASKED": self.masked and self.shift > 0,
            # divides all strides and offsets
            "ALIGNED": math.gcd(16, width, *(number for view in views for number in view[1:])),
            "PRECISION": product_precision(),
        }
        return views, constants


def attend(attention: Attention, mixed: Tensor, statistics: Tensor) -> None:
    """Write the mixed values.

    Args:
        attention: maps (B, H, W, C) with their channels side by side.
        mixed: (B, H, W, C), written to.
        statistics: (2, M, N) in float32, written to: largest logit and sum of every row, for the gradients;
            without entries if there will be none.
    """
    tokens, heads = attention.side**2, attention.heads
    if tokens <= _TILE:
        block = block_k = max(16, triton.next_power_of_2(tokens))
    elif attention.is_exact:
        block, block_k = 64, 32
    else:
        block, block_k = 64 if tokens <= _FEW_BLOCKS else 128, 64
    views, constants = attention.prepare(attention.query, attention.key, attention.value, mixed)
    keep, extent = statistics.numel() > 0, attention.extent
    bias = mixed if attention.bias is None else attention.bias  # an absent one is not read
    launch(
        attention_kernels.attend,
        extent.windows * triton.cdiv(tokens, block) * heads,
        *(*views, bias, *(statistics if keep else (mixed, mixed)), extent, heads, attention.scale),
        BLOCK=block,
        BLOCK_K=block_k,
        KEEP=keep,
        num_warps=attention.warps(block_k),
        **constants,
    )


def attention_gradients(
    attention: Attention, mixed: Tensor, statistics: Tensor, gradient: Tensor, gradients: Sequence[Tensor]
) -> None:
    """Write the gradients of query, key, value and bias, except those without entries."""
    query, key, value, bias = attention[:4]
    to_query, to_key, to_value, to_bias = gradients
    views, constants = attention.prepare(query, key, value, gradient, to_query, to_key, to_value)
    block = min(max(16, triton.next_power_of_2(attention.side**2)), 32 if attention.is_exact else 64)
    extent, blocks = attention.extent, triton.cdiv(attention.side**2, block)
    rows = (*statistics, _row_products(attention, mixed, gradient))
    arguments = (*rows, extent, attention.heads, attention.scale)
    constants |= {"BLOCK": block, "num_warps": attention.warps(block)}
    by_query, by_key = (query, query) if bias is None else (bias, bias.flip(1, 2))
    launch(
        attention_gradient_kernels.attend_gradients,
        extent.windows * blocks * attention.heads,
        *(*views, by_query, by_key, *arguments),
        SHARED=key is None,
        **constants,
    )
    if not to_bias.numel():
        return
    tiles = blocks**2 * attention.heads
    groups = triton.cdiv(extent.windows, min(extent.windows, triton.cdiv(_SUMMING_PROGRAMS, tiles)))
    parts = triton.cdiv(extent.windows, groups)
    sums = to_bias.new_empty(parts, attention.heads, attention.side**2, attention.side**2)
    launch(
        attention_gradient_kernels.bias_gradient,
        parts * tiles,
        *(*views[:4], bias, sums, *arguments),
        GROUPS=groups,
        **constants,
    )
    to_bias.copy_(_sum_by_distance(sums.sum(0), attention.side))


def _row_products(attention: Attention, mixed: Tensor, gradient: Tensor) -> Tensor:
    """(M, N) by windows: sums over a head's channels of output times gradient, for the soft-max."""
    products = (mixed.float() * gradient.float()).unflatten(-1, (attention.heads, -1)).sum(-1)
    windows = split_windows(roll_map(products, -attention.shift), attention.side)
    return windows.flatten(0, 2).T.contiguous()


def _sum_by_distance(to_pairs: Tensor, side: int) -> Tensor:
    """(M, T, T) gradients of all pairs to (M, 2S - 1, 2S - 1): sums over the pairs of each distance."""
    by_axis = rearrange(to_pairs, "m (qy qx) (ky kx) -> m qx kx (qy ky)", qy=side, ky=side)
    by_x = rearrange(_sum_along_axis(by_axis, side), "m dx (qy ky) -> m qy ky dx", qy=side)
    return _sum_along_axis(by_x, side)


def _sum_along_axis(pairs: Tensor, side: int) -> Tensor:
    """(M, query, key, rest) to (M, query - key + S - 1, rest): every row moves one to the right of the last.

    Rows of S + S entries, read as rows of 2S - 1, do: sums in a fixed order, without atomic additions.
    """
    rows = F.pad(pairs.flip(2), (0, 0, 0, side)).flatten(1, 2)[:, : side * (2 * side - 1)]
    return rows.unflatten(1, (side, 2 * side - 1)).sum(1)
