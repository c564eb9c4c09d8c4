"""SwinIR: image restoration with shifted-window transformers.

Paper:      Liang et al., "SwinIR: Image Restoration Using Swin Transformer", ICCVW 2021, arXiv 2108.10257
Reference:  github.com/JingyunLiang/SwinIR at 65458505
Deviations: relative-position indices and attention masks are derived, not stored, and built once for all
            blocks; those of the frame.

Shape legend: B batch, C features, H/W padded low-resolution size, S window side, T = S * S tokens, M heads,
d = C / M; maps are (B, H, W, C), windows (B * H/S, W/S, T, C).
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from srlab.layers.arguments import require_integer
from srlab.layers.drop_path import drop_path_schedule
from srlab.layers.feed_forward import TransformerBlock
from srlab.layers.folding import Foldable, fold_layer_norm
from srlab.layers.window_attention import MultiHeadWindows
from srlab.models.residual_groups import ResidualGroupNetwork, check_groups
from srlab.ops.kernels import find_kernel
from srlab.ops.reach import Step, Windows
from srlab.ops.shift import resolve_shift_schedule
from srlab.ops.windows import merge_windows, roll_map, split_windows


class WindowAttention(MultiHeadWindows):
    """Attention of SwinIR's blocks: windows that may be shifted, between linear projections."""

    def __init__(self, *, dim: int, num_heads: int, window_size: int, shifted: bool) -> None:
        super().__init__(dim=dim, num_heads=num_heads, window_size=window_size, std=0.02)
        self.shift = window_size // 2 if shifted else 0
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def spatial_steps(self) -> list[Step]:
        """Masks keep apart what the cyclic shift joins."""
        return [Windows(self.window_size, shift=self.shift)]

    def forward(self, features: Tensor, backend: str) -> Tensor:
        """(B, H, W, C) to the same shape; H and W must be multiples of the window side."""
        height, shift = features.shape[1], self.shift
        kernel = find_kernel("window_attention", backend, features.device)
        if kernel is not None:
            return self.proj(self.on_map(self.qkv(features), kernel, shift=shift))
        windows = split_windows(roll_map(features, -shift), self.window_size)
        mixed = self.proj(self.in_windows(self.qkv(windows), height=height, shift=shift, backend=backend))
        return roll_map(merge_windows(mixed, self.window_size, height), shift)


class SwinBlock(TransformerBlock, Foldable):
    """Swin transformer block: attention in (shifted) windows, then a feed-forward network."""

    attention: WindowAttention

    def __init__(
        self, *, dim: int, num_heads: int, window_size: int, hidden_dim: int, drop_path: float, shifted: bool
    ) -> None:
        attention = WindowAttention(dim=dim, num_heads=num_heads, window_size=window_size, shifted=shifted)
        super().__init__(dim=dim, attention=attention, hidden_dim=hidden_dim, drop_path=drop_path)

    def fold(self) -> None:
        """The norms' factors and offsets become part of the linear maps behind them."""
        fold_layer_norm(self.norm1, self.attention.qkv)
        fold_layer_norm(self.norm2, self.mlp.expand)


class SwinIR(ResidualGroupNetwork):
    """Image restoration with shifted-window transformers.

    Args:
        dim: feature channels C.
        depths: Swin blocks in each group.
        num_heads: attention heads in each group.
        window_size: side of the windows in low-resolution pixels.
        mlp_ratio: hidden channels of the feed-forward networks in units of dim.
        drop_path: probability at the last block that training skips a branch; it grows linearly from 0.
        shift_schedule: which blocks shift their windows, see :func:`srlab.ops.shift.resolve_shift_schedule`.
        frame: further arguments of :class:`ResidualGroupNetwork`.
    """

    plain_backends = ("reference", "sdpa", "flex")
    operators = ("window_attention",)

    def __init__(
        self,
        *,
        dim: int,
        depths: Sequence[int],
        num_heads: Sequence[int],
        window_size: int,
        mlp_ratio: float,
        drop_path: float,
        shift_schedule: str | Sequence[bool | int],
        **frame: Any,
    ) -> None:
        check_groups(dim, depths, num_heads)
        shifts = iter(resolve_shift_schedule(shift_schedule, depths))
        drops = drop_path_schedule(drop_path, depths)
        require_integer("window_size", window_size)
        block = partial(SwinBlock, dim=dim, window_size=window_size, hidden_dim=int(dim * mlp_ratio))

        def make_block(group: int, _position: int) -> SwinBlock:
            return block(num_heads=num_heads[group], drop_path=next(drops), shifted=next(shifts))

        super().__init__(make_block, window_size, dim=dim, depths=depths, **frame)
