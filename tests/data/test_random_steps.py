import io
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from skimage.data import astronaut

from srlab.data.random_steps import RandomNoise, RandomResize, compress, resize, to_bytes


def noise(**changes):
    given = {"gaussian": 1, "gray": 0, "gaussian_sigma": [12, 12], "poisson_scale": [2, 2]}
    return RandomNoise(**{**given, **changes})


@pytest.fixture(scope="module")
def photograph():
    return astronaut()[60:168, 180:301].astype(np.float32) / 255


@pytest.mark.parametrize("quality", [30, 60, 95])
def test_jpeg_is_pillows_of_that_quality(photograph, quality):
    """Two encoders: a level or two apart where they round otherwise, and nearly nowhere."""
    stream = io.BytesIO()
    Image.fromarray(to_bytes(photograph)).save(stream, "jpeg", quality=quality, subsampling="4:2:0")
    expected = np.asarray(Image.open(stream)).astype(int)
    difference = np.abs(to_bytes(compress(photograph, quality)).astype(int) - expected)
    assert difference.max() <= 3
    assert difference.mean() < 0.05
    assert np.abs(expected - to_bytes(photograph)).mean() > 0.5


def test_gaussian_noise_has_the_deviation_asked_for_and_its_own_draw_in_each_channel():
    flat = np.full((200, 200, 3), 0.5, np.float32)
    made = (noise().add(flat, np.random.default_rng(0)) - 0.5) * 255
    # four standard errors of a standard deviation and of a correlation
    assert made.std() == pytest.approx(12, rel=4 / math.sqrt(2 * made.size))
    assert abs(np.corrcoef(made.reshape(-1, 3).T)[0, 1]) < 4 / 200


def test_gray_noise_is_one_plane():
    flat = np.full((64, 64, 3), 0.5, np.float32)
    for each in (noise(gray=1), noise(gray=1, gaussian=0)):
        made = each.add(flat, np.random.default_rng(0)) - 0.5
        assert made.std() > 0
        np.testing.assert_array_equal(made[..., 0], made[..., 2])


def test_poisson_noise_has_the_variance_of_photons():
    """scale^2 * light / n with n = 256 for an image of 200 distinct levels, for each level."""
    levels = np.repeat(np.arange(20, 220), 256).reshape(200, 256)
    image = np.stack([levels] * 3, axis=-1).astype(np.float32) / 255
    made = noise(gaussian=0).add(image, np.random.default_rng(0)) - image
    expected = 2**2 * levels[:, 0] / 255 / 256
    assert np.abs(made.mean(axis=(1, 2)) / np.sqrt(expected / 768)).max() < 4.5
    ratio = made.var(axis=(1, 2)) / expected
    assert ratio.mean() == pytest.approx(1, abs=4 * math.sqrt(2 / 768 / 200))
    assert np.abs(ratio - 1).max() < 5 * math.sqrt(2 / 768)


def test_resizing_is_one_of_three_interpolations(photograph):
    planes = torch.from_numpy(photograph).permute(2, 0, 1)[None]
    expected = {
        mode: F.interpolate(planes, (40, 150), mode=mode)[0].permute(1, 2, 0).numpy()
        for mode in ("area", "bilinear", "bicubic")
    }
    found = []
    for seed in range(20):
        made = resize(photograph, (40, 150), np.random.default_rng(seed))
        found += [mode for mode, image in expected.items() if np.array_equal(made, image)]
    assert len(found) == 20
    assert set(found) == set(expected)


def test_factors_come_from_the_ranges_as_often_as_asked():
    draw = RandomResize(up=0.2, down=0.7, factors=[0.15, 1.5])
    factors = np.array([draw.draw(np.random.default_rng(seed)) for seed in range(1000)])
    assert 0.15 <= factors.min() < 0.2
    assert 1.4 < factors.max() <= 1.5
    for count, share in ((factors > 1, 0.2), (factors < 1, 0.7), (factors == 1, 0.1)):
        assert abs(count.mean() - share) < 4 * math.sqrt(share * (1 - share) / 1000)


@pytest.mark.parametrize(
    ("make", "fault"),
    [
        (lambda: noise(gray=2), r"noise.gray must lie in 0..1, got 2"),
        (lambda: noise(poisson_scale=[1]), r"noise.poisson_scale must be \[low, high\]"),
        (lambda: RandomResize(up=0.6, down=0.6, factors=[0.5, 2]), r"up \+ resize.down must lie in 0..1"),
        (lambda: RandomResize(up=0.5, down=0.5, factors=[1.2, 2]), r"factors that include 1"),
    ],
)
def test_impossible_steps_are_refused(make, fault):
    with pytest.raises(ValueError, match=fault):
        make()
