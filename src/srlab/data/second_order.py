"""The second-order degradation of photographs: blur, resize, noise and JPEG, twice, and a low pass.

Paper:      X. Wang and others, "Real-ESRGAN: Training Real-World Blind Super-Resolution with Pure Synthetic
            Data", ICCVW 2021, arXiv 2107.10833
Reference:  github.com/xinntao/Real-ESRGAN at 00116244, options/train_realesrgan_x4plus.yml and its data set
Deviations: every sample has its own draw of every step, where the reference resizes whole batches alike and
            mixes batches in a pool of 180; JPEG is an encoder's, at whole qualities, not a differentiable
            approximation.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from srlab.data.blur_kernels import Kernel, RandomBlur, RandomSinc
from srlab.data.degradation import Scale, check_probability, check_range
from srlab.data.random_steps import Image, RandomNoise, RandomResize, compress, resize, to_bytes
from srlab.ops.sharpen import unsharp_mask


@dataclass(kw_only=True)
class DegradationRound:
    """Blur, resize, noise and JPEG.

    Args:
        blur: draws kernels.
        resize: draws factors.
        noise: adds noise.
        jpeg_quality: range of JPEG's quality.
    """

    blur: RandomBlur
    resize: RandomResize
    noise: RandomNoise
    jpeg_quality: Sequence[int]

    def __post_init__(self) -> None:
        check_range("jpeg_quality", self.jpeg_quality, 1, 100)

    def before_jpeg(self, image: Image, size: Sequence[int], random: np.random.Generator) -> Image:
        """Blurred, of ``size`` times a random factor, and noisy."""
        image = _filtered(image, self.blur.draw(random))
        factor = self.resize.draw(random)
        height, width = (max(int(side * factor), 1) for side in size)
        return self.noise.add(resize(image, (height, width), random), random)

    def compress(self, image: Image, random: np.random.Generator) -> Image:
        """JPEG at a random quality."""
        low, high = self.jpeg_quality
        return compress(image, int(random.integers(low, high, endpoint=True)))


@dataclass(kw_only=True)
class SecondOrderDegradation:
    """Two rounds; the second ends at the size of LR, with a low pass before or after its JPEG.

    Args:
        margin: HR pixels around a crop that are degraded with it and dropped: neither blurs nor JPEG blocks
            end at its border.
        sharpen: whether the HR image is sharpened before it is degraded (``ops.sharpen``); the network learns
            sharp images only if its references are, too (``losses.sharpened``).
        first: the first round, from HR.
        second: the second, to the size of LR times a factor.
        low_pass: after the second round.
        jpeg_last: probability that the final resize and the low pass come before the second JPEG, not after.
    """

    margin: int
    sharpen: bool
    first: DegradationRound
    second: DegradationRound
    low_pass: RandomSinc
    jpeg_last: float

    def __post_init__(self) -> None:
        check_probability("jpeg_last", self.jpeg_last)
        if self.margin < 0:
            raise ValueError(f"degradation.margin must be 0 or more HR pixels, got {self.margin}")

    def context(self, scale: Scale) -> int:
        """The margin, rounded up to whole LR pixels.

        Raises:
            ValueError: the scale is a fraction.
        """
        if isinstance(scale, Fraction):
            raise ValueError(
                "degradation=second_order makes LR at whole scales; leave data.scale_range out, or use "
                "degradation=bicubic or realistic"
            )
        return ceil(self.margin / scale) * scale

    def __call__(
        self, windows: NDArray[np.uint8], scale: Scale, random: Callable[[int], np.random.Generator], /
    ) -> NDArray[np.uint8]:
        """Degrade each window by its own generator; uint8 in, uint8 out."""
        return np.stack([self._degrade(window, scale, random(b)) for b, window in enumerate(windows)])

    def _degrade(
        self, window: NDArray[np.uint8], scale: Scale, random: np.random.Generator
    ) -> NDArray[np.uint8]:
        height, width = (int(side // scale) for side in window.shape[1:])
        source = torch.from_numpy(np.ascontiguousarray(window))[None].float() / 255
        source = unsharp_mask(source) if self.sharpen else source
        image = np.ascontiguousarray(source[0].permute(1, 2, 0).numpy())
        image = self.first.before_jpeg(image, image.shape[:2], random)
        image = self.first.compress(image, random)
        image = self.second.before_jpeg(image, (height, width), random)
        image = self._finish(image, (height, width), random)
        cut = int(self.context(scale) // scale)
        small = to_bytes(image[cut : height - cut, cut : width - cut])
        return np.ascontiguousarray(small.transpose(2, 0, 1))

    def _finish(self, image: Image, size: tuple[int, int], random: np.random.Generator) -> Image:
        """Resize with low pass, and JPEG, in one order or the other."""
        kernel = self.low_pass.draw(random)
        if random.random() < self.jpeg_last:
            return self.second.compress(_filtered(resize(image, size, random), kernel), random)
        image = self.second.compress(image, random)
        return _filtered(resize(image, size, random), kernel)


def _filtered(image: Image, kernel: Kernel | None) -> Image:
    """Correlation with the kernel, borders reflected; kernels are symmetric about their middle."""
    if kernel is None:
        return image
    filtered = cv2.filter2D(image, -1, kernel.astype(np.float32), borderType=cv2.BORDER_REFLECT_101)
    return np.asarray(filtered, np.float32)
