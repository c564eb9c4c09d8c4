"""RCAN: residual channel attention network, the deep convolutional baseline.

Paper:      Zhang et al., "Image Super-Resolution Using Very Deep Residual Channel Attention Networks",
            ECCV 2018, arXiv 1807.02758
Reference:  github.com/XPixelGroup/BasicSR at 8d56e3a0
Deviations: no factor on the residual branches; the published options have 1.
"""

from typing import Any

from srlab.layers.channel_attention import channel_attention_groups
from srlab.models.residual_cnn import ResidualCNN


class RCAN(ResidualCNN):
    """Residual channel attention network.

    Args:
        dim: feature channels C.
        num_groups: groups of blocks.
        depth: blocks in each group.
        squeeze_factor: the attention's hidden channels are dim divided by this, rounded down.
        frame: further arguments of :class:`ResidualCNN`.
    """

    def __init__(self, *, dim: int, num_groups: int, depth: int, squeeze_factor: int, **frame: Any) -> None:
        body = channel_attention_groups(
            dim=dim, num_groups=num_groups, depth=depth, squeeze_factor=squeeze_factor
        )
        super().__init__(body, dim=dim, **frame)
