"""Two-layer perceptrons on the channels of every token, and the transformer block that ends with one."""

import torch.nn.functional as F
from torch import Tensor, nn

from srlab.layers.drop_path import DropPath


class FeedForward(nn.Module):
    """Linear, exact GELU, Linear on the last axis."""

    def __init__(self, *, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.expand = nn.Linear(dim, hidden_dim)
        self.contract = nn.Linear(hidden_dim, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., dim) to the same shape."""
        return self.contract(F.gelu(self.expand(tokens)))


class ConvFeedForward(FeedForward):
    """The same with a depth-wise convolution and GELU between, added to their input.

    Args:
        dim: channels C.
        hidden_dim: channels of the convolution.
        kernel_side: of its kernel, odd.
    """

    def __init__(self, *, dim: int, hidden_dim: int, kernel_side: int) -> None:
        super().__init__(dim=dim, hidden_dim=hidden_dim)
        self.local = nn.Conv2d(
            hidden_dim, hidden_dim, kernel_side, padding=kernel_side // 2, groups=hidden_dim
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, H, W, C) to the same shape."""
        hidden = F.gelu(self.expand(tokens))
        local = F.gelu(self.local(hidden.permute(0, 3, 1, 2))).permute(0, 2, 3, 1)
        return self.contract(hidden + local)


class TransformerBlock(nn.Module):
    """Norms first: attention, then a feed-forward network; each is added to its input.

    Args:
        dim: channels C.
        attention: maps (B, H, W, C) and the name of the backend to the same shape.
        hidden_dim: channels inside the feed-forward network.
        drop_path: probability that training skips a branch.
    """

    def __init__(self, *, dim: int, attention: nn.Module, hidden_dim: int, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attention = attention
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = FeedForward(dim=dim, hidden_dim=hidden_dim)
        self.drop_path = DropPath(probability=drop_path)

    def forward(self, features: Tensor, backend: str) -> Tensor:
        """(B, H, W, C) to the same shape."""
        features = features + self.drop_path(self.attention(self.norm1(features), backend))
        return features + self.drop_path(self.mlp(self.norm2(features)))
