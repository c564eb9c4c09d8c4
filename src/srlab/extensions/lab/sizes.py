"""Sizes of images: as users write them, and as networks pad them."""

from collections.abc import Sequence

from srlab.models.network import Network

__all__ = ["lr_sizes_of_outputs", "padded_size", "parse_sides"]


def parse_sides(name: str, value: object, example: str) -> tuple[int, int]:
    """``180x320`` as two numbers, in that order.

    Raises:
        ValueError: anything else, or a side of 0; it calls the option ``name`` and gives the ``example``.
    """
    first, _, second = str(value).partition("x")
    sides = [int(side) if side.isdecimal() else 0 for side in (first, second)]
    if 0 in sides:
        raise ValueError(f"{name} must be like {example}, both sides at least 1, got {value}")
    return sides[0], sides[1]


def lr_sizes_of_outputs(outputs: Sequence[tuple[int, int]], scale: int) -> list[tuple[int, int]]:
    """Heights and widths of LR images from widths and heights of outputs, as papers write them.

    Sides are rounded up where the scale does not divide them.
    """
    return [(-(-height // scale), -(-width // scale)) for width, height in outputs]


def padded_size(network: Network, lr_size: tuple[int, int]) -> tuple[int, int]:
    """Height and width that ``network`` pads an LR image to."""
    height, width = (-(-side // network.size_multiple) * network.size_multiple for side in lr_size)
    return height, width
