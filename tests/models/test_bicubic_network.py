"""Bicubic as a network."""

import pytest
import torch
from torch.testing import assert_close

from official_networks import counted, detect
from srlab.models.bicubic import Bicubic
from srlab.ops.resize import imresize


@pytest.mark.parametrize("size", [(1, 1), (5, 9)])
@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_enlarges_like_matlab_without_rounding(scale, size):
    image = torch.rand(2, 3, *size, dtype=torch.float64)
    result = Bicubic(scale=scale)(image)
    assert result.shape == (2, 3, scale * size[0], scale * size[1])
    assert_close(result, imresize(image, scale=scale, mode="float"), rtol=0, atol=0)


def test_a_linear_ramp_stays_linear_inside():
    """Cubic convolution reproduces linear functions exactly."""
    ramp = torch.arange(12, dtype=torch.float64).view(1, 1, 1, 12).expand(1, 3, 12, 12) / 12
    steps = Bicubic(scale=2)(ramp)[0, 0, 12, 6:18].diff()
    assert_close(steps, torch.full_like(steps, 1 / 24), rtol=0, atol=1e-6)


def test_has_nothing_to_train_and_no_files():
    network = Bicubic(scale=2)
    assert counted(network) == (0, 0)
    assert detect(Bicubic, {"a": torch.zeros(1)}) is None


def test_a_fractional_scale_is_refused():
    with pytest.raises(ValueError, match=r"scale must be an integer of at least 1, got 2.5"):
        Bicubic(scale=2.5)
