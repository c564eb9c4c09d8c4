import math

import cv2
import numpy as np
import pytest
from scipy import special
from scipy.spatial.distance import cdist
from scipy.stats import multivariate_normal

from srlab.data.blur_kernels import (
    KINDS,
    RandomBlur,
    RandomSinc,
    gaussian_kernel,
    plateau_kernel,
    sinc_kernel,
)

EVEN = dict.fromkeys(KINDS, 1 / len(KINDS))


def positions(side):
    """(side * side, 2) of x and y from the middle, row by row."""
    line = np.arange(side) - (side - 1) / 2
    return np.array([(x, y) for y in line for x in line])


def covariance(sigmas, angle):
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return turn @ np.diag(np.square(sigmas)) @ turn.T


def blur(**changes):
    sinc = RandomSinc(probability=0, sides=[7, 21], cutoffs=[[7, 1 / 3], [13, 0.2]])
    given = {"probability": 1, "kinds": EVEN, "sigma": [0.2, 3], "generalized_shape": [0.5, 4]}
    return RandomBlur(**{**given, "plateau_shape": [1, 2], "sinc": sinc, **changes})


def draws(blur_or_sinc, count=400):
    return [blur_or_sinc.draw(np.random.default_rng(seed)) for seed in range(count)]


def test_round_gaussians_are_opencvs():
    line = cv2.getGaussianKernel(15, 1.7)
    np.testing.assert_allclose(gaussian_kernel(15, (1.7, 1.7), 0.4), line @ line.T, rtol=1e-12)


def test_turned_gaussians_are_normal_densities():
    density = multivariate_normal(cov=covariance((2.5, 0.8), 0.7)).pdf(positions(21)).reshape(21, 21)
    made = gaussian_kernel(21, (2.5, 0.8), 0.7)
    np.testing.assert_allclose(made, density / density.sum(), rtol=1e-9)
    assert made[10 + 2, 10 + 2] > 2 * made[10 - 2, 10 + 2]  # along the diagonal x = y, in rows and columns


@pytest.mark.parametrize(
    ("made", "of_distance"),
    [
        (gaussian_kernel(13, (2.0, 1.0), -1.1, shape=0.6), lambda d: np.exp(-(d ** (2 * 0.6)) / 2)),
        (plateau_kernel(13, (2.0, 1.0), -1.1, shape=1.4), lambda d: 1 / (1 + d ** (2 * 1.4))),
    ],
)
def test_other_kernels_are_functions_of_the_mahalanobis_distance(made, of_distance):
    inverse = np.linalg.inv(covariance((2.0, 1.0), -1.1))
    distance = cdist(positions(13), np.zeros((1, 2)), "mahalanobis", VI=inverse).reshape(13, 13)
    expected = of_distance(distance)
    np.testing.assert_allclose(made, expected / expected.sum(), rtol=1e-9)


def test_sinc_kernels_are_scipys_bessel_functions():
    radius = np.hypot(*positions(21).T).reshape(21, 21)
    with np.errstate(invalid="ignore"):
        expected = 1.9 * special.j1(1.9 * radius) / (2 * np.pi * radius)
    expected[10, 10] = 1.9**2 / (4 * np.pi)
    # between 4.1 and 10.8 torch's Bessel function is up to 5e-7 off
    np.testing.assert_allclose(sinc_kernel(21, 1.9), expected / expected.sum(), rtol=0, atol=1e-7)


def test_sinc_kernels_pass_low_frequencies_and_stop_high_ones():
    """Oracle: the discrete Fourier transform of a wide one."""
    response = np.abs(np.fft.fft2(sinc_kernel(201, math.pi / 3)))
    frequency = 2 * np.pi * np.hypot(*np.meshgrid(*2 * [np.fft.fftfreq(201)]))
    assert np.abs(response[frequency < 0.8] - 1).max() < 0.1
    assert response[frequency > 1.3].max() < 0.1


def test_every_draw_is_an_odd_kernel_with_the_sum_one_that_is_symmetric_about_its_middle():
    kernels = draws(blur(sinc=RandomSinc(probability=0.2, sides=[7, 21], cutoffs=[[7, 1 / 3], [13, 0.2]])))
    assert {len(kernel) for kernel in kernels} == set(range(7, 22, 2))
    for kernel in kernels:
        assert kernel.sum() == pytest.approx(1)
        np.testing.assert_allclose(kernel, kernel[::-1, ::-1], rtol=1e-7, atol=1e-15)


def test_kinds_and_low_passes_come_as_often_as_asked():
    """Within four standard deviations of a binomial count."""
    kernels = draws(blur(probability=0.8, kinds={"iso": 0.75, "aniso": 0.25}))
    given = [kernel for kernel in kernels if kernel is not None]
    assert abs(len(given) - 320) < 4 * math.sqrt(400 * 0.8 * 0.2)
    iso = sum(np.allclose(kernel, kernel.T, rtol=1e-9, atol=0) for kernel in given)
    assert abs(iso - 0.75 * len(given)) < 4 * math.sqrt(len(given) * 0.75 * 0.25)
    sinc = RandomSinc(probability=0.3, sides=[7, 9], cutoffs=[[7, 0.5]])
    low_passes = [kernel for kernel in draws(sinc) if kernel is not None]
    assert abs(len(low_passes) - 120) < 4 * math.sqrt(400 * 0.3 * 0.7)
    # the middle, w^2 / 4 pi before the sum is made 1, grows with w
    bounds = sorted(sinc_kernel(7, math.pi * cutoff)[3, 3] for cutoff in (0.5, 1))
    middles = [kernel[3, 3] for kernel in low_passes if len(kernel) == 7]
    assert bounds[0] <= min(middles)
    assert max(middles) <= bounds[1]


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"probability": -0.1}, r"probability of a blur must lie in 0..1, got -0.1"),
        ({"kinds": {"iso": 0.5}}, r"kinds of blur must be probabilities .* add up to 1, got {'iso': 0.5}"),
        ({"kinds": {"box": 1}}, r"kinds of blur must be probabilities of iso"),
        ({"sigma": [3, 1]}, r"sigma must be \[low, high\] within"),
        ({"plateau_shape": [2, 3]}, r"plateau_shape must include 1, got \[2, 3\]"),
    ],
)
def test_impossible_blurs_are_refused(changes, fault):
    with pytest.raises(ValueError, match=fault):
        blur(**changes)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"sides": [6, 20]}, r"sides of kernels must be \[least, most\], odd .* got \[6, 20\]"),
        ({"cutoffs": [[9, 0.5]]}, r"the first for the least side of 7; got \[\[9, 0.5\]\]"),
        ({"cutoffs": [[7, 1.5]]}, r"w in 0..1"),
    ],
)
def test_impossible_low_passes_are_refused(changes, fault):
    with pytest.raises(ValueError, match=fault):
        RandomSinc(**{"probability": 0.5, "sides": [7, 21], "cutoffs": [[7, 0.5]], **changes})
