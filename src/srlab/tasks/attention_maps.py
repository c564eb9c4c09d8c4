"""Looking at attention: what each pixel averages with, how widely, how alike blocks are, what comes of it.

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

__all__ = [
    "WindowMaps",
    "attended_distance",
    "attended_pixels",
    "attention_of_pixel",
    "influence_on_pixel",
    "read_attention_maps",
    "similarity",
    "similarity_between_blocks",
]


@dataclass(frozen=True)
class WindowMaps:
    """The maps of one block for one group of channels.

    Attributes:
        side: S of the windows.
        shift: pixels by which the windows are moved down and right, cyclically.
        maps: (H/S, W/S, T, T): for each window, what each of its pixels (rows) averages with; rows sum to 1.
    """

    side: int
    shift: int
    maps: Tensor


def read_attention_maps(network: ELAN, lr_image: Tensor) -> list[tuple[WindowMaps, ...]]:
    """Run the reference implementation, which stores its maps, and keep them.

    Args:
        network: stays as it is.
        lr_image: (1, 3, H, W) in [0, 1].

    Returns:
        For each block, in order, its maps for each group of channels. The modules of a block share them.

    Raises:
        ValueError: the network is no ELAN, or there are several images.
    """
    if not isinstance(network, ELAN):
        raise ValueError(f"attention maps are read from an ELAN, got {type(network).__name__}")
    if len(lr_image) != 1:
        raise ValueError(f"attention maps are read for one image, got {len(lr_image)}")
    kept: list[tuple[WindowMaps, ...]] = []

    def keep(
        module: nn.Module, _args: Any, options: dict[str, Any], output: tuple[Tensor, list[Tensor]]
    ) -> None:
        assert isinstance(module, GroupAttention)
        groups = zip(module.window_sizes, output[1], strict=True)
        kept.append(
            tuple(
                WindowMaps(side=side, shift=side // 2 if options["shifted"] else 0, maps=maps)
                for side, maps in groups
            )
        )

    looked_at = copy.deepcopy(network).eval()
    looked_at.use_backend("reference")
    for block in looked_at.body:
        assert isinstance(block, ElanBlock)
        block.attention[0].register_forward_hook(keep, with_kwargs=True)
    with torch.no_grad():
        looked_at(lr_image)
    return kept


def attention_of_pixel(windows: WindowMaps, row: int, column: int) -> Tensor:
    """(H, W): how much the low-resolution pixel at (row, column) takes from every other; sums to 1.

    Raises:
        ValueError: the pixel lies outside.
    """
    side, shift = windows.side, windows.shift
    height, width = (count * side for count in windows.maps.shape[:2])
    if not (0 <= row < height and 0 <= column < width):
        raise ValueError(f"pixel ({row}, {column}) lies outside the padded image of {height}x{width}")
    place = (row - shift) % height, (column - shift) % width
    (window_row, y), (window_column, x) = (divmod(position, side) for position in place)
    taken = torch.zeros(height, width, dtype=windows.maps.dtype)
    rows = slice(window_row * side, (window_row + 1) * side)
    columns = slice(window_column * side, (window_column + 1) * side)
    taken[rows, columns] = windows.maps[window_row, window_column, y * side + x].view(side, side)
    return taken.roll((shift, shift), dims=(0, 1))


def influence_on_pixel(network: Network, lr_image: Tensor, row: int, column: int) -> Tensor:
    """(H, W): how much a restored pixel depends on every pixel of the input, by the gradient.

    Sum over colours of the magnitude of d(sum of what the low-resolution pixel at (row, column) becomes) /
    d(input): convolutions and all blocks together, where :func:`attention_of_pixel` tells of one block.

    Args:
        network: evaluated as in evaluation mode; it stays as it is.
        lr_image: (1, 3, H, W) in [0, 1].
        row: of the low-resolution pixel.
        column: likewise.
    """
    # with parameters that could learn, backend auto keeps to implementations that have gradients
    looked_at = copy.deepcopy(network).eval().requires_grad_(True)
    lr_image = lr_image.detach().clone().requires_grad_(True)
    top, left = row * network.scale, column * network.scale
    restored = looked_at(lr_image)[0, :, top : top + network.scale, left : left + network.scale]
    (gradient,) = torch.autograd.grad(restored.sum(), lr_image)
    return gradient[0].abs().sum(0)


def attended_pixels(maps: Tensor) -> Tensor:
    """(..., T, T) to (..., T): 2 to the entropy in bits, the number of pixels a query takes evenly from.

    1 where all comes from one pixel, T where all in the window count alike.
    """
    return torch.special.entr(maps).sum(-1).exp()


def attended_distance(windows: WindowMaps) -> Tensor:
    """(H/S, W/S, T): mean distance in pixels from where each query takes, itself included.

    Distances are those in the window: of windows that a cyclic shift put together from two borders, pixels
    count as the neighbours that they are there.
    """
    ticks = torch.arange(windows.side, dtype=windows.maps.dtype)
    places = torch.cartesian_prod(ticks, ticks)
    return (windows.maps * torch.cdist(places, places)).sum(-1)


def similarity(maps: Tensor, others: Tensor) -> Tensor:
    """(..., T, T) twice to (..., T): 1 minus the Jensen-Shannon divergence in bits, query by query.

    1 where a query takes from the same pixels in the same shares, 0 where it takes from none that are common
    (J. Lin, IEEE Transactions on Information Theory, 1991).
    """
    mean = (maps + others) / 2
    entropy = [torch.special.entr(each).sum(-1) for each in (mean, maps, others)]
    return 1 - (entropy[0] - (entropy[1] + entropy[2]) / 2) / math.log(2)


def similarity_between_blocks(blocks: Sequence[WindowMaps]) -> tuple[Tensor, Tensor]:
    """Mean similarity of the maps of all pairs of blocks, beside what it would be by chance.

    By chance: the maps of a window in one block against those of the next window (in rows) in the other. Maps
    that follow the picture are more alike than that.

    Args:
        blocks: maps of one group of channels, two windows or more, all cut at the same places.

    Returns:
        The similarity and that by chance, each (blocks, blocks).

    Raises:
        ValueError: windows of unlike size or shift have no common pixels to compare.
    """
    if len(cuts := {(each.side, each.shift, each.maps.shape) for each in blocks}) > 1:
        told = sorted((side, shift) for side, shift, _ in cuts)
        raise ValueError(
            f"maps of windows cut at unlike places cannot be compared, got (side, shift) {told}; take "
            "shift_schedule=none, or blocks that shift alike"
        )
    maps = [rearrange(each.maps, "nh nw q k -> (nh nw) q k") for each in blocks]
    if len(maps[0]) < 2:
        raise ValueError("chance is told by different windows, and there is only one; take a larger image")

    def mean_over(offset: int) -> Tensor:
        return torch.stack(
            [torch.stack([similarity(one, other.roll(offset, 0)).mean() for other in maps]) for one in maps]
        )

    return mean_over(0), mean_over(1)
