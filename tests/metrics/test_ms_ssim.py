import numpy as np
import pytest
import torch
from scipy.signal import convolve2d

from srlab.metrics.registry import find_metric

EXPONENTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def ms_ssim_of_the_paper(a, b):
    """Independent float64 version: the 11x11 window as one kernel, means of 2x2 pixels as slices."""
    offsets = np.arange(11) - 5
    window = np.exp(-(offsets[:, None] ** 2 + offsets[None] ** 2) / (2 * 1.5**2))
    window /= window.sum()

    def mean(image):
        return convolve2d(image, window, mode="valid")

    product = 1.0
    for scale, exponent in enumerate(EXPONENTS):
        if scale:
            a, b = (
                sum(
                    np.pad(each, [(0, side % 2) for side in each.shape], "edge")[y::2, x::2]
                    for y in (0, 1)
                    for x in (0, 1)
                )
                / 4
                for each in (a, b)
            )
        covariance = mean(a * b) - mean(a) * mean(b)
        variances = mean(a * a) - mean(a) ** 2 + mean(b * b) - mean(b) ** 2
        c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
        term = (2 * covariance + c2) / (variances + c2)
        if scale == 4:
            term = term * (2 * mean(a) * mean(b) + c1) / (mean(a) ** 2 + mean(b) ** 2 + c1)
        product *= term.mean() ** exponent
    return product


@pytest.mark.parametrize("size", [(176, 192), (161, 203)])
def test_ms_ssim_equals_the_paper(size):
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, (size[0] // 8 + 1, size[1] // 8 + 1))
    reference = np.kron(coarse, np.ones((8, 8)))[: size[0], : size[1]]
    restored = np.clip(reference + generator.normal(0, 25, size), 0, 255)
    pair = (torch.from_numpy(each)[None, None] for each in (restored, reference))
    expected = ms_ssim_of_the_paper(restored, reference)
    assert 0.1 < expected < 0.999
    assert find_metric("ms_ssim")(*pair, peak=255.0).item() == pytest.approx(expected, abs=1e-12)


def test_images_too_small_for_five_scales_are_refused():
    small = torch.zeros(1, 1, 160, 300)
    with pytest.raises(ValueError, match="MS-SSIM needs at least 161x161 pixels, got 160x300"):
        find_metric("ms_ssim")(small, small, peak=1.0)


def test_opposite_images_score_nothing():
    image = torch.rand(1, 3, 170, 170, generator=torch.Generator().manual_seed(0))
    assert find_metric("ms_ssim")(1 - image, image, peak=1.0).item() == 0
