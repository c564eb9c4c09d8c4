"""ESC-Real: ESC for degraded photographs, which upsamples its features instead of adding to the image.

Paper:      Lee et al., "Emulating Self-attention with Convolution for Efficient Image Super-Resolution",
            ICCV 2025, arXiv 2503.06671
Reference:  github.com/dslisleedh/ESC at e7e6938c
Deviations: those of the encoder.

Shape legend: B batch, C features, H/W low-resolution size.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srlab.layers.upsample import NearestStages
from srlab.models.esc.encoder import EscNetwork
from srlab.ops.padding import reflected_positions

_SLOPE = 0.2


class ImageSkip(nn.Module):
    """The image as features, by its 7x7 neighbourhood."""

    def __init__(self, *, dim: int) -> None:
        super().__init__()
        self.expand = nn.Conv2d(3, 2 * dim, 1)
        self.local = nn.Conv2d(2 * dim, 2 * dim, 7, groups=2 * dim)
        self.contract = nn.Conv2d(2 * dim, dim, 1)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, C, H, W); reflected at the borders, repeatedly where the image is small."""
        padded = _reflect(self.expand(image), self.local.kernel_size[0] // 2)
        return self.contract(F.leaky_relu(self.local(padded), _SLOPE))


class EscReal(EscNetwork):
    """Super-resolver of ESC-Real.

    Args:
        scale: 4.
        dim: feature channels C.
        encoder: further arguments of :class:`EscNetwork`.
    """

    published_scales = (4,)

    def __init__(self, *, scale: int, dim: int, **encoder: Any) -> None:
        if scale != 4:
            raise ValueError(f"ESC-Real upsamples by 4 only, got scale={scale!r}; use scale=4, or ESC")
        super().__init__(scale=scale, dim=dim, **encoder)
        self.skip = ImageSkip(dim=dim)
        self.head = NearestStages(dim=dim, scale=scale)

    def restore(self, lr_image: Tensor) -> Tensor:
        """Features of the image and of its blocks, upsampled."""
        features = self.encoder(lr_image, self.backend_for(lr_image))
        return self.head(features + self.skip(lr_image))


def _reflect(features: Tensor, margin: int) -> Tensor:
    """Pad (B, C, H, W) by ``margin`` on all sides by reflection, as often as it takes."""
    if margin < min(features.shape[-2:]):
        return F.pad(features, (margin,) * 4, mode="reflect")
    for axis in (-2, -1):
        side = features.shape[axis]
        before, after = reflected_positions(side, margin + 1)[:0:-1], reflected_positions(side, side + margin)
        shown = torch.tensor([*before, *after], device=features.device)
        features = features.index_select(axis, shown)
    return features
