"""From the samples of a file to 8-bit planes; one set of rules for all decoders, listed in ``images.py``."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

MAX_PIXELS = 2**30
"""Default of ``data.max_pixels``, the largest image that is read."""

_TWELVE_BITS = 2**12 - 1
_DEEP_GRAY_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N")
GRAY_MODES = ("1", "L", "LA", "La", *_DEEP_GRAY_MODES)
"""Modes of Pillow that become one plane."""


@dataclass(frozen=True)
class DecodedImage:
    """A decoded file.

    Attributes:
        pixels: (1, H, W) or (3, H, W), contiguous.
        oriented: the file has an orientation tag, which was not applied.
        twelve_bit: 16 bits a sample, but no value above 4095.
    """

    pixels: NDArray[np.uint8]
    oriented: bool = False
    twelve_bit: bool = False

    def digest(self) -> str:
        """Hash of shape and pixels, 16 hexadecimal digits."""
        digest = hashlib.blake2b(repr(self.pixels.shape).encode(), digest_size=8)
        digest.update(self.pixels.data)
        return digest.hexdigest()


def check_pixels(width: int, height: int, max_pixels: int) -> None:
    """Raise a ValueError for an image above the limit."""
    if width * height > max_pixels:
        raise ValueError(
            f"its {width}x{height} = {width * height} pixels are more than data.max_pixels={max_pixels}, "
            "which may be set higher"
        )


def from_samples(samples: NDArray[Any]) -> DecodedImage:
    """Convert (H, W) or (H, W, C) of 8 or 16 bits.

    Two channels are gray and alpha, four are RGB and alpha; everything beyond the colours is dropped.
    """
    assert samples.dtype in (np.uint8, np.uint16), samples.dtype
    if samples.ndim == 2:
        samples = samples[..., None]
    samples = samples[..., : 1 if samples.shape[2] <= 2 else 3]
    deep = samples.dtype == np.uint16
    levels = ((samples.astype(np.uint32) + 128) // 257).astype(np.uint8) if deep else samples
    return DecodedImage(
        pixels=np.ascontiguousarray(levels.transpose(2, 0, 1)),
        twelve_bit=deep and 0 < int(samples.max()) <= _TWELVE_BITS,
    )


def from_pillow(image: Image.Image) -> DecodedImage:
    """Convert any mode of 8 or 16 bits; a ValueError refuses floating-point pixels."""
    if image.mode == "F":
        raise ValueError("its pixels are floating point; save it with 8 or 16 bits")
    if image.mode in _DEEP_GRAY_MODES:
        return from_samples(np.asarray(image).astype(np.uint16))
    return from_samples(np.asarray(image.convert("L" if image.mode in GRAY_MODES else "RGB")))


def is_oriented(data: bytes) -> bool:
    """Whether EXIF data ask viewers to rotate or mirror the image."""
    exif = Image.Exif()
    try:
        exif.load(data)
        return exif.get(ExifTags.Base.Orientation, 1) != 1
    except Exception:  # damaged EXIF data raise many kinds of errors, and the pixels are fine
        return False


class _PillowLimit:
    """Lifts Pillow's global limit on image sizes (179 megapixels) until the last thread leaves."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._limit: int | None = None

    @contextmanager
    def lifted(self) -> Iterator[None]:
        with self._lock:
            if not self._users:
                self._limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    Image.MAX_IMAGE_PIXELS = self._limit


pillow_without_limit = _PillowLimit().lifted
"""Context in which ``data.max_pixels`` is the only limit."""
