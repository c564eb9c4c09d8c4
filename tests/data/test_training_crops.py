from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor
from torch.testing import assert_close

from image_files import save_noise
from srlab.data.crop_scales import FixedScale
from srlab.data.degradation import BicubicDegradation
from srlab.data.images import read_image
from srlab.data.known_sets import demo_photographs
from srlab.data.loader import Loader
from srlab.data.sampling import GlobalBatchSampler, draw_crop, image_of
from srlab.data.sources import ImageSet, find_images, folder_images
from srlab.data.store import ImageStore, open_store
from srlab.data.training_crops import TrainingCrops
from srlab.ops.resize import imresize


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> ImageStore:
    """The demo's: colour and gray, 370 to 741 pixels."""
    cache = tmp_path_factory.mktemp("cache")
    return open_store(demo_photographs("train"), cache=cache, on_bad_image="error")


def store_of(folder: Path) -> ImageStore:
    return open_store(folder_images(str(folder)), cache=folder.parent / "cache", on_bad_image="error")


def noise_store(folder: Path, shape: tuple[int, ...]) -> ImageStore:
    save_noise(folder / "images/a.png", *shape)
    return store_of(folder / "images")


def crops_of(store: ImageStore, **changes) -> TrainingCrops:
    scales = FixedScale(scale=changes.pop("scale", 4), patch_size=changes.pop("patch_size", 16))
    arguments = {"scales": scales, "seed": 0, "augment": True, "on_bad_image": "error"}
    arguments |= {"degradation": BicubicDegradation(), "degrade_on": "worker"}
    return TrainingCrops(store=store, **(arguments | changes))


def whole_lr(store: ImageStore, number: int, scale: int, cache: dict = {}) -> Tensor:  # noqa: B006  (remembers across calls on purpose)
    key = (store.folder, number, scale)
    if key not in cache:
        image = store[number]
        height, width = (side // scale * scale for side in image.shape[1:])
        cropped = torch.from_numpy(np.array(image[:, :height, :width]))
        cache[key] = imresize(cropped, scale=Fraction(1, scale), mode="uint8").expand(3, -1, -1)
    return cache[key]


def turned(image: Tensor, crop) -> Tensor:
    """By the bits of the turn, with torch."""
    image = image.transpose(1, 2) if crop.turn & 1 else image
    return image.flip([axis for axis, bit in ((1, 2), (2, 4)) if crop.turn & bit])


def check_against_whole_images(crops: TrainingCrops, index: int) -> tuple[int, int]:
    number = crops.images[image_of(crops.seed, index, len(crops.images))]
    side, scale = crops.scales.patch_size, crops.scales.scale
    lr_whole = whole_lr(crops.store, number, scale)
    positions = (lr_whole.shape[1] - side + 1, lr_whole.shape[2] - side + 1)
    crop = draw_crop(crops.seed, index, positions, augment=crops.augment)
    sample = crops[index]
    window = lr_whole[:, crop.top : crop.top + side, crop.left : crop.left + side]
    assert torch.equal(sample["lr_image"], turned(window, crop))
    hr_whole = torch.from_numpy(np.array(crops.store[number])).expand(3, -1, -1)
    top, left = crop.top * scale, crop.left * scale
    window = hr_whole[:, top : top + side * scale, left : left + side * scale]
    assert torch.equal(sample["hr_image"], turned(window, crop))
    return crop.top, crop.left


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    scale=st.sampled_from([2, 3, 4]),
    patch_size=st.integers(1, 60),
    index=st.integers(0, 2**62),
    augment=st.booleans(),
)
def test_a_crop_is_the_window_of_the_whole_degraded_photograph(
    photographs: ImageStore, scale: int, patch_size: int, index: int, augment: bool
):
    crops = crops_of(photographs, scale=scale, patch_size=patch_size, augment=augment)
    check_against_whole_images(crops, index)


@pytest.fixture(scope="module")
def benchmark_photographs(real_images: Path, tmp_path_factory: pytest.TempPathFactory) -> ImageStore:
    """Of BSDS and T91: colour, 481x321 and 78 to 350 pixels, which crops of 60x60 at x4 nearly fill."""
    folder = real_images / "train"
    files = [file for name in ("T91", "BSDS500_train") for file in find_images(folder / name)[::15]]
    image_set = ImageSet("photographs", tuple(files))
    return open_store(image_set, cache=tmp_path_factory.mktemp("cache"), on_bad_image="error")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(scale=st.sampled_from([2, 3, 4]), patch_size=st.integers(1, 60), index=st.integers(0, 2**62))
def test_crops_of_training_photographs_are_windows_of_the_whole_too(
    benchmark_photographs: ImageStore, scale: int, patch_size: int, index: int
):
    crops = crops_of(benchmark_photographs, scale=scale, patch_size=patch_size, on_bad_image="skip")
    check_against_whole_images(crops, index)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_crops_at_every_border_are_windows_of_the_whole_too(tmp_path: Path, scale: int):
    """A crop two LR pixels smaller than the image touches all borders and corners within few draws."""
    crops = crops_of(noise_store(tmp_path, (14 * scale + 1, 14 * scale + 1, 3)), scale=scale, patch_size=12)
    corners = {check_against_whole_images(crops, index) for index in range(100)}
    assert corners == {(row, column) for row in range(3) for column in range(3)}


def test_a_crop_may_be_the_whole_image_and_smaller_than_the_kernel(tmp_path: Path):
    crops = crops_of(noise_store(tmp_path, (4, 5)), scale=4, patch_size=1)
    for index in range(10):
        check_against_whole_images(crops, index)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_crops_of_set5_are_windows_of_the_files_of_matlab(real_images: Path, tmp_path: Path, scale: int):
    folder = real_images / "benchmark/Set5"
    store = open_store(folder_images(str(folder)), cache=tmp_path, on_bad_image="error")
    crops = crops_of(store, scale=scale, patch_size=24, augment=False)
    for index in range(100):
        number = image_of(0, index, 5)
        file = read_image(folder / f"LR_bicubic/X{scale}/{store.images[number].name}x{scale}.png")
        crop = draw_crop(0, index, (file.shape[1] - 23, file.shape[2] - 23), augment=False)
        expected = file[:, crop.top : crop.top + 24, crop.left : crop.left + 24]
        np.testing.assert_array_equal(crops[index]["lr_image"].numpy(), expected)


def stream(crops: TrainingCrops, workers: int, *, start: int = 0) -> list[Tensor]:
    step = {"batch_size": 4, "num_replicas": 1, "rank": 0, "accumulate": 1}
    sampler = GlobalBatchSampler(**step, start_step=start, num_steps=6)
    loader = Loader(crops.batch, batches=sampler, num_workers=workers, pin_memory=False)
    return [torch.cat([batch["lr_image"].flatten(), batch["hr_image"].flatten()]) for batch in loader]


def test_the_stream_does_not_depend_on_the_workers_nor_on_a_stop(photographs: ImageStore):
    crops = crops_of(photographs, patch_size=8)
    expected = stream(crops, 0)
    assert_close(stream(crops, 4), expected, rtol=0, atol=0)
    assert_close(stream(crops, 1, start=4), expected[4:], rtol=0, atol=0)
    assert not torch.equal(expected[0], expected[1])


def test_another_seed_gives_other_crops(photographs: ImageStore):
    one, other = (crops_of(photographs, seed=seed)[0]["hr_image"] for seed in (0, 1))
    assert not torch.equal(one, other)


def test_images_smaller_than_a_crop_are_named_or_skipped(tmp_path: Path, caplog):
    (tmp_path / "images").mkdir()
    for name, side in (("large", 64), ("small", 63)):
        Image.new("RGB", (80, side)).save(tmp_path / f"images/{name}.png")
    store = store_of(tmp_path / "images")
    fault = r"1 of 2 images .*small measures 63x80, less than a crop of 64x64 .*patch_size=15, which fits"
    with pytest.raises(ValueError, match=fault):
        crops_of(store)
    assert crops_of(store, on_bad_image="skip").images == [0]
    assert "small measures 63x80" in caplog.text
    with pytest.raises(ValueError, match=r"no image is as large as a crop of 400x400"):
        crops_of(store, on_bad_image="skip", patch_size=100)
