"""One image through one network to one size: the step that photographs, arrays and frames of films share."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from srlab.models.any_scale import AnyScale
from srlab.models.bicubic import Bicubic
from srlab.models.network import Network
from srlab.ops.subnormals import flush_subnormals
from srlab.tasks.restoration import Progress, Restoration, resized, restore

FloatImage = NDArray[np.float32]
"""(H, W, channels) in [0, 1], unless something else is said."""


@dataclass(frozen=True)
class Target:
    """How large results are: give one of the two.

    Attributes:
        scale: output side over input side, any positive number; sides are rounded half up.
        box: (width, height); the largest size of the image's own proportions that fits inside.
    """

    scale: float | None = None
    box: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if (self.scale is None) == (self.box is None):
            raise ValueError(f"give either a scale or a size, got scale={self.scale}, size={self.box}")
        if self.scale is not None and not (self.scale > 0 and math.isfinite(self.scale)):
            raise ValueError(f"the scale must be a positive number, got {self.scale}")
        if self.box is not None and min(self.box) < 1:
            raise ValueError(f"both sides of the size must be at least 1, got {self.box[0]}x{self.box[1]}")

    def size_for(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the result of an image of this height and width."""
        if self.box is None:
            assert self.scale is not None
            factor = self.scale
        else:
            factor = min(self.box[0] / width, self.box[1] / height)
        return max(1, math.floor(height * factor + 0.5)), max(1, math.floor(width * factor + 0.5))

    def __str__(self) -> str:
        """``x2.5`` or ``1920x1080``."""
        return f"x{self.scale:g}" if self.box is None else f"{self.box[0]}x{self.box[1]}"


def enlarge(
    image: FloatImage,
    network: Network,
    size: tuple[int, int],
    options: Restoration,
    *,
    on_progress: Callable[[Progress], None] | None = None,
) -> FloatImage:
    """Restore an RGB image (H, W, 3) in [0, 1] at ``size``; the result is neither clamped nor rounded.

    A network of any scale restores that size. Others run once at their own scale, and MATLAB's bicubic
    interpolation, with antialiasing, resizes the result exactly. It also resizes images that do not become
    larger, without any network.

    Args:
        image: float32 on the CPU.
        network: on any device and in any dtype; it is run there.
        size: (height, width) of the result.
        options: tiles and self-ensemble.
        on_progress: called before the first network call and after each.

    Raises:
        ValueError: options that the network does not allow.
        MemoryError: not even the smallest tile, or the result itself, fits into memory.
    """
    planes = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None]
    with flush_subnormals():
        if uses_network(network, image.shape[:2], size):
            planes = restore(
                network,
                planes,
                size=size,
                tile=options.tile,
                exact=options.exact,
                ensemble=options.ensemble,
                on_progress=on_progress,
            )
        else:
            planes = resized(planes, size)
    return np.ascontiguousarray(planes[0].permute(1, 2, 0).numpy())


def uses_network(network: Network, lr_size: tuple[int, ...], size: tuple[int, int]) -> bool:
    """Whether :func:`enlarge` runs the network: it is not bicubic, and a side becomes larger."""
    grows = size[0] > lr_size[0] or size[1] > lr_size[1]
    return grows and not isinstance(network, Bicubic)


def describe_steps(network: Network, target: Target) -> str:
    """What :func:`enlarge` does for images that become larger, in words."""
    if isinstance(network, Bicubic):
        return f"{target}, interpolated directly"
    if target.scale is not None and target.scale <= 1:
        return f"{target}: bicubic alone, since nothing becomes larger"
    if isinstance(network, AnyScale):
        return f"{target}, by the network itself, which has any scale"
    if target.scale == network.scale:
        return f"{target}, the network's own scale"
    rest = "down" if target.scale is not None and target.scale < network.scale else "up"
    how = "to the exact size" if target.scale is None else f"{rest} to the exact size"
    return f"{target}: the network x{network.scale}, then bicubic {how}"
