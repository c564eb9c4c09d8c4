"""Self-attention inside windows, as SwinIR and ESC have it, between their own projections.

Shape legend: B batch, C channels, H/W size of the map, S window side, T = S * S tokens, M heads, d = C / M.
"""

from collections.abc import Callable

import torch
from einops import rearrange
from torch import Tensor, nn

from srlab.layers.position_bias import RelativePositionBias
from srlab.ops.attention import (
    attention_maps,
    flex_attention,
    fused_attention,
    shifted_window_mask,
    shifted_window_masks_by_row,
)


class MultiHeadWindows(nn.Module):
    """Multi-head self-attention inside windows with a learned bias for each relative position.

    Args:
        dim: channels C, a multiple of num_heads.
        num_heads: heads M.
        window_size: side S.
        std: of the table of biases at first.
    """

    def __init__(self, *, dim: int, num_heads: int, window_size: int, std: float) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"dim={dim} must be a multiple of num_heads={num_heads}")
        self.num_heads = num_heads
        self.window_size = window_size
        self.logit_scale = (dim // num_heads) ** -0.5
        self.position_bias = RelativePositionBias(num_heads=num_heads, side=window_size, std=std)

    def on_map(self, qkv: Tensor, kernel: Callable[..., Tensor], *, shift: int = 0) -> Tensor:
        """(B, H, W, 3C) to (B, H, W, C) by a kernel, for windows that are neither cut nor rolled."""
        return kernel(
            *qkv.chunk(3, dim=-1),
            side=self.window_size,
            shift=shift,
            scale=self.logit_scale,
            bias=self.position_bias,
            masked=shift > 0,
            num_heads=self.num_heads,
        )

    def in_windows(self, qkv: Tensor, *, height: int, shift: int = 0, backend: str) -> Tensor:
        """(B * H/S, W/S, T, 3C) to (B * H/S, W/S, T, C); what only ``shift`` made neighbours stays apart."""
        rows, heads = height // self.window_size, self.num_heads
        query, key, value = rearrange(
            qkv, "(b nh) nw t (three m d) -> three b nh nw m t d", three=3, nh=rows, m=heads
        )
        attend = self._reference if backend == "reference" else self._fused
        mixed = attend(query, key, value, shift, backend)
        return rearrange(mixed, "b nh nw m t d -> (b nh) nw t (m d)")

    def _reference(self, query: Tensor, key: Tensor, value: Tensor, shift: int, _backend: str) -> Tensor:
        """Explicit maps, a mask for every window of a shifted map; all tensors (B, H/S, W/S, M, T, d)."""
        bias = self.position_bias()
        if shift:
            side, (rows, columns) = self.window_size, query.shape[1:3]
            mask = shifted_window_mask(rows * side, columns * side, side, shift, bias.device, bias.dtype)
            bias = bias + mask[:, :, None]
        return attention_maps(query, key, scale=self.logit_scale, bias=bias) @ value

    def _fused(self, query: Tensor, key: Tensor, value: Tensor, shift: int, backend: str) -> Tensor:
        """The same without maps or per-window masks: all rows of windows but the last share theirs."""
        attend = flex_attention if backend == "flex" else fused_attention
        bias, shape = self.position_bias(), query.shape
        if not shift:
            query, key, value = (tensor.flatten(0, 2) for tensor in (query, key, value))
            return attend(query, key, value, scale=self.logit_scale, bias=bias).view(shape)
        masks = shifted_window_masks_by_row(
            shape[2] * self.window_size, self.window_size, shift, bias.device, bias.dtype
        )
        parts = []
        for mask, rows in zip(masks, (slice(0, -1), slice(-1, None)), strict=True):
            q, k, v = (tensor[:, rows].flatten(2, 3).flatten(0, 1) for tensor in (query, key, value))
            if len(q):
                row_bias = (bias + mask[:, None]).flatten(0, 1)
                mixed = attend(q, k, v, scale=self.logit_scale, bias=row_bias)
                parts.append(mixed.view(shape[0], -1, *shape[2:]))
        return torch.cat(parts, dim=1)
