"""Opening the store of a set of images, which is built first if there is none.

A store is called ``<set>-<key>``. The key is a hash of the path, size and modification time of every source
file: when a source changes, a new store is built. The old one stays, because another process may be about to
map it, and is named in the log. Times are compared for equality only, so a clock that jumps does no harm; the
one change that goes unnoticed is another picture of the same size in bytes with the same modification time.

Several processes may ask at once: one builds, the others wait (:mod:`srlab.locks`). The finished folder
appears by one rename, so a half-built store is never read; the next builder removes what a crash left behind.
A store whose index is unreadable or whose pixels have the wrong length is built again.
"""

import errno
import glob
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from srlab.data.image_store import BadImagePolicy, DamagedStoreError, ImageStore, StoredImage
from srlab.data.images import decode_image, decoded_bytes
from srlab.data.pixels import MAX_PIXELS, DecodedImage
from srlab.data.sources import ImageFile, ImageSet
from srlab.locks import locked_work
from srlab.terminal.names import file_safe
from srlab.terminal.progress import tracked

log = logging.getLogger(__name__)

# Part of the key: raise it when read_image or the layout of a store changes.
_FORMAT = 3
_KEY_LENGTH = 16
_MOST_NAMED = 5
_DECODING_THREADS = 4
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # a full disk, a quota, a limit on file sizes


def open_store(
    image_set: ImageSet, *, cache: Path, on_bad_image: BadImagePolicy, max_pixels: int = MAX_PIXELS
) -> ImageStore:
    """The store of a set in ``cache``; it is built if there is none for the files as they are now.

    Raises:
        ValueError: for an image that is unreadable or has more than ``max_pixels`` pixels (with
            ``on_bad_image="skip"`` this is a warning), if no image is readable, if ``cache`` is not writable
            or has too little space, or if files change while they are decoded.
    """
    plan = _Plan(_key(image_set.files, max_pixels), on_bad_image, max_pixels)
    folder = cache / f"{file_safe(image_set.name)}-{plan.key}"
    try:
        store = ImageStore(folder=folder)
    except (FileNotFoundError, DamagedStoreError):
        store = _build_once(image_set, folder, plan)
    if store.bad_images and on_bad_image == "error":
        path, fault = next(iter(store.bad_images.items()))
        raise ValueError(
            f"{len(store.bad_images)} of {len(image_set.files)} images of {image_set.name} are unreadable, "
            f"first {path}: {fault}; or set data.on_bad_image=skip"
        )
    for fault in store.bad_images.values():
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
        first = f"(first {oriented[0]})"
        log.info("%d %s have an orientation tag, which is not applied %s", len(oriented), of_all, first)
    if dark := [image.name for image in store.images if image.twelve_bit]:
        log.warning(
            "%d %s have 16 bits a sample and no value above 4095, as 12-bit data do: they are used as they "
            "are, nearly black (%s); if 4095 means white, multiply them by 16",
            *(len(dark), of_all, ", ".join(dark[:_MOST_NAMED])),
        )


class _Plan(NamedTuple):
    """How a store is built."""

    key: str
    on_bad_image: BadImagePolicy
    max_pixels: int


def _build_once(image_set: ImageSet, folder: Path, plan: _Plan) -> ImageStore:
    """Build the store, or wait for another process that does."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = folder.with_name(f"{folder.name}.lock")
        partial = folder.with_name(f"{folder.name}.partial")
        work = f"decoding the images of {image_set.name}"
        with locked_work(lock, work=work, watched=partial / "pixels.u8"):
            try:
                return ImageStore(folder=folder)
            except FileNotFoundError:
                pass
            except DamagedStoreError as error:
                log.warning("%s; %s again", error, work)
            shutil.rmtree(folder, ignore_errors=True)
            _check_room(image_set, folder.parent)
            try:
                _build(image_set, partial, plan)
                partial.rename(folder)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
            _log_stale_stores(image_set, folder)
            return ImageStore(folder=folder)
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise ValueError(_no_room(image_set, folder.parent, str(error))) from error
        raise ValueError(
            f"cannot write decoded images to {folder.parent} ({error}); set SRLAB_CACHE or paths.cache to "
            "another folder"
        ) from error


def _build(image_set: ImageSet, folder: Path, plan: _Plan) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    index = _write_pixels(image_set, folder / "pixels.u8", plan)
    (folder / "index.json").write_text(json.dumps(index, indent=1), encoding="utf-8")
    if _key(image_set.files, plan.max_pixels) != plan.key:
        raise ValueError(
            f"images of {image_set.name} changed or disappeared while they were decoded; start again when "
            "nothing writes to them"
        )


def _write_pixels(image_set: ImageSet, path: Path, plan: _Plan) -> dict[str, Any]:
    """Decode all files into ``path``; returns the index."""
    images: list[StoredImage] = []
    bad_images: dict[str, str] = {}
    offset = 0
    with path.open("wb") as pixels:
        decoded = _decoded(image_set.files, plan.max_pixels)
        outcomes = tracked(decoded, f"decoding {image_set.name}", total=len(image_set.files))
        for file, outcome in zip(image_set.files, outcomes, strict=True):
            if isinstance(outcome, ValueError):
                if plan.on_bad_image == "error":
                    raise outcome
                bad_images[str(file.path)] = str(outcome)
                continue
            pixels.write(outcome.pixels.data)
            channels, height, width = outcome.pixels.shape
            properties = outcome.digest(), outcome.oriented, outcome.twelve_bit
            images.append(StoredImage(file.name, channels, height, width, offset, *properties))
            offset = images[-1].end
        pixels.flush()
        os.fsync(pixels.fileno())  # or a power cut could leave a finished store of zeros
    return {
        "format": _FORMAT,
        "images": [asdict(image) for image in images],
        "bad_images": bad_images,
        "sources": [_real_path(file) for file in image_set.files],
    }


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


def _check_room(image_set: ImageSet, cache: Path) -> None:
    space = shutil.disk_usage(cache)
    if space.total and _bytes_needed(image_set) > space.free:  # some network file systems report a total of 0
        raise ValueError(_no_room(image_set, cache, "too little space"))


def _no_room(image_set: ImageSet, cache: Path, fault: str) -> str:
    return (
        f"no room for the decoded images of {image_set.name} in {cache} ({fault}): they need "
        f"{_bytes_needed(image_set)} bytes and {shutil.disk_usage(cache).free} are free there; make room, or "
        "set SRLAB_CACHE or paths.cache to a folder with more"
    )


def _bytes_needed(image_set: ImageSet) -> int:
    return sum(decoded_bytes(file.path) for file in image_set.files)


def _log_stale_stores(image_set: ImageSet, folder: Path) -> None:
    """Name the other stores of some of these files; training and held-out parts share none."""
    sources = {_real_path(file) for file in image_set.files}
    pattern = f"{glob.escape(file_safe(image_set.name))}-{'?' * _KEY_LENGTH}"
    for other in set(folder.parent.glob(pattern)) - {folder}:
        with suppress(OSError, ValueError):  # another process may be deleting it
            before = json.loads((other / "index.json").read_text(encoding="utf-8")).get("sources", [])
            if not sources.isdisjoint(before):
                size = sum(file.stat().st_size for file in other.iterdir()) / 1e6
                what = f"an earlier version, or another part, of {image_set.name}"
                log.info("%s holds %.1f MB of %s: delete it when no run reads it", other, size, what)


def _key(files: Sequence[ImageFile], max_pixels: int) -> str:
    digest = hashlib.sha256(f"format {_FORMAT}, at most {max_pixels} pixels".encode())
    for file in files:
        try:
            status = file.path.stat()
            state = f"{status.st_size}\t{status.st_mtime_ns}"
        except FileNotFoundError:
            state = "missing"
        digest.update(f"\n{file.name}\t{_real_path(file)}\t{state}".encode())
    return digest.hexdigest()[:_KEY_LENGTH]


def _real_path(file: ImageFile) -> str:
    return str(file.path.resolve())
