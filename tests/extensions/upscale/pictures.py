"""Odd image files for the tests of ``srlab upscale``, each made here from one small picture."""

import io
import struct
import zlib
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from PIL import ExifTags, Image, ImageCms, PngImagePlugin

HEIGHT, WIDTH = 12, 20


def smooth(height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """(H, W, 3) uint8 without symmetries, whose JPEG is close to it."""
    y, x = np.mgrid[:height, :width]
    planes = [40 + 6 * x + 3 * y, 220 - 5 * x - 2 * y, 30 + 12 * y + x]
    return np.stack(planes, axis=-1).clip(0, 255).astype(np.uint8)


RGB = smooth()
GRAY = RGB[..., 1]
ALPHA = np.where(np.arange(WIDTH) < 8, 0, 255).astype(np.uint8) * np.ones((HEIGHT, 1), np.uint8)


def deep(samples: np.ndarray) -> np.ndarray:
    """The samples with 16 bits, of which 8 could not hold all."""
    columns = np.arange(samples.shape[1], dtype=np.uint16)
    return samples.astype(np.uint16) * 257 + (columns if samples.ndim == 2 else columns[:, None])


def camera_exif(orientation: int = 1, *, thumbnail: bool = False) -> bytes:
    """What a camera writes: maker, time, place, sizes, perhaps a thumbnail."""
    exif = Image.Exif()
    exif[ExifTags.Base.Make], exif[ExifTags.Base.Orientation] = "Maker", orientation
    details = exif.get_ifd(ExifTags.IFD.Exif)
    details[ExifTags.Base.DateTimeOriginal] = "2020:01:02 03:04:05"
    details[ExifTags.Base.ExifImageWidth], details[ExifTags.Base.ExifImageHeight] = WIDTH, HEIGHT
    place = exif.get_ifd(ExifTags.IFD.GPSInfo)
    place[1], place[2] = "N", (48.0, 8.0, 0.0)
    data = exif.tobytes()
    return _with_thumbnail(data) if thumbnail else data


def _with_thumbnail(exif: bytes) -> bytes:
    """The data with a second directory that holds a JPEG, as in EXIF 2.3, section 4.5.8."""
    stream = exif.removeprefix(b"Exif\0\0")
    order = "<" if stream.startswith(b"II") else ">"
    (first,) = struct.unpack(order + "4xI", stream[:8])
    (count,) = struct.unpack(order + "H", stream[first : first + 2])
    link = first + 2 + 12 * count
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6), "red").save(buffer, "JPEG")
    small, start = buffer.getvalue(), len(stream)
    directory = struct.pack(order + "H", 2)
    directory += struct.pack(order + "HHII", 513, 4, 1, start + 30)
    directory += struct.pack(order + "HHII", 514, 4, 1, len(small)) + bytes(4)
    linked = stream[:link] + struct.pack(order + "I", start) + stream[link + 4 :]
    return b"Exif\0\0" + linked + directory + small


def thumbnail_offset(exif: Image.Exif) -> int | None:
    """Where EXIF data say that their thumbnail is; None without one."""
    return exif.get_ifd(ExifTags.IFD.IFD1).get(513)


@cache
def srgb() -> bytes:
    """One profile: each that is made has the second it was made in."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def gray_profile() -> bytes:
    """The header of a profile for gray pictures and no tags: enough to be copied."""
    header = bytearray(128)
    header[0:4], header[8:12] = struct.pack(">I", 132), b"\4\x20\0\0"
    header[12:16], header[16:20], header[20:24], header[36:40] = b"mntr", b"GRAY", b"XYZ ", b"acsp"
    return bytes(header) + bytes(4)


def cmyk_profile(colors: dict[tuple[int, int, int, int], tuple[int, int, int]]) -> bytes:
    """The profile of a printer whose inks have the given colours (ICC.1:2001-04, 6.5.11, lut8Type).

    Args:
        colors: CIELAB (D50; L of 0 to 255 for 0 to 100, a and b with 128 added) by inks, 0 or 1 of cyan,
            magenta, yellow and black; white without ink, black for what is not listed.
    """
    corners = [tuple(number >> (3 - ink) & 1 for ink in range(4)) for number in range(16)]
    table = bytes(level for corner in corners for level in colors.get(corner, (0, 128, 128)))
    ramp = bytes(range(256))
    identity = struct.pack(">9i", *(65536 * (place % 4 == 0) for place in range(9)))
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", 5) + b"inks\0" + bytes(78),
        b"wtpt": b"XYZ " + bytes(4) + struct.pack(">3i", *_D50),
        b"A2B0": b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + identity + 4 * ramp + table + 3 * ramp,
    }
    start, directory, body = 128 + 4 + 12 * len(tags), b"", b""
    for name, content in tags.items():
        padded = content + bytes(-len(content) % 4)
        directory += name + struct.pack(">II", start + len(body), len(content))
        body += padded
    header = bytearray(128)
    header[0:4], header[8:12] = struct.pack(">I", start + len(body)), b"\2\x40\0\0"
    header[12:16], header[16:20], header[20:24], header[36:40] = b"prtr", b"CMYK", b"Lab ", b"acsp"
    header[24:36], header[68:80] = struct.pack(">6H", 2026, 1, 1, 0, 0, 0), struct.pack(">3i", *_D50)
    return bytes(header) + struct.pack(">I", len(tags)) + directory + body


_D50 = (63190, 65536, 54061)  # X, Y, Z in units of 1 / 65536


def lab_to_srgb(lab: tuple[int, int, int]) -> np.ndarray:
    """8-bit sRGB of a colour of :func:`cmyk_profile`, by CIE 15 and IEC 61966-2-1, adapted from D50."""
    lightness, a, b = lab[0] / 2.55, lab[1] - 128, lab[2] - 128
    f = np.array([a / 500, 0, -b / 200]) + (lightness + 16) / 116
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * np.array(_D50) / 65536
    linear = np.clip(_XYZ_TO_RGB @ xyz, 0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return encoded * 255


# sRGB's matrix for D50, Bradford's adaptation (B. Lindbloom)
_XYZ_TO_RGB = np.array(
    [
        [3.1338561, -1.6168667, -0.4906146],
        [-0.9787684, 1.9161415, 0.0334540],
        [0.0719453, -0.2289914, 1.4052427],
    ]
)


def xmp(orientation: int = 6) -> bytes:
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="{orientation}" '
        'xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4"/></rdf:RDF></x:xmpmeta>'
    ).encode()


def with_chunk(png: bytes, kind: bytes, body: bytes) -> bytes:
    """A PNG file with one more chunk before the pixels."""
    start = png.index(b"IDAT") - 4
    chunk = struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return png[:start] + chunk + png[start:]


def png_text(image: Image.Image, path: Path, size: int) -> None:
    """A PNG with as much text as image generators store."""
    info = PngImagePlugin.PngInfo()
    info.add_text("workflow", "x" * size)
    image.save(path, pnginfo=info)


def save16(path: Path, samples: np.ndarray) -> Path:
    """16 bits a sample by OpenCV, RGB or RGBA or gray."""
    order = [2, 1, 0, 3][: samples.shape[2]] if samples.ndim == 3 else slice(None)
    assert cv2.imwrite(str(path), np.ascontiguousarray(samples[..., order]))
    return path


def bicubic(samples: np.ndarray) -> np.ndarray:
    """Bicubic interpolation by 2 in closed form, rounded and clipped, of the dtype of ``samples``.

    Every output lies a quarter of a pixel from an input, so that there are four weights, those of Keys'
    kernel with a = -1/2 at 1.25, 0.25, 0.75 and 1.75.
    """
    values = samples.astype(np.float64)
    for axis in (0, 1):
        values = np.moveaxis(_doubled(np.moveaxis(values, axis, 0)), 0, axis)
    return np.floor(values + 0.5).clip(0, np.iinfo(samples.dtype).max).astype(samples.dtype)


def _doubled(rows: np.ndarray) -> np.ndarray:
    padded = np.concatenate([rows[1::-1], rows, rows[:-3:-1]])
    weights = np.array([-0.0703125, 0.8671875, 0.2265625, -0.0234375])
    count = len(rows)
    right = sum(w * padded[1 + k : 1 + k + count] for k, w in enumerate(weights))
    left = sum(w * padded[k : k + count] for k, w in enumerate(weights[::-1]))
    result = np.empty((2 * count, *rows.shape[1:]))
    result[0::2], result[1::2] = left, right
    return result
