"""Chooses the largest tile that fits into the free memory."""

import logging
from bisect import bisect_right

import torch
from torch import Tensor

from srlab.counts.free_memory import bytes_per_pixel, free_bytes
from srlab.models.network import Network
from srlab.tasks.tiling import Cuts, cuts_of, round_up, whole
from srlab.terminal.log_lines import DETAIL

log = logging.getLogger(__name__)

# Share of the free memory that a tile may take: not counted are scratch memory of libraries, fragmentation,
# and what other programs allocate meanwhile.
_SHARE = 0.75

# Side of the smaller image whose memory is measured; images below the larger one are not worth measuring.
# For much smaller ones, PyTorch chooses other convolution algorithms, which need more for each pixel.
_PROBE = 128


def choose_tile(
    network: Network,
    lr_image: Tensor,
    *,
    result_size: tuple[int, int],
    device: torch.device,
    dtype: torch.dtype,
    exact: bool,
    ensemble: bool,
) -> int:
    """LR side of the largest tile that should fit into the free memory; 0 if the whole image should.

    The network's need for each pixel is measured on two small images, once for each network. The smallest
    tile is returned if none should fit, and 0 where the free memory is unknown.

    Args:
        network: on ``device``, in evaluation mode, called without autograd.
        lr_image: (B, 3, H, W); it may be on another device.
        result_size: height and width of what the network makes.
        device: of the network.
        dtype: of the network's weights.
        exact: see :func:`srlab.tasks.tiling.cuts_of`.
        ensemble: whether eight results are summed.
    """
    size = (lr_image.shape[-2], lr_image.shape[-1])
    side = round_up(_PROBE, network.size_multiple)
    if len(lr_image) * whole(size).largest <= 2 * side**2:
        return 0
    free = free_bytes(device)
    if free is None:
        log.info("the free memory of %s is unknown: tile=auto restores whole images", device, extra=DETAIL)
        return 0
    needed = len(lr_image) * bytes_per_pixel(network, device, dtype, side=side)
    budget = _SHARE * free
    if lr_image.device == device:
        sums = 3 if ensemble else 1  # the sum, the result of one view, and what is turned back
        pixels = len(lr_image) * 3 * result_size[0] * result_size[1]
        budget -= sums * pixels * lr_image.element_size()
    if needed * whole(size).largest <= budget:
        return 0
    tile = _largest(cuts_of(network, exact=exact), size, budget / needed)
    message = "tile=auto: tiles of %d LR pixels, as %.1f GiB are free on %s"
    log.info(message, tile, free / 2**30, device, extra=DETAIL)
    return tile


def smaller_tile(cuts: Cuts, size: tuple[int, int], tile: int) -> int | None:
    """Half of ``tile``, or less, so that less is restored at once; None if the grid leaves no such tile.

    Args:
        cuts: where images may be cut.
        size: height and width of the image.
        tile: that was too large; 0: the whole image was.
    """
    before = (cuts.plan(size, tile) if tile else whole(size)).largest
    tile = tile or round_up(max(size), cuts.alignment)
    while tile > cuts.alignment:
        tile = max(cuts.alignment, tile // 2 // cuts.alignment * cuts.alignment)
        if cuts.plan(size, tile).largest < before:
            return tile
    return None


def _largest(cuts: Cuts, size: tuple[int, int], pixels: float) -> int:
    """The largest tile that has at most so many pixels with its halos, at least the smallest."""
    grid = cuts.alignment
    tiles = range(grid, round_up(max(size), grid) + 1, grid)
    fitting = bisect_right(tiles, pixels, key=lambda tile: cuts.plan(size, tile).largest)
    return tiles[max(fitting - 1, 0)]
