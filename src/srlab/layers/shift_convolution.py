"""Shift-convolution and the local feature extraction that ELAN builds of two of them.

Paper:      Zhang et al., "Efficient Long-Range Attention Network for Image Super-Resolution", ECCV 2022,
            arXiv 2203.06697
Reference:  github.com/xindongzhang/ELAN at 97ab3fa0
Deviations: shift kernels are constants, not frozen parameters.

Shape legend: B batch, C features, H/W size of the map.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from srlab.ops.reach import Neighbours, Step
from srlab.ops.shift import shift_channels, shift_channels_by_convolution


class ShiftConvolution(nn.Module):
    """Shift groups of channels by one pixel, then mix all channels by a 1x1 convolution."""

    def __init__(self, *, dim_in: int, dim_out: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(dim_in, dim_out, 1)

    def spatial_steps(self) -> list[Step]:
        """One pixel to either side."""
        return [Neighbours(1)]

    def forward(self, features: Tensor, backend: str) -> Tensor:
        """(B, dim_in, H, W) to (B, dim_out, H, W)."""
        shift = shift_channels_by_convolution if backend == "reference" else shift_channels
        return self.mix(shift(features))


class LocalFeatures(nn.Module):
    """Local feature extraction (LFE): shift-convolution, ReLU, shift-convolution."""

    def __init__(self, *, dim: int, expansion: int) -> None:
        super().__init__()
        self.expand = ShiftConvolution(dim_in=dim, dim_out=dim * expansion)
        self.contract = ShiftConvolution(dim_in=dim * expansion, dim_out=dim)

    def forward(self, features: Tensor, backend: str) -> Tensor:
        """(B, C, H, W) to the same shape."""
        return self.contract(F.relu(self.expand(features, backend)), backend)
