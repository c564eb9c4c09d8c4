"""Checks of arguments for all kernels for attention."""

from collections.abc import Sequence

from srlab.ops.windows import require_whole_windows


def check_windows(shape: Sequence[int], heads: int, side: int, shift: int) -> None:
    """A ValueError unless maps (B, H, W, C) of this shape have such heads and windows."""
    if len(shape) != 4 or 0 in shape:
        raise ValueError(f"expected a map (B, H, W, C), not empty, got {tuple(shape)}")
    if heads < 1 or shape[3] % heads:
        raise ValueError(f"{shape[3]} channels cannot be divided equally among {heads} heads")
    require_whole_windows(shape[1], shape[2], side)
    if not 0 <= shift < side:
        raise ValueError(f"windows of side {side} shift by 0 to {side - 1} pixels, got {shift}")
