"""EchoSR: depth-wise convolutions of several sizes, gated by a map that is pooled to an eighth of the side.

Paper:      EchoSR, arXiv 2605.17470
Reference:  github.com/funnyWang-Echoes/EchoSR at 09999643, basicsr/archs/EchoSR_arch.py
Deviations: sides below 8 are pooled to one cell, where the official code fails; a single pixel has
            variance 0; only the light head.

Shape legend: B batch, C features, E hidden channels, H/W low-resolution size; maps are (B, C, H, W).
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srlab.layers.arguments import require_integer, require_integers, require_positive
from srlab.layers.color import RGB_MEAN, rgb_mean
from srlab.layers.drop_path import drop_path_schedule
from srlab.layers.folding import Foldable, move_batch_norm_into
from srlab.layers.spatial_steps import steps_of
from srlab.layers.upsample import DirectHead
from srlab.models.network import Network
from srlab.ops.reach import Alternatives, Interpolation, Interval, Neighbours, Step, Windows

# Side of the cells that the gate is pooled over, in low-resolution pixels.
CELL_SIDE = 8

# Channels that a group of the expanding convolution has.
GROUP_CHANNELS = 6

# The channels are divided among the identity and three depth-wise convolutions.
_BRANCHES = 4


class PooledCells(Windows):
    """Maximum of cells of ``side``, a 3x3 convolution of cells, bilinear interpolation back to pixels.

    Cells have this side where those of the image are its multiples; other images stretch theirs.
    """

    def back(self, interval: Interval) -> Interval:
        """As in :class:`srlab.ops.reach.Neighbours`."""
        first, last = Interpolation(self.side, taps=2).back(interval)
        return Interval((first - 1) * self.side, (last + 2) * self.side - 1)


class LocalAggregation(nn.Sequential):
    """Local aggregation (LA): 1x1, 3x3 in groups of six channels, 1x1."""

    def __init__(self, *, dim: int, hidden_dim: int) -> None:
        contract = nn.Conv2d(hidden_dim, dim, 1)
        nn.init.trunc_normal_(contract.weight, std=0.02)
        super().__init__(
            nn.Conv2d(dim, hidden_dim, 1),
            nn.GELU(),
            nn.Conv2d(hidden_dim, hidden_dim, 3, padding=1, groups=hidden_dim // GROUP_CHANNELS),
            nn.GELU(),
            contract,
        )


class GlobalContext(nn.Module):
    """Global context estimation (GCE): features times a coarse map of maxima and their variances."""

    global_parts: ClassVar[Mapping[str, str]] = {"variances": "variances over the map"}

    def __init__(self, *, dim: int) -> None:
        super().__init__()
        self.local = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        self.mix = nn.Conv2d(dim, dim, 1)
        self.maximum_scale = nn.Parameter(torch.ones(1, dim, 1, 1))
        self.variance_scale = nn.Parameter(torch.zeros(1, dim, 1, 1))

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        size = features.shape[-2:]
        coarse = self.local(F.adaptive_max_pool2d(features, [max(1, side // CELL_SIDE) for side in size]))
        coarse = coarse * self.maximum_scale + self.variances(features) * self.variance_scale
        gate = F.interpolate(F.gelu(self.mix(coarse)), size=size, mode="bilinear", align_corners=False)
        return features * gate

    def variances(self, features: Tensor) -> Tensor:
        """(B, C, 1, 1): variance of every channel over the whole map, without bias; 0 for a single pixel."""
        single = features.shape[-2] * features.shape[-1] == 1
        return features.var((-2, -1), keepdim=True, correction=0 if single else 1)


class DepthwiseBranches(nn.Module):
    """Quarters of the channels: as they are, and convolved depth by depth with three kernels."""

    def __init__(self, *, dim: int, kernel_sides: Sequence[int]) -> None:
        super().__init__()
        part = dim // _BRANCHES
        self.convolutions = nn.ModuleList(
            nn.Conv2d(part, part, side, padding=side // 2, groups=part) for side in kernel_sides
        )

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        same, *parts = features.chunk(_BRANCHES, dim=1)
        mixed = [convolve(part) for convolve, part in zip(self.convolutions, parts, strict=True)]
        return torch.cat([same, *mixed], dim=1)


class ChannelAggregation(nn.Module):
    """Feed-forward network whose hidden channels move away from what one channel says of all of them."""

    def __init__(self, *, dim: int, hidden_dim: int, dropout: float) -> None:
        super().__init__()
        self.expand = nn.Conv2d(dim, hidden_dim, 1)
        self.local = nn.Conv2d(hidden_dim, hidden_dim, 3, padding=1, groups=hidden_dim)
        self.contract = nn.Conv2d(hidden_dim, dim, 1)
        self.dropout = nn.Dropout(dropout)
        self.decompose = nn.Conv2d(hidden_dim, 1, 1)
        self.sigma = nn.Parameter(torch.full((1, hidden_dim, 1, 1), 1e-5))

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        hidden = self.dropout(F.gelu(self.local(self.expand(features))))
        hidden = hidden + self.sigma * (hidden - F.gelu(self.decompose(hidden)))
        return self.dropout(self.contract(hidden))


class EchoBlock(nn.Module, Foldable):
    """Local aggregation, branches plus global context, channel aggregation, and the input added."""

    def __init__(self, *, dim: int, hidden_dim: int, kernel_sides: Sequence[int], dropout: float) -> None:
        super().__init__()
        self.norm_in: nn.Module = nn.BatchNorm2d(dim)
        self.local = LocalAggregation(dim=dim, hidden_dim=hidden_dim)
        self.context = GlobalContext(dim=dim)
        self.branches = DepthwiseBranches(dim=dim, kernel_sides=kernel_sides)
        self.context_scale = nn.Parameter(torch.full((dim,), 0.1))
        self.norm_mixed: nn.Module = nn.BatchNorm2d(dim)
        self.feed_forward = ChannelAggregation(dim=dim, hidden_dim=hidden_dim, dropout=dropout)
        self.radius = max(kernel_sides) // 2

    def fold(self) -> None:
        """Both norms, into the 1x1 convolutions after them."""
        expand = self.local[0]
        assert isinstance(expand, nn.Conv2d)
        if isinstance(self.norm_in, nn.BatchNorm2d):
            self.norm_in = move_batch_norm_into(self.norm_in, expand)
        if isinstance(self.norm_mixed, nn.BatchNorm2d):
            self.norm_mixed = move_batch_norm_into(self.norm_mixed, self.feed_forward.expand)

    def spatial_steps(self) -> list[Step]:
        """Local aggregation, context beside branches, feed-forward network."""
        mixed = Alternatives((PooledCells(CELL_SIDE), Neighbours(self.radius)))
        return [*steps_of(self.local), mixed, *steps_of(self.feed_forward.local)]

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        inner = self.local(self.norm_in(features))
        mixed = self.branches(inner) + self.context(inner) * self.context_scale.view(-1, 1, 1)
        return self.feed_forward(self.norm_mixed(mixed)) + features


class Fusion(nn.Module):
    """Cross-scale overlapping fusion (COFB): large depth-wise kernels gate their input."""

    def __init__(self, *, dim: int) -> None:
        super().__init__()
        self.expand = nn.Conv2d(dim, dim, 1)
        self.gate = nn.Sequential(
            nn.Conv2d(dim, dim, 7, padding=3, groups=dim),
            nn.Conv2d(dim, dim, 15, padding=7, groups=dim),
            nn.Conv2d(dim, dim, 1),
        )
        self.contract = nn.Conv2d(dim, dim, 1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        inner = F.gelu(self.expand(features))
        return self.contract(inner * self.gate(inner))


class EchoGroup(nn.Module):
    """Blocks, a fusion, and the input added."""

    def __init__(self, *, blocks: Sequence[EchoBlock], dim: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*blocks)
        self.fusion = Fusion(dim=dim)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        return self.fusion(self.blocks(features)) + features


class EchoSR(Network):
    """Super-resolver of EchoSR.

    Args:
        scale: 2, 3, 4 or any other integer.
        dim: feature channels C, a multiple of 4.
        depths: blocks in each group.
        kernel_sides: sides of the three depth-wise kernels, odd.
        mlp_ratio: hidden channels E in units of dim; E must be a multiple of 6.
        dropout: probability in the last block's feed-forward network, growing linearly from 0.
        value_range: the blocks see (image - mean colour) times this.
        mean: that colour, in [0, 1].
    """

    block_names = r"groups\.\d+\.blocks\.\d+"
    unexportable: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(
            ("onnx", "openvino"), "PyTorch's exporter cannot pool into a computed number of cells"
        ),
        "pt2 of any size": "the number of pooling cells depends on the image; give one --size",
    }

    def __init__(
        self,
        *,
        scale: int,
        dim: int,
        depths: Sequence[int],
        kernel_sides: Sequence[int],
        mlp_ratio: float,
        dropout: float,
        value_range: float = 1.0,
        mean: Sequence[float] = RGB_MEAN,
    ) -> None:
        super().__init__(scale=scale)
        hidden_dim = _check_sizes(dim, mlp_ratio, kernel_sides)
        self.value_range = require_positive("value_range", value_range)
        self.register_buffer("mean", rgb_mean(mean=mean), persistent=False)
        self.mean: Tensor
        rates = drop_path_schedule(dropout, require_integers("depths", depths))
        self.conv_first = nn.Conv2d(3, dim, 3, padding=1)
        self.groups = nn.ModuleList()
        for depth in depths:
            blocks = [
                EchoBlock(dim=dim, hidden_dim=hidden_dim, kernel_sides=kernel_sides, dropout=next(rates))
                for _ in range(depth)
            ]
            self.groups.append(EchoGroup(blocks=blocks, dim=dim))
        self.conv_after_body = nn.Conv2d(dim, dim, 3, padding=1)
        self.head = DirectHead(dim=dim, scale=scale)

    @property
    def pools_globally(self) -> tuple[str, ...]:
        """As in :class:`Network`; cells are so for sizes that are not a multiple of theirs."""
        return (*super().pools_globally, "pooling cells, whose side follows from the image's")

    def spatial_steps(self) -> list[Step]:
        """First convolution, groups, last convolution, head."""
        body = [step for group in self.groups for step in steps_of(*group.children())]
        return [*steps_of(self.conv_first), *body, *steps_of(self.conv_after_body, self.head)]

    def restore(self, lr_image: Tensor) -> Tensor:
        """Subtract the mean colour, restore, add it."""
        image = (lr_image - self.mean) * self.value_range
        features = shallow = self.conv_first(image)
        for group in self.groups:
            features = group(features)
        return self.head(self.conv_after_body(features) + shallow) / self.value_range + self.mean


def _check_sizes(dim: int, mlp_ratio: float, kernel_sides: Sequence[int]) -> int:
    """Hidden channels, if the channels can be shared out."""
    if require_integer("dim", dim) % _BRANCHES:
        raise ValueError(f"dim={dim} must be a multiple of {_BRANCHES}, its branches")
    hidden_dim = int(dim * require_positive("mlp_ratio", mlp_ratio))
    if hidden_dim < GROUP_CHANNELS or hidden_dim % GROUP_CHANNELS:
        raise ValueError(
            f"mlp_ratio={mlp_ratio} gives {hidden_dim} hidden channels; "
            f"they must be a multiple of {GROUP_CHANNELS}"
        )
    sides = require_integers("kernel_sides", kernel_sides)
    if len(sides) != _BRANCHES - 1 or not all(side % 2 for side in sides):
        raise ValueError(f"kernel_sides={list(sides)} must be three odd sides")
    return hidden_dim
