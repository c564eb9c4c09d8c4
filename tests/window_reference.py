"""Attention inside shifted windows step by step, as the papers write it: rolls, cut windows, maps, masks."""

from srlab.ops.attention import attention_maps, shifted_window_mask
from srlab.ops.windows import merge_windows, roll_map, split_windows


def reference_attention(query, key, value, *, side, shift=0, scale=1.0, bias=None, masked=False, num_heads=1):
    """(B, H, W, C) maps to the same shape; ``bias`` is (heads, T, T)."""
    batch, height, width, _ = query.shape

    def heads_of(feature_map):
        windows = split_windows(roll_map(feature_map, -shift), side)
        return windows.unflatten(-1, (num_heads, -1)).transpose(-2, -3)

    if masked:
        mask = shifted_window_mask(height, width, side, shift, query.device, query.dtype)
        mask = mask.repeat(batch, 1, 1, 1)[:, :, None]
        bias = mask if bias is None else mask + bias
    mixed = attention_maps(heads_of(query), heads_of(key), scale=scale, bias=bias) @ heads_of(value)
    return roll_map(merge_windows(mixed.transpose(-2, -3).flatten(-2), side, height), shift)
