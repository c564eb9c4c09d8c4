"""Marks in files of the command that made them, so that folders can be moved and renamed."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from PIL import ExifTags, Image
from tifffile import TiffFile

from srlab import __version__
from srlab.data.pixels import open_with_pillow
from srlab.data.tiff import TIFF_SIGNATURES
from srlab.extensions.upscale.choosing import Upscaler
from srlab.extensions.upscale.enlarging import Target
from srlab.extensions.upscale.writing import Encoding
from srlab.tasks.restoration import Restoration

_MARK = "srlab upscale "
_FORMATS = ("PNG", "JPEG", "WEBP")


@dataclass(frozen=True)
class Recipe:
    """Everything that determines the pixels of an output besides its input."""

    upscaler: Upscaler
    target: Target
    options: Restoration
    quality: int

    def stamp(self, data: bytes, kind: Encoding) -> str:
        """Text for the file made from the input ``data``: equal for equal outputs, whatever the version."""
        source = hashlib.blake2b(data, digest_size=8).hexdigest()
        options = self.options
        parts = [
            f"model {self.upscaler.digest} {self.upscaler.precision}",
            str(self.target),
            f"tile {options.tile}{' exact' if options.exact else ''}",
            *(["ensemble"] if options.ensemble else []),
            str(kind),
            f"source {source}",
        ]
        return f"{_MARK}{__version__}; {'; '.join(parts)}"


def read_stamp(path: Path) -> str | None:
    """The stamp of a file, from its head alone; None if this program did not make it or it cannot be read."""
    try:
        with path.open("rb") as file:
            is_tiff = file.read(4) in TIFF_SIGNATURES
        text = _tiff_tag(path) if is_tiff else _exif_tag(path)
    except Exception:  # whatever it is, it is not ours
        return None
    return text if isinstance(text, str) and text.startswith(_MARK) else None


def _tiff_tag(path: Path) -> object:
    with TiffFile(path) as file:
        tag = file.pages.first.tags.get(ExifTags.Base.ProcessingSoftware)  # type: ignore[union-attr]
        return None if tag is None else tag.value


def _exif_tag(path: Path) -> object:
    """Not by ``getexif``, which decodes the pixels of a PNG without EXIF data."""
    with open_with_pillow(path, *_FORMATS) as image:
        tags = Image.Exif()
        tags.load(image.info.get("exif", b""))
        return tags.get(ExifTags.Base.ProcessingSoftware)


def same_making(found: str | None, wanted: str) -> bool:
    """Whether two stamps differ in the version of the program at most."""
    return found is not None and found.partition("; ")[2] == wanted.partition("; ")[2]
