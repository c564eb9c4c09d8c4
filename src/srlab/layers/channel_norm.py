"""Layer norm over the channels of maps."""

from torch import Tensor, nn


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of every pixel."""

    def __init__(self, *, dim: int) -> None:
        super().__init__(dim, eps=1e-6)

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape, channels last in memory."""
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
