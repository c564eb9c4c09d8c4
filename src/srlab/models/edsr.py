"""EDSR: enhanced deep residual network, the convolutional baseline.

Paper:      Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution", CVPRW 2017,
            arXiv 1707.02921
Reference:  github.com/XPixelGroup/BasicSR at 8d56e3a0
Deviations: none.
"""

from collections.abc import Sequence

from srlab.layers.arguments import require_integer
from srlab.layers.color import RGB_MEAN
from srlab.models.residual_cnn import ResidualBlock, ResidualCNN


class EDSR(ResidualCNN):
    """Enhanced deep residual network.

    Args:
        scale: 3 or a power of two.
        dim: feature channels C.
        depth: residual blocks.
        residual_scale: factor of every residual branch.
        value_range: the network sees (image - mean colour) times this.
        mean: that colour, in [0, 1].
    """

    def __init__(
        self,
        *,
        scale: int,
        dim: int,
        depth: int,
        residual_scale: float,
        value_range: float,
        mean: Sequence[float] = RGB_MEAN,
    ) -> None:
        require_integer("depth", depth)
        body = (ResidualBlock(dim=dim, residual_scale=residual_scale) for _ in range(depth))
        super().__init__(scale=scale, dim=dim, body=body, value_range=value_range, mean=mean)
