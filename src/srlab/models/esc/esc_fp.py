"""ESC-FP: ESC with fewer parameters, its large kernel split into a channel and a spatial part.

Paper:      Lee et al., "Emulating Self-attention with Convolution for Efficient Image Super-Resolution",
            ICCV 2025, arXiv 2503.06671
Reference:  github.com/dslisleedh/ESC at e7e6938c
Deviations: those of the encoder.

Shape legend: B batch, C features, P channels that convolutional attention mixes (the first P of C), H/W
low-resolution size, K side of the large kernel.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srlab.layers.feed_forward import ChannelNorm
from srlab.models.esc.blocks import PREDICTED_SIDE, KernelPredictor, convolve_each
from srlab.models.esc.esc import ESC


class FactorizedKernel(nn.Module):
    """What all steps share: a mixture of channels, then a large depth-wise kernel."""

    def __init__(self, *, dim: int, side: int) -> None:
        super().__init__()
        self.channel = nn.Parameter(torch.randn(dim, dim, 1, 1))
        self.spatial = nn.Parameter(torch.empty(dim, 1, side, side))
        nn.init.orthogonal_(self.spatial)

    def forward(self) -> tuple[Tensor, Tensor]:
        """(P, P, 1, 1) and (P, 1, K, K)."""
        return self.channel, self.spatial


class FactorizedAttention(nn.Module):
    """The first P channels are mixed, then convolved with the shared kernel plus the predicted one."""

    def __init__(self, *, dim: int, mixed_dim: int) -> None:
        super().__init__()
        self.mixed_dim = mixed_dim
        self.predictor = KernelPredictor(dim=mixed_dim, hidden_dim=mixed_dim // 4)
        self.mix = nn.Conv2d(dim, dim, 1)

    def forward(self, features: Tensor, kernel: tuple[Tensor, Tensor]) -> Tensor:
        """(B, C, H, W) and the two parts of the shared kernel to (B, C, H, W)."""
        channel, spatial = kernel
        near, rest = features.tensor_split((self.mixed_dim,), dim=1)
        margin = (spatial.shape[-1] - PREDICTED_SIDE) // 2
        kernels = F.pad(self.predictor(near), (margin,) * 4) + spatial[:, 0]
        mixed = convolve_each(F.conv2d(near, channel), kernels)
        return self.mix(torch.cat((mixed, rest), dim=1))


class EscFP(ESC):
    """Super-resolver of ESC-FP.

    Args:
        scale: 2, 3, 4 or any other integer.
        dim: feature channels C.
        encoder: further arguments of :class:`EscNetwork`.
    """

    kernel_type = FactorizedKernel
    mixer_type = FactorizedAttention
    smallest_mixed_dim = 4
    norm_last_type = ChannelNorm

    def restore(self, lr_image: Tensor) -> Tensor:
        """All sub-pixels at once, added to PyTorch's bicubic interpolation."""
        size = [self.scale * side for side in lr_image.shape[-2:]]
        features = self.encoder(lr_image, self.backend_for(lr_image))
        upsampled = F.interpolate(lr_image, size, mode="bicubic", align_corners=False)
        return F.pixel_shuffle(self.to_image(features), self.scale) + upsampled
