"""Decoded images of a set in one memory-mapped file: a crop costs the bytes it shows, no process holds a set.

A store is a folder ``<set>-<key>`` with ``pixels.u8`` (all images one after the other, planar) and
``index.json``. The key is a digest of the path, size and modification time of every source file: when a
source changes, a new store is built. The old one stays, since another process may be about to map it, and is
named in the log. Times are compared for being equal, never for order, so that a clock that jumps does no
harm; what goes unseen is another picture of the same size in bytes that was given the same modification time.

Several processes may ask at once: one builds, the others wait (:mod:`srlab.locks`). The finished folder
appears by one rename, so a half-built store is never read; what a crash left behind is removed by the next
builder. One whose index cannot be read or whose pixels are not as long as that says is built again.
"""

import errno
import glob
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from srlab.data.decoding import decode_files
from srlab.data.images import decoded_bytes
from srlab.data.pixels import MAX_PIXELS
from srlab.data.sources import ImageFile, ImageSet
from srlab.locks import locked_work
from srlab.terminal.progress import tracked

__all__ = ["BadImagePolicy", "DamagedStoreError", "ImageStore", "StoredImage", "open_store"]

log = logging.getLogger(__name__)

BadImagePolicy = Literal["error", "skip"]

# Belongs to the key: raise it when read_image or the layout of a store changes.
_FORMAT = 3
_KEY_LENGTH = 16
_MOST_NAMED = 5
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # a full disk, a quota, a limit on files' size


class DamagedStoreError(ValueError):
    """A store whose two files do not fit together."""


@dataclass(frozen=True)
class StoredImage:
    """Where an image lies in the file; ``channels`` is 1 for gray files, else 3.

    ``digest`` tells its shape and pixels from all others, wherever its file lies (16 hexadecimal digits).
    For ``oriented`` and ``twelve_bit`` see ``DecodedImage``.
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
        """Offset of what follows."""
        return self.offset + self.channels * self.height * self.width


class ImageStore:
    """Read access to a finished store. Pickles as its path: each process maps the file itself.

    Args:
        folder: a finished store.

    Raises:
        FileNotFoundError: if there is no store.
        DamagedStoreError: if its index cannot be read, or its pixels are not as long as that says.
    """

    def __init__(self, *, folder: Path) -> None:
        self.folder = folder
        index = (folder / "index.json").read_bytes()
        try:
            content = json.loads(index)
            self.images = [StoredImage(**entry) for entry in content["images"]]
            self.bad_images: dict[str, str] = content["bad_images"]
            """Fault of each source that could not be read, by path."""
        except (ValueError, KeyError, TypeError) as error:
            raise DamagedStoreError(f"{folder / 'index.json'} is damaged ({error})") from error
        self._check_length()
        self._pixels: NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        """Read-only (C, H, W) view of the file; reading a part touches only that part."""
        if self._pixels is None:
            self._check_length()  # beyond the end of a file, mapped memory kills the process
            # as a plain array: each slice of a memmap passes through Python
            self._pixels = np.asarray(np.memmap(self.folder / "pixels.u8", dtype=np.uint8, mode="r"))
        image = self.images[index]
        flat = self._pixels[image.offset : image.end]
        return flat.reshape(image.channels, image.height, image.width)

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
    """The store of a set, built first if there is none for its files as they are now, or a damaged one.

    Args:
        image_set: what to hold.
        cache: folder of all stores; it must be writable unless the store is there.
        on_bad_image: ``"error"``, or ``"skip"`` to leave unreadable files out with a warning that names each.
        max_pixels: above which an image counts as unreadable.

    Raises:
        ValueError: for an unreadable image under ``"error"``, if none is readable, if ``cache`` is not
            writable or has too little space, or if files change while they are decoded.
    """
    key = _key(image_set.files, max_pixels)
    folder = cache / f"{_file_safe(image_set.name)}-{key}"
    try:
        store = ImageStore(folder=folder)
    except (FileNotFoundError, DamagedStoreError):
        store = _built_once(image_set, folder, _Decoding(key, on_bad_image, max_pixels))
    if store.bad_images and on_bad_image == "error":
        path, fault = next(iter(store.bad_images.items()))
        raise ValueError(
            f"{len(store.bad_images)} of {len(image_set.files)} images of {image_set.name} are unreadable, "
            f"first {path}: {fault}; or set data.on_bad_image=skip"
        )
    for fault in store.bad_images.values():
        log.warning("skipped: %s", fault)
    _tell_of_oddities(image_set, store)
    if not len(store):
        raise ValueError(
            f"not one of the {len(image_set.files)} images of {image_set.name} is readable; "
            f"{image_set.if_none_usable}"
        )
    return store


def _tell_of_oddities(image_set: ImageSet, store: ImageStore) -> None:
    if oriented := [image.name for image in store.images if image.oriented]:
        told = (len(oriented), len(store), image_set.name, oriented[0])
        log.info("%d of %d images of %s have an orientation tag, which is not applied (first %s)", *told)
    if dark := [image.name for image in store.images if image.twelve_bit]:
        log.warning(
            "%d of %d images of %s have 16 bits a sample and no value above 4095, as 12-bit data do: they "
            "count as they are, nearly black (%s); if 4095 is white in them, multiply them by 16",
            *(len(dark), len(store), image_set.name, ", ".join(dark[:_MOST_NAMED])),
        )


class _Decoding(NamedTuple):
    key: str
    on_bad_image: BadImagePolicy
    max_pixels: int


def _built_once(image_set: ImageSet, folder: Path, decoding: _Decoding) -> ImageStore:
    """Built here, or by another process meanwhile."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = folder.with_name(f"{folder.name}.lock")
        pixels = folder.with_name(f"{folder.name}.partial") / "pixels.u8"
        with locked_work(lock, work=f"decoding the images of {image_set.name}", watched=pixels):
            try:
                return ImageStore(folder=folder)
            except FileNotFoundError:
                pass
            except DamagedStoreError as error:
                log.warning("%s; decoding the images of %s again", error, image_set.name)
            shutil.rmtree(folder, ignore_errors=True)
            _build_whole(image_set, folder, decoding)
            _tell_of_stale_stores(image_set, folder)
            return ImageStore(folder=folder)
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise ValueError(_no_room(image_set, folder.parent, str(error))) from error
        raise ValueError(
            f"cannot write decoded images to {folder.parent} ({error}); set SRLAB_CACHE or paths.cache to a "
            "folder of yours"
        ) from error


def _build_whole(image_set: ImageSet, folder: Path, decoding: _Decoding) -> None:
    """Under another name, until all is written; if anything goes wrong, nothing is left."""
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    space = shutil.disk_usage(folder.parent)  # some file systems of a network do not tell their size
    if space.total and _bytes_needed(image_set) > space.free:
        raise ValueError(_no_room(image_set, folder.parent, "too little space"))
    try:
        partial.mkdir()
        _build(image_set, partial, decoding)
        if _key_if_there(image_set.files, decoding.max_pixels) != decoding.key:
            raise ValueError(
                f"images of {image_set.name} changed or disappeared while they were decoded; start again "
                "when nothing writes to them"
            )
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _no_room(image_set: ImageSet, cache: Path, fault: str) -> str:
    return (
        f"no room for the decoded images of {image_set.name} in {cache} ({fault}): they need "
        f"{_bytes_needed(image_set)} bytes and {shutil.disk_usage(cache).free} are free there; make room, or "
        "set SRLAB_CACHE or paths.cache to a folder with more"
    )


def _bytes_needed(image_set: ImageSet) -> int:
    return sum(decoded_bytes(file.path) for file in image_set.files)


def _build(image_set: ImageSet, folder: Path, decoding: _Decoding) -> None:
    images: list[StoredImage] = []
    bad_images: dict[str, str] = {}
    offset = 0
    with (folder / "pixels.u8").open("wb") as pixels:
        decoded = decode_files(image_set.files, decoding.max_pixels)
        for file, outcome in tracked(decoded, f"decoding {image_set.name}", total=len(image_set.files)):
            if isinstance(outcome, ValueError):
                if decoding.on_bad_image == "error":
                    raise outcome
                bad_images[str(file.path)] = str(outcome)
                continue
            pixels.write(outcome.pixels.data)
            channels, height, width = outcome.pixels.shape
            told = outcome.digest(), outcome.oriented, outcome.twelve_bit
            images.append(StoredImage(file.name, channels, height, width, offset, *told))
            offset = images[-1].end
        pixels.flush()
        os.fsync(pixels.fileno())  # or a power cut might leave a finished store of zeros
    index = {
        "format": _FORMAT,
        "images": [asdict(image) for image in images],
        "bad_images": bad_images,
        "sources": [_place(file) for file in image_set.files],
    }
    (folder / "index.json").write_text(json.dumps(index, indent=1), encoding="utf-8")


def _tell_of_stale_stores(image_set: ImageSet, folder: Path) -> None:
    """Those of the set's name that hold some of its files; training and held-out parts share none."""
    sources = {_place(file) for file in image_set.files}
    pattern = f"{glob.escape(_file_safe(image_set.name))}-{'?' * _KEY_LENGTH}"
    for other in set(folder.parent.glob(pattern)) - {folder}:
        with suppress(OSError, ValueError):  # someone may be deleting it
            before = json.loads((other / "index.json").read_text(encoding="utf-8")).get("sources", [])
            if not sources.isdisjoint(before):
                size = sum(file.stat().st_size for file in other.iterdir())
                told = f"{size / 1e6:.1f} MB of an earlier version, or another part, of {image_set.name}"
                log.info("%s holds %s: delete it when no run reads it", other, told)


def _key(files: Sequence[ImageFile], max_pixels: int) -> str:
    digest = hashlib.sha256(f"format {_FORMAT}, at most {max_pixels} pixels".encode())
    for file in files:
        status = file.path.stat()
        digest.update(f"\n{file.name}\t{_place(file)}\t{status.st_size}\t{status.st_mtime_ns}".encode())
    return digest.hexdigest()[:_KEY_LENGTH]


def _key_if_there(files: Sequence[ImageFile], max_pixels: int) -> str | None:
    try:
        return _key(files, max_pixels)
    except FileNotFoundError:
        return None


def _place(file: ImageFile) -> str:
    return str(file.path.resolve())


def _file_safe(name: str) -> str:
    return "".join(character if character.isalnum() or character in "-_.+" else "_" for character in name)
