"""PFT: windows whose attention is inherited from block to block, and narrowed to fewer and fewer tokens.

Paper:      Long et al., "Progressive Focused Transformer for Single Image Super-Resolution", CVPR 2025, arXiv
            2503.20337
Reference:  github.com/LabShuHangGU/PFT-SR at 7d4a6874, basicsr/archs/pft_arch.py
Deviations: products with the tokens that are kept are PyTorch's, where the authors have operators for CUDA;
            the guard against shares of 0 is that of evaluation in training, too; any image size; masks are
            derived for a few windows at a time; those of the frame.

Shape legend: B batch, C features, H/W padded low-resolution size, S window side, T = S * S tokens, M heads,
d = C / M; maps are (B, H, W, C).
"""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from srlab.layers.arguments import require_integer, require_integers
from srlab.layers.feed_forward import ConvFeedForward
from srlab.layers.folding import Foldable, fold_layer_norm
from srlab.layers.position_bias import RelativePositionBias
from srlab.models.residual_groups import ResidualGroup, ResidualGroupNetwork, check_groups
from srlab.ops.attention import attention_regions
from srlab.ops.focused_attention import REFERENCE, STREAMED, Focus, Layer, focus
from srlab.ops.padding import mirror_to_multiple
from srlab.ops.reach import Alternatives, Neighbours, Step, Windows
from srlab.ops.shift import resolve_shift_schedule
from srlab.ops.windows import merge_windows, roll_map, split_windows


class FocusedAttention(nn.Module):
    """Progressive focused attention in (shifted) windows, with a convolution of the values added (LePE).

    Args:
        dim: channels C, a multiple of num_heads.
        num_heads: heads M.
        window_size: side S.
        share_bias: one position bias for all heads.
        keep: tokens that each token attends to.
        kernel_side: of the values' convolution, odd.
        shifted: whether the windows are shifted by half their side.
    """

    def __init__(
        self,
        *,
        dim: int,
        num_heads: int,
        window_size: int,
        share_bias: bool,
        keep: int,
        kernel_side: int,
        shifted: bool,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.window_size = window_size
        self.keep = keep
        self.shift = window_size // 2 if shifted else 0
        self.logit_scale = (dim // num_heads) ** -0.5
        self.qkv = nn.Linear(dim, 3 * dim)
        self.local = nn.Conv2d(dim, dim, kernel_side, padding=kernel_side // 2, groups=dim)
        self.position_bias = RelativePositionBias(
            num_heads=1 if share_bias else num_heads, side=window_size, std=0.02
        )
        self.proj = nn.Linear(dim, dim)

    def spatial_steps(self) -> list[Step]:
        """Windows beside the convolution; masks keep apart what the cyclic shift joins."""
        windows = Windows(self.window_size, shift=self.shift)
        return [Alternatives((windows, Neighbours(self.local.kernel_size[0] // 2)))]

    def forward(
        self, features: Tensor, before: tuple[Focus, ...], backend: str
    ) -> tuple[Tensor, tuple[Focus, ...]]:
        """(B, H, W, C) to the same shape, and what the next attention in the same windows needs."""
        height, width = features.shape[1:3]
        qkv = self.qkv(features)
        value = qkv[..., 2 * features.shape[-1] :]
        local = F.gelu(self.local(value.permute(0, 3, 1, 2))).permute(0, 2, 3, 1)
        query, key, value = rearrange(
            split_windows(roll_map(qkv, -self.shift), self.window_size),
            "r c t (three m d) -> three (r c) m t d",
            three=3,
            m=self.num_heads,
        )
        regions = self._regions(features.shape[0], height, width, features.device) if self.shift else None
        layer = Layer(query * self.logit_scale, key, self.position_bias(), regions)
        mixed, after = focus(layer, value, before, keep=self.keep, form=backend)
        windows = rearrange(mixed, "(r c) m t d -> r c t (m d)", c=width // self.window_size)
        mixed = roll_map(merge_windows(windows, self.window_size, height), self.shift)
        return self.proj(mixed + local), after

    def _regions(self, batch: int, height: int, width: int, device: torch.device) -> Tensor:
        """(W, T) parts of the shifted map that do not attend to one another."""
        rows, columns = (
            attention_regions(length, self.window_size, self.shift, device) for length in (height, width)
        )
        regions = (rows[:, None] * 3 + columns).expand(batch, -1, -1)[..., None]
        return split_windows(regions, self.window_size).flatten(0, 1).squeeze(-1)


class FocusedBlock(nn.Module, Foldable):
    """Norms first: focused attention, then a feed-forward network; each is added to its input."""

    def __init__(self, *, attention: FocusedAttention, dim: int, hidden_dim: int, kernel_side: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attention = attention
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = ConvFeedForward(dim=dim, hidden_dim=hidden_dim, kernel_side=kernel_side)

    def forward(
        self, features: Tensor, before: tuple[Focus, ...], backend: str
    ) -> tuple[Tensor, tuple[Focus, ...]]:
        """(B, H, W, C) to the same shape; see :class:`FocusedAttention`."""
        mixed, after = self.attention(self.norm1(features), before, backend)
        features = features + mixed
        return features + self.mlp(self.norm2(features)), after

    def fold(self) -> None:
        """The norms' factors and offsets become part of the linear maps behind them."""
        fold_layer_norm(self.norm1, self.attention.qkv)
        fold_layer_norm(self.norm2, self.mlp.expand)


class PFT(ResidualGroupNetwork):
    """Progressive focused transformer.

    Blocks that shift their windows inherit attention from the last block that did, and the others from the
    last one that did not, through all groups.

    Args:
        dim: feature channels C, a multiple of num_heads.
        depths: blocks in each group.
        num_heads: attention heads M.
        window_size: side S of the windows in low-resolution pixels.
        kept_tokens: tokens that each token attends to in each block: at most S * S, and never more than in
            the block before.
        share_bias: one position bias for all heads.
        kernel_side: of the depth-wise convolutions, odd.
        mlp_ratio: hidden channels of the feed-forward networks in units of dim.
        shift_schedule: which blocks shift their windows, see :func:`srlab.ops.shift.resolve_shift_schedule`.
        frame: further arguments of :class:`ResidualGroupNetwork`; backends: ``reference`` and ``streamed``.
    """

    plain_backends = (REFERENCE, STREAMED)
    default_backend = STREAMED
    pads_image = False  # not as others would pad it outside
    pad_image = staticmethod(mirror_to_multiple)  # the edge is repeated, unlike in SwinIR
    unexportable: ClassVar[Mapping[str, str]] = {
        "pt2 of any size": "it pads images by their mirror image with the edge, and the exporter without; "
        "give one --size"
    }

    def __init__(
        self,
        *,
        dim: int,
        depths: Sequence[int],
        num_heads: int,
        window_size: int,
        kept_tokens: Sequence[int],
        share_bias: bool,
        kernel_side: int,
        mlp_ratio: float,
        shift_schedule: str | Sequence[bool | int],
        **frame: Any,
    ) -> None:
        check_groups(dim, depths, [num_heads] * len(depths))
        if dim % num_heads:
            raise ValueError(f"dim={dim} must be a multiple of num_heads={num_heads}")
        if require_integer("kernel_side", kernel_side) % 2 == 0:
            raise ValueError(f"kernel_side={kernel_side} must be odd")
        _check_kept_tokens(kept_tokens, require_integer("window_size", window_size), sum(depths))
        schedule = zip(kept_tokens, resolve_shift_schedule(shift_schedule, depths), strict=True)
        attention = partial(FocusedAttention, dim=dim, num_heads=num_heads, window_size=window_size)

        def make_block(_group: int, _position: int) -> FocusedBlock:
            keep, shifted = next(schedule)
            mixing = attention(share_bias=share_bias, keep=keep, kernel_side=kernel_side, shifted=shifted)
            hidden_dim = int(dim * mlp_ratio)
            return FocusedBlock(attention=mixing, dim=dim, hidden_dim=hidden_dim, kernel_side=kernel_side)

        super().__init__(make_block, window_size, dim=dim, depths=depths, **frame)

    def run_groups(self, features: Tensor, backend: str) -> Tensor:
        """(B, H, W, C) to the same shape."""
        handed: dict[bool, tuple[Focus, ...]] = {False: (), True: ()}
        for group in self.groups:
            assert isinstance(group, ResidualGroup)
            mixed = features
            for block in group.blocks:
                assert isinstance(block, FocusedBlock)
                shifts = block.attention.shift > 0
                mixed, handed[shifts] = block(mixed, handed[shifts], backend)
            features = group.close(mixed, features)
        return features


def _check_kept_tokens(kept: Sequence[int], side: int, blocks: int) -> None:
    """One number for each block, from all tokens of a window downwards."""
    kept = require_integers("kept_tokens", kept)
    if len(kept) != blocks:
        raise ValueError(f"kept_tokens has {len(kept)} entries for {blocks} blocks; give one for each")
    if kept[0] > side**2 or any(after > before for before, after in pairwise(kept)):
        raise ValueError(
            f"kept_tokens={list(kept)} must start from at most {side**2}, the tokens of a window, "
            "and never grow"
        )
