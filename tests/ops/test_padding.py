"""Padding against NumPy's repeated reflection."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from srlab.ops.padding import pad_to_multiple, reflected_positions


@pytest.mark.parametrize("multiple", [1, 4, 16, 24])
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (2, 3), (8, 9), (16, 16), (17, 30)])
def test_padding_is_numpys_reflection_however_small_the_image(size, multiple):
    """Oracle: numpy.pad(mode="reflect"), which reflects repeatedly and replicates single pixels."""
    image = torch.rand(2, 3, *size)
    bottom, right = (-side % multiple for side in size)
    expected = np.pad(image.numpy(), ((0, 0), (0, 0), (0, bottom), (0, right)), mode="reflect")
    assert_close(pad_to_multiple(image, multiple), torch.from_numpy(expected), rtol=0, atol=0)


def test_positions_repeat_with_period_two_n_minus_two():
    assert reflected_positions(3, 9) == [0, 1, 2, 1, 0, 1, 2, 1, 0]
    assert reflected_positions(1, 4) == [0, 0, 0, 0]


def test_an_image_that_needs_no_padding_is_not_copied():
    image = torch.rand(1, 3, 8, 16)
    assert pad_to_multiple(image, 8) is image


def test_gradient_counts_how_often_a_pixel_is_shown():
    image = torch.ones(1, 1, 1, 2, requires_grad=True)
    pad_to_multiple(image, 5).sum().backward()
    assert_close(image.grad, torch.tensor([[[[15.0, 10.0]]]]))
