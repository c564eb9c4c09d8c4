"""ESC: self-attention only at the start of each block, emulated by convolutional attention elsewhere.

Paper:      Lee et al., "Emulating Self-attention with Convolution for Efficient Image Super-Resolution",
            ICCV 2025, arXiv 2503.06671
Reference:  github.com/dslisleedh/ESC at e7e6938c
Deviations: those of the encoder.
"""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from srlab.layers.spatial_steps import steps_of
from srlab.models.esc.encoder import EscNetwork
from srlab.ops.reach import Step, Upsampling


class ESC(EscNetwork):
    """Super-resolver of ESC, ESC-light and ESC-XL.

    Args:
        scale: 2, 3, 4 or any other integer.
        dim: feature channels.
        encoder: further arguments of :class:`EscNetwork`.
    """

    def __init__(self, *, scale: int, dim: int, **encoder: Any) -> None:
        super().__init__(scale=scale, dim=dim, **encoder)
        self.to_image = nn.Conv2d(dim, 3 * scale**2, 3, padding=1)

    def spatial_steps(self) -> list[Step]:
        """Encoder, convolution, pixel shuffle; the upsampled image sees less."""
        return [*steps_of(self.encoder, self.to_image), Upsampling(self.scale)]

    def restore(self, lr_image: Tensor) -> Tensor:
        """All sub-pixels at once, added to nearest-neighbour upsampling."""
        features = self.encoder(lr_image, self.backend_for(lr_image))
        subpixels = self.to_image(features) + lr_image.repeat_interleave(self.scale**2, dim=1)
        return F.pixel_shuffle(subpixels, self.scale)
