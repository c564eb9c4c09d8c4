"""Learned bias of attention logits for each relative position inside a window."""

import torch
from torch import Tensor, nn

from srlab.layers.at_rest import KeptAtRest
from srlab.ops.window_attention import reads_distances

__all__ = ["RelativePositionBias"]

# Expanded biases of at most this many entries are kept in evaluation: those of SwinIR-light's 24 blocks take
# 2.4 MB. One of ESC's 32x32 windows would take 17 MB, in every block, and is cheap beside its attention.
_LARGEST_KEPT = 2**18


class RelativePositionBias(nn.Module):
    """(heads, T, T) from a table of one value for each head and distance, T = S * S tokens of a window.

    In evaluation the expanded bias is kept until the table changes.

    Args:
        num_heads: attention heads.
        side: side S of the window.
        std: the table starts from a normal distribution of this spread, cut off at 2 as PyTorch has it.
    """

    def __init__(self, *, num_heads: int, side: int, std: float) -> None:
        super().__init__()
        self.side = side
        self.table = nn.Parameter(torch.zeros((2 * side - 1) ** 2, num_heads))
        self.expanded = KeptAtRest()
        nn.init.trunc_normal_(self.table, std=std)

    def forward(self) -> Tensor:
        """(heads, T, T): for query q and key k the entry of their distance q - k, rows first."""
        if self.side**4 * self.table.shape[1] > _LARGEST_KEPT:
            return self._expand()
        return self.expanded(self._expand, [self.table])

    def by_distance(self) -> Tensor:
        """(heads, 2S - 1, 2S - 1): the table, for kernels that read it where they need an entry."""
        return self.table.T.reshape(-1, 2 * self.side - 1, 2 * self.side - 1)

    def for_kernels(self, device: torch.device) -> Tensor:
        """The form that :func:`srlab.ops.window_attention.window_attention` reads best on ``device``."""
        return self.by_distance() if reads_distances(device, self.side) else self()

    def _expand(self) -> Tensor:
        """Each query sees a slice of the table, backwards: views, with a cheaper gradient than indices."""
        heads = self.table.shape[1]
        slices = self.by_distance().unfold(1, self.side, 1).unfold(2, self.side, 1)  # heads, query, key
        return slices.flip(3, 4).reshape(heads, self.side**2, self.side**2)
