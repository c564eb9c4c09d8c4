"""Two-layer perceptron on the channels of every token."""

import torch.nn.functional as F
from torch import Tensor, nn


class FeedForward(nn.Module):
    """Linear, exact GELU, Linear on the last axis."""

    def __init__(self, *, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.expand = nn.Linear(dim, hidden_dim)
        self.contract = nn.Linear(hidden_dim, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., dim) to the same shape."""
        return self.contract(F.gelu(self.expand(tokens)))
