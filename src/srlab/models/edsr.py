"""EDSR: enhanced deep residual network, the convolutional yardstick.

Paper:      Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution", CVPRW 2017,
            arXiv 1707.02921
Reference:  github.com/XPixelGroup/BasicSR at 8d56e3a0
Deviations: none.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from srlab.layers.color import RGB_MEAN
from srlab.models.network import count_numbered, require_integer
from srlab.models.residual_cnn import ResidualBlock, ResidualCNN, recognise_frame

__all__ = ["EDSR"]

# The published large network scales its residuals, the baseline does not; a file does not tell the factor.
_LARGE = (256, 32)
_LARGE_RESIDUAL_SCALE = 0.1


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

    official_landmarks = (
        "body.0.conv1.weight",
        "conv_first.weight",
        "conv_after_body.weight",
        "upsample.0.weight",
    )

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

    @classmethod
    def recognise(cls, state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Read scale, width and depth."""
        if any(key not in state for key in cls.official_landmarks):
            return None
        frame, depth = recognise_frame(state), count_numbered(state, "body.")
        large = (frame["dim"], depth) == _LARGE
        return {
            **frame,
            "depth": depth,
            "residual_scale": _LARGE_RESIDUAL_SCALE if large else 1.0,
        }

    @classmethod
    def untold(cls, state: Mapping[str, Tensor]) -> tuple[str, ...]:
        """Factors without weights."""
        return "residual_scale", "mean", "value_range"

    @classmethod
    def from_official(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The names are the same."""
        return dict(state)

    def to_official(self) -> dict[str, Tensor]:
        """The names are the same."""
        return self.state_dict()
