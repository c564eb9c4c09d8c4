"""Whether the threads that PyTorch computes with flush subnormal numbers."""

import torch

__all__ = ["ELEMENTS", "halves_kept"]

# four times as many as PyTorch leaves to one thread
ELEMENTS = 1 << 17


def halves_kept() -> int:
    """How many of ELEMENTS halves of the smallest normal number, all of them subnormal, are not zero."""
    return int((torch.full((ELEMENTS,), torch.finfo(torch.float32).tiny) * 0.5).count_nonzero())
