"""Decoded images of a set in one memory-mapped file: a crop reads only its own bytes, no process holds a set.

A store is a folder with ``pixels.u8`` (all images one after the other, planar) and ``index.json``.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

BadImagePolicy = Literal["error", "skip"]


class DamagedStoreError(ValueError):
    """A store whose two files do not fit together."""


@dataclass(frozen=True)
class StoredImage:
    """Where an image is in the file, with the properties of its ``DecodedImage``.

    ``channels`` is 1 for gray files, else 3; ``digest`` is a hash of shape and pixels.
    """

    name: str
    channels: int
    height: int
    width: int
    offset: int
    digest: str
    oriented: bool
    twelve_bit: bool

    @property
    def end(self) -> int:
        """Offset of the next image."""
        return self.offset + self.channels * self.height * self.width


class ImageStore:
    """Read access to a finished store. Pickles without pixels: each process maps the file itself.

    Raises:
        FileNotFoundError: if there is no store.
        DamagedStoreError: if its index is unreadable, or its pixels have the wrong length.
    """

    def __init__(self, *, folder: Path) -> None:
        self.folder = folder
        index = (folder / "index.json").read_bytes()
        try:
            content = json.loads(index)
            self.images = [StoredImage(**entry) for entry in content["images"]]
            self.bad_images: dict[str, str] = content["bad_images"]
            """Fault of each unreadable source, by path."""
        except (ValueError, KeyError, TypeError) as error:
            raise DamagedStoreError(f"{folder / 'index.json'} is damaged ({error})") from error
        self._check_length()
        self._pixels: NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        """Read-only (C, H, W) view of the file; reading a part touches only that part."""
        if self._pixels is None:
            self._check_length()  # reading mapped memory beyond the end of a file kills the process
            # as a plain array: every slice of a memmap runs Python code
            self._pixels = np.asarray(np.memmap(self.folder / "pixels.u8", dtype=np.uint8, mode="r"))
        image = self.images[index]
        flat = self._pixels[image.offset : image.end]
        return flat.reshape(image.channels, image.height, image.width)

    def digests(self, numbers: Sequence[int]) -> dict[str, str]:
        """Hashes of these images by name."""
        return {self.images[number].name: self.images[number].digest for number in numbers}

    def _check_length(self) -> None:
        path = self.folder / "pixels.u8"
        expected = self.images[-1].end if self.images else 0
        found = path.stat().st_size if path.exists() else 0
        if found != expected:
            raise DamagedStoreError(f"{path} is damaged: {found} bytes where {expected} are expected")

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pixels": None}
