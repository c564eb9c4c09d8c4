"""Attention inside shifted windows step by step, as the papers write it: rolls, cut windows, maps, masks."""

from srlab.layers.position_bias import expand_bias
from srlab.ops.attention import attention_maps, shifted_window_mask
from srlab.ops.windows import merge_windows, roll_map, split_windows


class Bias:
    """A position bias for kernels: (heads, 2S - 1, 2S - 1)."""

    def __init__(self, by_distance):
        self.by_distance = by_distance

    def prepared(self, form, prepare):
        return prepare(self.by_distance)


def reference_attention(query, key, value, *, side, shift=0, scale=1.0, bias=None, masked=False, num_heads=1):
    """(B, H, W, C) maps to the same shape; ``bias`` is a :class:`Bias`."""
    batch, height, width, _ = query.shape

    def heads_of(feature_map):
        windows = split_windows(roll_map(feature_map, -shift), side)
        return windows.unflatten(-1, (num_heads, -1)).transpose(-2, -3)

    bias = None if bias is None else expand_bias(bias.by_distance)
    if masked:
        mask = shifted_window_mask(height, width, side, shift, query.device, query.dtype)
        mask = mask.repeat(batch, 1, 1, 1)[:, :, None]
        bias = mask if bias is None else mask + bias
    mixed = attention_maps(heads_of(query), heads_of(key), scale=scale, bias=bias) @ heads_of(value)
    return roll_map(merge_windows(mixed.transpose(-2, -3).flatten(-2), side, height), shift)
