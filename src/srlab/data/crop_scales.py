"""At which scale training crops are made: one for all, or one for each optimizer step."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from srlab.data.degradation import Scale
from srlab.data.sampling import draw_uniform


class CropSize(NamedTuple):
    """Of the crops of one batch."""

    scale: Scale  # HR pixels for each LR pixel, exactly
    side: int  # HR pixels
    grid: int  # corners are at multiples of this in HR, and only whole cells of the image are used


@dataclass(frozen=True, kw_only=True)
class FixedScale:
    """A whole scale; crops are aligned to the LR grid of their image."""

    scale: int
    patch_size: int

    def sizes(self) -> Sequence[CropSize]:
        """The smallest and the largest."""
        return (self.of(0),)

    def of(self, index: int) -> CropSize:  # noqa: ARG002  (the other has one for each step)
        """Of the batch that sample ``index`` belongs to."""
        return CropSize(self.scale, self.scale * self.patch_size, self.scale)


@dataclass(frozen=True, kw_only=True)
class RandomScale:
    """Uniform between two bounds, one for each optimizer step, whatever devices and micro-batches share it.

    LR crops have one size; the HR side is rounded half up, and the scale is the quotient of the two. Corners
    are at any pixel: the LR pixels of a crop begin there, as if the image did. (LIIF and LTE draw a scale for
    each sample.)

    Args:
        bounds: least and largest scale, 1 or more.
        patch_size: LR pixels.
        batch_size: samples of one optimizer step.
        seed: of the numbers.
    """

    bounds: tuple[float, float]
    patch_size: int
    batch_size: int
    seed: int

    def __post_init__(self) -> None:
        if len(self.bounds) != 2 or not 1 <= self.bounds[0] <= self.bounds[1] < math.inf:
            raise ValueError(
                f"data.scale_range must be [low, high] with 1 <= low <= high, got {list(self.bounds)}"
            )

    def sizes(self) -> Sequence[CropSize]:
        """The smallest and the largest."""
        return [self._at(bound) for bound in self.bounds]

    def of(self, index: int) -> CropSize:
        """Of the batch that sample ``index`` belongs to."""
        low, high = self.bounds
        return self._at(low + (high - low) * draw_uniform(self.seed, index // self.batch_size))

    def _at(self, scale: float) -> CropSize:
        side = int(self.patch_size * scale + 0.5)
        return CropSize(Fraction(side, self.patch_size), side, 1)
