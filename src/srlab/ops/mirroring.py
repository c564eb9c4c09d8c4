"""Extending a sequence by its mirror image, the edge repeated."""

import torch
from torch import Tensor


def mirrored_positions(length: int, extended: int, device: torch.device) -> Tensor:
    """(extended,) which of n entries each position shows: 0, 1, …, n - 1, n - 1, …, 1, 0, 0, 1 and so on."""
    positions = torch.arange(extended, device=device) % (2 * length)
    return torch.minimum(positions, 2 * length - 1 - positions)


def mirror_to_multiple(image: Tensor, multiple: int) -> Tensor:
    """Extend (B, C, H, W) at the bottom and right by its mirror image to multiples of ``multiple``."""
    for axis in (2, 3):
        length = image.shape[axis]
        positions = mirrored_positions(length, length + -length % multiple, image.device)
        image = image.index_select(axis, positions)
    return image
