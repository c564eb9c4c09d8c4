"""A degradation closer to cameras and web sites: blur, noise and JPEG, downsampling, noise and JPEG again.

The order of steps is the first-order model of X. Wang and others, "Real-ESRGAN", ICCVW 2021 (blur, resize,
noise, JPEG), with noise and JPEG of the source added before the resize. JPEG compresses the window, not the
whole photograph: unlike bicubic crops, these are not windows of one degraded image.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from srlab.data import bicubic_window
from srlab.data.degradation import Scale, check_probability, check_range


@dataclass(kw_only=True)
class RealisticDegradation:
    """Random blur (kernels of kornia), noise and JPEG (albumentations), reproducible from the sample's index.

    Args:
        probability: of each of blur, noise before, JPEG before, noise after and JPEG after.
        blur_sigma: range of the blur's standard deviation in HR pixels, drawn for each axis.
        noise_sigma: range of the noise's standard deviation in grey levels of 255.
        jpeg_quality: range of JPEG's quality.
    """

    probability: float
    blur_sigma: Sequence[float]
    noise_sigma: Sequence[float]
    jpeg_quality: Sequence[int]

    def __post_init__(self) -> None:
        check_probability("probability", self.probability)
        check_range("blur_sigma", self.blur_sigma, 0.05, 20)
        check_range("noise_sigma", self.noise_sigma, 0, 255)
        check_range("jpeg_quality", self.jpeg_quality, 1, 100)
        self._reach = ceil(3 * self.blur_sigma[1])

    def context(self, scale: Scale) -> int:
        """Context of bicubic windows and the reach of the widest blur."""
        return bicubic_window.context(scale) + self._reach

    def __call__(
        self, windows: NDArray[np.uint8], scale: Scale, random: Callable[[int], np.random.Generator], /
    ) -> NDArray[np.uint8]:
        """Blur, noise, JPEG, downsample, noise, JPEG."""
        return np.stack([self._degrade(window, scale, random(b)) for b, window in enumerate(windows)])

    def _degrade(
        self, window: NDArray[np.uint8], scale: Scale, random: np.random.Generator
    ) -> NDArray[np.uint8]:
        degraded = self._compress(self._blur(window, random), random)
        return self._compress(bicubic_window.downsample_window(degraded, scale), random)

    def _blur(self, window: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
        """Blur or not, and drop the context that only the blur needs."""
        applies, sigmas = random.random() < self.probability, random.uniform(*self.blur_sigma, size=2)
        inner = slice(self._reach, -self._reach)
        if not applies:
            return window[:, inner, inner]
        from kornia.filters import gaussian_blur2d  # takes seconds, and only this degradation needs it

        side = 2 * self._reach + 1
        image = torch.from_numpy(np.ascontiguousarray(window))[None].float()
        blurred = gaussian_blur2d(image, (side, side), torch.from_numpy(sigmas)[None].float())
        return torch.floor(blurred[0, :, inner, inner] + 0.5).clamp_(0, 255).byte().numpy()

    def _compress(self, image: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
        transform = _noise_and_jpeg(self.probability, tuple(self.noise_sigma), tuple(self.jpeg_quality))
        # albumentations' own generator would be shared by workers and repeated in every epoch
        transform.set_random_seed(int(random.integers(2**32)))
        return transform(image=np.ascontiguousarray(image.transpose(1, 2, 0)))["image"].transpose(2, 0, 1)


@lru_cache(maxsize=4)
def _noise_and_jpeg(probability: float, noise_sigma: tuple[float, ...], jpeg_quality: tuple[int, ...]) -> Any:
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # or its import looks for newer versions online
    from albumentations import Compose, GaussNoise, ImageCompression

    std_range = (noise_sigma[0] / 255, noise_sigma[1] / 255)
    noise = GaussNoise(std_range=std_range, per_channel=True, p=probability)
    jpeg = ImageCompression(quality_range=(int(jpeg_quality[0]), int(jpeg_quality[1])), p=probability)
    return Compose([noise, jpeg])
