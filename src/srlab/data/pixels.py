"""What the samples of a file become: 8-bit planes, and what is worth saying of them.

The rules are the same whichever decoder read the file; ``images.py`` lists them.
"""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

__all__ = [
    "MAX_PIXELS",
    "DecodedImage",
    "check_pixels",
    "from_pillow",
    "from_samples",
    "is_oriented",
    "pillow_channels",
    "pillow_without_limit",
]

MAX_PIXELS = 2**30
"""Pixels of the largest image that is read; ``data.max_pixels`` sets another limit."""

_UPRIGHT = 1  # of the orientation tag, 274
_TWELVE_BITS = 2**12 - 1
_GRAY_MODES = ("1", "L", "LA", "La")
_DEEP_GRAY_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N")


@dataclass(frozen=True)
class DecodedImage:
    """One file, decoded.

    Attributes:
        pixels: (1, H, W) or (3, H, W), contiguous, as they are stored.
        oriented: the file asks viewers to turn or mirror it, which was not done.
        twelve_bit: it has 16 bits a sample and no value beyond 4095.
    """

    pixels: NDArray[np.uint8]
    oriented: bool = False
    twelve_bit: bool = False

    def digest(self) -> str:
        """Of shape and pixels, 16 hexadecimal digits."""
        digest = hashlib.blake2b(repr(self.pixels.shape).encode(), digest_size=8)
        digest.update(self.pixels.data)
        return digest.hexdigest()


def check_pixels(width: int, height: int, max_pixels: int) -> None:
    """Refuse an image above the limit, from its header.

    Raises:
        ValueError: with both numbers.
    """
    if width * height > max_pixels:
        raise ValueError(
            f"its {width}x{height} = {width * height} pixels are more than data.max_pixels={max_pixels}, "
            "which may be set higher"
        )


def from_samples(samples: NDArray[Any], *, oriented: bool = False) -> DecodedImage:
    """From (H, W), or (H, W, C) whose channels beyond the first or the first three are dropped.

    Args:
        samples: 8 or 16 bits; two channels are gray and alpha, four RGB and alpha.
        oriented: see :class:`DecodedImage`.
    """
    assert samples.dtype in (np.uint8, np.uint16), samples.dtype
    if samples.ndim == 2:
        samples = samples[..., None]
    samples = samples[..., : 1 if samples.shape[2] <= 2 else 3]
    deep = samples.dtype == np.uint16
    levels = ((samples.astype(np.uint32) + 128) // 257).astype(np.uint8) if deep else samples
    return DecodedImage(
        pixels=np.ascontiguousarray(levels.transpose(2, 0, 1)),
        oriented=oriented,
        twelve_bit=deep and 0 < int(samples.max()) <= _TWELVE_BITS,
    )


def from_pillow(image: Image.Image, *, oriented: bool = False) -> DecodedImage:
    """From any mode that stands for 8 or 16 bits.

    Args:
        image: opened, perhaps not loaded yet.
        oriented: see :class:`DecodedImage`.

    Raises:
        ValueError: for floating-point pixels, or integers beyond 16 bits.
    """
    if image.mode == "F":
        raise ValueError("its pixels are floating point; save it with 8 or 16 bits")
    if image.mode in _DEEP_GRAY_MODES:
        samples = np.asarray(image)
        if samples.min() < 0 or samples.max() > 65535:
            raise ValueError(f"its values reach from {samples.min()} to {samples.max()}, beyond 16 bits")
        return from_samples(samples.astype(np.uint16), oriented=oriented)
    converted = image.convert("L" if image.mode in _GRAY_MODES else "RGB")
    return from_samples(np.asarray(converted), oriented=oriented)


def pillow_channels(image: Image.Image) -> int:
    """How many planes ``from_pillow`` makes of it."""
    return 1 if image.mode in (*_GRAY_MODES, *_DEEP_GRAY_MODES) else 3


def is_oriented(exif: Image.Exif | bytes) -> bool:
    """Whether EXIF data ask viewers to turn or mirror the image."""
    try:
        if isinstance(exif, bytes):
            data, exif = exif, Image.Exif()
            exif.load(data)
        return exif.get(ExifTags.Base.Orientation, _UPRIGHT) != _UPRIGHT
    except Exception:  # what Pillow raises of damaged EXIF data is not listed, and the pixels are fine
        return False


class _PillowLimit:
    """Pillow warns of, then refuses, images above 89 and 179 megapixels, by one value for the whole process.

    Threads decode at once: the first to come lifts the limit, the last to go restores it.
    """

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
"""Context in which the limit on an image's size is ours alone."""
