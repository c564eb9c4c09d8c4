"""What fits into a tile of the attention kernels."""

__all__ = ["TILE", "fits_tile"]

# Tokens of a tile: the logits between so many take 32 of a thread's registers, of 128 threads.
TILE = 64


def fits_tile(side: int) -> bool:
    """A window of this side is one tile: its gradients need nothing but its tokens."""
    return side**2 <= TILE
