"""SwinIR: image restoration with shifted-window transformers.

Paper:      Liang et al., "SwinIR: Image Restoration Using Swin Transformer", ICCVW 2021, arXiv 2108.10257
Reference:  github.com/JingyunLiang/SwinIR at 65458505
Deviations: relative-position indices and attention masks are derived, not stored, and built once for all
            blocks; those of the frame.

Shape legend: B batch, C features, H/W padded low-resolution size, S window side, T = S * S tokens, M heads,
d = C / M; maps are (B, H, W, C), windows (B * H/S, W/S, T, C).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from srlab.layers.color import RGB_MEAN
from srlab.layers.drop_path import DropPath
from srlab.layers.feed_forward import FeedForward
from srlab.layers.folding import Foldable, fold_layer_norm
from srlab.layers.position_bias import RelativePositionBias
from srlab.layers.upsample import recognise_head
from srlab.models.network import rename_keys, require_integer
from srlab.models.residual_groups import (
    FRAME_TO_OFFICIAL,
    FRAME_TO_OURS,
    ResidualGroupNetwork,
    check_groups,
    count_groups,
    initialise_linear,
)
from srlab.ops.attention import (
    attention_maps,
    flex_attention,
    fused_attention,
    relative_position_index,
    shifted_window_mask,
    shifted_window_masks_by_row,
)
from srlab.ops.kernels import find_kernel
from srlab.ops.shift import resolve_shift_schedule
from srlab.ops.windows import merge_windows, roll_map, split_windows

__all__ = ["SwinBlock", "SwinIR", "WindowAttention"]

_TO_OURS = (
    *FRAME_TO_OURS,
    (r"\.attn\.relative_position_bias_table$", ".attention.position_bias.table"),
    (r"\.attn\.", ".attention."),
    (r"\.mlp\.fc1\.", ".mlp.expand."),
    (r"\.mlp\.fc2\.", ".mlp.contract."),
)
_TO_OFFICIAL = (
    *FRAME_TO_OFFICIAL,
    (r"\.attention\.position_bias\.table$", ".attn.relative_position_bias_table"),
    (r"\.attention\.", ".attn."),
    (r"\.mlp\.expand\.", ".mlp.fc1."),
    (r"\.mlp\.contract\.", ".mlp.fc2."),
)


class WindowAttention(nn.Module):
    """Multi-head self-attention inside windows with a learned bias for each relative position."""

    def __init__(self, *, dim: int, num_heads: int, window_side: int) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"dim={dim} must be a multiple of num_heads={num_heads}")
        self.num_heads = num_heads
        self.window_side = window_side
        self.logit_scale = (dim // num_heads) ** -0.5
        self.position_bias = RelativePositionBias(num_heads=num_heads, side=window_side, std=0.02)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, windows: Tensor, *, height: int, shift: int, backend: str) -> Tensor:
        """(B * H/S, W/S, T, C) to the same shape; what only the ``shift`` made neighbours stays apart."""
        rows = height // self.window_side
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
            side=self.window_side,
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
            side, (rows, columns) = self.window_side, query.shape[1:3]
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
            shape[2] * self.window_side, self.window_side, shift, bias.device, bias.dtype
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
        self, *, dim: int, num_heads: int, window_side: int, hidden_dim: int, drop_path: float, shifted: bool
    ) -> None:
        super().__init__()
        self.window_side = window_side
        self.shift = window_side // 2 if shifted else 0
        self.norm1 = nn.LayerNorm(dim)
        self.attention = WindowAttention(dim=dim, num_heads=num_heads, window_side=window_side)
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

    def fold(self) -> None:
        """The norms' factors and offsets become part of the linear maps behind them."""
        fold_layer_norm(self.norm1, self.attention.qkv)
        fold_layer_norm(self.norm2, self.mlp.expand)

    def _in_cut_windows(self, features: Tensor, backend: str) -> Tensor:
        height = features.shape[1]
        windows = split_windows(roll_map(features, -self.shift), self.window_side)
        mixed = self.attention(windows, height=height, shift=self.shift, backend=backend)
        return roll_map(merge_windows(mixed, self.window_side, height), self.shift)


class SwinIR(ResidualGroupNetwork):
    """Image restoration with shifted-window transformers.

    Args:
        scale: 2, 3, 4 or any integer that the head can make.
        dim: feature channels C.
        depths: Swin blocks in each group.
        num_heads: attention heads in each group.
        window_side: side of the windows in low-resolution pixels.
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
    official_landmarks = (
        "layers.0.residual_group.blocks.0.attn.relative_position_bias_table",
        "conv_first.weight",
        "layers.0.residual_group.blocks.0.mlp.fc1.weight",
    )

    def __init__(
        self,
        *,
        scale: int,
        dim: int,
        depths: Sequence[int],
        num_heads: Sequence[int],
        window_side: int,
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
        require_integer("window_side", window_side)
        shifts = iter(resolve_shift_schedule(shift_schedule, depths))
        drops = iter(torch.linspace(0, drop_path, sum(depths), device="cpu").tolist())

        def make_block(group: int, _position: int) -> SwinBlock:
            return SwinBlock(
                dim=dim,
                num_heads=num_heads[group],
                window_side=window_side,
                hidden_dim=int(dim * mlp_ratio),
                drop_path=next(drops),
                shifted=next(shifts),
            )

        super().__init__(
            scale=scale,
            dim=dim,
            depths=depths,
            make_block=make_block,
            size_multiple=window_side,
            head=head,
            connection=connection,
            value_range=value_range,
            backend=backend,
            mean=mean,
        )
        self.apply(initialise_linear)

    @classmethod
    def recognise(cls, state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Read all but colour range and drop path; shifts from stored masks, else ``alternate``."""
        first = "layers.0.residual_group.blocks.0"
        if any(key not in state for key in cls.official_landmarks):
            return None
        if "upsample.0.weight" not in state and "conv_up1.weight" not in state:
            raise KeyError("upsample.0.weight")
        depths = count_groups(state)
        num_heads = [
            state[f"layers.{group}.residual_group.blocks.0.attn.relative_position_bias_table"].shape[1]
            for group in range(len(depths))
        ]
        dim, hidden = state["conv_first.weight"].shape[0], state[f"{first}.mlp.fc1.weight"].shape[0]
        rows = state[f"{first}.attn.relative_position_bias_table"].shape[0]
        head, scale = recognise_head(state)
        return {
            "scale": scale,
            "dim": dim,
            "depths": depths,
            "num_heads": num_heads,
            "window_side": (math.isqrt(rows) + 1) // 2,
            "mlp_ratio": hidden / dim if hidden % dim == 0 else (hidden + 0.5) / dim,
            "head": head,
            "connection": "3conv" if "conv_after_body.0.weight" in state else "1conv",
            "value_range": 1.0,
            "drop_path": 0.1,
            "shift_schedule": _recognise_schedule(state, depths),
            "backend": "auto",
            "mean": list(RGB_MEAN),
        }

    @classmethod
    def untold(cls, state: Mapping[str, Tensor]) -> tuple[str, ...]:
        """The schedule is told by the blocks that store a mask, if any does."""
        masks = any(key.endswith("attn_mask") for key in state)
        return ("mean", "value_range", "drop_path", *(() if masks else ("shift_schedule",)))

    @classmethod
    def from_official(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rename keys; derivable buffers are left out."""
        derivable = ("attn_mask", "relative_position_index")
        return rename_keys(
            {key: value for key, value in state.items() if not key.endswith(derivable)}, _TO_OURS
        )

    @classmethod
    def official_options(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """The image size that stored masks are for; without any, the size of the published light network."""
        windows = [value.shape[0] for key, value in state.items() if key.endswith("attn_mask")]
        if not windows:
            return {}
        arguments = cls.recognise(state)
        assert arguments is not None
        return {"img_size": math.isqrt(windows[0]) * arguments["window_side"]}

    def to_official(self, *, img_size: int = 64) -> dict[str, Tensor]:
        """Rename keys and write the buffers as the official code does for images of ``img_size`` pixels."""
        side = self.size_multiple
        if img_size <= side or img_size % side:
            raise ValueError(
                f"img_size={img_size} must be a multiple of the window side {side}, and more than one"
            )
        state = rename_keys(self.state_dict(), _TO_OFFICIAL)
        device, dtype = self.mean.device, self.mean.dtype
        for name, block in self.named_modules():
            if isinstance(block, SwinBlock):
                _, group, _, position = name.split(".")
                prefix = f"layers.{group}.residual_group.blocks.{position}"
                state[f"{prefix}.attn.relative_position_index"] = relative_position_index(side, device)
                if block.shift:
                    mask = shifted_window_mask(img_size, img_size, side, block.shift, device, dtype)
                    state[f"{prefix}.attn_mask"] = mask.flatten(0, 1)
        return state


def _recognise_schedule(state: Mapping[str, Tensor], depths: Sequence[int]) -> str | list[bool]:
    """Official files store a mask in the blocks that shift; without any mask, the published schedule."""
    masked = [
        f"layers.{group}.residual_group.blocks.{block}.attn_mask" in state
        for group, depth in enumerate(depths)
        for block in range(depth)
    ]
    alternate = resolve_shift_schedule("alternate", depths)
    return masked if any(masked) and tuple(masked) != alternate else "alternate"
