"""ELAN: efficient long-range attention network.

Paper:      Zhang et al., "Efficient Long-Range Attention Network for Image Super-Resolution", ECCV 2022,
            arXiv 2203.06697
Reference:  github.com/xindongzhang/ELAN at 97ab3fa0
Deviations: mean shifts and shift kernels are constants, not frozen parameters; a depth that would drop
            blocks silently is an error; images may be smaller than the padding; backend "sdpa" hands
            queries, not maps, to sharing modules.

Shape legend: B batch, C features, H/W padded low-resolution size, S window size, T = S * S tokens, G number
of window sizes, d = C / G channels of a group; windows are (B * H/S, W/S, T, d).
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from srlab.layers.arguments import require_integer, require_integers
from srlab.layers.folding import Foldable, absorb_batch_norm
from srlab.layers.inference_cache import InferenceCache
from srlab.models.shared_attention import (
    SharedAttentionBlock,
    SharedAttentionNetwork,
    channels_per_group,
    count_blocks,
)
from srlab.ops.attention import attention_maps, fused_attention
from srlab.ops.kernels import find_kernel
from srlab.ops.shift import resolve_shift_schedule
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


class GroupAttention(nn.Module, Foldable):
    """Group-wise multi-scale self-attention (GMSA): a window size for each group, queries serve as keys."""

    def __init__(self, *, dim: int, window_sizes: Sequence[int], shifted: bool, computes_maps: bool) -> None:
        super().__init__()
        self.window_sizes = tuple(window_sizes)
        #: Whether the windows of each group move cyclically by half their size.
        self.shifted = shifted
        self.computes_maps = computes_maps
        self.project = nn.Conv2d(dim, 2 * dim if computes_maps else dim, 1)
        self.norm: nn.Module = nn.BatchNorm2d(2 * dim if computes_maps else dim)
        self.mix = nn.Conv2d(dim, dim, 1)
        #: Weights of the block in the form that its kernels read.
        self.kernel_weights = InferenceCache()

    def forward(
        self, features: Tensor, shared: list[Tensor] | None, *, backend: str
    ) -> tuple[Tensor, list[Tensor]]:
        """Attend inside windows.

        Args:
            features: (B, C, H, W); H and W must be multiples of every window size.
            shared: one tensor for each group from the module that computed: the maps (``reference``) or the
                queries (other back ends); None in that module itself.
            backend: ``reference`` or ``sdpa``.

        Returns:
            (B, C, H, W), and what following modules share.
        """
        if self.computes_maps == (shared is not None):
            raise ValueError("the first module of a block computes its maps, the others need the shared ones")
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():
            self.kernel_weights.clear()
        attend = attend_as_published if backend == "reference" else attend_channels_last
        groups = self.norm(self.project(features)).chunk(len(self.window_sizes), dim=1)
        outputs, handed_on = [], []
        for index, (group, side) in enumerate(zip(groups, self.window_sizes, strict=True)):
            shift = side // 2 if self.shifted else 0
            mixed, keep = attend(group, None if shared is None else shared[index], side, shift)
            outputs.append(mixed)
            handed_on.append(keep)
        return self.mix(torch.cat(outputs, dim=1)), handed_on

    def fold(self) -> None:
        """The batch norm becomes part of the convolution before it."""
        self.norm = absorb_batch_norm(self.project, self.norm)


class ElanBlock(SharedAttentionBlock):
    """Efficient long-range attention block (ELAB): 1 + n_share pairs of modules, one set of maps."""

    def __init__(
        self, *, dim: int, n_share: int, window_sizes: Sequence[int], expansion: int, shifted: bool
    ) -> None:
        def make_attention(computes: bool) -> GroupAttention:
            return GroupAttention(dim=dim, window_sizes=window_sizes, shifted=shifted, computes_maps=computes)

        super().__init__(dim=dim, n_share=n_share, expansion=expansion, make_attention=make_attention)
        self.shifted = shifted

    def forward(self, features: Tensor, backend: str) -> Tensor:
        """(B, C, H, W) to the same shape."""
        kernel = find_kernel("elan_block", backend, features.device)
        return super().forward(features, backend) if kernel is None else kernel(self, features)


class ELAN(SharedAttentionNetwork):
    """Efficient long-range attention network.

    Args:
        dim: feature channels C, a multiple of the number of window sizes.
        depth: attention modules in all, m in the paper, a multiple of 1 + n_share.
        n_share: how many following modules reuse the maps that one module computes.
        window_sizes: of each group of channels; any number of groups.
        expansion: channels inside the local feature extraction, in units of dim.
        shift_schedule: which blocks shift their windows, see :func:`srlab.ops.shift.resolve_shift_schedule`.
        frame: further arguments of :class:`SharedAttentionNetwork`.
    """

    operators = ("elan_block", "elan_body")

    def __init__(
        self,
        *,
        dim: int,
        depth: int,
        n_share: int,
        window_sizes: Sequence[int],
        expansion: int,
        shift_schedule: str | Sequence[bool | int],
        **frame: Any,
    ) -> None:
        window_sizes = require_integers("window_sizes", window_sizes)
        channels_per_group(require_integer("dim", dim), window_sizes, "windows")
        shifts = resolve_shift_schedule(shift_schedule, [count_blocks(depth, n_share)])

        sizes = {"dim": dim, "n_share": n_share}

        def make_block(index: int) -> ElanBlock:
            return ElanBlock(**sizes, window_sizes=window_sizes, expansion=expansion, shifted=shifts[index])

        super().__init__(make_block, math.lcm(*window_sizes), **sizes, depth=depth, **frame)

    def run_body(self, features: Tensor, backend: str) -> Tensor:
        """All blocks in their order, or a kernel for all of them."""
        kernel = find_kernel("elan_body", backend, features.device)
        return super().run_body(features, backend) if kernel is None else kernel(self.body, features)

    def memory_format(self, backend: str, device: torch.device) -> torch.memory_format:
        """Kernels for the whole body read rows of one channel."""
        if find_kernel("elan_body", backend, device) is not None:
            return torch.contiguous_format
        return super().memory_format(backend, device)
