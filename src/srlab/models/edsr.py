"""EDSR: enhanced deep residual network, the convolutional baseline.

Paper:      Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution", CVPRW 2017,
            arXiv 1707.02921
Reference:  github.com/XPixelGroup/BasicSR at 8d56e3a0
Deviations: none.
"""

from typing import Any

from srlab.layers.arguments import require_integer
from srlab.models.residual_cnn import ResidualBlock, ResidualCNN


class EDSR(ResidualCNN):
    """Enhanced deep residual network.

    Args:
        dim: feature channels C.
        depth: residual blocks.
        residual_scale: factor of every residual branch.
        frame: further arguments of :class:`ResidualCNN`.
    """

    def __init__(self, *, dim: int, depth: int, residual_scale: float, **frame: Any) -> None:
        require_integer("depth", depth)
        body = (ResidualBlock(dim=dim, residual_scale=residual_scale) for _ in range(depth))
        super().__init__(body, dim=dim, **frame)
