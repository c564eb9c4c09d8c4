"""SST: transformer blocks whose windows grow and shrink in a cycle, up to 64, with an implicit position bias.

Paper:      Lee et al., "Rank-Factorized Implicit Neural Bias: Scaling Super-Resolution Transformer with
            FlashAttention", arXiv 2603.06738
Reference:  github.com/dslisleedh/SST at bcd61328, sst/archs/sst_arch.py
Deviations: those of :mod:`srlab.layers.implicit_bias`; windows shift by ``shift_schedule``, where the
            official class shifts every second block if all windows are equal; only the light head.

Shape legend: B batch, C features, H/W low-resolution size; maps are (B, C, H, W).
"""

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srlab.layers.arguments import require_channels, require_entries, require_integer, require_positive
from srlab.layers.feed_forward import ChannelNorm, MapFeedForward
from srlab.layers.folding import Foldable, fold_layer_norm
from srlab.layers.implicit_bias import GatedWindowAttention
from srlab.layers.spatial_steps import steps_of
from srlab.layers.upsample import DirectHead
from srlab.models.network import AttentionNetwork
from srlab.ops.reach import Step
from srlab.ops.shift import resolve_shift_schedule


class SSTBlock(nn.Module, Foldable):
    """Norms first: window attention, then a convolutional feed-forward network, each added to its input."""

    def __init__(self, *, dim: int, attention: GatedWindowAttention, hidden_dim: int) -> None:
        super().__init__()
        self.norm_attention = ChannelNorm(dim=dim)
        self.attention = attention
        self.norm_mlp = ChannelNorm(dim=dim)
        self.mlp = MapFeedForward(dim=dim, hidden_dim=hidden_dim)

    def fold(self) -> None:
        """The second norm; zeros surround what the gate's convolution sees of the first."""
        fold_layer_norm(self.norm_mlp, self.mlp.expand)

    def forward(self, features: Tensor, backend: str) -> Tensor:
        """(B, C, H, W) to the same shape."""
        features = features + self.attention(self.norm_attention(features), backend)
        return features + self.mlp(self.norm_mlp(features))


class SSTGroup(nn.Module):
    """One cycle of windows, a convolution, and the input added."""

    def __init__(self, *, blocks: Sequence[SSTBlock], dim: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.conv = nn.Conv2d(dim, dim, 3, padding=1)

    def forward(self, features: Tensor, backend: str) -> Tensor:
        """(B, C, H, W) to the same shape."""
        mixed = features
        for block in self.blocks:
            mixed = block(mixed, backend)
        return self.conv(mixed) + features


class SST(AttentionNetwork):
    """Super-resolver of SST-light.

    Args:
        scale: 2, 3, 4 or any other integer.
        dim: feature channels C.
        num_groups: cycles of windows.
        window_sizes: sides of the windows of a group's blocks, in low-resolution pixels.
        num_heads: attention heads of each of these blocks.
        ranks: channels of each head that hold the position, for each of these blocks.
        mlp_ratio: hidden channels of the feed-forward networks, in units of dim.
        bias_dim: hidden channels of the position bias.
        frequencies: octaves of the position bias.
        shift_schedule: see :func:`srlab.ops.shift.resolve_shift_schedule`.
        backend: see :class:`srlab.models.network.AttentionNetwork`.
    """

    block_names = r"groups\.\d+\.blocks\.\d+"
    pads_image = False
    unexportable: ClassVar[Mapping[str, str]] = {
        "pt2 of any size": "its blocks pad their maps by amounts that depend on the image; give one --size"
    }
    # An explicit map of one window of 64 takes 192 MiB, and a file has those of all windows at once.
    exported_backend = "sdpa"

    def __init__(
        self,
        *,
        scale: int,
        dim: int,
        num_groups: int,
        window_sizes: Sequence[int],
        num_heads: Sequence[int],
        ranks: Sequence[int],
        mlp_ratio: float,
        bias_dim: int,
        frequencies: int,
        shift_schedule: str | Sequence[bool | int] = "none",
        backend: str = "auto",
    ) -> None:
        super().__init__(scale=scale, backend=backend)
        cycle = require_entries(
            "block of a group", window_sizes=window_sizes, num_heads=num_heads, ranks=ranks
        )
        require_integer("dim", dim)
        hidden_dim = require_channels("mlp_ratio", require_positive("mlp_ratio", mlp_ratio), dim)
        shifts = iter(
            resolve_shift_schedule(shift_schedule, [len(cycle)] * require_integer("num_groups", num_groups))
        )
        self.size_multiple = math.lcm(*window_sizes)

        def make_block(window_size: int, heads: int, rank: int) -> SSTBlock:
            attention = GatedWindowAttention(
                dim=dim,
                num_heads=heads,
                window_size=window_size,
                rank=rank,
                bias_dim=bias_dim,
                frequencies=frequencies,
                shifted=next(shifts),
            )
            return SSTBlock(dim=dim, attention=attention, hidden_dim=hidden_dim)

        self.conv_first = nn.Conv2d(3, dim, 3, padding=1)
        self.groups = nn.ModuleList(
            SSTGroup(blocks=[make_block(*each) for each in cycle], dim=dim) for _ in range(num_groups)
        )
        self.norm_last = ChannelNorm(dim=dim)
        self.conv_last = nn.Conv2d(dim, dim, 3, padding=1)
        self.head = DirectHead(dim=dim, scale=scale)
        self.apply(_initialise_convolution)

    def spatial_steps(self) -> list[Step]:
        """First convolution, groups, last convolution, head; the upsampled image sees less."""
        return steps_of(self.conv_first, self.groups, self.conv_last, self.head)

    def restore(self, lr_image: Tensor) -> Tensor:
        """All sub-pixels at once, added to nearest-neighbour upsampling."""
        backend = self.backend_for(lr_image)
        features = shallow = self.conv_first(lr_image.contiguous(memory_format=torch.channels_last))
        for group in self.groups:
            features = group(features, backend)
        features = self.conv_last(self.norm_last(features)) + shallow
        upsampled = F.interpolate(lr_image, scale_factor=self.scale, mode="nearest")
        return self.head(features) + upsampled


def _initialise_convolution(module: nn.Module) -> None:
    """1x1 convolutions start as linear layers of a transformer; no convolution starts with an offset."""
    if isinstance(module, nn.Conv2d):
        if module.kernel_size == (1, 1):
            nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
