"""EDSR: enhanced deep residual network, the convolutional yardstick.

Paper:      Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution", CVPRW 2017,
            arXiv 1707.02921
Reference:  github.com/XPixelGroup/BasicSR at 8d56e3a0
Deviations: none.

Shape legend: B batch, C features, H/W low-resolution size.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srlab.layers.color import rgb_mean
from srlab.layers.upsample import pixel_shuffle_stages
from srlab.models.network import Network, count_numbered, require_integer

__all__ = ["EDSR"]

# The published large network scales its residuals, the baseline does not; a file does not tell the factor.
_LARGE = (256, 32)
_LARGE_RESIDUAL_SCALE = 0.1


class ResidualBlock(nn.Module):
    """Convolution, ReLU, convolution, scaled, and the input added; no normalisation."""

    def __init__(self, *, dim: int, residual_scale: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(dim, dim, 3, padding=1)
        self.conv2 = nn.Conv2d(dim, dim, 3, padding=1)
        self.residual_scale = residual_scale

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        return features + self.conv2(F.relu(self.conv1(features))) * self.residual_scale


class EDSR(Network):
    """Enhanced deep residual network.

    Args:
        scale: 3 or a power of two.
        dim: feature channels C.
        depth: residual blocks.
        residual_scale: factor of every residual branch.
        value_range: the network sees (image - mean colour) times this.
    """

    official_landmarks = (
        "conv_first.weight",
        "body.0.conv1.weight",
        "conv_after_body.weight",
        "upsample.0.weight",
    )
    official_keys = r"(conv_first|body\.\d+\.conv[12]|conv_after_body|upsample\.\d+|conv_last)\.(weight|bias)"

    def __init__(
        self,
        *,
        scale: int,
        dim: int,
        depth: int,
        residual_scale: float,
        value_range: float,
    ) -> None:
        super().__init__(scale=scale)
        require_integer("dim", dim)
        self.value_range = value_range
        self.register_buffer("mean", rgb_mean(), persistent=False)
        self.mean: Tensor
        self.conv_first = nn.Conv2d(3, dim, 3, padding=1)
        self.body = nn.Sequential(
            *(
                ResidualBlock(dim=dim, residual_scale=residual_scale)
                for _ in range(require_integer("depth", depth))
            )
        )
        self.conv_after_body = nn.Conv2d(dim, dim, 3, padding=1)
        self.upsample = pixel_shuffle_stages(scale=scale, channels=dim)
        self.conv_last = nn.Conv2d(dim, 3, 3, padding=1)

    def restore(self, lr_image: Tensor) -> Tensor:
        """Residual blocks at low resolution, then pixel shuffles."""
        image = ((lr_image - self.mean) * self.value_range).contiguous(memory_format=torch.channels_last)
        shallow = self.conv_first(image)
        features = self.conv_after_body(self.body(shallow)) + shallow
        return self.conv_last(self.upsample(features)) / self.value_range + self.mean

    @classmethod
    def recognise(cls, state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Read scale, width and depth."""
        if any(key not in state for key in cls.official_landmarks):
            return None
        dim = state["conv_first.weight"].shape[0]
        depth = count_numbered(state, "body.")
        stages = sum(bool(re.fullmatch(r"upsample\.\d+\.weight", key)) for key in state)
        factor = math.isqrt(state["upsample.0.weight"].shape[0] // dim)
        return {
            "scale": factor**stages,
            "dim": dim,
            "depth": depth,
            "residual_scale": _LARGE_RESIDUAL_SCALE if (dim, depth) == _LARGE else 1.0,
            "value_range": 255.0,
        }

    @classmethod
    def untold(cls, state: Mapping[str, Tensor]) -> tuple[str, ...]:
        """Factors without weights."""
        return "residual_scale", "value_range"

    @classmethod
    def from_official(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The names are the same."""
        return dict(state)

    def to_official(self) -> dict[str, Tensor]:
        """The names are the same."""
        return self.state_dict()
