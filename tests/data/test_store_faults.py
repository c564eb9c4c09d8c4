"""What disks and people do to a store, and to the images behind it."""

import json
import multiprocessing
import os
import re
import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from image_files import save_noise
from srlab.data import store as store_module
from srlab.data.images import read_image
from srlab.data.sources import ImageSet, folder_images
from srlab.data.store import DamagedStoreError, ImageStore, open_store

BYTES = 4 * 3 * 100 * 100


@pytest.fixture
def image_set(tmp_path: Path) -> ImageSet:
    for number in range(4):
        save_noise(tmp_path / f"images/{number}.png", 100, 100, 3, seed=number)
    return folder_images(str(tmp_path / "images"))


def opened(image_set: ImageSet, cache: Path) -> ImageStore:
    """The store, which holds what the files hold now."""
    store = open_store(image_set, cache=cache, on_bad_image="error")
    for index, file in enumerate(image_set.files):
        np.testing.assert_array_equal(store[index], read_image(file.path))
    return store


def left_in(cache: Path) -> list[str]:
    return [path.name for path in cache.iterdir() if path.suffix != ".lock"]


def test_a_disk_too_small_is_refused_before_anything_is_decoded(image_set, small_disk, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(store_module, "_build", lambda *_: pytest.fail("built"))
        with pytest.raises(
            ValueError,
            match=rf"cannot write .* {BYTES} bytes, to {small_disk.folder} \(6\d{{4}} bytes are free",
        ):
            opened(image_set, small_disk.folder)
    assert left_in(small_disk.folder) == []
    small_disk.change("size=8m")
    opened(image_set, small_disk.folder)


def test_a_disk_that_fills_up_meanwhile_keeps_nothing_half_built(image_set, small_disk, monkeypatch):
    """The kernel's own ENOSPC: what is needed is not known beforehand here."""
    with monkeypatch.context() as patched:
        patched.setattr(store_module, "decoded_bytes", lambda _path: 0)
        with pytest.raises(
            ValueError, match=r"No space left on device.*set SRLAB_CACHE or paths\.cache to another folder"
        ):
            opened(image_set, small_disk.folder)
    assert left_in(small_disk.folder) == []
    small_disk.change("size=8m")
    opened(image_set, small_disk.folder)


def _open_with_small_files(image_set: ImageSet, cache: Path, said) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (BYTES // 2, hard))
    try:
        open_store(image_set, cache=cache, on_bad_image="error")
    except ValueError as error:
        said.put(str(error))


def test_a_write_that_fails_half_way_leaves_nothing(image_set: ImageSet, tmp_path: Path):
    """The same without root, by a limit on the size of files."""
    context = multiprocessing.get_context("fork")
    said = context.Queue()
    process = context.Process(target=_open_with_small_files, args=(image_set, tmp_path / "cache", said))
    process.start()
    message = said.get(timeout=60)
    process.join(60)
    assert re.search(rf"cannot write the decoded images of images, {BYTES} bytes, .* make room", message)
    assert left_in(tmp_path / "cache") == []
    opened(image_set, tmp_path / "cache")


def test_a_read_only_cache_serves_what_is_built_and_names_the_setting(image_set, small_disk):
    small_disk.change("size=8m")
    opened(image_set, small_disk.folder)
    small_disk.change("ro")
    opened(image_set, small_disk.folder)
    other = ImageSet("other", image_set.files)
    with pytest.raises(ValueError, match=rf"cannot write .* to {small_disk.folder} .*set SRLAB_CACHE"):
        opened(other, small_disk.folder)


def test_images_in_a_read_only_folder_need_only_a_cache_elsewhere(image_set, small_disk, tmp_path):
    small_disk.change("size=8m")
    for file in image_set.files:
        (small_disk.folder / file.path.name).write_bytes(file.path.read_bytes())
    small_disk.change("ro")
    images = folder_images(str(small_disk.folder))
    with pytest.raises(ValueError, match=r"Read-only file system.*set SRLAB_CACHE"):
        opened(images, small_disk.folder / ".srlab")
    opened(images, tmp_path / "cache")


def _cut(folder: Path) -> None:
    os.truncate(folder / "pixels.u8", BYTES - 1)


def _strange_index(folder: Path) -> None:
    index = json.loads((folder / "index.json").read_text())
    index["images"][0]["colour"] = "red"
    (folder / "index.json").write_text(json.dumps(index))


DAMAGES: dict[str, Callable[[Path], object]] = {
    "pixels cut": _cut,
    "no pixels": lambda folder: (folder / "pixels.u8").unlink(),
    "index cut": lambda folder: os.truncate(folder / "index.json", 200),
    "empty index": lambda folder: (folder / "index.json").write_text("{}"),
    "strange index": _strange_index,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_store_is_built_again_and_that_is_said(
    image_set: ImageSet, tmp_path: Path, caplog, damage: str
):
    DAMAGES[damage](opened(image_set, tmp_path / "cache").folder)
    opened(image_set, tmp_path / "cache")
    (message,) = [record.getMessage() for record in caplog.records if "is damaged" in record.getMessage()]
    assert message.endswith("decoding the images of images again")


def test_pixels_cut_off_after_the_store_was_opened_are_an_error_not_a_crash(
    image_set: ImageSet, tmp_path: Path
):
    store = open_store(image_set, cache=tmp_path / "cache", on_bad_image="error")
    _cut(store.folder)
    with pytest.raises(
        DamagedStoreError, match=rf"pixels\.u8 is damaged: {BYTES - 1} bytes where {BYTES} are"
    ):
        store[0]


@pytest.mark.parametrize("fate", ["changed", "removed"])
def test_images_that_change_while_they_are_decoded_make_no_store(
    image_set: ImageSet, tmp_path: Path, monkeypatch, fate: str
):
    build = store_module._build

    def build_meanwhile(*args):
        build(*args)
        path = image_set.files[0].path
        path.write_bytes(image_set.files[1].path.read_bytes()) if fate == "changed" else path.unlink()

    monkeypatch.setattr(store_module, "_build", build_meanwhile)
    with pytest.raises(ValueError, match="images of images changed or disappeared while they were decoded"):
        open_store(image_set, cache=tmp_path / "cache", on_bad_image="error")
    assert left_in(tmp_path / "cache") == []


@pytest.mark.parametrize("jump_s", [-10 * 365 * 86400, 10 * 365 * 86400], ids=["back", "forward"])
def test_a_clock_that_jumps_hides_no_change_and_spoils_no_store(
    image_set: ImageSet, tmp_path: Path, jump_s: int
):
    """Ten years between the build and the change: the new file may be the older one, of the same size."""
    first = opened(image_set, tmp_path / "cache")
    for path in first.folder.iterdir():
        os.utime(path, (path.stat().st_mtime - jump_s,) * 2)  # as if the store came from then
    assert opened(image_set, tmp_path / "cache").folder == first.folder
    path = image_set.files[0].path
    Image.fromarray(255 - np.asarray(Image.open(path))).save(path, compress_level=0)
    size, now = path.stat().st_size, path.stat().st_mtime
    opened(image_set, tmp_path / "cache")
    Image.fromarray(np.asarray(Image.open(path))[::-1]).save(path, compress_level=0)
    assert path.stat().st_size == size
    os.utime(path, (now + jump_s,) * 2)
    opened(image_set, tmp_path / "cache")
