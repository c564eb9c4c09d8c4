"""Shift schedules by closed form, channel shifts by hand and against recorded outputs."""

import pytest
import torch
from torch.testing import assert_close

from golden_files import load_golden
from srlab.ops.shift import (
    resolve_shift_schedule,
    shift_channels,
    shift_channels_by_convolution,
    shift_kernel,
)

N, Y = False, True


@pytest.mark.parametrize(
    ("schedule", "depths", "expected"),
    [
        ("alternate", [5], (N, Y, N, Y, N)),
        ("alternate", [2, 2], (N, Y, N, Y)),
        ("alternate", [3, 2], (N, Y, N, N, Y)),  # counted anew in every group
        ("every", [2, 1], (Y, Y, Y)),
        ("none", [3], (N, N, N)),
        ("late", [8], (N, N, N, N, N, Y, N, Y)),
        ("late", [6], (N, N, N, Y, N, Y)),  # index 3 = n / 2 belongs to the second half
        ("late", [5], (N, N, N, Y, N)),
        ([0, 1, True], [2, 1], (N, Y, Y)),
    ],
)
def test_schedules_by_definition(schedule, depths, expected):
    assert resolve_shift_schedule(schedule, depths) == expected


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (
            "odd",
            r"unknown shift_schedule 'odd'; choose one of alternate, every, none, late, or give a list of 3",
        ),
        ([0, 1], r"has 2 entries, but the network has 3 blocks that could shift; give exactly 3"),
        ([0, 1, 0, 1], r"has 4 entries, but the network has 3"),
        ([0, 1, 2], r"only true/false"),
        (["no", "yes", "no"], r"only true/false"),
    ],
)
def test_schedules_that_fit_no_network_are_refused(schedule, message):
    with pytest.raises(ValueError, match=message):
        resolve_shift_schedule(schedule, [3])


@pytest.mark.parametrize("shift", [shift_channels, shift_channels_by_convolution])
def test_each_fifth_reads_its_neighbour_and_the_remainder_itself(shift):
    """Oracle: loops over pixels, the definition."""
    x = torch.rand(2, 13, 3, 4)
    expected = torch.zeros_like(x)
    for channel in range(13):
        dy, dx = ((0, 1), (0, -1), (1, 0), (-1, 0), (0, 0), (0, 0))[channel // 2] if channel < 8 else (0, 0)
        for row in range(3):
            for column in range(4):
                if 0 <= row + dy < 3 and 0 <= column + dx < 4:
                    expected[:, channel, row, column] = x[:, channel, row + dy, column + dx]
    assert_close(shift(x), expected, rtol=0, atol=0)


def test_kernel_and_shifted_map_are_the_official_ones():
    golden = load_golden("elan/blocks_shiftconv_lfe.npz")
    assert_close(shift_kernel(18), golden.arrays["shiftconv_dw/w/weight"], rtol=0, atol=0)
    shifted = golden.arrays["shiftconv_dw/shifted"]
    assert_close(shift_channels(golden.arrays["x"].double()), shifted, rtol=0, atol=0)


@pytest.mark.parametrize("channels", [3, 10, 18])
def test_gradients_of_the_moving_form_are_right_to_second_order(channels):
    x = torch.rand(1, channels, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(shift_channels, x)
    assert torch.autograd.gradgradcheck(lambda tensor: shift_channels(tensor) ** 2, x)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_memory_layout_is_kept(memory_format):
    x = torch.rand(2, 10, 6, 6).contiguous(memory_format=memory_format)
    assert shift_channels(x).is_contiguous(memory_format=memory_format)
