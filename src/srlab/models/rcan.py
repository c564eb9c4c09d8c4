"""RCAN: residual channel attention network, the deep convolutional yardstick.

Paper:      Zhang et al., "Image Super-Resolution Using Very Deep Residual Channel Attention Networks",
            ECCV 2018, arXiv 1807.02758
Reference:  github.com/XPixelGroup/BasicSR at 8d56e3a0
Deviations: no factor on the residual branches; the published options have 1.

Shape legend: B batch, C features, H/W low-resolution size.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srlab.layers.color import RGB_MEAN
from srlab.models.network import count_numbered, rename_keys, require_integer
from srlab.models.residual_cnn import ResidualCNN, recognise_frame

__all__ = ["RCAN", "ChannelAttention", "ChannelAttentionBlock", "ChannelAttentionGroup"]

_BLOCK = "body.0.residual_group.0.rcab"

_TO_OURS = (
    (r"\.residual_group\.", r".blocks."),
    (r"\.rcab\.0\.", r".conv1."),
    (r"\.rcab\.2\.", r".conv2."),
    (r"\.rcab\.3\.attention\.1\.", r".attention.squeeze."),
    (r"\.rcab\.3\.attention\.3\.", r".attention.excite."),
)
_TO_OFFICIAL = (
    (r"\.blocks\.", r".residual_group."),
    (r"\.conv1\.", r".rcab.0."),
    (r"\.conv2\.", r".rcab.2."),
    (r"\.attention\.squeeze\.", r".rcab.3.attention.1."),
    (r"\.attention\.excite\.", r".rcab.3.attention.3."),
)


class ChannelAttention(nn.Module):
    """Multiply each channel by a number in (0, 1) that depends on the means of all channels."""

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


class RCAN(ResidualCNN):
    """Residual channel attention network.

    Args:
        scale: 3 or a power of two.
        dim: feature channels C.
        num_groups: groups of blocks.
        depth: blocks in each group.
        squeeze_factor: the attention's hidden channels are dim divided by this, rounded down.
        value_range: the network sees (image - mean colour) times this.
        mean: that colour, in [0, 1].
    """

    official_landmarks = (
        f"{_BLOCK}.3.attention.1.weight",
        f"{_BLOCK}.0.weight",
        "conv_first.weight",
        "conv_after_body.weight",
        "upsample.0.weight",
    )

    def __init__(
        self,
        *,
        scale: int,
        dim: int,
        num_groups: int,
        depth: int,
        squeeze_factor: int,
        value_range: float,
        mean: Sequence[float] = RGB_MEAN,
    ) -> None:
        require_integer("num_groups", num_groups)
        require_integer("depth", depth)
        if require_integer("squeeze_factor", squeeze_factor) > require_integer("dim", dim):
            raise ValueError(
                f"squeeze_factor={squeeze_factor} leaves none of dim={dim} channels; use at most {dim}"
            )
        body = (
            ChannelAttentionGroup(dim=dim, depth=depth, squeeze_factor=squeeze_factor)
            for _ in range(num_groups)
        )
        super().__init__(scale=scale, dim=dim, body=body, value_range=value_range, mean=mean)

    @classmethod
    def recognise(cls, state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Read all but the colour range."""
        if any(key not in state for key in cls.official_landmarks):
            return None
        hidden, dim = state[f"{_BLOCK}.3.attention.1.weight"].shape[:2]
        return {
            **recognise_frame(state),
            "num_groups": count_numbered(state, "body."),
            "depth": count_numbered(state, "body.0.residual_group."),
            "squeeze_factor": dim // hidden,
        }

    @classmethod
    def untold(cls, state: Mapping[str, Tensor]) -> tuple[str, ...]:
        """Constants without weights."""
        return "mean", "value_range"

    @classmethod
    def from_official(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rename keys."""
        return rename_keys(state, _TO_OURS)

    def to_official(self) -> dict[str, Tensor]:
        """Rename keys."""
        return rename_keys(self.state_dict(), _TO_OFFICIAL)
