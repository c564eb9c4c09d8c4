"""PNG files: 16 bits a sample by OpenCV, since Pillow cuts those of RGB to the upper eight, others by Pillow.

Both see the chunks that hold pixels and no others. Text, colour profiles, gamma and animation change no
pixel here, and a megabyte of text, as generators of images write it, is beyond Pillow's limits.
"""

import io
import os
import struct
from pathlib import Path
from typing import BinaryIO, NamedTuple

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

__all__ = ["PNG_SIGNATURE", "png_bytes", "read_png"]

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

_KEPT = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_EXIF = b"eXIf"
_GRAY, _GRAY_WITH_ALPHA = 0, 4
# OpenCV's own limit, which it reads from the environment when it is loaded; its default is 2**30, too.
_OPENCV_LIMIT = "OPENCV_IO_MAX_IMAGE_PIXELS"


class _Header(NamedTuple):
    width: int
    height: int
    depth: int
    color_type: int


def read_png(path: Path, max_pixels: int) -> DecodedImage:
    """Decode.

    Raises:
        ValueError: if 16-bit pixels are damaged or too many; Pillow raises its own errors of others.
    """
    data = path.read_bytes()
    header = _header(io.BytesIO(data))
    check_pixels(header.width, header.height, max_pixels)
    data, exif = _split(data)
    oriented = is_oriented(exif)
    if header.depth == 16:
        return from_samples(_decode_with_opencv(data, header), oriented=oriented)
    with pillow_without_limit(), Image.open(io.BytesIO(data), formats=["PNG"]) as image:
        return from_pillow(image, oriented=oriented)


def png_bytes(path: Path) -> int:
    """Size of the decoded image, from the header alone."""
    with path.open("rb") as file:
        header = _header(file)
    channels = 1 if header.color_type in (_GRAY, _GRAY_WITH_ALPHA) else 3
    return channels * header.width * header.height


def _header(file: BinaryIO) -> _Header:
    start = file.read(26)
    if len(start) < 26 or start[12:16] != b"IHDR":
        raise ValueError("its header is damaged")
    return _Header(*struct.unpack(">IIBB", start[16:26]))


def _split(data: bytes) -> tuple[bytes, bytes]:
    """The file with the chunks of pixels alone, and its EXIF data; a chunk that the end cuts stays cut."""
    kept, exif = [data[: len(PNG_SIGNATURE)]], b""
    place = len(PNG_SIGNATURE)
    while place + 8 <= len(data):
        length, kind = struct.unpack(">I4s", data[place : place + 8])
        end = place + 12 + length
        if kind in _KEPT:
            kept.append(data[place:end])
        elif kind == _EXIF:
            exif = data[place + 8 : end - 4]
        place = end
    return b"".join(kept), exif


def _decode_with_opencv(data: bytes, header: _Header) -> np.ndarray:
    """(H, W) or RGB (H, W, 3), uint16."""
    limit = int(os.environ.get(_OPENCV_LIMIT, 2**30))
    if header.width * header.height > limit:
        raise ValueError(
            f"its {header.width}x{header.height} pixels of 16 bits are more than the {limit} that OpenCV "
            f"reads; set {_OPENCV_LIMIT} in the environment"
        )
    samples = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if samples is None:
        raise ValueError("it is damaged")
    if samples.ndim == 2:
        return samples
    return samples[..., 0] if header.color_type == _GRAY_WITH_ALPHA else samples[..., 2::-1]
