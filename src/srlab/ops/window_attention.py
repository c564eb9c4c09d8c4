"""Attention inside windows of whole maps by own kernels: Triton's on a GPU, C++ on a CPU.

No windows are cut, nothing is rolled, no map of weights is stored.
"""

import torch
from torch import Tensor

from srlab.extensions.kernels import cpu as native
from srlab.extensions.kernels import triton
from srlab.extensions.kernels.triton.availability import INTERPRETED

__all__ = ["reads_distances", "runs_natively", "window_attention"]


def window_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    side: int,
    shift: int = 0,
    scale: float = 1.0,
    bias: Tensor | None = None,
    masked: bool = False,
    num_heads: int = 1,
) -> Tensor:
    """softmax(scale * q k^T + bias) v inside windows, for each head.

    Args:
        query: (B, H, W, C), slices of wider maps among them.
        key: the same, or ``query`` itself.
        value: the same.
        side: side S of the windows, which must divide H and W.
        shift: pixels by which the windows are moved down and right, cyclically.
        scale: of the logits, without the bias.
        bias: added to the logits: (M, T, T), or where :func:`reads_distances`, (M, 2S - 1, 2S - 1).
        masked: add -100 between tokens that only the shift made neighbours (SwinIR).
        num_heads: heads M.

    Returns:
        (B, H, W, C).

    Raises:
        ValueError: on a CPU, gradients are wanted or the dtype is not float32; elsewhere, no kernels run on
            the device or in the dtype; or shapes do not fit.
    """
    attend = native.window_attention if runs_natively(query.device) else triton.window_attention
    return attend(
        query, key, value, side=side, shift=shift, scale=scale, bias=bias, masked=masked, num_heads=num_heads
    )


def reads_distances(device: torch.device, side: int) -> bool:
    """Whether the kernels for ``device`` take one bias for each distance, which they read from cache."""
    return native.takes_distances(side) if runs_natively(device) else True


def runs_natively(device: torch.device) -> bool:
    """Whether the kernels for ``device`` are the C++ ones; in Triton's interpreter a CPU has Triton's."""
    return device.type == "cpu" and not INTERPRETED
