"""Size and arithmetic of a network, counted on its official formulation, so as to compare with papers."""

import copy
from typing import NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from srlab.models.network import AttentionNetwork, Network

__all__ = ["OUTPUT_SIZE", "ParameterReport", "count_parameters", "multiply_adds"]

#: Height and width of the enlarged image that papers count at.
OUTPUT_SIZE = (720, 1280)


class ParameterReport(NamedTuple):
    """Numbers of parameters: all and trainable in the official formulation, and what is really held."""

    all: int
    trainable: int
    held: int


def count_parameters(network: Network) -> ParameterReport:
    """Count parameters; official constants that we derive are in ``all`` but not in ``held``."""
    official = network.official_parameters()
    return ParameterReport(
        official.all, official.trainable, sum(parameter.numel() for parameter in network.parameters())
    )


def multiply_adds(network: Network, output_size: tuple[int, int] = OUTPUT_SIZE) -> int:
    """Multiply-adds of the official formulation for one image, padding to windows included.

    Convolutions and matrix products are counted; additions, normalisation, soft-max, activations, pooling and
    interpolation are not. Shapes alone are computed (meta device): no memory, no time.

    Args:
        network: any; it is left as it is.
        output_size: height and width of the enlarged image; low-resolution sides are rounded up.
    """
    height, width = (-(-side // network.scale) for side in output_size)
    replica = copy.deepcopy(network).to("meta").eval()
    if isinstance(replica, AttentionNetwork):
        replica.use_backend("reference")
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        replica(torch.empty(1, 3, height, width, device="meta"))
    return counter.get_total_flops() // 2 + network.multiply_adds_apart(height, width)
