"""Learned bias of attention logits for each relative position inside a window."""

import torch
from torch import Tensor, nn

from srlab.ops.attention import relative_position_index

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
        self._kept: tuple[Tensor, int, Tensor] | None = None
        nn.init.trunc_normal_(self.table, std=std)

    def forward(self) -> Tensor:
        """(heads, T, T): for query q and key k the entry of their distance q - k, see ``ops.attention``."""
        if not self._keeps():
            return self._expanded()
        table = self.table.detach()
        if self._kept is None or not _is_same(self._kept[0], self._kept[1], table):
            # An inference tensor, made during validation, could not take part in training later.
            with torch.inference_mode(False), torch.no_grad():
                # Holding the table keeps its memory from being used again: the address identifies it.
                self._kept = (table, table._version, self._expanded())
        return self._kept[2]

    def _keeps(self) -> bool:
        """Whether this call may use or leave a kept bias: nothing trains or traces, and it is small."""
        trains = torch.is_grad_enabled() and self.table.requires_grad
        large = self.side**4 * self.table.shape[1] > _LARGEST_KEPT
        return not (trains or large or torch.compiler.is_compiling() or self.table.is_inference())

    def _expanded(self) -> Tensor:
        index = relative_position_index(self.side, self.table.device)
        tokens = self.side**2
        return self.table[index.flatten()].view(tokens, tokens, -1).permute(2, 0, 1).contiguous()

    def __getstate__(self) -> dict[str, object]:
        """Copies and pickles do not carry what can be computed again."""
        return {**self.__dict__, "_kept": None}


def _is_same(known: Tensor, version: int, table: Tensor) -> bool:
    """Whether ``table`` is the memory that ``known`` was, with nothing written to it since ``version``."""
    same_memory = known.data_ptr() == table.data_ptr() and known.device == table.device
    return same_memory and known.dtype == table.dtype and version == table._version
