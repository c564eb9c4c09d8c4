"""Steps of the second-order degradation: random resizing, random noise, JPEG.

Images are (H, W, 3) RGB, float32 in [0, 1].
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from srlab.data.degradation import check_probability, check_range

Image = NDArray[np.float32]

_MODES = ("area", "bilinear", "bicubic")


@dataclass(kw_only=True)
class RandomResize:
    """Draws factors of size.

    Args:
        up: probability of a factor between 1 and the greatest.
        down: probability of a factor between the least and 1; else the size stays.
        factors: [least, greatest].
    """

    up: float
    down: float
    factors: Sequence[float]

    def __post_init__(self) -> None:
        check_probability("resize.up + resize.down", self.up + self.down)
        check_range("resize.factors", self.factors, 0.05, 8)
        if min(self.up, self.down) < 0 or not self.factors[0] <= 1 <= self.factors[1]:
            raise ValueError(
                "degradation.resize needs up and down of 0 or more and factors that include 1, got "
                f"up={self.up}, down={self.down}, factors={list(self.factors)}"
            )

    def draw(self, random: np.random.Generator) -> float:
        """A factor."""
        choice = random.random()
        if choice < self.up:
            return random.uniform(1, self.factors[1])
        return random.uniform(self.factors[0], 1) if choice < self.up + self.down else 1.0


@dataclass(kw_only=True)
class RandomNoise:
    """Adds Gaussian or Poisson noise.

    Args:
        gaussian: probability of Gaussian noise; else Poisson.
        gray: probability that all channels have the same noise.
        gaussian_sigma: range of standard deviations in grey levels of 255.
        poisson_scale: range of factors of the Poisson noise, 1 for that of as many photons as the image has
            distinct levels (rounded up to a power of two).
    """

    gaussian: float
    gray: float
    gaussian_sigma: Sequence[float]
    poisson_scale: Sequence[float]

    def __post_init__(self) -> None:
        check_probability("noise.gaussian", self.gaussian)
        check_probability("noise.gray", self.gray)
        check_range("noise.gaussian_sigma", self.gaussian_sigma, 0, 255)
        check_range("noise.poisson_scale", self.poisson_scale, 0, 100)

    def add(self, image: Image, random: np.random.Generator) -> Image:
        """The noisy image, clipped."""
        is_gaussian, is_gray = random.random() < self.gaussian, random.random() < self.gray
        low, high = self.gaussian_sigma if is_gaussian else self.poisson_scale
        amount = np.float32(random.uniform(low, high))
        if is_gaussian:
            channels = 1 if is_gray else 3
            noise = random.standard_normal((*image.shape[:2], channels), dtype=np.float32) / 255
        else:
            gray = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.float32)[..., None]
            noise = _poisson_noise(gray if is_gray else image, random)
        return np.clip(image + amount * noise, 0, 1)


def resize(image: Image, size: tuple[int, int], random: np.random.Generator) -> Image:
    """To (height, width) by area, bilinear or bicubic, each as likely, without antialiasing.

    PyTorch's, as in the paper's code: OpenCV's area enlarges otherwise.
    """
    mode = _MODES[int(random.integers(len(_MODES)))]
    planes = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None]
    return np.ascontiguousarray(F.interpolate(planes, size, mode=mode)[0].permute(1, 2, 0).numpy())


def compress(image: Image, quality: int) -> Image:
    """What JPEG leaves of the image at that quality, with halved colour resolution: OpenCV's encoder."""
    encoded = cv2.imencode(".jpg", to_bytes(image)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    decoded = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    assert decoded is not None
    return (decoded[..., ::-1] / 255).astype(np.float32)


def to_bytes(image: Image) -> NDArray[np.uint8]:
    """Clipped and rounded to 8 bits."""
    return np.floor(np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


def _poisson_noise(light: Image, random: np.random.Generator) -> Image:
    """Zero in the mean, with variance light / n for n photons at full brightness."""
    levels = to_bytes(light)
    photons = 2 ** np.ceil(np.log2(len(np.unique(levels))))
    expected = levels / 255 * photons
    return ((random.poisson(expected) - expected) / photons).astype(np.float32)
