"""Attention of one group of ELAN's channels inside windows, with the queries as keys.

Paper: Zhang et al., "Efficient Long-Range Attention Network for Image Super-Resolution", ECCV 2022,
section 3.3 (arXiv 2203.06697).
"""

import torch
from einops import rearrange
from torch import Tensor

from srlab.ops.attention import attention_maps, fused_attention
from srlab.ops.windows import merge_windows, roll_map, split_windows


def attend_as_published(group: Tensor, maps: Tensor | None, side: int, shift: int) -> tuple[Tensor, Tensor]:
    """Step by step, in the authors' memory layout.

    Args:
        group: (B, 2d, H, W) of [q, v], or (B, d, H, W) of only v where maps are reused; H and W are
            multiples of the side.
        maps: (B * H/S, W/S, T, T), or None where they are computed.
        side: side S of the windows, T = S * S tokens.
        shift: cyclic displacement of the windows in pixels.

    Returns:
        The mixed v, (B, d, H, W), and the maps.
    """
    rolled = torch.roll(group, (-shift, -shift), dims=(2, 3)) if shift else group
    windows = split_windows(rolled.permute(0, 2, 3, 1), side)
    if maps is None:
        query, windows = windows.chunk(2, dim=-1)
        maps = attention_maps(query, query)
    mixed = rearrange(
        maps @ windows,
        "(b nh) nw (sh sw) d -> b d (nh sh) (nw sw)",
        nh=group.shape[2] // side,
        sh=side,
        sw=side,
    )
    return torch.roll(mixed, (shift, shift), dims=(2, 3)) if shift else mixed, maps


def attend_channels_last(group: Tensor, query: Tensor | None, side: int, shift: int) -> tuple[Tensor, Tensor]:
    """The same without maps, in rows of channels; returns windows of queries, (B * H/S, W/S, T, d)."""
    windows = split_windows(roll_map(group.permute(0, 2, 3, 1), -shift), side)
    query, value = windows.chunk(2, dim=-1) if query is None else (query, windows)
    mixed = merge_windows(fused_attention(query, query, value), side, group.shape[2])
    return roll_map(mixed, shift).permute(0, 3, 1, 2), query
