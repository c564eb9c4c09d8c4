"""Blur kernels of the second-order degradation, and how they are drawn.

Source: X. Wang and others, "Real-ESRGAN", ICCVW 2021, sections 3.1 to 3.3. x' S^-1 x is the squared distance
from the middle under the covariance S.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from srlab.data.degradation import check_probability, check_range

Kernel = NDArray[np.float64]

KINDS = ("iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso")


def gaussian_kernel(side: int, sigmas: tuple[float, float], angle: float, *, shape: float = 1.0) -> Kernel:
    """exp(-(x' S^-1 x)^shape / 2) with the sum 1; the Gaussian for shape 1.

    Args:
        side: odd number of pixels.
        sigmas: standard deviations along the two axes of the ellipse, in pixels.
        angle: from the x axis to the first of them, in radians.
        shape: exponent; below 1 with longer tails, above 1 flatter.
    """
    return _normalized(np.exp(-0.5 * _squared_distance(side, sigmas, angle) ** shape))


def plateau_kernel(side: int, sigmas: tuple[float, float], angle: float, *, shape: float) -> Kernel:
    """1 / (1 + (x' S^-1 x)^shape) with the sum 1; arguments as of :func:`gaussian_kernel`."""
    return _normalized(1 / (1 + _squared_distance(side, sigmas, angle) ** shape))


def sinc_kernel(side: int, cutoff: float) -> Kernel:
    """Circular low pass w J1(w r) / (2 pi r), cut to a square, with the sum 1: it rings and overshoots.

    Args:
        side: odd number of pixels.
        cutoff: w in radians per pixel, pi at most.
    """
    rows, columns = _offsets(side)
    radius = np.hypot(rows, columns)
    radius[side // 2, side // 2] = 1.0  # replaced below
    bessel = torch.special.bessel_j1(torch.from_numpy(cutoff * radius)).numpy()
    kernel = cutoff * bessel / (2 * math.pi * radius)
    kernel[side // 2, side // 2] = cutoff**2 / (4 * math.pi)  # the limit
    return _normalized(kernel)


@dataclass(kw_only=True)
class RandomSinc:
    """Draws low passes.

    Args:
        probability: that there is one.
        sides: [least, most], odd; each odd number between them is as likely.
        cutoffs: pairs [side, w]: from that side on, cutoffs are uniform between w pi and pi.
    """

    probability: float
    sides: Sequence[int]
    cutoffs: Sequence[Sequence[float]]

    def __post_init__(self) -> None:
        check_probability("probability of a sinc kernel", self.probability)
        sides = list(self.sides)
        if len(sides) != 2 or not 3 <= sides[0] <= sides[1] or not all(side % 2 for side in sides):
            raise ValueError(f"sides of kernels must be [least, most], odd and from 3 on, got {sides}")
        starts = [start for start, _ in self.cutoffs]
        lowest = all(0 < cutoff <= 1 for _, cutoff in self.cutoffs)
        if not lowest or starts != sorted(set(starts)) or not starts or starts[0] > self.sides[0]:
            raise ValueError(
                "cutoffs of sinc kernels must be [side, w] pairs with w in 0..1 and increasing sides, the "
                f"first for the least side of {self.sides[0]}; got {[list(each) for each in self.cutoffs]}"
            )

    def draw(self, random: np.random.Generator) -> Kernel | None:
        """A kernel, or None."""
        side = self.draw_side(random)
        return self.of_side(side, random) if random.random() < self.probability else None

    def draw_side(self, random: np.random.Generator) -> int:
        """An odd number within ``sides``."""
        least, most = self.sides
        return least + 2 * int(random.integers((most - least) // 2 + 1))

    def of_side(self, side: int, random: np.random.Generator) -> Kernel:
        """A kernel of that many pixels."""
        lowest = [cutoff for start, cutoff in self.cutoffs if start <= side][-1]
        return sinc_kernel(side, math.pi * random.uniform(lowest, 1))


@dataclass(kw_only=True)
class RandomBlur:
    """Draws blur kernels.

    Args:
        probability: that there is one.
        kinds: probability of each of ``KINDS``; their sum is 1.
        sigma: range of standard deviations in pixels, drawn for each axis.
        generalized_shape: range of the exponent of generalized Gaussians, which includes 1: half of them are
            drawn below 1, half above.
        plateau_shape: likewise, of plateaus.
        sinc: low passes, of the same sides, that take the place of the others.
    """

    probability: float
    kinds: Mapping[str, float]
    sigma: Sequence[float]
    generalized_shape: Sequence[float]
    plateau_shape: Sequence[float]
    sinc: RandomSinc

    def __post_init__(self) -> None:
        check_probability("probability of a blur", self.probability)
        total = math.fsum(self.kinds.values())
        if set(self.kinds) - set(KINDS) or abs(total - 1) > 1e-6 or min(self.kinds.values()) < 0:
            raise ValueError(
                f"kinds of blur must be probabilities of {', '.join(KINDS)} that add up to 1, got "
                f"{dict(self.kinds)}"
            )
        check_range("sigma", self.sigma, 0.05, 20)
        for name in ("generalized_shape", "plateau_shape"):
            bounds = getattr(self, name)
            check_range(name, bounds, 0.05, 20)
            if not bounds[0] <= 1 <= bounds[1]:
                raise ValueError(f"degradation.{name} must include 1, got {list(bounds)}")

    def draw(self, random: np.random.Generator) -> Kernel | None:
        """A kernel, or None."""
        if random.random() >= self.probability:
            return None
        side = self.sinc.draw_side(random)
        if random.random() < self.sinc.probability:
            return self.sinc.of_side(side, random)
        kind = str(random.choice(list(self.kinds), p=list(self.kinds.values())))
        first, second = random.uniform(*self.sigma, size=2)
        sigmas = (first, first) if kind.endswith("_iso") or kind == "iso" else (first, second)
        angle = random.uniform(-math.pi, math.pi)
        if kind.startswith("plateau"):
            return plateau_kernel(side, sigmas, angle, shape=_draw_shape(self.plateau_shape, random))
        is_general = kind.startswith("generalized")
        shape = _draw_shape(self.generalized_shape, random) if is_general else 1.0
        return gaussian_kernel(side, sigmas, angle, shape=shape)


def _draw_shape(bounds: Sequence[float], random: np.random.Generator) -> float:
    low, high = bounds
    return random.uniform(low, 1) if random.random() < 0.5 else random.uniform(1, high)


def _offsets(side: int) -> tuple[Kernel, Kernel]:
    line = np.arange(side, dtype=np.float64) - side // 2
    rows, columns = np.meshgrid(line, line, indexing="ij")
    return rows, columns


def _squared_distance(side: int, sigmas: tuple[float, float], angle: float) -> Kernel:
    """In standard deviations, along the axes of the ellipse."""
    y, x = _offsets(side)
    along = (x * math.cos(angle) + y * math.sin(angle)) / sigmas[0]
    across = (y * math.cos(angle) - x * math.sin(angle)) / sigmas[1]
    return along**2 + across**2


def _normalized(kernel: Kernel) -> Kernel:
    return kernel / kernel.sum()
