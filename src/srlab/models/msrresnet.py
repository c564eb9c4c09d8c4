"""MSRResNet: SRResNet without batch normalisation, on top of bilinear interpolation.

Paper:      Ledig et al., "Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial
            Network", CVPR 2017, arXiv 1609.04802
Reference:  github.com/XPixelGroup/BasicSR at 8d56e3a0
Deviations: none.

Shape legend: B batch, C features, H/W low-resolution size.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srlab.layers.arguments import require_integer
from srlab.layers.spatial_steps import steps_of
from srlab.layers.upsample import pixel_shuffle_stages
from srlab.models.network import Network
from srlab.models.residual_cnn import ResidualBlock
from srlab.ops.reach import Step

_SLOPE = 0.1
# Every convolution starts at a tenth of He's spread: the untrained network is nearly the interpolation.
_INITIAL_GAIN = 0.1


class MSRResNet(Network):
    """Modified SRResNet: residual blocks, pixel shuffles and two convolutions make the detail.

    Args:
        scale: 2, 3 or 4.
        dim: feature channels C.
        depth: residual blocks.
    """

    def __init__(self, *, scale: int, dim: int, depth: int) -> None:
        super().__init__(scale=scale)
        if scale not in self.published_scales:
            raise ValueError(f"MSRResNet upsamples by 2, 3 or 4, got scale={scale}")
        require_integer("dim", dim)
        self.conv_first = nn.Conv2d(3, dim, 3, padding=1)
        self.body = nn.Sequential(
            *(ResidualBlock(dim=dim, residual_scale=1.0) for _ in range(require_integer("depth", depth)))
        )
        self.upsample = pixel_shuffle_stages(scale=scale, channels=dim)
        self.conv_hr = nn.Conv2d(dim, dim, 3, padding=1)
        self.conv_last = nn.Conv2d(dim, 3, 3, padding=1)
        self.apply(_initialise)

    def spatial_steps(self) -> list[Step]:
        """All convolutions, in order; the interpolated image sees less."""
        return steps_of(*self.children())

    def restore(self, lr_image: Tensor) -> Tensor:
        """The interpolated image plus the detail from the network."""
        image = lr_image.contiguous(memory_format=torch.channels_last)
        features = self.body(F.leaky_relu(self.conv_first(image), _SLOPE))
        for layer in self.upsample:
            features = layer(features)
            if isinstance(layer, nn.PixelShuffle):
                features = F.leaky_relu(features, _SLOPE)
        detail = self.conv_last(F.leaky_relu(self.conv_hr(features), _SLOPE))
        return detail + F.interpolate(lr_image, scale_factor=self.scale, mode="bilinear", align_corners=False)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight)
        with torch.no_grad():
            module.weight.mul_(_INITIAL_GAIN)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
