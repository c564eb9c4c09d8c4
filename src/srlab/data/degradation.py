"""What turns windows of high-resolution images into low-resolution crops for training."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from srlab.data import bicubic_window
from srlab.data.device_degradation import shrink_on_device

__all__ = ["BicubicDegradation", "Degradation", "TensorDegradation"]


class Degradation(Protocol):
    """A function of windows and of random numbers that belong to each sample alone; it must pickle."""

    def context(self, scale: int) -> int:
        """HR pixels needed on each side of a crop."""
        ...

    def __call__(
        self, windows: NDArray[np.uint8], scale: int, random: Callable[[int], np.random.Generator], /
    ) -> NDArray[np.uint8]:
        """(B, 3, s*h + 2m, s*w + 2m) with m = ``context(scale)`` to (B, 3, h, w).

        ``random(b)`` makes the generator that window b may use; each call starts it anew.
        """
        ...


@runtime_checkable
class TensorDegradation(Protocol):
    """A degradation that training devices can do, too: no randomness, the same bytes as on a CPU."""

    def on_device(self, windows: Tensor, scale: int, /) -> Tensor:
        """uint8 of the shapes of ``Degradation``, in and out, on any device."""
        ...


class BicubicDegradation:
    """MATLAB's bicubic shrinking to 8 bits: a crop is a window of the whole image's LR file, bit for bit."""

    def context(self, scale: int) -> int:
        """Two LR pixels, which cover the bicubic kernel."""
        return bicubic_window.aligned_context(scale)

    def __call__(
        self, windows: NDArray[np.uint8], scale: int, _random: Callable[[int], np.random.Generator], /
    ) -> NDArray[np.uint8]:
        """Shrink by ``scale``; no randomness."""
        planes = windows.reshape(-1, *windows.shape[2:])
        shrunk = bicubic_window.shrink_aligned(planes, scale)
        return shrunk.reshape(*windows.shape[:2], *shrunk.shape[1:])

    def on_device(self, windows: Tensor, scale: int, /) -> Tensor:
        """The same with torch."""
        return shrink_on_device(windows, scale)
