"""Crops of loader processes and of the training device are the same."""

from pathlib import Path

import pytest
import torch

from demo_data import demo
from recorded_fits import fit
from srlab.data.augmentation import augment, augment_on_device
from srlab.data.realistic import RealisticDegradation


def test_all_eight_turns_are_the_eight_symmetries_of_a_square():
    image = torch.arange(9, dtype=torch.uint8).view(1, 3, 3)
    made = augment_on_device(image.expand(8, 1, 3, 3), torch.arange(8, dtype=torch.uint8))
    for turn, turned in enumerate(made):
        expected = image.transpose(1, 2) if turn & 1 else image
        expected = expected.flip(1) if turn & 2 else expected
        expected = expected.flip(2) if turn & 4 else expected
        assert torch.equal(turned, expected)
        assert torch.equal(augment(image[None].numpy(), [turn])[0], expected)
    assert len({tuple(turned.flatten().tolist()) for turned in made}) == 8


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize(("scale", "patch_size"), [(2, 20), (3, 15), (4, 90), (4, 92)])
def test_both_places_make_the_same_batches(cache: Path, scale: int, patch_size: int):
    """The largest crops nearly fill the smallest photograph: their windows reach beyond its borders."""
    there, here = (
        demo(cache, scale=scale, patch_size=patch_size, degrade_on=place).training_crops
        for place in ("device", "worker")
    )
    turns = set()
    for start in range(0, 48, 16):
        windows = there.batch(range(start, start + 16))
        assert set(windows) == {"hr_window", "turn"}
        turns |= set(windows["turn"].tolist())
        finished, expected = there.finish(windows), here.batch(range(start, start + 16))
        assert {name: part.dtype for name, part in finished.items()} == dict.fromkeys(expected, torch.uint8)
        for name, part in expected.items():
            assert torch.equal(finished[name], part)
            assert finished[name].is_contiguous()
    assert turns == set(range(8))


def test_training_with_either_sees_the_same_batches(cache: Path):
    here, _ = fit(demo(cache), steps=2)
    there, _ = fit(demo(cache, degrade_on="device", num_workers=1), steps=2)
    assert here.trained == there.trained
    assert here.validated == there.validated


def test_degradations_of_the_cpu_are_refused_on_the_device(cache: Path):
    realistic = RealisticDegradation(
        probability=0.5, blur_sigma=[1, 2], noise_sigma=[0, 5], jpeg_quality=[50, 60]
    )
    with pytest.raises(ValueError, match=r"RealisticDegradation runs on a CPU only.*degrade_on=worker"):
        demo(cache, degradation=realistic, degrade_on="device")
    with pytest.raises(ValueError, match=r"data\.degrade_on must be worker or device, got 'gpu'"):
        demo(cache, degrade_on="gpu")


@pytest.mark.gpu
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_gpu_makes_the_same_batches(cache: Path, scale: int):
    there = demo(cache, scale=scale, patch_size=48, degrade_on="device").training_crops
    windows = there.batch(range(64))
    with torch.autocast("cuda", dtype=torch.bfloat16):
        finished = there.finish({name: part.cuda() for name, part in windows.items()})
    expected = demo(cache, scale=scale, patch_size=48).training_crops.batch(range(64))
    for name, part in expected.items():
        assert torch.equal(finished[name].cpu(), part)
