"""Learned bias of attention logits for each relative position inside a window."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from srlab.layers.inference_cache import InferenceCache

# Expanded biases of at most this many entries are cached: those of SwinIR-light's 24 blocks take 2.4 MB. One
# of ESC's 32x32 windows would take 17 MB, in every block, and is cheap compared to its attention.
_LARGEST_CACHED = 2**18


class RelativePositionBias(nn.Module):
    """(heads, T, T) from a table of one value for each head and distance, T = S * S tokens of a window.

    Args:
        num_heads: attention heads M.
        side: side S of the window.
        std: the table starts from a normal distribution of this standard deviation, truncated at 2.
    """

    def __init__(self, *, num_heads: int, side: int, std: float) -> None:
        super().__init__()
        self.side = side
        self.table = nn.Parameter(torch.zeros((2 * side - 1) ** 2, num_heads))
        self.cache = InferenceCache()
        nn.init.trunc_normal_(self.table, std=std)

    def forward(self) -> Tensor:
        """(M, T, T): for query q and key k the entry of their distance q - k, rows first."""
        return self.prepared("pairs", expand_bias)

    def prepared(self, form: str, prepare: Callable[[Tensor], Tensor]) -> Tensor:
        """``prepare`` of the (M, 2S - 1, 2S - 1) bias by distance, query minus key, smallest first.

        In evaluation the result is cached until the table changes; ``form`` names it.
        """

        def compute() -> Tensor:
            return prepare(self.table.T.reshape(-1, 2 * self.side - 1, 2 * self.side - 1))

        if self.side**4 * self.table.shape[1] > _LARGEST_CACHED:
            return compute()
        return self.cache(compute, [self.table], form)


def expand_bias(by_distance: Tensor) -> Tensor:
    """(M, 2S - 1, 2S - 1) to (M, T, T): views, whose gradient is cheaper than that of indices."""
    side = (by_distance.shape[-1] + 1) // 2
    # each query sees a slice of the table, backwards
    slices = by_distance.unfold(1, side, 1).unfold(2, side, 1)  # heads, query, key
    return slices.flip(3, 4).reshape(-1, side**2, side**2)
