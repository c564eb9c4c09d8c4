"""SwinIR: image restoration with shifted-window transformers.

Paper:      Liang et al., "SwinIR: Image Restoration Using Swin Transformer", ICCVW 2021, arXiv 2108.10257
Reference:  github.com/JingyunLiang/SwinIR at 65458505
Deviations: relative-position indices and attention masks are derived, not stored, and built once for all
            blocks; those of the frame.

Shape legend: B batch, C features, H/W padded low-resolution size, S window side, T = S * S tokens, M heads,
d = C / M; maps are (B, H, W, C), windows (B * H/S, W/S, T, C).
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from einops import rearrange
from torch import Tensor, nn

from srlab.layers.arguments import require_integer
from srlab.layers.color import RGB_MEAN
from srlab.layers.drop_path import DropPath, drop_path_schedule
from srlab.layers.feed_forward import FeedForward
from srlab.layers.folding import Foldable, fold_layer_norm
from srlab.layers.position_bias import RelativePositionBias
from srlab.models.residual_groups import (
    ResidualGroupNetwork,
    check_groups,
)
from srlab.ops.attention import (
    attention_maps,
    flex_attention,
    fused_attention,
    shifted_window_mask,
    shifted_window_masks_by_row,
)
from srlab.ops.kernels import find_kernel
from srlab.ops.reach import Step, Windows
from srlab.ops.shift import resolve_shift_schedule
from srlab.ops.windows import merge_windows, roll_map, split_windows


class WindowAttention(nn.Module):
    """Multi-head self-attention inside windows with a learned bias for each relative position."""

    def __init__(self, *, dim: int, num_heads: int, window_size: int) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"dim={dim} must be a multiple of num_heads={num_heads}")
        self.num_heads = num_heads
        self.window_size = window_size
        self.logit_scale = (dim // num_heads) ** -0.5
        self.position_bias = RelativePositionBias(num_heads=num_heads, side=window_size, std=0.02)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, windows: Tensor, *, height: int, shift: int, backend: str) -> Tensor:
        """(B * H/S, W/S, T, C) to the same shape; what only the ``shift`` made neighbours stays apart."""
        rows = height // self.window_size
        query, key, value = rearrange(
            self.qkv(windows),
            "(b nh) nw t (three m d) -> three b nh nw m t d",
            three=3,
            nh=rows,
            m=self.num_heads,
        )
        if backend == "reference":
            mixed = self._reference(query, key, value, shift)
        else:
            attend = flex_attention if backend == "flex" else fused_attention
            mixed = self._fused(query, key, value, shift, attend)
        return self.proj(rearrange(mixed, "b nh nw m t d -> (b nh) nw t (m d)"))

    def on_map(self, features: Tensor, kernel: Callable[..., Tensor], *, shift: int) -> Tensor:
        """The same by a kernel, for windows that stay in their (B, H, W, C) map and are not rolled."""
        query, key, value = self.qkv(features).chunk(3, dim=-1)
        mixed = kernel(
            query,
            key,
            value,
            side=self.window_size,
            shift=shift,
            scale=self.logit_scale,
            bias=self.position_bias,
            masked=shift > 0,
            num_heads=self.num_heads,
        )
        return self.proj(mixed)

    def _reference(self, query: Tensor, key: Tensor, value: Tensor, shift: int) -> Tensor:
        """Explicit maps, a mask for every window of a shifted map; all tensors (B, H/S, W/S, M, T, d)."""
        bias = self.position_bias()
        if shift:
            side, (rows, columns) = self.window_size, query.shape[1:3]
            mask = shifted_window_mask(rows * side, columns * side, side, shift, bias.device, bias.dtype)
            bias = bias + mask[:, :, None]
        return attention_maps(query, key, scale=self.logit_scale, bias=bias) @ value

    def _fused(
        self, query: Tensor, key: Tensor, value: Tensor, shift: int, attend: Callable[..., Tensor]
    ) -> Tensor:
        """The same without maps or per-window masks: all rows of windows but the last share theirs."""
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


class SwinBlock(nn.Module, Foldable):
    """Swin transformer block, norms first: attention in (shifted) windows, then a feed-forward network."""

    def __init__(
        self, *, dim: int, num_heads: int, window_size: int, hidden_dim: int, drop_path: float, shifted: bool
    ) -> None:
        super().__init__()
        self.window_size = window_size
        self.shift = window_size // 2 if shifted else 0
        self.norm1 = nn.LayerNorm(dim)
        self.attention = WindowAttention(dim=dim, num_heads=num_heads, window_size=window_size)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = FeedForward(dim=dim, hidden_dim=hidden_dim)
        self.drop_path = DropPath(probability=drop_path)

    def forward(self, features: Tensor, backend: str) -> Tensor:
        """(B, H, W, C) to the same shape; H and W must be multiples of the window side."""
        normed = self.norm1(features)
        kernel = find_kernel("window_attention", backend, features.device)
        if kernel is None:
            mixed = self._in_cut_windows(normed, backend)
        else:
            mixed = self.attention.on_map(normed, kernel, shift=self.shift)
        features = features + self.drop_path(mixed)
        return features + self.drop_path(self.mlp(self.norm2(features)))

    def spatial_steps(self) -> list[Step]:
        """Masks keep apart what the cyclic shift joins."""
        return [Windows(self.window_size, shift=self.shift)]

    def fold(self) -> None:
        """The norms' factors and offsets become part of the linear maps behind them."""
        fold_layer_norm(self.norm1, self.attention.qkv)
        fold_layer_norm(self.norm2, self.mlp.expand)

    def _in_cut_windows(self, features: Tensor, backend: str) -> Tensor:
        height = features.shape[1]
        windows = split_windows(roll_map(features, -self.shift), self.window_size)
        mixed = self.attention(windows, height=height, shift=self.shift, backend=backend)
        return roll_map(merge_windows(mixed, self.window_size, height), self.shift)


class SwinIR(ResidualGroupNetwork):
    """Image restoration with shifted-window transformers.

    Args:
        scale: 2, 3, 4 or any integer that the head can make.
        dim: feature channels C.
        depths: Swin blocks in each group.
        num_heads: attention heads in each group.
        window_size: side of the windows in low-resolution pixels.
        mlp_ratio: hidden channels of the feed-forward networks in units of dim.
        head: one of :data:`srlab.layers.upsample.HEADS`.
        connection: ``1conv`` or ``3conv``, the convolutions after each group and after the body.
        value_range: the network sees (image - mean colour) times this.
        drop_path: probability at the last block that training skips a branch; it grows linearly from 0.
        shift_schedule: which blocks shift their windows, see :func:`srlab.ops.shift.resolve_shift_schedule`.
        backend: see :class:`AttentionNetwork`.
        mean: colour in [0, 1] that is subtracted.
    """

    plain_backends = ("reference", "sdpa", "flex")
    operators = ("window_attention",)

    def __init__(
        self,
        *,
        scale: int,
        dim: int,
        depths: Sequence[int],
        num_heads: Sequence[int],
        window_size: int,
        mlp_ratio: float,
        head: str,
        connection: str,
        value_range: float,
        drop_path: float,
        shift_schedule: str | Sequence[bool | int],
        backend: str = "auto",
        mean: Sequence[float] = RGB_MEAN,
    ) -> None:
        check_groups(dim, depths, num_heads)
        shifts = iter(resolve_shift_schedule(shift_schedule, depths))
        drops = drop_path_schedule(drop_path, depths)
        require_integer("window_size", window_size)
        block = partial(SwinBlock, dim=dim, window_size=window_size, hidden_dim=int(dim * mlp_ratio))

        def make_block(group: int, _position: int) -> SwinBlock:
            return block(num_heads=num_heads[group], drop_path=next(drops), shifted=next(shifts))

        super().__init__(
            scale=scale,
            dim=dim,
            depths=depths,
            make_block=make_block,
            size_multiple=window_size,
            head=head,
            connection=connection,
            value_range=value_range,
            backend=backend,
            mean=mean,
        )
