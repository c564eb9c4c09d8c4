import json
import multiprocessing
import os
import pickle
import shutil
import signal
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from image_files import save_noise
from srlab.data import store as store_module
from srlab.data.images import read_image
from srlab.data.sources import ImageSet, folder_images
from srlab.data.store import ImageStore, open_store


@pytest.fixture
def image_set(tmp_path: Path) -> ImageSet:
    for number, shape in enumerate([(20, 30, 3), (7, 9), (16, 16, 3)]):
        save_noise(tmp_path / f"images/{number}.png", *shape)
    return folder_images(str(tmp_path / "images"))


def spoil(image_set: ImageSet) -> Path:
    path = image_set.files[1].path
    path.write_bytes(path.read_bytes()[:60])
    return path


def test_the_store_holds_every_image_as_decoded(image_set: ImageSet, tmp_path: Path):
    store = open_store(image_set, cache=tmp_path / "cache", on_bad_image="error")
    assert [image.name for image in store.images] == ["0", "1", "2"]
    for index, file in enumerate(image_set.files):
        np.testing.assert_array_equal(store[index], read_image(file.path))
    assert not store[0].flags.writeable


def test_a_pickled_store_maps_the_file_anew_and_carries_no_pixels(image_set: ImageSet, tmp_path: Path):
    store = open_store(image_set, cache=tmp_path / "cache", on_bad_image="error")
    before = np.array(store[2])
    packed = pickle.dumps(store)
    assert len(packed) < 1500
    np.testing.assert_array_equal(pickle.loads(packed)[2], before)


def test_the_store_is_built_once_and_again_when_a_source_changes(
    image_set: ImageSet, tmp_path: Path, monkeypatch
):
    first = open_store(image_set, cache=tmp_path / "cache", on_bad_image="error")
    with monkeypatch.context() as patched:
        patched.setattr(store_module, "_build", lambda *_: pytest.fail("built twice"))
        assert open_store(image_set, cache=tmp_path / "cache", on_bad_image="error").folder == first.folder
    path = image_set.files[0].path
    Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
    os.utime(path, ns=(1, 1))
    second = open_store(image_set, cache=tmp_path / "cache", on_bad_image="error")
    np.testing.assert_array_equal(second[0], 255 - first[0])


def test_a_corrupt_image_is_named_or_skipped_with_a_warning(image_set: ImageSet, tmp_path: Path, caplog):
    path = spoil(image_set)
    with pytest.raises(ValueError, match=rf"1 of 3 images .*cannot read the image {path}"):
        open_store(image_set, cache=tmp_path / "cache", on_bad_image="error")
    skipping = open_store(image_set, cache=tmp_path / "cache", on_bad_image="skip")
    assert [image.name for image in skipping.images] == ["0", "2"]
    assert str(path) in caplog.text
    with pytest.raises(
        ValueError, match=rf"1 of 3 images .* unreadable: cannot read the image {path}.*on_bad_image=skip"
    ):
        open_store(image_set, cache=tmp_path / "cache", on_bad_image="error")


def test_a_set_without_one_readable_image_is_an_error(image_set: ImageSet, tmp_path: Path):
    for file in image_set.files:
        file.path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="none of the 3 images"):
        open_store(image_set, cache=tmp_path / "cache", on_bad_image="skip")


def test_an_unwritable_cache_says_which_setting_moves_it(image_set: ImageSet, tmp_path: Path, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise PermissionError("read-only")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(ValueError, match=r"set SRLAB_CACHE or paths\.cache"):
        open_store(image_set, cache=tmp_path / "cache", on_bad_image="error")


_arrived = multiprocessing.get_context("fork").Value("i", 0)


def _open_and_count(image_set: ImageSet, cache: Path) -> tuple[int, list[int]]:
    """How often this process decoded, and the sums of the images; decoding waits for three processes."""
    write, locked_work = store_module._build, store_module.locked_work
    decodings = []

    def arrive(*args, **kwargs):
        with _arrived.get_lock():
            _arrived.value += 1
        return locked_work(*args, **kwargs)

    def write_when_all_are_there(*args):
        while _arrived.value < 3:
            time.sleep(0.01)
        decodings.append(args)
        return write(*args)

    store_module.locked_work, store_module._build = arrive, write_when_all_are_there
    store = open_store(image_set, cache=cache, on_bad_image="error")
    return len(decodings), [int(store[index].sum()) for index in range(len(store))]


def test_of_three_processes_at_once_one_builds_and_all_read_the_same(image_set: ImageSet, tmp_path: Path):
    with ProcessPoolExecutor(3, multiprocessing.get_context("fork")) as pool:
        results = list(pool.map(_open_and_count, [image_set] * 3, [tmp_path / "cache"] * 3))
    assert sorted(decodings for decodings, _ in results) == [0, 0, 1]
    expected = [int(read_image(file.path).sum()) for file in image_set.files]
    assert [sums for _, sums in results] == [expected] * 3


def _build_and_hang(image_set: ImageSet, cache: Path, ready) -> None:
    def hang(_image_set, folder: Path, _max_pixels) -> None:
        folder.mkdir()
        (folder / "pixels.u8").write_bytes(b"half")
        ready.set()
        signal.pause()

    store_module._build = hang
    open_store(image_set, cache=cache, on_bad_image="error")


def test_a_builder_that_was_killed_leaves_nothing_in_the_way(image_set: ImageSet, tmp_path: Path):
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    process = context.Process(target=_build_and_hang, args=(image_set, tmp_path / "cache", ready))
    process.start()
    assert ready.wait(120)
    os.kill(process.pid, signal.SIGKILL)
    process.join(30)
    assert list((tmp_path / "cache").glob("*.partial/pixels.u8"))
    store = open_store(image_set, cache=tmp_path / "cache", on_bad_image="error")
    np.testing.assert_array_equal(store[0], read_image(image_set.files[0].path))
    assert not list((tmp_path / "cache").glob("*.partial"))


def test_a_store_in_another_place_is_still_readable(image_set: ImageSet, tmp_path: Path):
    """The index names no absolute place of its own: caches may be copied."""
    store = open_store(image_set, cache=tmp_path / "cache", on_bad_image="error")
    moved = shutil.copytree(store.folder, tmp_path / "moved")
    assert "offset" in json.loads((moved / "index.json").read_text())["images"][0]
    np.testing.assert_array_equal(ImageStore(folder=moved)[1], store[1])


def test_orientation_and_twelve_bits_are_told_of_at_every_opening(tmp_path: Path, caplog):
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "images").mkdir()
    pixels = np.random.default_rng(0).integers(0, 4096, (8, 9), dtype=np.uint16)
    Image.fromarray((pixels // 16).astype(np.uint8)).save(tmp_path / "images/turned.jpg", exif=exif)
    for name in ("dark", "darker"):
        Image.fromarray(pixels).save(tmp_path / f"images/{name}.png")
    image_set = folder_images(str(tmp_path / "images"))
    for _ in range(2):
        caplog.clear()
        with caplog.at_level("INFO"):
            open_store(image_set, cache=tmp_path / "cache", on_bad_image="error")
        assert (
            "1 of 3 images of images have an orientation tag, which is not applied (first turned)"
            in caplog.text
        )
        (warning,) = [record.message for record in caplog.records if record.levelname == "WARNING"]
        assert warning.startswith("2 of 3 images of images have 16 bits a sample and no value above 4095")
        assert "(dark, darker)" in warning


def test_a_higher_limit_on_pixels_reads_what_a_lower_one_skipped(tmp_path: Path):
    (tmp_path / "images").mkdir()
    for side in (8, 9):
        Image.new("L", (side, side)).save(tmp_path / f"images/{side}.png")
    image_set = folder_images(str(tmp_path / "images"))
    opened = [
        open_store(image_set, cache=tmp_path / "cache", on_bad_image="skip", max_pixels=most)
        for most in (64, 81)
    ]
    assert [[image.name for image in store.images] for store in opened] == [["8"], ["8", "9"]]
    with pytest.raises(ValueError, match=r"9\.png: its 9x9 = 81 pixels are more than data\.max_pixels=64"):
        open_store(image_set, cache=tmp_path / "other", on_bad_image="error", max_pixels=64)
