"""Extending images and sequences at their end by their mirror image, with the edge repeated or not."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def reflected_positions(length: int, padded: int) -> list[int]:
    """Which of ``length`` pixels each of ``padded`` positions shows when a row is reflected again and again.

    The edge itself is not doubled: the row repeats with period 2 * length - 2. A single pixel is replicated.
    """
    period = max(2 * length - 2, 1)
    return [min(position % period, period - position % period) for position in range(padded)]


def pad_to_multiple(image: Tensor, multiple: int) -> Tensor:
    """Pad (B, C, H, W) at the bottom and right by reflection until ``multiple`` divides both sides.

    What is reflected is reflected again where there is too little of it, see :func:`reflected_positions`.
    """
    if torch._C._get_tracing_state() is not None:  # it would record how often this image is reflected
        for axis in (2, 3):
            image = _pad_axis_by_index(image, axis, multiple)
        return image
    bottom, right = (-side % multiple for side in image.shape[-2:])
    while bottom or right:
        height, width = image.shape[-2:]
        if (bottom and height == 1) or (right and width == 1):
            rows, columns = (bottom if height == 1 else 0), (right if width == 1 else 0)
            image = F.pad(image, (0, columns, 0, rows), mode="replicate")
        else:
            rows, columns = min(bottom, height - 1), min(right, width - 1)
            image = F.pad(image, (0, columns, 0, rows), mode="reflect")
        bottom, right = bottom - rows, right - columns
    return image


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


def _pad_axis_by_index(image: Tensor, axis: int, multiple: int) -> Tensor:
    """The same along one axis by gathering: no branch depends on the side, so a trace is right for all."""
    length: Any = image.shape[axis]  # a tensor while a tracer records
    period = (2 * length - 2).clamp(min=1)
    position = torch.arange(length + -length % multiple, device=image.device) % period
    return image.index_select(axis, torch.minimum(position, period - position))
