"""Transparency: no fringes, against mattes that are known."""

import numpy as np
import pytest
import torch
from tests.extensions.upscale.pictures import bicubic

from srlab.extensions.upscale.picture import Picture, from_samples
from srlab.extensions.upscale.planes import bleed, enlarge_picture
from srlab.models.bicubic import Bicubic
from srlab.models.network import Network
from srlab.tasks.restoration import Restoration

RED = np.array([1.0, 0.25, 0.125], np.float32)


def disc(side=24):
    """(side, side) coverage of a disc, its edge smooth."""
    y, x = np.mgrid[:side, :side]
    return (8.5 - np.hypot(y - side / 2, x - side / 2)).clip(0, 1).astype(np.float32)


def on_black(alpha):
    """What editors store: a red disc, and black wherever nothing is visible."""
    return np.where(alpha[..., None] > 0, RED, 0).astype(np.float32)


def enlarged(picture, network=None, scale=2):
    size = tuple(scale * side for side in picture.size)
    return enlarge_picture(picture, network or Bicubic(scale=scale), size, Restoration())


def test_a_disc_of_one_colour_has_that_colour_everywhere():
    """Over any background it is then the matte's own mixture: no dark fringe."""
    alpha = disc()
    result = enlarged(Picture(on_black(alpha), alpha))
    np.testing.assert_allclose(result.colors, np.broadcast_to(RED, result.colors.shape), atol=1e-6)
    levels = np.rint(alpha * 255).astype(np.uint8)
    exact = enlarged(Picture(on_black(alpha), from_samples(levels)[0][..., 0]))
    assert exact.alpha is not None
    np.testing.assert_allclose(
        np.floor(exact.alpha.clip(0, 1) * 255 + 0.5), bicubic(levels).astype(float), atol=1
    )


def test_without_bleeding_the_same_disc_has_a_dark_fringe():
    """The test above can fail: plain interpolation of the stored colours is darker at the edge."""
    alpha = disc()
    plain = enlarged(Picture(on_black(alpha)))
    matte = enlarged(Picture(on_black(alpha), alpha)).alpha
    assert matte is not None
    assert (plain.colors[matte > 0.3, 0] < 0.95).any()


def test_invisible_pixels_take_the_colour_of_the_nearest_visible_one():
    """Oracle: all distances by brute force; where two are equally near, either will do."""
    generator = np.random.default_rng(0)
    colors = generator.random((9, 11, 3), dtype=np.float32)
    visible = generator.random((9, 11)) < 0.2
    filled = bleed(colors, visible)
    places = np.argwhere(visible)
    for y, x in np.argwhere(~visible):
        distances = np.hypot(places[:, 0] - y, places[:, 1] - x)
        # the mask of 5x5 measures with an error of up to 2 %
        near = places[distances <= distances.min() * 1.05]
        assert any(np.array_equal(filled[y, x], colors[a, b]) for a, b in near)
    np.testing.assert_array_equal(filled[visible], colors[visible])


@pytest.mark.parametrize("visible", [np.zeros((2, 3), bool), np.ones((2, 3), bool)])
def test_nothing_bleeds_where_nothing_or_everything_is_visible(visible):
    colors = np.arange(18, dtype=np.float32).reshape(2, 3, 3)
    np.testing.assert_array_equal(bleed(colors, visible), colors)


class Counting(Network):
    """Repeats pixels, and counts its calls."""

    calls = 0

    def restore(self, lr_image):
        self.calls += 1
        # gray goes in as three equal channels
        return torch.repeat_interleave(torch.repeat_interleave(lr_image, 2, -1), 2, -2)


def test_alpha_goes_through_the_network_unless_it_is_constant():
    network, colors = Counting(scale=2), np.full((4, 5, 3), 0.5, np.float32)
    alpha = np.linspace(0.2, 1, 20, dtype=np.float32).reshape(4, 5)
    result = enlarged(Picture(colors, alpha), network)
    assert network.calls == 2
    assert result.alpha is not None
    np.testing.assert_allclose(result.alpha, alpha.repeat(2, 0).repeat(2, 1), atol=1e-6)
    constant = enlarged(Picture(colors, np.full((4, 5), 0.25, np.float32)), network)
    assert network.calls == 3
    assert constant.alpha is not None
    assert (constant.alpha == 0.25).all()


def test_gray_is_the_mean_of_what_the_network_makes_of_it():
    class Tinted(Network):
        def restore(self, lr_image):
            return lr_image + torch.tensor([0.0, 0.1, 0.5])[:, None, None]

    gray = np.linspace(0, 0.4, 12, dtype=np.float32).reshape(3, 4, 1)
    result = enlarge_picture(Picture(gray), Tinted(scale=1), (3, 4), Restoration())
    # of the same size, the network is not needed
    np.testing.assert_allclose(result.colors, gray, atol=1e-7)
    network = Tinted(scale=1)
    wide = enlarge_picture(Picture(gray), network, (3, 8), Restoration())
    assert wide.colors.shape == (3, 8, 1)
    assert float(wide.colors.mean()) == pytest.approx(float(gray.mean()) + 0.2, abs=1e-3)
