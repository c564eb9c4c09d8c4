"""EXIF, XMP and ICC data, changed where the enlarged picture differs from the original."""

import io
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from PIL import ExifTags, Image, ImageCms

_MAX_PROFILE = 2**24  # bytes; real ones have up to a few megabytes
# Tags of the main directory that describe pictures, not how their pixels are stored.
_KEPT_TAGS = frozenset(
    {
        ExifTags.Base.ImageDescription,
        ExifTags.Base.Make,
        ExifTags.Base.Model,
        ExifTags.Base.Software,
        ExifTags.Base.DateTime,
        ExifTags.Base.Artist,
        ExifTags.Base.HostComputer,
        ExifTags.Base.Copyright,
        ExifTags.Base.XResolution,
        ExifTags.Base.YResolution,
        ExifTags.Base.ResolutionUnit,
        ExifTags.Base.Rating,
        ExifTags.Base.RatingPercent,
        ExifTags.Base.XPTitle,
        ExifTags.Base.XPComment,
        ExifTags.Base.XPAuthor,
        ExifTags.Base.XPKeywords,
        ExifTags.Base.XPSubject,
        ExifTags.Base.ProcessingSoftware,
        ExifTags.IFD.Exif,
        ExifTags.IFD.GPSInfo,
    }
)
_XMP_ORIENTATION = re.compile(rb"""(tiff:Orientation\s*(?:=\s*["']|>)\s*)[1-8]""")
_XMP_THUMBNAILS = re.compile(rb"<xmp:Thumbnails>.*?</xmp:Thumbnails>", re.DOTALL)


def read_orientation(exif: bytes) -> int:
    """1 to 8, how viewers turn the picture; 1, as it is, where the data are damaged or absent."""
    found = Image.Exif()
    with suppress(Exception):  # damaged EXIF data raise many kinds of errors, and the pixels are fine
        found.load(exif)
        value = found.get(ExifTags.Base.Orientation, 1)
        return value if value in range(1, 9) else 1
    return 1


def clean_exif(exif: bytes) -> bytes | None:
    """The data without orientation, thumbnail, size and layout of the pixels; None if nothing is left.

    Args:
        exif: with or without the header of a JPEG segment, or a whole TIFF file; may be empty.

    Raises:
        ValueError: they are damaged.
    """
    found = Image.Exif()
    try:
        found.load(exif)
        for tag in set(found) - _KEPT_TAGS:
            del found[tag]
        details = _inner(found).get(ExifTags.IFD.Exif, {})
        for tag in (ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight):
            details.pop(tag, None)
        return found.tobytes() if len(found) else None
    except Exception as error:  # of many kinds
        raise ValueError("damaged EXIF data were left out") from error


def stamped_exif(exif: bytes | None, stamp: str, size: tuple[int, int]) -> Image.Exif:
    """``exif`` with ``stamp`` as its tag ProcessingSoftware, and the enlarged (height, width)."""
    made = Image.Exif()
    if exif is not None:
        made.load(exif)
    made[ExifTags.Base.ProcessingSoftware] = stamp
    if details := _inner(made).get(ExifTags.IFD.Exif):
        details[ExifTags.Base.ExifImageHeight], details[ExifTags.Base.ExifImageWidth] = size
    return made


def _inner(exif: Image.Exif) -> dict[int, dict[int, Any]]:
    """The directories inside; reading them makes Pillow write them, and empty ones where there are none."""
    return {tag: exif.get_ifd(tag) for tag in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo) if tag in exif}


def clean_xmp(xmp: bytes | None) -> bytes | None:
    """The packet with orientation 1 and without thumbnails."""
    return None if not xmp else _XMP_THUMBNAILS.sub(b"", _XMP_ORIENTATION.sub(rb"\g<1>1", xmp))


def fits(icc: bytes, channels: int) -> bool:
    """Whether a profile is one for gray (1 channel) or RGB (3)."""
    return icc[16:20] == (b"GRAY" if channels == 1 else b"RGB ")


def cmyk_to_rgb(image: Image.Image, icc: bytes | None) -> tuple[Image.Image, bool, str]:
    """RGB colours of a CMYK image, whether they are sRGB, and what was done, in words.

    Without a usable profile Pillow's formula, which multiplies the inks, gives rough colours.
    """
    if icc is not None:
        with suppress(ImageCms.PyCMSError, OSError):
            converted = ImageCms.profileToProfile(
                image,
                ImageCms.ImageCmsProfile(io.BytesIO(icc)),
                ImageCms.createProfile("sRGB"),
                renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
                outputMode="RGB",
                flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
            )
            assert converted is not None
            return converted, True, "CMYK was converted to sRGB through its colour profile"
    reason = "which has no profile" if icc is None else "whose profile is damaged"
    return image.convert("RGB"), False, f"CMYK, {reason}, was converted to RGB by formula: colours are rough"


def srgb_profile() -> bytes:
    """An ICC profile of sRGB."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def png_metadata(chunks: Iterator[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """What the chunks of a PNG say, by name: ``iCCP`` (the profile), ``iTXt`` (XMP), others raw."""
    found: dict[bytes, bytes] = {}
    for kind, chunk in chunks:
        body = chunk[8:-4]
        if kind == b"iCCP":
            _, _, rest = body.partition(b"\0")
            with suppress(zlib.error):
                found[kind] = zlib.decompressobj().decompress(rest[1:], _MAX_PROFILE)
        elif kind == b"iTXt" and body.startswith(b"XML:com.adobe.xmp\0"):
            found[kind] = _international_text(body)
        elif kind in (b"eXIf", b"pHYs", b"acTL", b"gAMA"):
            found[kind] = body
    return found


def png_dpi(physical: bytes | None) -> tuple[float, float] | None:
    """From the contents of a chunk ``pHYs``; None where it gives no metres."""
    if physical is None or len(physical) != 9:
        return None
    across, down, unit = struct.unpack(">IIB", physical)
    return (across * 0.0254, down * 0.0254) if unit == 1 else None


def _international_text(body: bytes) -> bytes:
    """Keyword, flag, method, language, translated keyword, text."""
    _, _, rest = body.partition(b"\0")
    is_compressed = rest[:1] == b"\1"
    text = rest[2:].split(b"\0", 2)[-1]
    if not is_compressed:
        return text
    with suppress(zlib.error):
        return zlib.decompressobj().decompress(text, _MAX_PROFILE)
    return b""
