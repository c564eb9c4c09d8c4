"""Y'CbCr and RGB against the closed forms of H.273, and OpenCV."""

import cv2
import numpy as np
import pytest

from srlab.extensions.upscale.film_colors import Colors, describe_colors, from_rgb, to_rgb

RED = np.broadcast_to(np.float32([1, 0, 0]), (4, 4, 3))


@pytest.mark.parametrize(
    ("matrix", "full", "bits", "expected"),
    [
        (1, False, 8, (63, 102, 240)),  # published levels of 100% red
        (6, False, 8, (81, 90, 240)),
        (1, False, 10, (250, 409, 960)),
        (9, False, 10, (294, 387, 960)),
        (6, True, 8, (76, 85, 255)),
    ],
)
def test_red_has_the_published_levels(matrix, full, bits, expected):
    planes = from_rgb(RED, Colors(matrix, full, bits, 2, 2))
    assert [int(plane[0, 0]) for plane in planes] == list(expected)
    assert [plane.shape for plane in planes] == [(4, 4), (2, 2), (2, 2)]


def test_full_range_bt601_is_opencvs():
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    y, cr, cb = np.moveaxis(cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb).astype(int), 2, 0)
    ours = from_rgb(np.float32(image / 255), Colors(6, True, 8, 1, 1))
    for plane, theirs in zip(ours, (y, cb, cr), strict=True):
        assert np.abs(plane.astype(int) - theirs).max() <= 1


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p10le", "yuv444p12le", "yuvj420p"])
@pytest.mark.parametrize("matrix", [1, 6, 9])
def test_linear_ramps_survive_there_and_back(pixel_format, matrix):
    """Linear interpolation and symmetric means keep linear functions, borders apart."""
    colors = describe_colors(pixel_format, matrix, 1, 480)
    across, down = np.meshgrid(np.linspace(0.2, 0.8, 32), np.linspace(0.3, 0.7, 24))
    image = np.stack([across, down, 1 - across], axis=2).astype(np.float32)
    back = to_rgb(tuple(plane.astype(np.float32) for plane in from_rgb(image, colors)), colors)
    assert np.abs(back - image)[2:-2, 2:-2].max() < 3 / 2**colors.bits


def test_an_unspecified_matrix_depends_on_the_height():
    assert describe_colors("yuv420p", 2, 0, 576).matrix == 6
    assert describe_colors("yuv420p", 2, 0, 720).matrix == 1


@pytest.mark.parametrize(("name", "matrix"), [("rgb24", 1), ("yuva420p", 1), ("yuv420p", 14)])
def test_other_pixels_are_refused_by_name(name, matrix):
    with pytest.raises(ValueError, match=f"{name if matrix == 1 else matrix}.*convert it first"):
        describe_colors(name, matrix, 0, 480)
