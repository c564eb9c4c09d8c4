"""Writes a picture to a file of one of four formats."""

import io
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypedDict

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import ExifTags, Image, PngImagePlugin, TiffImagePlugin

from srlab.atomic_files import atomic_write
from srlab.extensions.upscale.deep_png import encode_deep_png
from srlab.extensions.upscale.metadata import stamped_exif
from srlab.extensions.upscale.picture import Metadata, Picture, to_samples

Format = Literal["png", "jpg", "webp", "tif"]

SUFFIXES: dict[str, Format] = {
    ".png": "png",
    ".jpg": "jpg",
    ".jpeg": "jpg",
    ".jpe": "jpg",
    ".jfif": "jpg",
    ".webp": "webp",
    ".tif": "tif",
    ".tiff": "tif",
}
"""Formats by the suffixes of files, in lower case."""

DEFAULT_QUALITY = 95
"""Of JPEG and lossy WebP."""

_NAMES = {"png": "PNG", "jpg": "JPEG", "webp": "WebP", "tif": "TIFF"}
_LONGEST_SIDE = {"jpg": 65500, "webp": 16383}
_SEGMENT = 65533  # bytes in a segment of a JPEG
_CLASSIC_TIFF = 2**32


@dataclass(frozen=True)
class Encoding:
    """How pictures are stored.

    Attributes:
        kind: the format.
        quality: 1 to 100, of JPEG (with full colour resolution, 4:4:4) and of WebP from a lossy original.
    """

    kind: Format
    quality: int = DEFAULT_QUALITY

    def __str__(self) -> str:
        return self.kind if self.kind in ("png", "tif") else f"{self.kind} {self.quality}"


def check_storable(picture: Picture, size: tuple[int, int], kind: Format) -> None:
    """Find out before the network runs that the format cannot hold ``picture`` at ``size``, (height, width).

    Raises:
        ValueError: sides too long for the format, or transparency in a JPEG.
    """
    longest = _LONGEST_SIDE.get(kind)
    if longest is not None and max(size) > longest:
        raise ValueError(
            f"{size[1]}x{size[0]} is too large for {_NAMES[kind]}, whose sides have at most {longest} "
            "pixels; use --format png or tif"
        )
    if kind == "jpg" and picture.alpha is not None:
        raise ValueError("it has transparent parts, which JPEG cannot hold; use --format png, webp or tif")


def write_picture(picture: Picture, path: Path, encoding: Encoding, *, stamp: str) -> tuple[str, ...]:
    """Write ``path``, complete or not at all; values are clamped and rounded here.

    Args:
        picture: enlarged.
        path: replaced if it exists; its folder is created.
        encoding: format and quality.
        stamp: what made the file, its EXIF tag ProcessingSoftware.

    Returns:
        What the format could not hold, in words.

    Raises:
        ValueError: values that are not finite.
        OSError: the folder cannot be written, or the disk is full.
    """
    deep = picture.bits == 16 and encoding.kind in ("png", "tif")
    samples = to_samples(picture, 16 if deep else 8)
    notes: list[str] = []
    if picture.bits == 16 and not deep:
        notes.append(f"16 bits became 8, the most that {_NAMES[encoding.kind]} holds")
    exif = stamped_exif(picture.metadata.exif, stamp, picture.size)
    with atomic_write(path) as partial:
        if encoding.kind == "tif":
            notes += _write_tiff(samples, partial, picture.metadata, exif)
        elif deep:
            partial.write_bytes(encode_deep_png(samples, picture.metadata, _stream(exif)))
        elif encoding.kind == "png":
            _write_png(_image(samples), partial, picture.metadata, exif)
        elif encoding.kind == "jpg":
            notes += _write_jpeg(_image(samples), partial, picture.metadata, exif, encoding.quality)
        else:
            quality = None if picture.lossless else encoding.quality
            _write_webp(_image(samples), partial, picture.metadata, exif, quality)
    return tuple(notes)


class _Common(TypedDict, total=False):
    icc_profile: bytes
    dpi: tuple[float, float]


def _common(metadata: Metadata) -> _Common:
    common: _Common = {}
    if metadata.icc is not None:
        common["icc_profile"] = metadata.icc
    if metadata.dpi is not None:
        common["dpi"] = metadata.dpi
    return common


def _image(samples: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(samples[..., 0] if samples.shape[2] == 1 else samples)


def _stream(exif: Image.Exif) -> bytes:
    return exif.tobytes().removeprefix(b"Exif\0\0")


def _write_png(image: Image.Image, path: Path, metadata: Metadata, exif: Image.Exif) -> None:
    texts = PngImagePlugin.PngInfo()
    if metadata.xmp is not None:
        texts.add_itxt("XML:com.adobe.xmp", metadata.xmp.decode("utf-8", "replace"))
    image.save(path, "PNG", exif=exif, pnginfo=texts, **_common(metadata))


def _write_jpeg(
    image: Image.Image, path: Path, metadata: Metadata, exif: Image.Exif, quality: int
) -> list[str]:
    """EXIF and XMP have one segment each: what is too long is left out, the camera's own notes first."""
    notes, xmp = [], metadata.xmp
    if len(exif.tobytes()) > _SEGMENT and exif.get_ifd(ExifTags.IFD.Exif).pop(ExifTags.Base.MakerNote, None):
        notes.append("the camera maker's notes were too long for JPEG and were left out")
    if len(exif.tobytes()) > _SEGMENT:
        stamp = exif[ExifTags.Base.ProcessingSoftware]
        exif = stamped_exif(None, stamp, (0, 0))
        notes.append("EXIF data were too long for JPEG and were left out")
    if xmp is not None and len(xmp) > _SEGMENT - 29:  # the segment begins with XMP's name
        xmp = None
        notes.append("XMP data were too long for JPEG and were left out")
    extra: dict[str, Any] = {} if xmp is None else {"xmp": xmp}
    image.save(path, "JPEG", quality=quality, subsampling=0, exif=exif, **extra, **_common(metadata))
    return notes


def _write_webp(
    image: Image.Image, path: Path, metadata: Metadata, exif: Image.Exif, quality: int | None
) -> None:
    """Lossless without a quality; colours below full transparency are kept."""
    extra: dict[str, Any] = {"lossless": True} if quality is None else {"quality": quality}
    if metadata.xmp is not None:
        extra["xmp"] = metadata.xmp
    mode = "RGBA" if image.has_transparency_data else "RGB"
    image.convert(mode).save(
        path, "WEBP", exif=exif, icc_profile=metadata.icc or b"", exact=True, method=4, **extra
    )


def _write_tiff(samples: NDArray[Any], path: Path, metadata: Metadata, exif: Image.Exif) -> list[str]:
    """Deflate with differences, by tifffile; then the EXIF directories are appended."""
    channels = samples.shape[2]
    tifffile.imwrite(
        path,
        samples[..., 0] if channels == 1 else samples,
        photometric="rgb" if channels >= 3 else "minisblack",
        byteorder="<",
        planarconfig=None if channels == 1 else "contig",
        extrasamples=["unassalpha"] if channels in (2, 4) else None,
        compression="zlib",
        predictor=True,
        metadata=None,
        software=False,
        iccprofile=metadata.icc,
        resolution=metadata.dpi,
        resolutionunit=None if metadata.dpi is None else 2,
        extratags=[] if metadata.xmp is None else [(700, 1, len(metadata.xmp), metadata.xmp, True)],
    )
    if path.stat().st_size + 2**20 > _CLASSIC_TIFF:
        return ["EXIF data were left out of a TIFF of more than 4 GiB"]
    _append_exif(path, exif)
    return []


def _append_exif(path: Path, exif: Image.Exif) -> None:
    """Append the tags of ``exif`` and a first directory that has both them and those that are there.

    Values keep their places in the file, and so do the entries that refer to them, twelve bytes each, which
    begin with the number of the tag. An entry that is there wins.
    """
    tags = TiffImagePlugin.ImageFileDirectory_v2(b"II*\0\0\0\0\0")
    for tag, value in exif.items():
        tags[tag] = value
    for tag in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
        if tag in exif:
            tags[tag] = dict(exif.get_ifd(tag))
    with path.open("r+b") as file:
        (first,) = struct.unpack("<4xI", file.read(8))
        file.seek(first)
        (count,) = struct.unpack("<H", file.read(2))
        present = file.read(12 * count)
        place = file.seek(0, io.SEEK_END)
        place += file.write(bytes(place % 2))
        added = tags.tobytes(place)
        directory = place + file.write(added + bytes(len(added) % 2))
        more = added[2 : 2 + 12 * struct.unpack("<H", added[:2])[0]]
        merged = {entry[:2][::-1]: entry for part in (more, present) for entry in _entries(part)}
        file.write(
            struct.pack("<H", len(merged)) + b"".join(merged[tag] for tag in sorted(merged)) + bytes(4)
        )
        file.seek(4)
        file.write(struct.pack("<I", directory))


def _entries(packed: bytes) -> list[bytes]:
    return [packed[start : start + 12] for start in range(0, len(packed), 12)]
