"""PNG files of 16 bits a sample, for the kinds that neither Pillow nor OpenCV writes with metadata.

Source: PNG (Portable Network Graphics) Specification, third edition, W3C.
"""

import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srlab.data.images import PNG_SIGNATURE
from srlab.extensions.upscale.picture import Metadata

_COLOR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # gray, gray with alpha, RGB, RGBA
_UP = 2  # the filter: differences to the row above


def encode_deep_png(samples: NDArray[np.uint16], metadata: Metadata, exif: bytes) -> bytes:
    """A file of (H, W, 1 to 4) samples; 2 and 4 end with alpha.

    Args:
        samples: what to store.
        metadata: ICC, XMP and dpi are stored, ``exif`` is not.
        exif: a TIFF stream.
    """
    height, width, channels = samples.shape
    header = struct.pack(">IIBBBBB", width, height, 16, _COLOR_TYPES[channels], 0, 0, 0)
    parts = [PNG_SIGNATURE, _chunk(b"IHDR", header)]
    if metadata.icc is not None:
        parts.append(_chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(metadata.icc)))
    if metadata.dpi is not None:
        across, down = (round(dots / 0.0254) for dots in metadata.dpi)
        parts.append(_chunk(b"pHYs", struct.pack(">IIB", across, down, 1)))
    if metadata.xmp is not None:
        parts.append(_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + metadata.xmp))
    parts.append(_chunk(b"eXIf", exif))
    parts.append(_chunk(b"IDAT", zlib.compress(_filtered(samples))))
    return b"".join([*parts, _chunk(b"IEND", b"")])


def _filtered(samples: NDArray[np.uint16]) -> bytes:
    height = samples.shape[0]
    rows: NDArray[Any] = samples.astype(">u2").reshape(height, -1).view(np.uint8)
    filtered = np.empty((height, rows.shape[1] + 1), np.uint8)
    filtered[:, 0] = _UP
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    return filtered.tobytes()


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
