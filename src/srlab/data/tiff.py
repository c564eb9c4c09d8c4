"""TIFF files: the samples as they are stored, or a refusal that names the layout.

The tags of the first page (read by tifffile) decide which of three decoders gives the samples:

- tifffile: gray and RGB of 8 or 16 bits, in one plane or several, uncompressed or under deflate or PackBits;
- OpenCV: the same in one plane of 16 bits under LZW;
- Pillow: what has 8 bits or fewer otherwise, such as LZW, JPEG, fax, palettes, CMYK, YCbCr, CIELAB.

The last two turn an image by its orientation tag, on some paths into wrong pixels: they get a copy of the
file whose tag says upright. Any other layout is refused by name, never guessed.
"""

import io
from enum import Enum, auto
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from tifffile import COMPRESSION, EXTRASAMPLE, PHOTOMETRIC, PLANARCONFIG, SAMPLEFORMAT, TiffFile, TiffPage

from srlab.data.pixels import DecodedImage, check_pixels, from_pillow, from_samples, pillow_without_limit

__all__ = ["TIFF_SIGNATURES", "read_tiff", "tiff_bytes"]

# Little- and big-endian, classic and BigTIFF.
TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_COLORS: dict[int, int] = {PHOTOMETRIC.MINISWHITE: 1, PHOTOMETRIC.MINISBLACK: 1, PHOTOMETRIC.RGB: 3}
_READ_DIRECTLY = (
    COMPRESSION.NONE,
    COMPRESSION.DEFLATE,
    COMPRESSION.ADOBE_DEFLATE,
    COMPRESSION.PACKBITS,
)
_ORIENTATION, _SUBSAMPLING = 274, 530
_UPRIGHT = 1


class _Decoder(Enum):
    tifffile = auto()
    opencv = auto()
    pillow = auto()


def read_tiff(path: Path, max_pixels: int) -> DecodedImage:
    """Decode the first page.

    Raises:
        ValueError: for a layout that is not read, by name, and for damaged files.
    """
    try:
        content = io.BytesIO(path.read_bytes())
        with TiffFile(content) as file:
            page = _first_page(file)
            check_pixels(page.imagewidth, page.imagelength, max_pixels)
            return _decode(page, content)
    except (MemoryError, ValueError):
        raise
    except Exception as error:  # what tifffile raises of damaged files is not listed
        raise ValueError(f"it is damaged ({type(error).__name__}: {error})") from error


def tiff_bytes(path: Path) -> int:
    """Size of the decoded image, from the header alone."""
    with TiffFile(path) as file:
        page = _first_page(file)
        return _COLORS.get(page.photometric, 3) * page.imagewidth * page.imagelength


def _first_page(file: TiffFile) -> TiffPage:
    page = file.pages.first
    assert isinstance(page, TiffPage)  # frames stand for later pages only
    return page


def _decode(page: TiffPage, content: io.BytesIO) -> DecodedImage:
    decoder = _decoder_of(page)
    if decoder is None:
        raise _refusal(page)
    _check_whole(page, len(content.getbuffer()))
    orientation = page.tags.get(_ORIENTATION)
    oriented = orientation is not None and orientation.value != _UPRIGHT
    if decoder is _Decoder.tifffile:
        return from_samples(_levels(page, _stored_samples(page)), oriented=oriented)
    if orientation is not None:
        orientation.overwrite(_UPRIGHT)
    if decoder is _Decoder.opencv:
        return from_samples(_levels(page, _decode_with_opencv(content)), oriented=oriented)
    return _decode_with_pillow(page, content, oriented=oriented)


def _decoder_of(page: TiffPage) -> _Decoder | None:
    """None where nothing here is known to read the layout right."""
    bits, samples = page.bitspersample, page.samplesperpixel
    if page.sampleformat != SAMPLEFORMAT.UINT or bits not in (1, 2, 4, 8, 16):
        return None
    if page.imagedepth > 1 or page.is_reduced:
        return None
    if page.photometric not in _COLORS or bits < 8:
        return _Decoder.pillow if bits <= 8 and not _is_raw_and_subsampled(page) else None
    if not _has_alpha_at_most(page):
        return None
    if page.compression in _READ_DIRECTLY:
        return _Decoder.tifffile
    if bits == 8:
        return _Decoder.pillow
    in_one_plane = samples == 1 or page.planarconfig == PLANARCONFIG.CONTIG
    known = in_one_plane and samples != 2 and page.compression == COMPRESSION.LZW
    return _Decoder.opencv if known else None


def _has_alpha_at_most(page: TiffPage) -> bool:
    """Beside its colours; a fourth sample beside RGB that no tag explains is alpha by custom."""
    extra = page.samplesperpixel - _COLORS[page.photometric]
    unexplained = page.photometric == PHOTOMETRIC.RGB and extra == 1 and not page.extrasamples
    return extra == len(page.extrasamples) <= 1 or unexplained


def _is_raw_and_subsampled(page: TiffPage) -> bool:
    """YCbCr with fewer samples of colour, which Pillow takes for as many; the tag's default is (2, 2)."""
    subsampling = page.tags.get(_SUBSAMPLING)
    full = subsampling is not None and tuple(subsampling.value) == (1, 1)
    return page.photometric == PHOTOMETRIC.YCBCR and page.compression == COMPRESSION.NONE and not full


def _check_whole(page: TiffPage, file_size: int) -> None:
    """Refuse missing and cut strips, which decoders fill with black."""
    ends = [start + size for start, size in zip(page.dataoffsets, page.databytecounts, strict=True)]
    if not ends or not all(page.databytecounts):
        raise ValueError("it is damaged: pixels are missing")
    if max(ends) > file_size:
        raise ValueError(f"it is truncated: {file_size} bytes where its pixels end at {max(ends)}")


def _stored_samples(page: TiffPage) -> NDArray[Any]:
    """(H, W, C), native byte order."""
    # (separate planes, depth, H, W, samples beside one another)
    stored = page.asarray(squeeze=False, maxworkers=1)[:, 0]
    samples = np.moveaxis(stored, 0, 2).reshape(*stored.shape[1:3], -1)
    return samples.astype(samples.dtype.newbyteorder("="), copy=False)


def _levels(page: TiffPage, samples: NDArray[Any]) -> NDArray[Any]:
    """With black at 0."""
    if EXTRASAMPLE.ASSOCALPHA in page.extrasamples:
        _check_opaque(page, bool((samples[..., -1] == np.iinfo(samples.dtype).max).all()))
    if page.photometric == PHOTOMETRIC.MINISWHITE:
        return np.iinfo(samples.dtype).max - samples
    return samples


def _check_opaque(page: TiffPage, opaque: bool) -> None:
    """Premultiplied colours are the image's own only where nothing shines through."""
    if not opaque:
        raise ValueError(
            f"its layout ({_name(page)}) has colours multiplied by their alpha; save it without alpha"
        )


def _decode_with_opencv(content: io.BytesIO) -> NDArray[Any]:
    """(H, W), RGB or RGBA (H, W, C)."""
    samples = cv2.imdecode(np.frombuffer(content.getbuffer(), np.uint8), cv2.IMREAD_UNCHANGED)
    if samples is None:
        raise ValueError("it is damaged")
    return samples if samples.ndim == 2 else samples[..., [2, 1, 0, 3][: samples.shape[2]]]


def _decode_with_pillow(page: TiffPage, content: io.BytesIO, *, oriented: bool) -> DecodedImage:
    content.seek(0)
    with pillow_without_limit():
        try:
            image = Image.open(content, formats=["TIFF"])
        except UnidentifiedImageError:
            raise _refusal(page) from None
        image.load()
        if EXTRASAMPLE.ASSOCALPHA in page.extrasamples:
            _check_opaque(page, image.getchannel(len(image.getbands()) - 1).getextrema() == (255, 255))
        return from_pillow(image, oriented=oriented)


def _refusal(page: TiffPage) -> ValueError:
    return ValueError(
        f"its layout ({_name(page)}) is not read; save it uncompressed, as gray or RGB with 8 or 16 bits"
    )


def _name(page: TiffPage) -> str:
    """Such as ``RGB, 5 samples of 16 bits, uint, separate planes, LZW``."""
    bits = page.bitspersample
    depth = f"{bits} bits" if isinstance(bits, int) else f"{'+'.join(map(str, bits))} bits"
    parts = [
        _tag_name(PHOTOMETRIC, page.photometric),
        f"{page.samplesperpixel} sample{'s' * (page.samplesperpixel > 1)} of {depth}",
        _tag_name(SAMPLEFORMAT, page.sampleformat).lower(),
        *(_tag_name(EXTRASAMPLE, extra) for extra in page.extrasamples),
        *(["separate planes"] if page.planarconfig == PLANARCONFIG.SEPARATE else []),
        *([] if page.compression == COMPRESSION.NONE else [_tag_name(COMPRESSION, page.compression)]),
        *(["a volume"] if page.imagedepth > 1 else []),
        *(["a reduced copy of another page"] if page.is_reduced else []),
    ]
    return ", ".join(parts)


def _tag_name(kind: type[Enum], value: object) -> str:
    try:
        return kind(value).name
    except ValueError:
        return f"{kind.__name__.lower()} {value}"
