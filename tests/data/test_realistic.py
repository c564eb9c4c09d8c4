from fractions import Fraction
from functools import partial

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from srlab.data.bicubic_window import context, downsample_window
from srlab.data.crop_scales import FixedScale
from srlab.data.known_sets import demo_photographs
from srlab.data.realistic import RealisticDegradation
from srlab.data.sampling import degradation_random
from srlab.data.store import ImageStore, open_store
from srlab.data.training_crops import TrainingCrops


def realistic(probability: float = 0.8) -> RealisticDegradation:
    return RealisticDegradation(
        probability=probability, blur_sigma=[0.2, 1.5], noise_sigma=[1, 10], jpeg_quality=[40, 95]
    )


def crops_of(store: ImageStore, probability: float = 0.8) -> TrainingCrops:
    return TrainingCrops(
        store=store,
        scales=FixedScale(scale=2, patch_size=24),
        seed=0,
        degradation=realistic(probability),
        augment=True,
        on_bad_image="error",
        degrade_on="worker",
    )


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory) -> TrainingCrops:
    cache = tmp_path_factory.mktemp("cache")
    return crops_of(open_store(demo_photographs("train"), cache=cache, on_bad_image="error"))


def test_a_sample_depends_on_its_index_alone(crops: TrainingCrops):
    forwards = [crops[index]["lr_image"] for index in range(12)]
    backwards = [crops[index]["lr_image"] for index in reversed(range(12))][::-1]
    torch.testing.assert_close(forwards, backwards, rtol=0, atol=0)
    loader = DataLoader(crops, sampler=range(12), batch_size=1, num_workers=1)
    assert all(
        torch.equal(batch["lr_image"][0], alone) for batch, alone in zip(loader, forwards, strict=True)
    )


def test_samples_of_one_window_differ_by_index():
    window = np.random.default_rng(0).integers(0, 256, (3, 60, 60), dtype=np.uint8)
    degradation = realistic(1)
    margin = degradation.context(2)
    assert margin == 4 + 5
    made = degradation(np.stack([window] * 5), 2, partial(degradation_random, 0))
    assert {image.shape for image in made} == {(3, (60 - 2 * margin) // 2, (60 - 2 * margin) // 2)}
    assert len({image.tobytes() for image in made}) == 5


def test_with_probability_zero_it_is_bicubic():
    window = np.random.default_rng(0).integers(0, 256, (3, 60, 60), dtype=np.uint8)
    expected = downsample_window(window[:, 5:-5, 5:-5], 2)
    (made,) = realistic(0)(window[None], 2, partial(degradation_random, 0))
    np.testing.assert_array_equal(made, expected)


def test_it_degrades_a_photograph_but_stays_near_it(crops: TrainingCrops):
    """Mean error against exact bicubic between 0.5 and 20 grey levels, without a shift of brightness."""
    plain = crops_of(crops.store, 0)
    pairs = [(crops[index]["lr_image"].float(), plain[index]["lr_image"].float()) for index in range(40)]
    assert all(torch.equal(crops[index]["hr_image"], plain[index]["hr_image"]) for index in range(5))
    error = torch.stack([(degraded - exact).abs().mean() for degraded, exact in pairs]).mean()
    shift = torch.stack([(degraded - exact).mean() for degraded, exact in pairs]).mean()
    assert 0.5 < error < 20
    assert abs(shift) < 1


@pytest.mark.parametrize("scale", [Fraction(13, 6), Fraction(1)])
def test_at_scales_that_are_not_whole_nothing_but_bicubic_is_left_without_the_steps(scale: Fraction):
    degradation, margin = realistic(0.0), context(scale)
    side = int(6 * scale) + 2 * degradation.context(scale)
    windows = np.random.default_rng(0).integers(0, 256, (1, 3, side, side)).astype(np.uint8)
    cut = degradation.context(scale) - margin
    expected = downsample_window(windows[0, :, cut : side - cut, cut : side - cut], scale)
    np.testing.assert_array_equal(degradation(windows, scale, np.random.default_rng)[0], expected)
    assert expected.shape == (3, 6, 6)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"probability": 1.5}, r"probability must lie in 0..1, got 1.5"),
        ({"blur_sigma": [2, 1]}, r"blur_sigma must be \[low, high\]"),
        ({"jpeg_quality": [0, 50]}, r"jpeg_quality must be \[low, high\] within 1..100"),
    ],
)
def test_impossible_ranges_are_named(changes: dict, fault: str):
    arguments = {"probability": 0.5, "blur_sigma": [1, 2], "noise_sigma": [0, 5], "jpeg_quality": [50, 60]}
    with pytest.raises(ValueError, match=fault):
        RealisticDegradation(**(arguments | changes))
