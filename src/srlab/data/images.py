"""Reading image files as 8-bit planes.

The same rules for training and evaluation, whatever the file format:

- gray files stay gray, (1, H, W); everything else becomes RGB, (3, H, W); palettes are looked up;
- an alpha channel is dropped and colours are kept as stored: nothing is composited, as in BasicSR and MATLAB;
- 16 bits become 8 as in MATLAB's im2uint8: round(value / 257), even if no value exceeds 4095: only the owner
  of the file knows whether that is white;
- the orientation tag (EXIF, TIFF 274) is never applied: a network does not care which way is up, and LR files
  written by MATLAB match the pixels as they are stored;
- floating-point files are refused, because nothing says which value is white; so are all layouts that the
  decoders here are not known to read correctly.

The format is recognised by the first bytes of a file, not by its name.
"""

import struct
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from srlab.data.pixels import (
    GRAY_MODES,
    MAX_PIXELS,
    DecodedImage,
    check_pixels,
    from_pillow,
    is_oriented,
    pillow_without_limit,
)
from srlab.data.png import PNG_SIGNATURE, read_png
from srlab.data.tiff import TIFF_SIGNATURES, read_tiff

__all__ = ["IMAGE_SUFFIXES", "decode_image", "decoded_bytes", "read_image"]

IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pnm"}
)

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
            return read_png(path, max_pixels)
        if signature.startswith(TIFF_SIGNATURES):
            return read_tiff(path, max_pixels)
        with pillow_without_limit(), Image.open(path, formats=_PILLOW_FORMATS) as image:
            check_pixels(image.width, image.height, max_pixels)
            image.load()  # now, because getexif() would load it and hide its faults
            return replace(from_pillow(image), oriented=is_oriented(image.getexif()))
    except UnidentifiedImageError:
        is_jpeg = signature.startswith(b"\xff\xd8\xff")
        kind = "a JPEG of an unsupported kind, such as 12 bits a sample," if is_jpeg else "not an image"
        raise ValueError(f"cannot read the image {path}: it is {kind} or damaged; remove it") from None
    except _FAULTS as error:
        raise ValueError(f"cannot read the image {path}: {error}; repair or remove it") from error


def decoded_bytes(path: Path) -> int:
    """Number of bytes that ``read_image`` returns, from the header alone; 0 if the header is not readable."""
    try:
        with pillow_without_limit(), Image.open(path, formats=(*_PILLOW_FORMATS, "PNG", "TIFF")) as image:
            return (1 if image.mode in GRAY_MODES else 3) * image.width * image.height
    except Exception:  # decoding reports the fault; here it means only that the size is unknown
        return 0
