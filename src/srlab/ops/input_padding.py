"""Padding that a test script applies to the LR image before the network sees it.

The same network scores differently under different paddings: tables compare only under one of them.
"""

from enum import Enum, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


class InputPadding(Enum):
    """How an LR image is padded to a multiple of the network's window; the output is cropped to match."""

    model = auto()
    """Not at all: the network pads itself."""
    swinir_test = auto()
    """SwinIR's test script: mirrored with the edge pixel repeated, always by a row and column or more."""
    esc_validation = auto()
    """ESC's validation: mirrored without the edge pixel, up to the next multiple."""


def pad_input(lr_image: "Tensor", size_multiple: int, padding: InputPadding) -> "Tensor":
    """Extend (B, C, H, W) at the bottom and the right, unless the network has no windows (multiple 1).

    ``swinir_test`` (SwinIR@65458505, main_test_swinir.py) mirrors with the edge to ``H // multiple + 1``
    windows, or to 2H where that is less: the script mirrors once, and the network pads the rest itself.
    ``esc_validation`` (ESC@e7e6938c) reflects without the edge to the next multiple; a pad of H or more,
    which its own ``F.pad`` refuses, is reflected repeatedly.
    """
    # here, so that configurations, which name a padding, are read without torch
    import torch

    from srlab.ops.padding import pad_to_multiple

    if padding is InputPadding.model or size_multiple == 1:
        return lr_image
    if padding is InputPadding.esc_validation:
        return pad_to_multiple(lr_image, size_multiple)
    for axis in (-2, -1):
        side = lr_image.shape[axis]
        target = (side // size_multiple + 1) * size_multiple
        lr_image = torch.cat([lr_image, lr_image.flip(axis)], axis).narrow(axis, 0, min(target, 2 * side))
    return lr_image
