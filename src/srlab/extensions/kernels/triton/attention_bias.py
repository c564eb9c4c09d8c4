"""The bias of attention logits in its two forms: for each pair of tokens, or for each distance between them.

Shape legend: M heads, S window side, T = S * S tokens.
"""

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

__all__ = ["bias_by_key", "bias_kind", "gradient_of_bias"]


def bias_kind(bias: Tensor | None, side: int) -> str:
    """What the kernels call the form: ``none``, ``maps`` (M, T, T) or ``distances`` (M, 2S - 1, 2S - 1)."""
    if bias is None:
        return "none"
    return "maps" if bias.shape[-1] == side**2 else "distances"


def bias_by_key(bias: Tensor | None, side: int) -> Tensor | None:
    """The bias as keys see it, query and key exchanged, in the same form."""
    if bias is None:
        return None
    return bias.transpose(1, 2).contiguous() if bias_kind(bias, side) == "maps" else bias.flip(1, 2)


def gradient_of_bias(to_maps: Tensor, bias: Tensor | None, side: int) -> Tensor:
    """The gradient of (M, T, T) in the form of ``bias``: by distance, sums over all pairs so far apart."""
    if bias_kind(bias, side) == "maps":
        return to_maps
    by_axis = rearrange(to_maps, "m (qy qx) (ky kx) -> m qx kx (qy ky)", qy=side, ky=side)
    by_x = rearrange(_sum_by_distance(by_axis, side), "m dx (qy ky) -> m qy ky dx", qy=side)
    return _sum_by_distance(by_x, side)


def _sum_by_distance(pairs: Tensor, side: int) -> Tensor:
    """(M, query, key, rest) to (M, query - key + S - 1, rest): every row moves one to the right of the last.

    Rows of S + S entries, read as rows of 2S - 1, do: sums in a fixed order, without atomic additions.
    """
    rows = F.pad(pairs.flip(2), (0, 0, 0, side)).flatten(1, 2)[:, : side * (2 * side - 1)]
    return rows.unflatten(1, (side, 2 * side - 1)).sum(1)
