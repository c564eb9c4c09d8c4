"""The discriminator of Real-ESRGAN: how real each pixel looks.

Paper:      X. Wang and others, "Real-ESRGAN", ICCVW 2021, section 3.4; spectral normalization of T. Miyato
            and others, ICLR 2018
Reference:  github.com/xinntao/Real-ESRGAN at 83530bc3, realesrgan/archs/discriminator_arch.py
Deviations: PyTorch's newer spectral norm, whose start is 15 power iterations instead of none.

Shape legend: B batch, C features, H/W size of the image.
"""

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

_SLOPE = 0.2


class UNetDiscriminator(nn.Module):
    """A U-Net of three halvings, normalized except for its first and last convolution.

    Args:
        dim: feature channels C at full size; 2C, 4C and 8C below.
    """

    def __init__(self, *, dim: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, dim, 3, padding=1)
        widths = [dim, 2 * dim, 4 * dim, 8 * dim]
        self.down = nn.ModuleList(
            spectral_norm(nn.Conv2d(width, wider, 4, stride=2, padding=1, bias=False))
            for width, wider in pairwise(widths)
        )
        widths.reverse()
        self.up = nn.ModuleList(
            spectral_norm(nn.Conv2d(width, narrower, 3, padding=1, bias=False))
            for width, narrower in pairwise(widths)
        )
        self.tail = nn.ModuleList(
            spectral_norm(nn.Conv2d(dim, dim, 3, padding=1, bias=False)) for _ in range(2)
        )
        self.last = nn.Conv2d(dim, 1, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] to (B, 1, H, W) logits, positive for real; H and W multiples of 8.

        Raises:
            ValueError: other sizes.
        """
        height, width = images.shape[-2:]
        if height % 8 or width % 8:
            raise ValueError(
                f"the U-Net discriminator halves its images three times, got {height}x{width}: set a "
                "data.patch_size that makes HR crops multiples of 8"
            )
        maps = F.leaky_relu(self.first(images), _SLOPE)
        skips = []
        for convolution in self.down:
            skips.append(maps)
            maps = F.leaky_relu(convolution(maps), _SLOPE)
        for convolution in self.up:
            maps = F.interpolate(maps, scale_factor=2, mode="bilinear", align_corners=False)
            maps = F.leaky_relu(convolution(maps), _SLOPE) + skips.pop()
        for convolution in self.tail:
            maps = F.leaky_relu(convolution(maps), _SLOPE)
        return self.last(maps)
