"""Restores one image of any size: whole or in tiles, once or as the mean of its eight flips and turns."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from srlab.counts.probe import evaluation_mode, explain_out_of_memory
from srlab.models.network import Network


@dataclass(frozen=True)
class Progress:
    """How far a restoration is.

    Attributes:
        done: network calls finished, 0 in the first report.
        total: network calls in all.
        tile: LR side of the tiles in use, a multiple of the network's grid; 0 for the whole image. It
            changes, and ``done`` starts from 0 again, when a tile did not fit into memory.
    """

    done: int
    total: int
    tile: int


def restore(
    network: Network,
    lr_image: Tensor,
    *,
    tile: int | Literal["auto"] = 0,
    exact: bool = False,
    ensemble: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> Tensor:
    """(B, 3, H, W) in [0, 1] to (B, 3, sH, sW), not clamped, on the device and in the dtype of ``lr_image``.

    The network runs on its own device, in its own dtype, in evaluation mode and without autograd; its mode is
    restored after. With tiles, only these are moved to that device: for an image that does not fit there,
    leave ``lr_image`` on the CPU.

    Args:
        network: any.
        lr_image: in [0, 1], any floating dtype.
        tile: LR side of a tile, rounded up to the network's grid; 0: the whole image; ``auto``: the whole
            image if it fits into the free memory, else the largest tile that does.
        exact: tiles overlap by the whole receptive reach, so that the result is that of the whole image;
            without it, by the network's ``halo``.
        ensemble: the mean over the eight flips and turns of the image.
        on_progress: called before the first network call and after each.

    Raises:
        ValueError: a negative tile; ``exact`` tiles of a network that uses statistics of the whole image.
        MemoryError: the image, or the smallest tile, does not fit into memory.
    """
    if tile or ensemble or exact:
        raise NotImplementedError("tiles and self-ensemble")
    parameter = next(network.parameters(), lr_image)
    report = on_progress or (lambda _progress: None)
    report(Progress(0, 1, 0))
    with evaluation_mode(network), explain_out_of_memory(lr_image.shape[-2:], parameter.device):
        sr_image = network(lr_image.to(parameter.device, parameter.dtype))
    report(Progress(1, 1, 0))
    return sr_image.to(lr_image.device, lr_image.dtype)
