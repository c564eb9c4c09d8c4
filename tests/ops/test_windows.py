"""Windows against slices cut by hand."""

import pytest
import torch
from torch.testing import assert_close

from srlab.ops.windows import merge_windows, roll_map, split_windows


def test_windows_are_taken_row_by_row():
    """Oracle: the same windows by plain slicing."""
    x = torch.arange(2 * 4 * 6 * 3).view(2, 4, 6, 3)
    by_hand = [
        image[top : top + 2, left : left + 2].reshape(4, 3)
        for image in x
        for top in range(0, 4, 2)
        for left in range(0, 6, 2)
    ]
    windows = split_windows(x, 2)
    assert windows.shape == (4, 3, 4, 3)
    assert_close(windows.flatten(0, 1), torch.stack(by_hand), rtol=0, atol=0)


@pytest.mark.parametrize("side", [1, 2, 4])
def test_merging_undoes_splitting(side):
    x = torch.rand(3, 4, 8, 5)
    assert_close(merge_windows(split_windows(x, side), side, 4), x, rtol=0, atol=0)


@pytest.mark.parametrize("size", [(4, 5), (5, 4)])
def test_a_map_that_windows_do_not_fill_is_refused(size):
    with pytest.raises(
        ValueError, match=rf"{size[0]}x{size[1]}, not a multiple of the window side 2; pad it first"
    ):
        split_windows(torch.rand(1, *size, 3), 2)


def test_rolling_up_and_left_brings_the_inner_pixel_to_the_corner():
    x = torch.arange(16.0).view(1, 4, 4, 1)
    assert roll_map(x, -1)[0, 0, 0, 0] == x[0, 1, 1, 0]
    assert_close(roll_map(roll_map(x, -3), 3), x, rtol=0, atol=0)
    assert roll_map(x, 0) is x
