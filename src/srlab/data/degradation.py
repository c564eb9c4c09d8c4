"""Degradations make low-resolution training crops from windows of high-resolution images.

A new one is a class in a file of its own, and a file in ``conf/degradation``.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from srlab.data import bicubic_window

Scale = int | Fraction
"""HR pixels for each LR pixel; a fraction where the two are no whole multiples."""


class Degradation(Protocol):
    """A function of windows and of one random generator for each sample; it must pickle."""

    def context(self, scale: Scale) -> int:
        """HR pixels needed on each side of a crop."""
        ...

    def __call__(
        self, windows: NDArray[np.uint8], scale: Scale, random: Callable[[int], np.random.Generator], /
    ) -> NDArray[np.uint8]:
        """(B, 3, s*h + 2m, s*w + 2m) with m = ``context(scale)`` to (B, 3, h, w).

        ``random(b)`` returns the generator for window b, always in its initial state.
        """
        ...


@runtime_checkable
class TensorDegradation(Protocol):
    """A degradation that also runs on training devices: not random, the same bytes as on a CPU."""

    def on_device(self, windows: Tensor, scale: Scale, /) -> Tensor:
        """uint8 with the shapes of ``Degradation``, in and out, on any device."""
        ...


class BicubicDegradation:
    """MATLAB's bicubic in 8 bits: a crop is a window of the whole image's LR file, bit for bit."""

    def context(self, scale: Scale) -> int:
        """Two LR pixels, which cover the bicubic kernel."""
        return bicubic_window.context(scale)

    def __call__(
        self, windows: NDArray[np.uint8], scale: Scale, _random: Callable[[int], np.random.Generator], /
    ) -> NDArray[np.uint8]:
        """Downsample by ``scale``; not random."""
        planes = windows.reshape(-1, *windows.shape[2:])
        small = bicubic_window.downsample_window(planes, scale)
        return small.reshape(*windows.shape[:2], *small.shape[1:])

    def on_device(self, windows: Tensor, scale: Scale, /) -> Tensor:
        """The same with torch."""
        return bicubic_window.downsample_tensor(windows, scale)


def check_probability(name: str, value: float) -> None:
    """Raise a ``ValueError`` unless it lies in 0..1."""
    if not 0 <= value <= 1:
        raise ValueError(f"degradation.{name} must lie in 0..1, got {value}")


def check_range(name: str, bounds: Sequence[float], least: float, most: float) -> None:
    """Raise a ``ValueError`` unless it is [low, high] within the limits."""
    if len(bounds) != 2 or not least <= bounds[0] <= bounds[1] <= most:
        raise ValueError(f"degradation.{name} must be [low, high] within {least}..{most}, got {list(bounds)}")
