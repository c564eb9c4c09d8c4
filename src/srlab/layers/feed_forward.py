"""Parts of transformers: feed-forward networks, the norm of maps, a block, and how linear maps start."""

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


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of every pixel."""

    def __init__(self, *, dim: int) -> None:
        super().__init__(dim, eps=1e-6)

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape, channels last in memory."""
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


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


def initialise_linear(module: nn.Module) -> None:
    """Linear maps start as in the Swin transformer; everything else as PyTorch has it."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
