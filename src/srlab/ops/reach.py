"""Which input pixels can reach an output pixel: exact intervals on one axis.

A network is a sequence of steps. From the output back, each maps the interval of positions that an output
depends on to the interval at the step's own input. Both ends move monotonically, so two numbers say all. An
axis stands for rows and for columns: the steps treat both alike.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class Interval(NamedTuple):
    """First and last position, inclusive, for each of many outputs: two tensors of integers."""

    first: Tensor
    last: Tensor


@dataclass(frozen=True)
class Neighbours:
    """A convolution, or anything else that reads ``radius`` positions to either side."""

    radius: int

    def back(self, interval: Interval) -> Interval:
        """From positions after the step to the positions before it that they read."""
        return Interval(interval.first - self.radius, interval.last + self.radius)


@dataclass(frozen=True)
class Windows:
    """Attention in windows: each position reads the whole window that it lies in.

    Args:
        side: of the windows.
        shift: positions by which they start behind multiples of ``side``.
        wraps: the shift is cyclic, and what it joins at the border is not masked.
        beyond: further windows that are read on either side.
    """

    side: int
    shift: int = 0
    wraps: bool = False
    beyond: int = 0

    def back(self, interval: Interval) -> Interval:
        """As in :class:`Neighbours`."""
        first, last = ((each - self.shift) // self.side for each in interval)
        return Interval(
            (first - self.beyond) * self.side + self.shift,
            (last + self.beyond + 1) * self.side + self.shift - 1,
        )


@dataclass(frozen=True)
class Alternatives:
    """Steps side by side whose results are mixed afterwards: what any of them reads."""

    steps: tuple[Windows | Neighbours, ...]

    def back(self, interval: Interval) -> Interval:
        """As in :class:`Neighbours`."""
        parts = [each.back(interval) for each in self.steps]
        first = torch.stack([each.first for each in parts]).amin(0)
        return Interval(first, torch.stack([each.last for each in parts]).amax(0))


@dataclass(frozen=True)
class Reflection:
    """Padding at the end of the axis to a multiple, by reflection without the edge, inside the network."""

    multiple: int

    def back(self, interval: Interval, end: Tensor) -> Interval:
        """As in :class:`Neighbours`, for an axis of length ``end``."""
        padded = (end + self.multiple - 1) // self.multiple * self.multiple
        last = torch.minimum(interval.last, padded - 1)
        first = torch.where(last < end, interval.first, torch.minimum(interval.first, 2 * (end - 1) - last))
        return Interval(first, torch.minimum(last, end - 1))


@dataclass(frozen=True)
class Upsampling:
    """Pixel shuffle or nearest neighbour: each position becomes ``factor``."""

    factor: int

    def back(self, interval: Interval) -> Interval:
        """As in :class:`Neighbours`."""
        return Interval(interval.first // self.factor, interval.last // self.factor)


@dataclass(frozen=True)
class Interpolation:
    """Upsampling by an integer from an even number of ``taps``: 2 for bilinear, 4 for bicubic."""

    factor: int
    taps: int

    def back(self, interval: Interval) -> Interval:
        """As in :class:`Neighbours`."""
        before, after = self.taps // 2 - 1, self.taps // 2
        # Centres: output p lies at (2p + 1 - factor) / (2 factor) of the input.
        first, last = ((2 * each + 1 - self.factor) // (2 * self.factor) for each in interval)
        return Interval(first - before, last + after)


Step = Neighbours | Windows | Alternatives | Reflection | Upsampling | Interpolation


@dataclass(frozen=True)
class Reach:
    """How far a network sees, in low-resolution pixels, and where it may be cut.

    Attributes:
        alignment: grid that a part's origin must lie on to see the same windows as the whole image.
        pixels: the farthest input pixel that can reach an output pixel, to one side.
        halo: how far parts should overlap on each side, a multiple of ``alignment``: ``pixels`` rounded up,
            or less where that was measured to suffice in float32.
        wraps: unmasked cyclic shifts join opposite borders of the image.
        pools_globally: names of what depends on all pixels, however far; empty for none.
    """

    alignment: int
    pixels: int
    halo: int
    wraps: bool
    pools_globally: tuple[str, ...] = ()

    @property
    def full_halo(self) -> int:
        """``pixels`` rounded up to the grid."""
        return -(-self.pixels // self.alignment) * self.alignment


def describe_reach(
    steps: Sequence[Step],
    *,
    scale: int,
    size_multiple: int,
    measured_halo: int | None = None,
    pools_globally: tuple[str, ...] = (),
) -> Reach:
    """The :class:`Reach` of a network of these steps, from its input to its output.

    Args:
        steps: in the order in which they run.
        scale: output pixels for each input pixel on an axis.
        size_multiple: sides that the whole image is padded to.
        measured_halo: a halo below the full reach that suffices, in pixels.
        pools_globally: see :class:`Reach`.
    """
    windows = list(_windows(steps))
    padding = [each.multiple for each in steps if isinstance(each, Reflection)]
    alignment = math.lcm(size_multiple, *padding, *(each.side for each in windows))
    pixels = _farthest(steps, scale, alignment)
    halo = pixels if measured_halo is None else min(pixels, measured_halo)
    return Reach(
        alignment=alignment,
        pixels=pixels,
        halo=-(-halo // alignment) * alignment,
        wraps=any(each.wraps for each in windows),
        pools_globally=pools_globally,
    )


def reaching_interval(steps: Sequence[Step], positions: Tensor, end: Tensor | None = None) -> Interval:
    """The input positions that can reach each output position.

    Args:
        steps: in the order in which they run.
        positions: of the output, integers of any shape, counted from a multiple of the grid.
        end: length of the input axis for each of them, broadcastable; None: the border is far away.
    """
    interval = Interval(positions, positions)
    for step in reversed(steps):
        if not isinstance(step, Reflection):
            interval = step.back(interval)
        elif end is not None:
            interval = step.back(interval, end)
    return interval


def _windows(steps: Sequence[Step]) -> Iterator[Windows]:
    for step in steps:
        if isinstance(step, Windows):
            yield step
        elif isinstance(step, Alternatives):
            yield from _windows(step.steps)


def _farthest(steps: Sequence[Step], scale: int, alignment: int) -> int:
    """Over all positions in a grid cell; with reflection inside the network, next to all borders, too."""
    positions = torch.arange(alignment * scale)
    first, last = reaching_interval(steps, positions)
    own = positions // scale
    farthest = max(int((own - first).max()), int((last - own).max()))
    if any(isinstance(step, Reflection) for step in steps):
        # A border is far enough to the right for the interval to lie behind 0, where floors are exact, too.
        end = torch.arange(alignment, 2 * alignment)[:, None]
        own = end - 1 - torch.arange(alignment)
        interval = reaching_interval(steps, own * scale, end)
        farthest = max(farthest, int((own - interval.first).max()))
    return farthest
