"""Reading image files as 8-bit planes.

The same rules for training and evaluation, whatever the file format:

- gray files stay gray, (1, H, W); everything else becomes RGB, (3, H, W); palettes are looked up;
- an alpha channel is dropped and colours are kept as stored: nothing is composited, as in BasicSR and MATLAB;
- 16 bits become 8 as in MATLAB's im2uint8: round(value / 257), even if no value exceeds 4095: the file
  does not determine whether that is white;
- the orientation tag (EXIF, TIFF 274) is never applied: training does not depend on it, and LR files written
  by MATLAB match the pixels as they are stored;
- floating-point files raise an error, because their value of white is unknown; so do all layouts that the
  decoders here have not been shown to read correctly.

The format is recognised by the first bytes of a file, not by its name.
"""

import io
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import UnidentifiedImageError

from srlab.data.pixels import (
    GRAY_MODES,
    MAX_PIXELS,
    DecodedImage,
    check_pixels,
    from_pillow,
    from_samples,
    is_oriented,
    open_with_pillow,
    samples_by_opencv,
)
from srlab.data.tiff import TIFF_SIGNATURES, read_tiff

IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pnm"}
)

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_KEPT = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_PNG_GRAY_WITH_ALPHA = 4
# Other readers of Pillow's start programs or cut 16 bits to 8.
_PILLOW_FORMATS = ("JPEG", "BMP", "WEBP", "PPM")
# What the libraries raise for damaged files.
_FAULTS = (OSError, SyntaxError, ValueError, struct.error, cv2.error)


def read_image(path: Path, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Decode to contiguous (1, H, W) or (3, H, W).

    Raises:
        ValueError: naming the file, if it is not an image, is damaged, has more than ``max_pixels`` pixels or
            a layout that is not supported.
    """
    return decode_image(path, max_pixels=max_pixels).pixels


def decode_image(path: Path, *, max_pixels: int = MAX_PIXELS) -> DecodedImage:
    """As ``read_image``, with the properties of the file that are worth a log line."""
    try:
        with path.open("rb") as file:
            signature = file.read(len(PNG_SIGNATURE))
        if signature == PNG_SIGNATURE:
            return _read_png(path, max_pixels)
        if signature.startswith(TIFF_SIGNATURES):
            return read_tiff(path, max_pixels)
        with open_with_pillow(path, *_PILLOW_FORMATS) as image:
            check_pixels(image.width, image.height, max_pixels)
            return replace(from_pillow(image), oriented=is_oriented(image.info.get("exif", b"")))
    except UnidentifiedImageError:
        raise ValueError(
            f"cannot read the image {path}: it is not an image, of an unsupported kind (such as a JPEG of 12 "
            "bits a sample), or damaged; remove it"
        ) from None
    except _FAULTS as error:
        raise ValueError(f"cannot read the image {path}: {error}; repair or remove it") from error


def _read_png(path: Path, max_pixels: int) -> DecodedImage:
    """16 bits a sample by OpenCV, because Pillow cuts 16-bit RGB to 8 bits; others by Pillow."""
    data = path.read_bytes()
    if len(data) < 26 or data[12:16] != b"IHDR":
        raise ValueError("its header is damaged")
    width, height, depth, color_type = struct.unpack(">IIBB", data[16:26])
    check_pixels(width, height, max_pixels)
    data, exif = _pixel_chunks(data)
    if depth == 16:
        samples = samples_by_opencv(data)
        image = from_samples(samples[..., 0] if color_type == _PNG_GRAY_WITH_ALPHA else samples)
    else:
        image = from_pillow(open_with_pillow(io.BytesIO(data), "PNG"))
    return replace(image, oriented=is_oriented(exif))


def _pixel_chunks(data: bytes) -> tuple[bytes, bytes]:
    """A PNG file reduced to the chunks that hold pixels, and its EXIF data.

    Text, colour profiles and animation do not change the pixels, and large text chunks, as image generators
    write them, exceed Pillow's limits. A truncated chunk stays truncated.
    """
    kept, exif = [PNG_SIGNATURE], b""
    for kind, chunk in png_chunks(data):
        if kind in _PNG_KEPT:
            kept.append(chunk)
        elif kind == b"eXIf":
            exif = chunk[8:-4]
    return b"".join(kept), exif


def png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and bytes of each chunk of a PNG file, length, name and CRC included; the last may be cut off."""
    start = len(PNG_SIGNATURE)
    while start + 8 <= len(data):
        length, kind = struct.unpack(">I4s", data[start : start + 8])
        yield kind, data[start : start + 12 + length]
        start += 12 + length


def decoded_bytes(path: Path) -> int:
    """Number of bytes that ``read_image`` returns, from the header alone; 0 if the header is not readable."""
    try:
        with open_with_pillow(path, *_PILLOW_FORMATS, "PNG", "TIFF") as image:
            return (1 if image.mode in GRAY_MODES else 3) * image.width * image.height
    except Exception:  # decoding reports the fault; here it means only that the size is unknown
        return 0
