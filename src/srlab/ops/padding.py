"""Padding of images to the sides that windows need."""

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["pad_to_multiple", "reflected_positions"]


def reflected_positions(length: int, padded: int) -> list[int]:
    """Which of ``length`` pixels each of ``padded`` positions shows when a row is reflected again and again.

    The edge itself is not doubled: the row repeats with period 2 * length - 2. A single pixel is replicated.
    """
    period = max(2 * length - 2, 1)
    return [min(position % period, period - position % period) for position in range(padded)]


def pad_to_multiple(image: Tensor, multiple: int) -> Tensor:
    """Pad (B, C, H, W) at the bottom and right by reflection until ``multiple`` divides both sides."""
    height, width = image.shape[-2:]
    bottom, right = -height % multiple, -width % multiple
    if not bottom and not right:
        return image
    if bottom < height and right < width:
        return F.pad(image, (0, right, 0, bottom), mode="reflect")
    rows = torch.tensor(reflected_positions(height, height + bottom), device=image.device)
    columns = torch.tensor(reflected_positions(width, width + right), device=image.device)
    return image.index_select(-2, rows).index_select(-1, columns)
