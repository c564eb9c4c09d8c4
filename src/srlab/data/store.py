"""Decoded images of a set in one memory-mapped file, of which a crop reads only its own bytes.

A store is a folder ``<set>-<key>`` with ``pixels.u8`` (all images one after the other, planar) and
``index.json``. The key is a hash of the path, size and modification time of every source file: when a source
changes, a new store is built, and the old one stays, because another process may be about to map it. Times
are compared for equality only, so a clock that jumps does no harm; the one change that goes unnoticed is
another picture of the same size in bytes with the same modification time.

Several processes may ask at once: one builds, the others wait (:mod:`srlab.locks`). The finished folder
appears by one rename, so a half-built store is never read; the next builder removes what a crash left behind.
A store whose index is unreadable or whose pixels have the wrong length is built again.
"""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from srlab.data.images import decode_image, decoded_bytes
from srlab.data.pixels import MAX_PIXELS, DecodedImage
from srlab.data.sources import ImageFile, ImageSet
from srlab.locks import locked_work
from srlab.terminal.names import file_safe, some
from srlab.terminal.progress import tracked

log = logging.getLogger(__name__)

BadImagePolicy = Literal["error", "skip"]

# Part of the key: raise it when read_image or the layout of a store changes.
_FORMAT = 4
_DECODING_THREADS = 4


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
            self.bad_images: list[str] = content["bad_images"]
            """Faults of unreadable sources."""
        except (ValueError, KeyError, TypeError) as error:
            raise DamagedStoreError(f"{folder / 'index.json'} is damaged ({error})") from error
        self.numbers = {image.name: number for number, image in enumerate(self.images)}
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

    def digests(self, numbers: Sequence[int], lr_store: "ImageStore | None") -> dict[str, str]:
        """Hashes of these images by name, each with that of the LR file of this name if there is one."""
        lr_digests = {image.name: f" {image.digest}" for image in lr_store.images} if lr_store else {}
        images = [self.images[number] for number in numbers]
        return {image.name: image.digest + lr_digests.get(image.name, "") for image in images}

    def _check_length(self) -> None:
        path = self.folder / "pixels.u8"
        expected = self.images[-1].end if self.images else 0
        found = path.stat().st_size if path.exists() else 0
        if found != expected:
            raise DamagedStoreError(f"{path} is damaged: {found} bytes where {expected} are expected")

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pixels": None}


def open_store(
    image_set: ImageSet, *, cache: Path, on_bad_image: BadImagePolicy, max_pixels: int = MAX_PIXELS
) -> ImageStore:
    """The store of a set in ``cache``; it is built if there is none for the files as they are now.

    Raises:
        ValueError: for an image that is unreadable or has more than ``max_pixels`` pixels (with
            ``on_bad_image="skip"`` this is a warning), if no image is readable, if ``cache`` is not writable
            or has too little space, or if files change while they are decoded.
    """
    folder = cache / _folder_name(image_set, max_pixels)
    try:
        store = ImageStore(folder=folder)
    except (FileNotFoundError, DamagedStoreError):
        try:
            store = _build_once(image_set, folder, max_pixels)
        except OSError as error:
            raise ValueError(
                f"cannot write the decoded images of {image_set.name}, {_bytes_needed(image_set)} bytes, to "
                f"{cache} ({error}); make room, or set SRLAB_CACHE or paths.cache to another folder"
            ) from error
    if store.bad_images and on_bad_image == "error":
        raise ValueError(
            f"{len(store.bad_images)} of {len(image_set.files)} images of {image_set.name} are unreadable: "
            f"{store.bad_images[0]}; or set data.on_bad_image=skip"
        )
    for fault in store.bad_images:
        log.warning("skipped: %s", fault)
    _log_unusual_files(image_set, store)
    if not len(store):
        raise ValueError(
            f"none of the {len(image_set.files)} images of {image_set.name} is readable; "
            f"{image_set.if_none_usable}"
        )
    return store


def _log_unusual_files(image_set: ImageSet, store: ImageStore) -> None:
    of_all = f"of {len(store)} images of {image_set.name}"
    if oriented := [image.name for image in store.images if image.oriented]:
        fault = f"have an orientation tag, which is not applied (first {oriented[0]})"
        log.info("%d %s %s", len(oriented), of_all, fault)
    if dark := [image.name for image in store.images if image.twelve_bit]:
        log.warning(
            "%d %s have 16 bits a sample and no value above 4095, as 12-bit data do: they are used as they "
            "are, nearly black (%s); if 4095 means white, multiply them by 16",
            *(len(dark), of_all, some(dark)),
        )


def _build_once(image_set: ImageSet, folder: Path, max_pixels: int) -> ImageStore:
    """Build the store, or wait for another process that does."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock, partial = (folder.with_name(f"{folder.name}.{suffix}") for suffix in ("lock", "partial"))
    work = f"decoding the images of {image_set.name}"
    with locked_work(lock, work=work, watched=partial / "pixels.u8"):
        try:
            return ImageStore(folder=folder)
        except FileNotFoundError:
            pass
        except DamagedStoreError as error:
            log.warning("%s; %s again", error, work)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(partial, ignore_errors=True)
        space = shutil.disk_usage(folder.parent)
        if space.total and _bytes_needed(image_set) > space.free:  # some network drives report a total of 0
            raise OSError(f"{space.free} bytes are free there")
        try:
            _build(image_set, partial, max_pixels)
            if _folder_name(image_set, max_pixels) != folder.name:
                raise ValueError(
                    f"images of {image_set.name} changed or disappeared while they were decoded; start "
                    "again when nothing writes to them"
                )
            partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return ImageStore(folder=folder)


def _build(image_set: ImageSet, folder: Path, max_pixels: int) -> None:
    folder.mkdir()
    images: list[StoredImage] = []
    bad_images: list[str] = []
    offset = 0
    with (folder / "pixels.u8").open("wb") as pixels:
        decoded = _decoded(image_set.files, max_pixels)
        outcomes = tracked(decoded, f"decoding {image_set.name}", total=len(image_set.files))
        for file, outcome in zip(image_set.files, outcomes, strict=True):
            if isinstance(outcome, ValueError):
                bad_images.append(str(outcome))
                continue
            pixels.write(outcome.pixels.data)
            properties = outcome.digest(), outcome.oriented, outcome.twelve_bit
            channels, height, width = outcome.pixels.shape
            images.append(StoredImage(file.name, channels, height, width, offset, *properties))
            offset = images[-1].end
        pixels.flush()
        os.fsync(pixels.fileno())  # or a power cut could leave a finished store of zeros
    index = {"images": [asdict(image) for image in images], "bad_images": bad_images}
    (folder / "index.json").write_text(json.dumps(index, indent=1), encoding="utf-8")


def _decoded(files: Sequence[ImageFile], max_pixels: int) -> Iterator[DecodedImage | ValueError]:
    """The image or the fault of each file, in order; few at a time, which bounds the memory."""

    def decode(file: ImageFile) -> DecodedImage | ValueError:
        try:
            return decode_image(file.path, max_pixels=max_pixels)
        except ValueError as error:
            return error

    at_once = 2 * _DECODING_THREADS
    with ThreadPoolExecutor(_DECODING_THREADS) as pool:
        for start in range(0, len(files), at_once):
            yield from pool.map(decode, files[start : start + at_once])


def _bytes_needed(image_set: ImageSet) -> int:
    return sum(decoded_bytes(file.path) for file in image_set.files)


def _folder_name(image_set: ImageSet, max_pixels: int) -> str:
    digest = hashlib.sha256(f"format {_FORMAT}, at most {max_pixels} pixels".encode())
    for file in image_set.files:
        try:
            status = file.path.stat()
            state = f"{status.st_size}\t{status.st_mtime_ns}"
        except FileNotFoundError:
            state = "missing"
        digest.update(f"\n{file.name}\t{file.path.resolve()}\t{state}".encode())
    return f"{file_safe(image_set.name)}-{digest.hexdigest()[:16]}"
