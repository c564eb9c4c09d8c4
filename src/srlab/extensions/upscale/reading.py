"""From the bytes of an image file to a picture the right way up.

Unlike :mod:`srlab.data.images`, which reads data sets as they are stored, this serves people: the orientation
is applied, 16 bits and transparency are kept, CMYK is converted through its profile. Decoders are the same.
"""

import io
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from srlab.data.images import PNG_SIGNATURE, png_chunks
from srlab.data.pixels import GRAY_MODES, MAX_PIXELS, pillow_without_limit
from srlab.data.tiff import TIFF_SIGNATURES, load_tiff
from srlab.extensions.upscale.metadata import (
    clean_exif,
    clean_xmp,
    cmyk_to_srgb,
    fits,
    png_dpi,
    png_metadata,
    read_orientation,
    srgb_profile,
)
from srlab.extensions.upscale.picture import Metadata, Picture, from_samples

_PILLOW_FORMATS = ("JPEG", "BMP", "WEBP", "PPM", "GIF")
_PNG_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_DEEP_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N")
# What the libraries raise for damaged files.
_FAULTS = (OSError, SyntaxError, ValueError, struct.error, cv2.error)
_ICC_TAG, _XMP_TAG = 34675, 700
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


@dataclass(frozen=True)
class _Stored:
    """A decoded file before it is turned; ``exif`` and ``xmp`` are raw."""

    samples: NDArray[Any]
    orientation: int = 1
    exif: bytes = b""
    xmp: bytes | None = None
    icc: bytes | None = None
    dpi: tuple[float, float] | None = None
    lossless: bool = True
    notes: tuple[str, ...] = ()


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
    except _FAULTS as error:
        raise ValueError(f"it cannot be read: {error}") from error
    turn = _TURNS.get(stored.orientation)
    samples = stored.samples if turn is None else np.ascontiguousarray(turn(stored.samples))
    colors, alpha, bits = from_samples(samples)
    if alpha is not None and bool((alpha == 1).all()):
        alpha = None
    notes, icc, exif = list(stored.notes), stored.icc, clean_exif(stored.exif) if stored.exif else None
    if icc is not None and not fits(icc, colors.shape[2]):
        icc = None
        notes.append("a colour profile of another kind than the picture (gray, RGB) was left out")
    if stored.exif and exif is None and stored.orientation == 1 and not _is_empty(stored.exif):
        notes.append("damaged EXIF data were left out")
    dpi = stored.dpi if stored.dpi and min(stored.dpi) > 0 else None
    if dpi is not None and stored.orientation >= 5:
        dpi = dpi[::-1]
    metadata = Metadata(exif, clean_xmp(stored.xmp), icc, dpi)
    return Picture(colors, alpha, bits, metadata, stored.lossless, tuple(notes))


def _decode(data: bytes) -> _Stored:
    if not data:
        raise ValueError("the file is empty")
    if data.startswith(PNG_SIGNATURE):
        return _decode_png(data)
    if data.startswith(TIFF_SIGNATURES):
        return _decode_tiff(data)
    with pillow_without_limit(), Image.open(io.BytesIO(data), formats=_PILLOW_FORMATS) as image:
        _check_size(image.width, image.height)
        if getattr(image, "n_frames", 1) > 1:
            raise ValueError(_animated(image.n_frames))  # type: ignore[attr-defined]
        image.load()
        exif, xmp = image.info.get("exif", b""), image.info.get("xmp")
        stored = _Stored(
            np.empty(0),
            orientation=read_orientation(exif),
            exif=exif,
            xmp=xmp.encode() if isinstance(xmp, str) else xmp,
            icc=image.info.get("icc_profile"),
            dpi=image.info.get("dpi"),
            lossless=image.format != "JPEG" and (image.format != "WEBP" or b"VP8L" in data[:64]),
        )
        return _with_pixels(stored, image)


def _decode_png(data: bytes) -> _Stored:
    if len(data) < 26 or data[12:16] != b"IHDR":
        raise ValueError("its header is damaged")
    width, height, depth, color_type = struct.unpack(">IIBB", data[16:26])
    _check_size(width, height)
    found = png_metadata(png_chunks(data))
    if len(animation := found.get(b"acTL", b"")) >= 4 and int.from_bytes(animation[:4], "big") > 1:
        raise ValueError(_animated(int.from_bytes(animation[:4], "big")))
    exif = found.get(b"eXIf", b"")
    stored = _Stored(
        np.empty(0),
        orientation=read_orientation(exif),
        exif=exif,
        xmp=found.get(b"iTXt"),
        icc=found.get(b"iCCP"),
        dpi=png_dpi(found.get(b"pHYs")),
    )
    kinds = {kind for kind, _ in png_chunks(data)}
    kept = [
        chunk for kind, chunk in png_chunks(data) if kind in _PNG_PIXELS and (depth < 16 or kind != b"tRNS")
    ]
    pixels = b"".join([PNG_SIGNATURE, *kept])
    if depth < 16:  # text, which Pillow limits, is not among the chunks
        with pillow_without_limit(), Image.open(io.BytesIO(pixels), formats=["PNG"]) as image:
            return _with_pixels(stored, image)
    note = ("the transparent colour of a 16-bit PNG was ignored",) if b"tRNS" in kinds else ()
    return replace(stored, samples=_decode_deep_png(pixels, color_type), notes=note)


def _decode_deep_png(pixels: bytes, color_type: int) -> NDArray[Any]:
    """By OpenCV, because Pillow cuts 16-bit RGB to 8 bits; it returns gray with alpha as BGRA."""
    samples = cv2.imdecode(np.frombuffer(pixels, np.uint8), cv2.IMREAD_UNCHANGED)
    if samples is None:
        raise ValueError("it is damaged")
    if samples.ndim == 2:
        return samples
    order = [0, 3] if color_type == 4 else [2, 1, 0, 3][: samples.shape[2]]
    return samples[..., order]


def _decode_tiff(data: bytes) -> _Stored:
    stored = load_tiff(io.BytesIO(data), _check_size)
    if stored.pages > 1:
        raise ValueError(f"it has {stored.pages} pages; save each as a file of its own")
    found, dpi = Image.Exif(), None
    try:
        found.load(data)  # a TIFF file is such a stream
        dpi = _dots(found)
    except Exception:  # of damaged tags; the pixels are there
        found = Image.Exif()
    icc, xmp = found.get(_ICC_TAG), found.get(_XMP_TAG)
    result = _Stored(
        np.empty(0),
        orientation=stored.orientation if stored.orientation in range(1, 9) else 1,
        exif=data if len(found) else b"",
        xmp=xmp if isinstance(xmp, bytes) else None,
        icc=icc if isinstance(icc, bytes) else None,
        dpi=dpi,
    )
    if isinstance(stored.samples, Image.Image):
        return _with_pixels(result, stored.samples)
    return replace(result, samples=stored.samples)


def _with_pixels(stored: _Stored, image: Image.Image) -> _Stored:
    """``stored`` with the samples of ``image``, in a mode that networks and files share."""
    if image.mode == "F":
        raise ValueError("its pixels are floating point; save it with 8 or 16 bits")
    if image.mode in _DEEP_MODES:
        return replace(stored, samples=np.asarray(image).astype(np.uint16))
    if image.mode == "CMYK":
        converted, note = cmyk_to_srgb(image, stored.icc)
        icc = srgb_profile() if "sRGB" in note else None
        return replace(stored, samples=np.asarray(converted), icc=icc, notes=(*stored.notes, note))
    if image.mode == "LAB":
        note = "CIELAB was converted to sRGB"
        return replace(stored, samples=np.asarray(image.convert("RGB")), icc=srgb_profile(), notes=(note,))
    see_through = image.has_transparency_data
    mode = ("LA" if see_through else "L") if image.mode in GRAY_MODES else "RGBA" if see_through else "RGB"
    return replace(stored, samples=np.asarray(image.convert(mode)))


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


def _is_empty(exif: bytes) -> bool:
    """Whether nothing but the layout of pixels is described, as every TIFF does."""
    found = Image.Exif()
    try:
        found.load(exif)
    except Exception:
        return False
    return True


def _animated(frames: int) -> str:
    return f"it is an animation of {frames} frames; save each frame as a file of its own"


def _why_unknown(data: bytes) -> str:
    if data.startswith(b"\xff\xd8\xff"):
        return "it is damaged, or a JPEG of an unsupported kind, such as 12 bits a sample"
    if data[4:8] == b"ftyp":
        return "it is HEIC or AVIF (or a film), which is not supported; convert it to PNG or JPEG"
    return "it is not an image of a supported format (JPEG, PNG, WebP, TIFF, BMP, GIF, PPM, PGM), or damaged"
