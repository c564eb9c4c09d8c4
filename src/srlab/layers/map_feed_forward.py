"""Feed-forward network on maps, with a depth-wise convolution inside."""

import torch.nn.functional as F
from torch import Tensor, nn


class MapFeedForward(nn.Module):
    """Feed-forward network whose hidden channels see their 3x3 neighbourhood (ConvFFN), without residual."""

    def __init__(self, *, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.expand = nn.Conv2d(dim, hidden_dim, 1)
        self.local = nn.Conv2d(hidden_dim, hidden_dim, 3, padding=1, groups=hidden_dim)
        self.contract = nn.Conv2d(hidden_dim, dim, 1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        hidden = F.gelu(self.expand(features))
        return self.contract(F.gelu(self.local(hidden)) + hidden)
