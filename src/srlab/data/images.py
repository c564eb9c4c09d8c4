"""Reading image files as 8-bit planes.

One rule for each kind of file, the same for training and evaluation:

- gray files stay gray, (1, H, W); everything else becomes RGB, (3, H, W); a palette is looked up;
- an alpha channel is dropped, colours as stored: nothing is composited, as in BasicSR's and MATLAB's readers;
- 16 bits become 8 as in MATLAB's im2uint8: round(value / 257);
- the EXIF orientation is not applied: a network does not care which way is up, and LR files made by MATLAB's
  imread belong to the pixels as they are stored;
- floating-point files are refused: nothing says which of their values is white.
"""

import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import BITSPERSAMPLE, TiffImageFile

__all__ = ["IMAGE_SUFFIXES", "decoded_bytes", "read_image"]

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff"})

# Pillow warns of, then refuses, images above 89 and 179 megapixels; photographs of a set that someone chose
# are no bomb.
_PIXEL_LIMIT = 2**30
_GRAY_MODES = ("1", "L", "LA", "La")
_DEEP_GRAY_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N")


def read_image(path: Path) -> NDArray[np.uint8]:
    """Decode to contiguous (1, H, W) or (3, H, W).

    Raises:
        ValueError: naming the file, if it is not an image, is damaged, or has floating-point pixels.
    """
    try:
        pixels = _decode(path)
    except (OSError, SyntaxError, ValueError, struct.error, cv2.error, Image.DecompressionBombError) as error:
        raise ValueError(f"cannot read the image {path}: {error}; repair or remove it") from error
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def decoded_bytes(path: Path) -> int:
    """How many bytes ``read_image`` returns, from the header alone; 0 for what it cannot read."""
    try:
        with Image.open(path) as image:
            channels = 1 if image.mode in (*_GRAY_MODES, *_DEEP_GRAY_MODES) else 3
            return channels * image.height * image.width
    except (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError):
        return 0


def _decode(path: Path) -> NDArray[np.uint8]:
    """(H, W) or (H, W, 3)."""
    if _is_deep_png(path):
        return _decode_with_opencv(path)
    with Image.open(path) as image:
        if _is_deep_tiff(image):
            return _decode_with_opencv(path)
        if image.width * image.height > _PIXEL_LIMIT:
            raise ValueError(f"{image.width}x{image.height} pixels are more than the {_PIXEL_LIMIT} that fit")
        if image.mode == "F":
            raise ValueError("its pixels are floating point; save it with 8 or 16 bits")
        if image.mode in _DEEP_GRAY_MODES:
            return _to_eight_bits(np.asarray(image))
        return np.asarray(image.convert("L" if image.mode in _GRAY_MODES else "RGB"))


def _is_deep_png(path: Path) -> bool:
    """Sixteen bits a sample according to the IHDR chunk; Pillow would cut those of RGB to the upper eight."""
    with path.open("rb") as file:
        header = file.read(25)
    return header[:8] == b"\x89PNG\r\n\x1a\n" and len(header) == 25 and header[24] == 16


def _is_deep_tiff(image: Image.Image) -> bool:
    """More than one channel of 16 bits, which Pillow would cut as well."""
    return isinstance(image, TiffImageFile) and image.tag_v2.get(BITSPERSAMPLE, (8,))[:2] == (16, 16)


def _decode_with_opencv(path: Path) -> NDArray[np.uint8]:
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ValueError("it is damaged or of an unknown kind")
    if pixels.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"its pixels are {pixels.dtype}; save it with 8 or 16 bits")
    if pixels.ndim == 3:
        gray_with_alpha = pixels.shape[2] == 2 or (pixels.shape[2] == 4 and _png_color_type(path) == 4)
        pixels = pixels[..., 0] if gray_with_alpha else pixels[..., 2::-1]
    return _to_eight_bits(pixels)


def _png_color_type(path: Path) -> int | None:
    with path.open("rb") as file:
        header = file.read(26)
    return header[25] if header[:4] == b"\x89PNG" else None


def _to_eight_bits(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.min() < 0 or pixels.max() > 65535:
        raise ValueError(f"its values reach from {pixels.min()} to {pixels.max()}, beyond 16 bits")
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
