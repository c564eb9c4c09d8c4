"""What turns a window of a high-resolution image into a low-resolution crop for training."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from srlab.data import bicubic_window

__all__ = ["BicubicDegradation", "Degradation"]


class Degradation(Protocol):
    """A function of a window and of random numbers that belong to the sample alone; it must pickle."""

    def context(self, scale: int) -> int:
        """HR pixels needed on each side of a crop."""
        ...

    def __call__(
        self, window: NDArray[np.uint8], scale: int, random: np.random.Generator, /
    ) -> NDArray[np.uint8]:
        """(3, s*h + 2m, s*w + 2m) with m = ``context(scale)`` to (3, h, w)."""
        ...


class BicubicDegradation:
    """MATLAB's bicubic shrinking to 8 bits: a crop is a window of the whole image's LR file, bit for bit."""

    def context(self, scale: int) -> int:
        """The reach of the bicubic kernel."""
        return bicubic_window.context(scale)

    def __call__(
        self, window: NDArray[np.uint8], scale: int, _random: np.random.Generator, /
    ) -> NDArray[np.uint8]:
        """Shrink by ``scale``; no randomness."""
        return bicubic_window.shrink_window(window, scale)
