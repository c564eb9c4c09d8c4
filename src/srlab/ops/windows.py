"""Cuts square windows from a feature map and joins them, and shifts maps cyclically."""

import torch
from einops import rearrange
from torch import Tensor


def split_windows(feature_map: Tensor, side: int) -> Tensor:
    """Cut (B, H, W, C) into (B * H/side, W/side, side * side, C): rows, windows of a row, tokens row by row.

    Two leading axes instead of one keep both below the 65535 that CUDA's attention kernels take.
    """
    require_whole_windows(feature_map.shape[1], feature_map.shape[2], side)
    return rearrange(feature_map, "b (nh sh) (nw sw) c -> (b nh) nw (sh sw) c", sh=side, sw=side)


def merge_windows(windows: Tensor, side: int, height: int) -> Tensor:
    """Inverse of :func:`split_windows` for a map of ``height`` rows: back to (B, H, W, C)."""
    return rearrange(
        windows, "(b nh) nw (sh sw) c -> b (nh sh) (nw sw) c", nh=height // side, sh=side, sw=side
    )


def roll_map(feature_map: Tensor, shift: int) -> Tensor:
    """Roll (B, H, W, C) down and right by ``shift`` pixels, cyclically; negative values roll up and left."""
    return torch.roll(feature_map, (shift, shift), dims=(1, 2)) if shift else feature_map


def require_whole_windows(height: int, width: int, side: int) -> None:
    """A ValueError unless a map can be cut into windows of this side."""
    if side < 1 or height % side or width % side:
        raise ValueError(
            f"feature map is {height}x{width}, not a multiple of the window side {side}; "
            "pad it first with ops.padding.pad_to_multiple"
        )
