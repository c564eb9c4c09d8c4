"""Decodes an image file to a picture, with its orientation applied.

Unlike :mod:`srlab.data.images`, which reads data sets as they are stored, this serves people: the orientation
is applied, 16 bits and transparency are kept, CMYK is converted through its profile. Decoders are the same.
"""

import io
import re
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from srlab.data.images import PNG_SIGNATURE, png_chunks
from srlab.data.pixels import GRAY_MODES, MAX_PIXELS, open_with_pillow, samples_by_opencv
from srlab.data.tiff import TIFF_SIGNATURES, load_tiff
from srlab.extensions.upscale.metadata import (
    clean_exif,
    clean_xmp,
    cmyk_to_rgb,
    fits,
    png_dpi,
    png_metadata,
    read_orientation,
    srgb_profile,
)
from srlab.extensions.upscale.picture import Metadata, Picture, from_samples

_PILLOW_FORMATS = ("JPEG", "BMP", "WEBP", "PPM", "GIF")
_GRAY_WITH_ALPHA = 4  # a color type of PNG
_PNG_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_DEEP_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N")
# What the libraries raise for damaged files.
_FAULTS = (OSError, SyntaxError, struct.error, cv2.error)
_ICC_TAG, _XMP_TAG = 34675, 700
_JPEG_SIGNATURE = b"\xff\xd8\xff"
_SRGB_GAMMA = 45455  # of a chunk gAMA, in units of 1e-5
# How the stored pixels are turned so that the picture is the right way up, by EXIF's orientation.
_TURNS: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
    2: np.fliplr,
    3: lambda pixels: np.rot90(pixels, 2),
    4: np.flipud,
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: np.rot90(pixels, 2).swapaxes(0, 1),
    8: np.rot90,
}


class _Pixels(NamedTuple):
    """(H, W) or (H, W, 1 to 4) samples of 8 or 16 bits, their colour profile, and what was converted."""

    samples: NDArray[Any]
    icc: bytes | None = None
    notes: tuple[str, ...] = ()

    def noted(self, note: str) -> "_Pixels":
        return self._replace(notes=(*self.notes, note))


@dataclass(frozen=True)
class _Stored:
    """A decoded file before it is turned; ``exif`` and ``xmp`` are raw."""

    pixels: _Pixels
    orientation: int = 1
    exif: bytes = b""
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    lossless: bool = True


def read_picture(data: bytes) -> Picture:
    """Decode the bytes of a JPEG, PNG, WebP, TIFF, BMP, GIF, PPM or PGM file, recognised by its first bytes.

    Raises:
        ValueError: not such a file, damaged, animated or of several pages, too large, or of a layout that no
            decoder reads correctly; each message ends with a remedy where there is one.
    """
    try:
        stored = _decode(data)
    except UnidentifiedImageError:
        raise ValueError(_why_unknown(data)) from None
    except ValueError:
        raise
    except _FAULTS as error:
        raise ValueError(f"it is damaged: {error}") from error
    samples, icc, notes = stored.pixels
    if stored.orientation in _TURNS:
        samples = np.ascontiguousarray(_TURNS[stored.orientation](samples))
    colors, alpha, bits = from_samples(samples)
    if alpha is not None and bool((alpha == 1).all()):
        alpha = None
    if icc is not None and not fits(icc, colors.shape[2]):
        icc, notes = None, (*notes, "a colour profile of another kind than the picture was left out")
    try:
        exif = clean_exif(stored.exif)
    except ValueError as error:
        exif, notes = None, (*notes, f"{error}")
    metadata = Metadata(exif, clean_xmp(stored.xmp), icc, _turned_dpi(stored))
    return Picture(colors, alpha, bits, metadata, stored.lossless, notes)


def pillow_samples(image: Image.Image) -> NDArray[Any]:
    """(H, W) or (H, W, 2 to 4) samples of 8 or 16 bits of an image of any mode; 2 and 4 end with alpha.

    Raises:
        ValueError: floating-point pixels.
    """
    return _pixels(image, image.info.get("icc_profile")).samples


def _decode(data: bytes) -> _Stored:
    if not data:
        raise ValueError("the file is empty")
    if data.startswith(PNG_SIGNATURE):
        return _decode_png(data)
    if data.startswith(TIFF_SIGNATURES):
        return _decode_tiff(data)
    with open_with_pillow(io.BytesIO(data), *_PILLOW_FORMATS) as image:
        _check_size(image.width, image.height)
        is_jpeg, frames = data.startswith(_JPEG_SIGNATURE), getattr(image, "n_frames", 1)
        _check_still(1 if is_jpeg else frames)
        pixels = _pixels(image, image.info.get("icc_profile"))
        if is_jpeg and frames > 1:
            pixels = pixels.noted("further pictures in a JPEG (stereo, preview, gain map) were left out")
        if _is_deep_ppm(data):
            pixels = pixels.noted(
                "a PPM of 16 bits a sample was read with 8; convert it to PNG or TIFF to keep 16"
            )
        exif, xmp = image.info.get("exif", b""), image.info.get("xmp")
        return _Stored(
            pixels,
            orientation=read_orientation(exif),
            exif=exif,
            xmp=xmp.encode() if isinstance(xmp, str) else xmp,
            dpi=image.info.get("dpi"),
            lossless=not is_jpeg and (image.format != "WEBP" or b"VP8L" in data[:64]),
        )


def _decode_png(data: bytes) -> _Stored:
    if len(data) < 26 or data[12:16] != b"IHDR":
        raise ValueError("its header is damaged")
    width, height, depth, color_type = struct.unpack(">IIBB", data[16:26])
    _check_size(width, height)
    found = png_metadata(png_chunks(data))
    _check_still(int.from_bytes(found.get(b"acTL", b"")[:4], "big"))
    # Pillow limits text, and OpenCV would make alpha of a transparent colour
    dropped = b"tRNS" if depth == 16 else b""
    kept = [chunk for kind, chunk in png_chunks(data) if kind in _PNG_PIXELS and kind != dropped]
    content = b"".join([PNG_SIGNATURE, *kept])
    if depth == 16:
        pixels = _Pixels(_decode_deep_png(content, color_type), found.get(b"iCCP"))
        if any(kind == dropped for kind, _ in png_chunks(data)):
            pixels = pixels.noted("the transparent colour of a 16-bit PNG was ignored")
    else:
        with open_with_pillow(io.BytesIO(content), "PNG") as image:
            pixels = _pixels(image, found.get(b"iCCP"))
    gamma = int.from_bytes(found.get(b"gAMA", b""), "big") or _SRGB_GAMMA
    if pixels.icc is None and abs(gamma - _SRGB_GAMMA) > 1000:
        pixels = pixels.noted("an unusual gamma of a PNG (gAMA) was left out: the brightness differs")
    exif = found.get(b"eXIf", b"")
    dpi = png_dpi(found.get(b"pHYs"))
    return _Stored(pixels, orientation=read_orientation(exif), exif=exif, xmp=found.get(b"iTXt"), dpi=dpi)


def _decode_deep_png(pixels: bytes, color_type: int) -> NDArray[Any]:
    """By OpenCV, because Pillow cuts 16-bit RGB to 8 bits; OpenCV repeats gray that has alpha."""
    samples = samples_by_opencv(pixels)
    return samples[..., [0, 3]] if color_type == _GRAY_WITH_ALPHA else samples


def _decode_tiff(data: bytes) -> _Stored:
    stored = load_tiff(io.BytesIO(data), _check_size)
    if stored.pages > 1:
        raise ValueError(f"it has {stored.pages} pages; save each as a file of its own")
    tags = Image.Exif()
    with suppress(Exception):  # of damaged tags; the pixels are there
        tags.load(data)  # a TIFF file is such a stream
    icc, xmp = (value if isinstance(value := tags.get(tag), bytes) else None for tag in (_ICC_TAG, _XMP_TAG))
    is_image = isinstance(stored.samples, Image.Image)
    return _Stored(
        _pixels(stored.samples, icc) if is_image else _Pixels(stored.samples, icc),  # type: ignore[arg-type]
        orientation=stored.orientation,
        exif=data,
        xmp=xmp,
        dpi=_dots(tags),
    )


def _is_deep_ppm(data: bytes) -> bool:
    """Whether Pillow cuts its colours to 8 bits."""
    words = re.sub(rb"#[^\n]*\n", b" ", data[:1024]).split(maxsplit=4)
    return len(words) > 3 and words[0] in (b"P3", b"P6") and words[3].isdigit() and int(words[3]) > 255


def _pixels(image: Image.Image, icc: bytes | None) -> _Pixels:
    """The samples of ``image``, in a mode that networks and files share."""
    if image.mode == "F":
        raise ValueError("its pixels are floating point; save it with 8 or 16 bits")
    if image.mode in _DEEP_MODES:
        return _Pixels(np.asarray(image).astype(np.uint16), icc)
    if image.mode == "CMYK":
        converted, is_srgb, note = cmyk_to_rgb(image, icc)
        return _Pixels(np.asarray(converted), srgb_profile() if is_srgb else None, (note,))
    if image.mode == "LAB":
        return _Pixels(np.asarray(image.convert("RGB")), srgb_profile(), ("CIELAB was converted to sRGB",))
    mode = "L" if image.mode in GRAY_MODES else "RGB"
    if image.has_transparency_data:
        mode = {"L": "LA", "RGB": "RGBA"}[mode]
    return _Pixels(np.asarray(image.convert(mode)), icc)


def _turned_dpi(stored: _Stored) -> tuple[float, float] | None:
    if stored.dpi is None or min(stored.dpi) <= 0:
        return None
    across, down = (float(dots) for dots in stored.dpi)
    return (down, across) if stored.orientation >= 5 else (across, down)


def _dots(tags: Image.Exif) -> tuple[float, float] | None:
    """Dots an inch by the tags of a TIFF file."""
    across, down = tags.get(ExifTags.Base.XResolution), tags.get(ExifTags.Base.YResolution)
    if across is None or down is None:
        return None
    inches = {2: 1.0, 3: 2.54}.get(tags.get(ExifTags.Base.ResolutionUnit, 2))
    return None if inches is None else (float(across) * inches, float(down) * inches)


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise ValueError(f"its {width}x{height} pixels are more than {MAX_PIXELS}; cut it into parts")
    if not width * height:
        raise ValueError("it has no pixels")


def _check_still(frames: int) -> None:
    if frames > 1:
        raise ValueError(f"it is an animation of {frames} frames; save each frame as a file of its own")


def _why_unknown(data: bytes) -> str:
    if data.startswith(_JPEG_SIGNATURE):
        return "it is damaged, or a JPEG of an unsupported kind, such as 12 bits a sample"
    if data[4:8] == b"ftyp":
        return "it is HEIC or AVIF (or a film), which is not supported; convert it to PNG or JPEG"
    return "it is not an image of a supported format (JPEG, PNG, WebP, TIFF, BMP, GIF, PPM, PGM), or damaged"
