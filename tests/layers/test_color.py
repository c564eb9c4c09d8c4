"""The mean colour."""

import torch
from torch.testing import assert_close

from srlab.layers.color import rgb_mean


def test_mean_is_rounded_to_float32_as_in_the_published_networks():
    expected = torch.tensor([114.444, 111.4605, 103.02]).view(3, 1, 1)
    assert rgb_mean().dtype == torch.float32
    assert_close(rgb_mean(255.0), expected)
