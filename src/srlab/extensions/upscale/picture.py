"""A picture in memory: colours, transparency, and the metadata of its file."""

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from srlab.extensions.upscale.enlarging import FloatImage


@dataclass(frozen=True)
class Metadata:
    """Metadata that are copied from the file that is read to the file that is written.

    Attributes:
        exif: without orientation, thumbnail and tags that describe the pixels' layout; a TIFF stream.
        xmp: the packet, its orientation reset.
        icc: the profile that the colours refer to.
        dpi: resolution of a print, (horizontal, vertical).
    """

    exif: bytes | None = None
    xmp: bytes | None = None
    icc: bytes | None = None
    dpi: tuple[float, float] | None = None


@dataclass(frozen=True)
class Picture:
    """Pixels the right way up, and their metadata.

    Attributes:
        colors: (H, W, 1) gray or (H, W, 3) RGB, float32; in [0, 1] unless they have just been enlarged.
        alpha: (H, W), likewise; None where everything is opaque.
        bits: of a sample in the file, 8 or 16.
        metadata: see :class:`Metadata`.
        lossless: whether the file stored these pixels exactly.
        notes: what was converted or left out, sentences for people.
    """

    colors: FloatImage
    alpha: FloatImage | None = None
    bits: Literal[8, 16] = 8
    metadata: Metadata = field(default_factory=Metadata)
    lossless: bool = True
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        height, width, _ = self.colors.shape
        return height, width


def from_samples(samples: NDArray[Any]) -> tuple[FloatImage, FloatImage | None, Literal[8, 16]]:
    """Colours, alpha and bits of (H, W) or (H, W, 1 to 4) samples of 8 or 16 bits; 2 and 4 end with alpha."""
    samples = samples[..., None] if samples.ndim == 2 else samples
    bits: Literal[8, 16] = 16 if samples.dtype == np.uint16 else 8
    values = np.divide(samples, 2**bits - 1, dtype=np.float32)
    if samples.shape[2] in (1, 3):
        return values, None, bits
    return np.ascontiguousarray(values[..., :-1]), np.ascontiguousarray(values[..., -1]), bits


def to_samples(picture: Picture, bits: Literal[8, 16]) -> NDArray[Any]:
    """(H, W, 1 to 4) samples: clamped to [0, 1] and rounded, which happens here and nowhere before."""
    levels = picture.colors
    if picture.alpha is not None:
        levels = np.concatenate([levels, picture.alpha[..., None]], axis=2)
    # NaN from a broken network would become an arbitrary level
    if not np.isfinite(levels).all():
        raise ValueError("the network returned NaN or infinite values; try --precision float32")
    scaled = np.clip(levels, 0, 1)
    scaled *= 2**bits - 1
    scaled += 0.5  # conversion to integers cuts
    return scaled.astype(np.uint16 if bits == 16 else np.uint8)
