"""PNG files: 16 bits a sample by OpenCV, because Pillow cuts 16-bit RGB to 8 bits; others by Pillow.

Decoders get only the chunks that hold pixels. Text, colour profiles and animation do not change the pixels,
and large text chunks, as image generators write them, exceed Pillow's limits.
"""

import io
import struct
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from srlab.data.pixels import (
    DecodedImage,
    check_pixels,
    from_pillow,
    from_samples,
    is_oriented,
    pillow_without_limit,
)

__all__ = ["PNG_SIGNATURE", "read_png"]

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

_KEPT = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_EXIF = b"eXIf"
_GRAY_WITH_ALPHA = 4


def read_png(path: Path, max_pixels: int) -> DecodedImage:
    """Decode.

    Raises:
        ValueError: if 16-bit pixels are damaged or too many; for other files Pillow raises its own errors.
    """
    data = path.read_bytes()
    if len(data) < 26 or data[12:16] != b"IHDR":
        raise ValueError("its header is damaged")
    width, height, depth, color_type = struct.unpack(">IIBB", data[16:26])
    check_pixels(width, height, max_pixels)
    data, exif = _split(data)
    if depth == 16:
        image = from_samples(_decode_with_opencv(data, color_type))
    else:
        with pillow_without_limit(), Image.open(io.BytesIO(data), formats=["PNG"]) as opened:
            image = from_pillow(opened)
    return replace(image, oriented=is_oriented(exif))


def _split(data: bytes) -> tuple[bytes, bytes]:
    """The file reduced to its pixel chunks, and its EXIF data; a truncated chunk stays truncated."""
    kept, exif = [PNG_SIGNATURE], b""
    start = len(PNG_SIGNATURE)
    while start + 8 <= len(data):
        length, kind = struct.unpack(">I4s", data[start : start + 8])
        end = start + 12 + length
        if kind in _KEPT:
            kept.append(data[start:end])
        elif kind == _EXIF:
            exif = data[start + 8 : end - 4]
        start = end
    return b"".join(kept), exif


def _decode_with_opencv(data: bytes, color_type: int) -> np.ndarray:
    """(H, W) or RGB (H, W, 3), uint16."""
    samples = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if samples is None:
        raise ValueError("it is damaged")
    if samples.ndim == 2:
        return samples
    return samples[..., 0] if color_type == _GRAY_WITH_ALPHA else samples[..., 2::-1]
