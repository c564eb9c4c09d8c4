"""Channel attention and what RCAN builds of it: blocks, and groups of blocks.

Paper:      Zhang et al., "Image Super-Resolution Using Very Deep Residual Channel Attention Networks",
            ECCV 2018, arXiv 1807.02758
Reference:  github.com/XPixelGroup/BasicSR at 8d56e3a0; github.com/wwlCape/HAN at 0595e23a has the same

Shape legend: B batch, C features, H/W low-resolution size.
"""

from collections.abc import Iterator, Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srlab.layers.arguments import require_counts, require_integer


class ChannelAttention(nn.Module):
    """Multiply each channel by a number in (0, 1) that depends on the means of all channels."""

    global_parts: ClassVar[Mapping[str, str]] = {"forward": "channel attention"}

    def __init__(self, *, dim: int, squeeze_factor: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(dim, dim // squeeze_factor, 1)
        self.excite = nn.Conv2d(dim // squeeze_factor, dim, 1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        means = features.mean((2, 3), keepdim=True)
        return features * torch.sigmoid(self.excite(F.relu(self.squeeze(means))))


class ChannelAttentionBlock(nn.Module):
    """Convolution, ReLU, convolution, channel attention, and the input added (RCAB)."""

    def __init__(self, *, dim: int, squeeze_factor: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(dim, dim, 3, padding=1)
        self.conv2 = nn.Conv2d(dim, dim, 3, padding=1)
        self.attention = ChannelAttention(dim=dim, squeeze_factor=squeeze_factor)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        return features + self.attention(self.conv2(F.relu(self.conv1(features))))


class ChannelAttentionGroup(nn.Module):
    """Blocks, a convolution, and the input added (residual in residual)."""

    def __init__(self, *, dim: int, depth: int, squeeze_factor: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            *(ChannelAttentionBlock(dim=dim, squeeze_factor=squeeze_factor) for _ in range(depth))
        )
        self.conv = nn.Conv2d(dim, dim, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        return features + self.conv(self.blocks(features))


def channel_attention_groups(
    *, dim: int, num_groups: int, depth: int, squeeze_factor: int
) -> Iterator[ChannelAttentionGroup]:
    """The groups of RCAN's body; each is built, and its weights are drawn, when it is asked for.

    Raises:
        ValueError: an argument is less than 1, or ``squeeze_factor`` more than ``dim``.
    """
    require_counts(num_groups=num_groups, depth=depth)
    if require_integer("squeeze_factor", squeeze_factor) > require_integer("dim", dim):
        raise ValueError(
            f"squeeze_factor={squeeze_factor} leaves none of dim={dim} channels; use at most {dim}"
        )
    return (
        ChannelAttentionGroup(dim=dim, depth=depth, squeeze_factor=squeeze_factor) for _ in range(num_groups)
    )
