"""Scales that need not be whole: sides that correspond, and where a result's pixels lie in an image."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any


def checked_scales(name: str, scales: Sequence[Any]) -> tuple[float, ...]:
    """``scales`` as numbers, whole ones as integers.

    Raises:
        ValueError: naming ``name``: none, or one that is no finite number of at least 1, or one twice.
    """
    numbers = [each for each in scales if isinstance(each, int | float) and not isinstance(each, bool)]
    fits = len(numbers) == len(scales) == len(set(scales)) and all(1 <= each < math.inf for each in numbers)
    if not numbers or not fits:
        raise ValueError(f"{name} must be one or several distinct numbers of at least 1, got {list(scales)}")
    return tuple(int(each) if each == int(each) else each for each in numbers)


def exact_scale(scale: float | Fraction) -> Fraction:
    """The number that was written: 2.7 is 27/10, not the binary fraction next to it."""
    return scale if isinstance(scale, Fraction) else Fraction(str(scale))


def corresponding_sides(side: int, scale: float | Fraction) -> tuple[int, int]:
    """How many whole LR pixels fit into an HR side, and the HR pixels that they cover, rounded half up.

    For a whole scale s these are ``side // s`` and ``side // s * s``. (LIIF's and LTE's evaluation, whose
    ``round`` takes halves to the even number.)
    """
    exact = exact_scale(scale)
    lr_side = int(side / exact)
    return lr_side, covered_side(lr_side, exact)


def covered_side(lr_side: int, scale: float | Fraction) -> int:
    """HR pixels that ``lr_side`` LR pixels cover, rounded half up."""
    return int(lr_side * exact_scale(scale) + Fraction(1, 2))


@dataclass(frozen=True)
class Axis:
    """The wanted pixels of a result on one axis, and the part of the image that they are made from.

    The result covers the same extent as the image: pixel k has its centre at
    ``(k + 1/2) * lr_side / side - 1/2``, in pixels of the image, the first of which has its centre at 0.

    Attributes:
        lr_side: pixels of the whole image.
        side: pixels of the whole result.
        first: of the wanted pixels of the result.
        stop: of the wanted pixels, exclusive.
        start: where in the image the given part begins; it reaches far enough for the wanted pixels, or to
            the image's end.
    """

    lr_side: int
    side: int
    first: int
    stop: int
    start: int = 0

    @classmethod
    def whole(cls, lr_side: int, side: int) -> "Axis":
        """All pixels, from the whole image."""
        return cls(lr_side, side, 0, side)

    def between(self, begin: int, end: int, *, start: int) -> "Axis":
        """The pixels whose centres lie in [begin, end) of the image, from a part that begins at ``start``."""
        unit = 2 * self.lr_side
        first, stop = (-((self.lr_side - 2 * self.side * edge) // unit) for edge in (begin, end))
        return Axis(self.lr_side, self.side, first, stop, start)
