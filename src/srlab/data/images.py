"""Reading image files as 8-bit planes.

One rule for each kind of file, the same for training and evaluation:

- gray files stay gray, (1, H, W); everything else becomes RGB, (3, H, W); a palette is looked up;
- an alpha channel is dropped, colours as stored: nothing is composited, as in BasicSR's and MATLAB's readers;
- 16 bits become 8 as in MATLAB's im2uint8: round(value / 257), also where the file's values end at 4095: only
  its owner knows whether that is white;
- the orientation (EXIF, TIFF tag 274) is never applied, in any format: a network does not care which way is
  up, and LR files made by MATLAB's imread belong to the pixels as they are stored;
- floating-point files are refused: nothing says which of their values is white; so are other layouts that
  are not known to be read right, by name.

What a file is, its first bytes say, whatever its name ends with.
"""

import struct
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from srlab.data.pixels import (
    MAX_PIXELS,
    DecodedImage,
    check_pixels,
    from_pillow,
    is_oriented,
    pillow_channels,
    pillow_without_limit,
)
from srlab.data.png import PNG_SIGNATURE, png_bytes, read_png
from srlab.data.tiff import TIFF_SIGNATURES, read_tiff, tiff_bytes

__all__ = ["IMAGE_SUFFIXES", "decode_image", "decoded_bytes", "read_image"]

IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pnm"}
)

# By what they hold. Others of Pillow's are left out: some of its readers start programs, or cut 16 bits to 8.
_PILLOW_FORMATS = ("JPEG", "BMP", "WEBP", "PPM")
# Of what libraries raise for damaged files.
_FAULTS = (OSError, SyntaxError, ValueError, struct.error, cv2.error)


def read_image(path: Path, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Decode to contiguous (1, H, W) or (3, H, W).

    Raises:
        ValueError: naming the file, if it is not an image, is damaged, has more than ``max_pixels`` pixels or
            a layout that is not read.
    """
    return decode_image(path, max_pixels=max_pixels).pixels


def decode_image(path: Path, *, max_pixels: int = MAX_PIXELS) -> DecodedImage:
    """As ``read_image``, with what is worth saying of the file."""
    try:
        signature = _signature(path)
        if signature == PNG_SIGNATURE:
            return read_png(path, max_pixels)
        if signature.startswith(TIFF_SIGNATURES):
            return read_tiff(path, max_pixels)
        with pillow_without_limit(), Image.open(path, formats=_PILLOW_FORMATS) as image:
            check_pixels(image.width, image.height, max_pixels)
            image.load()  # before anything else asks for it and hides its fault
            return from_pillow(image, oriented=is_oriented(image.getexif()))
    except UnidentifiedImageError:
        kind = "a JPEG of a kind that is not read, such as 12 bits a sample" if _is_jpeg(path) else "no image"
        raise ValueError(f"cannot read the image {path}: it is {kind}, or damaged; remove it") from None
    except _FAULTS as error:
        raise ValueError(f"cannot read the image {path}: {error}; repair or remove it") from error


def decoded_bytes(path: Path) -> int:
    """How many bytes ``read_image`` returns, from the header alone; 0 for what it cannot read."""
    try:
        signature = _signature(path)
        if signature == PNG_SIGNATURE:
            return png_bytes(path)
        if signature.startswith(TIFF_SIGNATURES):
            return tiff_bytes(path)
        with pillow_without_limit(), Image.open(path, formats=_PILLOW_FORMATS) as image:
            return pillow_channels(image) * image.width * image.height
    except Exception:  # decoding names the fault; here any fault means: unknown
        return 0


def _is_jpeg(path: Path) -> bool:
    return _signature(path).startswith(b"\xff\xd8\xff")


def _signature(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(len(PNG_SIGNATURE))
