"""From the samples of a file to 8-bit planes; one set of rules for all decoders, listed in ``images.py``."""

import hashlib
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

MAX_PIXELS = 2**30
"""Default of ``data.max_pixels``, the largest image that is read."""

_TWELVE_BITS = 2**12 - 1
_DEEP_GRAY_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N")
GRAY_MODES = ("1", "L", "LA", "La", *_DEEP_GRAY_MODES)
"""Modes of Pillow that become one plane."""

_opening = threading.RLock()


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


def samples_by_opencv(data: bytes | memoryview) -> NDArray[Any]:
    """(H, W), RGB (H, W, 3) or RGBA (H, W, 4) of a file's content, with the depth that it has."""
    samples = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if samples is None:
        raise ValueError("it is damaged")
    return samples if samples.ndim == 2 else samples[..., [2, 1, 0, 3][: samples.shape[2]]]


def is_oriented(data: bytes) -> bool:
    """Whether EXIF data ask viewers to rotate or mirror the image."""
    exif = Image.Exif()
    try:
        exif.load(data)
        return exif.get(ExifTags.Base.Orientation, 1) != 1
    except Exception:  # damaged EXIF data raise many kinds of errors, and the pixels are fine
        return False


def open_with_pillow(source: Path | BinaryIO, *formats: str) -> Image.Image:
    """``Image.open`` whose only limit is ``check_pixels``; nothing is decoded yet."""
    with _opening:  # Pillow's limit of 179 megapixels is global: one thread at a time
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(source, formats=formats)
        finally:
            Image.MAX_IMAGE_PIXELS = limit
