"""TIFF files: the samples as they are stored, or an error that names the layout.

The tags of the first page (read by tifffile) select one of three decoders:

- tifffile: gray and RGB of 8 or 16 bits, in one plane or several, uncompressed or with deflate or PackBits;
- OpenCV: the same in one plane of 16 bits with LZW;
- Pillow: everything else of 8 bits or fewer, such as LZW, JPEG, fax, palettes, CMYK, CIELAB, YCbCr.

Uncompressed YCbCr is read by tifffile, since Pillow takes it for pixels of four bytes.

OpenCV and Pillow apply the orientation tag, in some cases wrongly: they get a copy of the file with tag 1.
"""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from tifffile import (
    COMPRESSION,
    DATATYPE,
    EXTRASAMPLE,
    PHOTOMETRIC,
    PLANARCONFIG,
    SAMPLEFORMAT,
    TiffFile,
    TiffPage,
)

from srlab.data.pixels import (
    DecodedImage,
    check_pixels,
    from_pillow,
    from_samples,
    open_with_pillow,
    samples_by_opencv,
)

# Little- and big-endian, classic and BigTIFF.
TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_COLORS: dict[int, int] = {PHOTOMETRIC.MINISWHITE: 1, PHOTOMETRIC.MINISBLACK: 1, PHOTOMETRIC.RGB: 3}
_DEFLATE = (COMPRESSION.DEFLATE, COMPRESSION.ADOBE_DEFLATE)
_TIFFFILE_READS = (COMPRESSION.NONE, COMPRESSION.PACKBITS, *_DEFLATE)
_ORIENTATION, _COEFFICIENTS, _SUBSAMPLING, _BLACK_WHITE = 274, 529, 530, 532
# What these tags say of the YCbCr that JPEG has: BT.601, full range.
_JFIF = {_COEFFICIENTS: (0.299, 0.587, 0.114), _BLACK_WHITE: (0, 255, 128, 255, 128, 255)}


Stored = NDArray[Any] | Image.Image
"""Samples as in the file with black at 0, alpha included: (H, W) or (H, W, C), or an image of Pillow's."""


class StoredTiff(NamedTuple):
    """The first page of a file: its samples, the value of its orientation tag (not applied), all pages."""

    samples: Stored
    orientation: int
    pages: int


def read_tiff(path: Path, max_pixels: int) -> DecodedImage:
    """Decode the first page.

    Raises:
        ValueError: for damaged files, and for unsupported layouts, by name.
    """
    content = io.BytesIO(path.read_bytes())
    stored = load_tiff(content, lambda width, height: check_pixels(width, height, max_pixels))
    samples = stored.samples
    decoded = from_pillow(samples) if isinstance(samples, Image.Image) else from_samples(samples)
    return replace(decoded, oriented=stored.orientation != 1)


def load_tiff(content: io.BytesIO, check_size: Callable[[int, int], None]) -> StoredTiff:
    """The samples of the first page as they are stored; pages that are reduced copies or masks don't count.

    Args:
        content: the file; its orientation tag is set to 1.
        check_size: called with width and height before anything is decoded; raises where they are too large.

    Raises:
        ValueError: for damaged files, and for unsupported layouts, by name.
    """
    try:
        with TiffFile(content) as file:
            page = file.pages.first
            assert isinstance(page, TiffPage)  # TiffFrames stand for later pages only
            check_size(page.imagewidth, page.imagelength)
            _check_complete(page, len(content.getbuffer()))
            tag = page.tags.get(_ORIENTATION)
            orientation = 1 if tag is None else int(tag.value)
            if tag is not None:
                tag.overwrite(1)
            pages = sum(
                not (isinstance(each, TiffPage) and (each.is_reduced or each.is_mask)) for each in file.pages
            )
            return StoredTiff(_decode(page, content), orientation, pages)
    except (MemoryError, ValueError):
        raise
    except Exception as error:  # tifffile raises many kinds of errors for damaged files
        raise ValueError(f"it is damaged ({type(error).__name__}: {error})") from error


def _decode(page: TiffPage, content: io.BytesIO) -> Stored:
    """By the decoder that is known to read this layout correctly; a ValueError if there is none."""
    bits, colors = page.bitspersample, _COLORS.get(page.photometric)
    is_whole = page.imagedepth == 1 and not page.is_reduced
    if page.sampleformat != SAMPLEFORMAT.UINT or bits not in (1, 2, 4, 8, 16) or not is_whole:
        raise _unsupported(page)
    if colors and bits >= 8:
        # an undeclared fourth sample of RGB is alpha by custom
        extra, declared = page.samplesperpixel - colors, len(page.extrasamples)
        if extra > 1 or (extra != declared and not (colors == 3 and declared == 0)):
            raise _unsupported(page)
        if page.compression in _TIFFFILE_READS:
            return _levels(page, _samples_by_tifffile(page))
        in_one_plane = page.samplesperpixel == 1 or page.planarconfig == PLANARCONFIG.CONTIG
        if bits == 16 and page.compression == COMPRESSION.LZW and in_one_plane and page.samplesperpixel != 2:
            return _levels(page, samples_by_opencv(content.getbuffer()))
    if bits == 16:
        raise _unsupported(page)
    if page.photometric == PHOTOMETRIC.YCBCR and page.compression == COMPRESSION.NONE:
        return _raw_ycbcr(page)
    return _decode_with_pillow(page, content)


def _raw_ycbcr(page: TiffPage) -> Image.Image:
    """Uncompressed YCbCr as RGB; refused with subsampled colour (the default), another matrix or range."""
    subsampling = page.tags.get(_SUBSAMPLING)
    full = subsampling is not None and tuple(subsampling.value) == (1, 1)
    if not full or page.samplesperpixel != 3 or page.bitspersample != 8 or not _is_jfif(page):
        raise _unsupported(page)
    size = (page.imagewidth, page.imagelength)
    return Image.frombytes("YCbCr", size, _samples_by_tifffile(page).tobytes()).convert("RGB")


def _is_jfif(page: TiffPage) -> bool:
    """Whether matrix and range are those of JPEG, which files without the tags have."""
    for number, expected in _JFIF.items():
        tag = page.tags.get(number)
        if tag is None:
            continue
        parts = np.asarray(tag.value, dtype=np.float64)
        above, below = (parts[::2], parts[1::2]) if tag.dtype == DATATYPE.RATIONAL else (parts, 1.0)
        if above.shape != (len(expected),) or not np.allclose(above, np.multiply(expected, below), rtol=1e-3):
            return False
    return True


def _check_complete(page: TiffPage, file_size: int) -> None:
    """Refuse missing and truncated strips, which decoders fill with black."""
    ends = [start + size for start, size in zip(page.dataoffsets, page.databytecounts, strict=True)]
    if not ends or not all(page.databytecounts):
        raise ValueError("it is damaged: pixels are missing")
    if max(ends) > file_size:
        raise ValueError(f"it is truncated: {file_size} bytes where its pixels end at {max(ends)}")


def _samples_by_tifffile(page: TiffPage) -> NDArray[Any]:
    # (separate planes, depth, H, W, interleaved samples)
    stored = page.asarray(squeeze=False, maxworkers=1)[:, 0]
    samples = np.moveaxis(stored, 0, 2).reshape(*stored.shape[1:3], -1)
    return samples.astype(samples.dtype.newbyteorder("="), copy=False)


def _decode_with_pillow(page: TiffPage, content: io.BytesIO) -> Image.Image:
    content.seek(0)
    try:
        image = open_with_pillow(content, "TIFF")
    except UnidentifiedImageError:
        raise _unsupported(page) from None
    _check_alpha(page, np.asarray(image))
    return image


def _levels(page: TiffPage, samples: NDArray[Any]) -> NDArray[Any]:
    """Samples with black at 0."""
    _check_alpha(page, samples)
    if page.photometric != PHOTOMETRIC.MINISWHITE:
        return samples
    most = np.iinfo(samples.dtype).max
    return most - samples if samples.ndim == 2 else np.dstack([most - samples[..., :1], samples[..., 1:]])


def _check_alpha(page: TiffPage, samples: NDArray[Any]) -> None:
    """Premultiplied colours are those of the image only where alpha is at its maximum."""
    if EXTRASAMPLE.ASSOCALPHA in page.extrasamples and samples[..., -1].min() < np.iinfo(samples.dtype).max:
        raise ValueError(
            f"its layout ({_name(page)}) has colours multiplied by their alpha; save it without alpha"
        )


def _unsupported(page: TiffPage) -> ValueError:
    return ValueError(
        f"its layout ({_name(page)}) is not supported; save it uncompressed, as gray or RGB with 8 or 16 bits"
    )


def _name(page: TiffPage) -> str:
    """Such as ``6x10x5 uint16 rgb lzw separate``."""
    return " ".join(str(page).split()[3:])
