"""Analysis of attention: what each pixel attends to, how widely, how similar blocks are.

Shape legend: H/W padded low-resolution size, S window side, T = S * S tokens, row by row.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from srlab.models.elan import ELAN, ElanBlock, GroupAttention
from srlab.models.network import Network


@dataclass(frozen=True)
class WindowMaps:
    """The maps of one block for one group of channels.

    Attributes:
        side: S of the windows.
        shift: pixels by which the windows are moved down and right, cyclically.
        maps: (H/S, W/S, T, T): for each window, the weights of each of its pixels (rows), which sum to 1.
    """

    side: int
    shift: int
    maps: Tensor


def read_attention_maps(network: ELAN, lr_image: Tensor) -> list[tuple[WindowMaps, ...]]:
    """Run the reference implementation, which stores its maps, on a copy of ``network``.

    Args:
        network: any ELAN.
        lr_image: (1, 3, H, W) in [0, 1].

    Returns:
        For each block, in order, its maps for each group of channels.

    Raises:
        ValueError: for another network than an ELAN, or several images.
    """
    if not isinstance(network, ELAN):
        raise ValueError(f"attention maps are read from an ELAN, got {type(network).__name__}")
    if len(lr_image) != 1:
        raise ValueError(f"attention maps are read for one image, got {len(lr_image)}")
    kept: list[tuple[WindowMaps, ...]] = []

    def keep(module: nn.Module, _args: Any, output: Any) -> None:
        assert isinstance(module, GroupAttention)
        groups = zip(module.window_sizes, output[1], strict=True)
        shifted = module.shifted
        kept.append(tuple(WindowMaps(side, side // 2 if shifted else 0, maps) for side, maps in groups))

    copied = copy.deepcopy(network).eval()
    copied.use_backend("reference")
    for block in copied.body:
        assert isinstance(block, ElanBlock)
        block.attention[0].register_forward_hook(keep)
    with torch.no_grad():
        copied(lr_image)
    return kept


def attention_of_pixel(windows: WindowMaps, row: int, column: int) -> Tensor:
    """(H, W): weights with which the low-resolution pixel at (row, column) attends to all; they sum to 1.

    Raises:
        ValueError: the pixel lies outside.
    """
    side, shift = windows.side, windows.shift
    height, width = (count * side for count in windows.maps.shape[:2])
    if not (0 <= row < height and 0 <= column < width):
        raise ValueError(f"pixel ({row}, {column}) lies outside the padded image of {height}x{width}")
    place = (row - shift) % height, (column - shift) % width
    (window_row, y), (window_column, x) = (divmod(position, side) for position in place)
    taken = torch.zeros_like(windows.maps[..., 0, :])
    taken[window_row, window_column] = windows.maps[window_row, window_column, y * side + x]
    taken = rearrange(taken, "nh nw (y x) -> (nh y) (nw x)", y=side)
    return taken.roll((shift, shift), dims=(0, 1))


def influence_on_pixel(network: Network, lr_image: Tensor, row: int, column: int) -> Tensor:
    """(H, W): how much a restored pixel depends on every pixel of the input, by the gradient.

    Sum over colours of the magnitude of the gradient of the pixels that (row, column) is restored to: of all
    layers together, where :func:`attention_of_pixel` shows one block.

    Args:
        network: a copy is evaluated, in evaluation mode.
        lr_image: (1, 3, H, W) in [0, 1].
        row: of the low-resolution pixel.
        column: likewise.
    """
    # with trainable parameters, backend auto chooses implementations that have gradients
    copied = copy.deepcopy(network).eval().requires_grad_(True)
    lr_image = lr_image.detach().clone().requires_grad_(True)
    top, left = row * network.scale, column * network.scale
    restored = copied(lr_image)[0, :, top : top + network.scale, left : left + network.scale]
    (gradient,) = torch.autograd.grad(restored.sum(), lr_image)
    return gradient[0].abs().sum(0)


def attended_pixels(maps: Tensor) -> Tensor:
    """(..., T, T) to (..., T): 2 to the entropy in bits, the effective number of attended pixels.

    1 if all weight is on one pixel, T if it is uniform over the window.
    """
    return torch.special.entr(maps).sum(-1).exp()


def attended_distance(windows: WindowMaps) -> Tensor:
    """(H/S, W/S, T): mean distance in pixels to what each query attends to, itself included.

    Distances are those within the window, also in windows that a cyclic shift joins from two borders.
    """
    ticks = torch.arange(windows.side, dtype=windows.maps.dtype)
    places = torch.cartesian_prod(ticks, ticks)
    return (windows.maps * torch.cdist(places, places)).sum(-1)


def similarity(maps: Tensor, others: Tensor) -> Tensor:
    """(..., T, T) twice to (..., T): 1 minus the Jensen-Shannon divergence in bits, query by query.

    1 where a query attends to the same pixels with the same weights, 0 where it attends to none in common
    (J. Lin, IEEE Transactions on Information Theory, 1991).
    """
    mean = (maps + others) / 2
    entropy = [torch.special.entr(each).sum(-1) for each in (mean, maps, others)]
    return 1 - (entropy[0] - (entropy[1] + entropy[2]) / 2) / math.log(2)


def similarity_between_blocks(blocks: Sequence[WindowMaps]) -> tuple[Tensor, Tensor]:
    """Mean similarity of the maps of all pairs of blocks, and what it would be by chance.

    By chance: a window's maps in one block against those of the next window (in rows) in the other. Maps that
    follow the image are more similar than that.

    Args:
        blocks: maps of one group of channels, of two windows or more, with the same size and shift.

    Returns:
        The similarity and that by chance, each (blocks, blocks).

    Raises:
        ValueError: windows differ in size or shift, or there is only one.
    """
    if len(cuts := {(each.side, each.shift, each.maps.shape) for each in blocks}) > 1:
        found = sorted((side, shift) for side, shift, _ in cuts)
        raise ValueError(
            f"maps of different windows cannot be compared, got (side, shift) {found}; use "
            "shift_schedule=none, or blocks that shift alike"
        )
    maps = [each.maps.flatten(0, 1) for each in blocks]
    if len(maps[0]) < 2:
        raise ValueError("chance needs two different windows, and there is one; use a larger image")

    def mean_over(offset: int) -> Tensor:
        pairs = [similarity(one, other.roll(offset, 0)).mean() for one in maps for other in maps]
        return torch.stack(pairs).view(len(maps), len(maps))

    return mean_over(0), mean_over(1)
