"""The common parts of convolutional networks: EDSR's frame around a body, and the block of two convolutions.

Paper:      Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution", CVPRW 2017,
            arXiv 1707.02921
Reference:  github.com/XPixelGroup/BasicSR at 8d56e3a0
Deviations: none.

Shape legend: B batch, C features, H/W low-resolution size.
"""

from abc import abstractmethod
from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srlab.layers.arguments import require_integer, require_positive
from srlab.layers.color import RGB_MEAN, rgb_mean
from srlab.layers.folding import Foldable
from srlab.layers.spatial_steps import steps_of
from srlab.layers.upsample import pixel_shuffle_stages
from srlab.models.network import Network
from srlab.ops.reach import Step


class ResidualBlock(nn.Module, Foldable):
    """Convolution, ReLU, convolution, scaled, and the input added; no normalisation."""

    def __init__(self, *, dim: int, residual_scale: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(dim, dim, 3, padding=1)
        self.conv2 = nn.Conv2d(dim, dim, 3, padding=1)
        self.residual_scale = residual_scale

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        return features + self.conv2(F.relu(self.conv1(features))) * self.residual_scale

    def fold(self) -> None:
        """The scale becomes part of the second convolution."""
        for parameter in self.conv2.parameters():
            parameter.mul_(self.residual_scale)
        self.residual_scale = 1.0


class ResidualCNN(Network):
    """The frame: a body at low resolution with a skip around it, pixel shuffles, a last convolution.

    Args:
        body: modules that map (B, C, H, W) to the same shape, applied in order. An iterator makes them after
            the first convolution, so that they draw their weights in the order of the official code.
        scale: 3 or a power of two.
        dim: feature channels C.
        value_range: the network sees (image - mean colour) times this.
        mean: that colour, in [0, 1].
    """

    @abstractmethod
    def __init__(
        self,
        body: Iterable[nn.Module],
        *,
        scale: int,
        dim: int,
        value_range: float,
        mean: Sequence[float] = RGB_MEAN,
    ) -> None:
        super().__init__(scale=scale)
        self.value_range = require_positive("value_range", value_range)
        self.register_buffer("mean", rgb_mean(mean=mean), persistent=False)
        self.mean: Tensor
        self.conv_first = nn.Conv2d(3, require_integer("dim", dim), 3, padding=1)
        self.body = nn.Sequential(*body)
        self.conv_after_body = nn.Conv2d(dim, dim, 3, padding=1)
        self.upsample = pixel_shuffle_stages(scale=scale, channels=dim)
        self.conv_last = nn.Conv2d(dim, 3, 3, padding=1)

    def spatial_steps(self) -> list[Step]:
        """All convolutions, in order."""
        return steps_of(*self.children())

    def restore(self, lr_image: Tensor) -> Tensor:
        """All blocks at low resolution, then pixel shuffles."""
        image = ((lr_image - self.mean) * self.value_range).contiguous(memory_format=torch.channels_last)
        shallow = self.conv_first(image)
        features = self.conv_after_body(self.body(shallow)) + shallow
        return self.conv_last(self.upsample(features)) / self.value_range + self.mean
