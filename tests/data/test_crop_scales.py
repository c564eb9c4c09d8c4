"""Training crops whose scale changes from step to step.

Oracles: rational arithmetic for each pixel, MATLAB's rules for whole images, and the definitions of streams.
"""

from fractions import Fraction
from functools import lru_cache
from math import floor
from pathlib import Path

import numpy as np
import pytest
import torch

from demo_data import demo
from recorded_fits import fit
from srlab.data.bicubic_window import context, downsample, downsample_window
from srlab.data.crop_scales import FixedScale, RandomScale
from srlab.data.sampling import GlobalBatchSampler, draw_pixels
from srlab.ops.resize import imresize, resize_taps


def scales_of(**changes) -> RandomScale:
    return RandomScale(**{"bounds": (1, 4), "patch_size": 12, "batch_size": 4, "seed": 0, **changes})


@lru_cache
def exact_weights(place: int, scale: Fraction) -> tuple[tuple[int, Fraction], ...]:
    """HR positions and weights of LR pixel ``place``: Keys' kernel, stretched by the scale, normalized."""
    centre = (Fraction(2 * place + 1) * scale - 1) / 2
    taps = range(floor(centre - 2 * scale), floor(centre + 2 * scale) + 2)
    weights = []
    for tap in taps:
        x = abs(centre - tap) / scale
        near, far = (3 * x**3 - 5 * x**2 + 2) / 2, (-(x**3) + 5 * x**2 - 8 * x + 4) / 2
        weights.append(near if x <= 1 else far if x < 2 else Fraction(0))
    return tuple((tap, weight / sum(weights)) for tap, weight in zip(taps, weights, strict=True) if weight)


def exact_pass(image: np.ndarray, count: int, scale: Fraction, margin: int) -> np.ndarray:
    """Rows of (H, W), rounded half up."""
    rows = [
        sum(weight * image[tap + margin].astype(object) for tap, weight in exact_weights(place, scale))
        for place in range(count)
    ]
    round_up = np.vectorize(lambda value: min(255, max(0, floor(value + Fraction(1, 2)))), otypes=[int])
    return round_up(np.stack(rows))


@pytest.mark.parametrize(("patch", "side"), [(5, 5), (7, 8), (6, 13), (5, 12), (4, 15), (3, 12)])
def test_a_window_at_any_scale_equals_rational_arithmetic_in_every_pixel(patch: int, side: int):
    scale = Fraction(side, patch)
    margin = context(scale)
    random = np.random.default_rng(side)
    window = random.integers(0, 256, (side + 2 * margin, side + 2 * margin)).astype(np.uint8)
    rows = exact_pass(window, patch, scale, margin)
    expected = exact_pass(rows.T, patch, scale, margin).T
    np.testing.assert_array_equal(downsample_window(window[None], scale)[0], expected)


@pytest.mark.parametrize(("patch", "side"), [(9, 14), (16, 43), (12, 33)])
def test_windows_are_those_of_the_whole_image_at_every_border(patch: int, side: int):
    """Of an image of 2x3 such windows, downsampled as a whole."""
    image = np.random.default_rng(0).integers(0, 256, (3, 2 * side, 3 * side)).astype(np.uint8)
    whole = imresize(torch.from_numpy(image), size=(2 * patch, 3 * patch), mode="uint8").numpy()
    scale = Fraction(side, patch)
    margin = context(scale)
    padded = np.pad(image, ((0, 0), (margin, margin), (margin, margin)), mode="symmetric")
    for row in range(2):
        for column in range(3):
            top, left = row * side, column * side
            window = padded[:, top : top + side + 2 * margin, left : left + side + 2 * margin]
            place = whole[:, row * patch :, column * patch :][:, :patch, :patch]
            np.testing.assert_array_equal(downsample_window(window, scale), place)


def test_the_context_of_every_scale_covers_the_kernel():
    for patch in (1, 2, 3, 7, 12, 48):
        for side in range(patch, 4 * patch + 1):
            _, positions = resize_taps(patch, patch / side, True)
            margin = context(Fraction(side, patch))
            assert -margin <= positions.min() <= positions.max() < side + margin, (patch, side)


@pytest.mark.parametrize("scale", [2.7, 6, 1])
def test_whole_images_at_other_scales_are_those_of_imresize(scale: float):
    image = np.random.default_rng(0).integers(0, 256, (3, 54, 81)).astype(np.uint8)
    size = round(54 / scale), round(81 / scale)
    expected = imresize(torch.from_numpy(image), size=size, mode="uint8").numpy()
    np.testing.assert_array_equal(downsample(image, scale), expected)


def test_scales_are_uniform_and_one_for_all_samples_of_a_step():
    """Of 2000 draws, a share p misses its bin by more than 5 deviations, sqrt(p (1 - p) / 2000), never."""
    scales = scales_of(patch_size=1000)
    drawn = np.array([float(scales.of(4 * step).scale) for step in range(2000)])
    assert drawn.min() >= 1
    assert drawn.max() <= 4
    shares = np.histogram(drawn, 6, (1, 4))[0] / 2000
    assert np.abs(shares - 1 / 6).max() < 5 * (1 / 6 * 5 / 6 / 2000) ** 0.5
    for step in (0, 1, 77):
        assert len({scales.of(index) for index in range(4 * step, 4 * step + 4)}) == 1
    assert scales.of(0) != scales.of(4) != scales_of(patch_size=1000, seed=1).of(4)


def test_the_hr_side_is_the_nearest_and_the_scale_their_quotient():
    for index in range(0, 400, 4):
        size = scales_of().of(index)
        exact = scales_of(patch_size=10**6).of(index).scale
        assert size.scale == Fraction(size.side, 12)
        assert abs(size.side - 12 * exact) <= Fraction(1, 2) + Fraction(12, 10**6)
    assert scales_of(bounds=(1.5, 3.3)).sizes() == [(Fraction(18, 12), 18, 1), (Fraction(40, 12), 40, 1)]
    assert FixedScale(scale=3, patch_size=12).of(5) == (3, 36, 3)


def test_compared_pixels_are_distinct_in_order_and_uniform():
    for index in range(5):
        assert np.array_equal(draw_pixels(0, index, 30, 30), np.arange(30))
    drawn = [draw_pixels(0, index, 100, 20) for index in range(500)]
    assert all((np.diff(pixels) > 0).all() for pixels in drawn)
    counts = np.bincount(np.concatenate(drawn), minlength=100)
    assert counts.shape == (100,)
    assert np.abs(counts - 100).max() < 5 * (500 * 0.2 * 0.8) ** 0.5


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def crops_of(cache: Path, **changes):
    return demo(cache, batch_size=4, scale_range=(1, 4), **changes).training_crops


def test_a_batch_holds_the_compared_pixels_of_the_whole_crops(cache: Path):
    """LR is the image's own where a crop of the whole image begins at its corner."""
    chosen, whole = crops_of(cache, compared_pixels=50), crops_of(cache)
    for step in range(4):
        indices = range(4 * step, 4 * step + 4)
        some, all_of_them = chosen.batch(indices), whole.batch(indices)
        side = some["size"][0]
        assert some["size"] == all_of_them["size"] == (side, side)
        assert all_of_them["hr_image"].shape == (4, 3, side, side)
        assert torch.equal(some["lr_image"], all_of_them["lr_image"])
        for sample in range(4):
            rows, columns = some["pixels"][sample] // side, some["pixels"][sample] % side
            expected = all_of_them["hr_image"][sample][:, rows, columns]
            assert torch.equal(some["hr_image"][sample, :, 0], expected)


def test_an_unturned_crop_is_the_image_at_its_corner_and_lr_its_bicubic(cache: Path):
    crops = crops_of(cache, augment=False)
    for index in range(0, 40, 4):
        sample, size = crops[index], crops.scales.of(index)
        number, crop = crops.draw(index)
        image = torch.from_numpy(np.array(crops.store[number])).expand(3, -1, -1)
        window = image[:, crop.top : crop.top + size.side, crop.left : crop.left + size.side]
        assert torch.equal(sample["hr_image"], window)
        alone = imresize(window, size=(8, 8), mode="uint8")[:, 2:-2, 2:-2]  # far from the crop's own border
        assert (sample["lr_image"][:, 2:-2, 2:-2].int() - alone.int()).abs().max() <= 1


def stream(crops, *, ranks: int = 1, accumulate: int = 1, start: int = 0) -> list[tuple]:
    """Steps 2 and 3: sizes, and all pixels of the samples in their order, whoever made them."""
    steps: dict[int, list[dict]] = {}
    for rank in range(ranks):
        sampler = GlobalBatchSampler(
            batch_size=4, num_replicas=ranks, rank=rank, accumulate=accumulate, start_step=start, num_steps=4
        )
        for number, indices in enumerate(sampler):
            micro_batch = number % accumulate * ranks + rank
            steps.setdefault(start + number // accumulate, []).append((micro_batch, crops.batch(indices)))
    parts = [[batch for _, batch in sorted(steps[step], key=lambda part: part[0])] for step in (2, 3)]
    names = ("lr_image", "hr_image", "pixels")
    return [
        ({batch["size"] for batch in batches}, [torch.cat([b[name] for b in batches]) for name in names])
        for batches in parts
    ]


def test_steps_are_the_same_on_any_devices_in_any_micro_batches_and_after_a_resume(cache: Path):
    crops = crops_of(cache, compared_pixels=20)
    expected = stream(crops)
    assert [len(sizes) for sizes, _ in expected] == [1, 1]
    for other in ({"ranks": 2}, {"accumulate": 2}, {"ranks": 2, "accumulate": 2}, {"start": 2}):
        for (sizes, images), (other_sizes, others) in zip(expected, stream(crops, **other), strict=True):
            assert sizes == other_sizes
            assert all(torch.equal(one, two) for one, two in zip(images, others, strict=True))


def test_the_training_device_makes_the_same_batches(cache: Path):
    there, here = (crops_of(cache, degrade_on=place, compared_pixels=20) for place in ("device", "worker"))
    for start in range(0, 12, 4):
        indices = range(start, start + 4)
        finished, expected = there.finish(there.batch(indices)), here.batch(indices)
        assert finished.keys() == expected.keys()
        assert all(torch.equal(finished[name], expected[name]) for name in ("lr_image", "hr_image", "pixels"))


def test_a_set_is_validated_at_each_scale_under_its_own_name_from_one_store(cache: Path):
    data = demo(cache, validation_scales=[2, 2.7])
    sets = data.evaluation_sets().sets
    assert data.validation_names == ["demo_x2", "demo_x2.7"]
    assert sets[0].store is sets[1].store
    plain = demo(cache, scale=2).evaluation_sets().sets[0][0]
    assert torch.equal(sets[0][0]["lr_image"], plain["lr_image"])
    sample = sets[1][0]
    lr_side, hr_side = sample["lr_image"].shape[1], sample["hr_image"].shape[1]
    assert (sample["scale"], sample["set_name"]) == (2.7, "demo_x2.7")
    assert hr_side == round(2.7 * lr_side)
    expected = imresize(sample["hr_image"], size=tuple(sample["lr_image"].shape[1:]), mode="uint8")
    assert torch.equal(sample["lr_image"], expected.expand(3, -1, -1))


def test_loaders_deliver_them_as_they_are(cache: Path):
    options = {"batch_size": 4, "scale_range": (1, 4), "validation_scales": [2, 3]}
    recorder, _ = fit(demo(cache, **options), steps=2)
    crops = demo(cache, **options).training_crops
    batches = [crops.batch(range(start, start + 4)) for start in (0, 4)]
    assert recorder.trained == [
        (int(batch["lr_image"].long().sum()), int(batch["hr_image"].long().sum())) for batch in batches
    ]
    assert [name for name, _ in recorder.validated] == 2 * ["chelsea", "rocket"]


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (
            {"scale_range": (0.5, 2)},
            r"data\.scale_range must be \[low, high\] with 1 <= low.*got \[0\.5, 2\]",
        ),
        ({"scale_range": (3, 2)}, r"data\.scale_range must be .* got \[3, 2\]"),
        ({"scale_range": (1, float("nan"))}, r"data\.scale_range must be .* got \[1, nan\]"),
        ({"scale_range": (1, float("inf"))}, r"data\.scale_range must be .* got \[1, inf\]"),
        ({"scale_range": (1, 1e9)}, r"a crop of 8000000000x8000000000"),
        ({"scale_range": (1, 4), "compared_pixels": 65}, r"compared_pixels=65 must be between 1 and the 64"),
        ({"compared_pixels": 9}, r"compared_pixels=9 belongs to data\.scale_range"),
        ({"validation_scales": []}, r"data\.validation_scales must be one or several .* got \[\]"),
        ({"validation_scales": [2, 2]}, r"distinct numbers of at least 1, got \[2, 2\]"),
        ({"validation_scales": [2, float("nan")]}, r"distinct numbers of at least 1, got \[2, nan\]"),
        ({"validation_scales": [0.5]}, r"distinct numbers of at least 1, got \[0\.5\]"),
    ],
)
def test_scales_that_cannot_be_are_refused(cache: Path, options: dict, fault: str):
    with pytest.raises(ValueError, match=fault):
        demo(cache, **options).training_crops  # noqa: B018  (built when it is asked for)
