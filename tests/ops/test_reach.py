"""The oracle of single steps is enumeration: which positions each output reads, written out."""

import pytest
import torch

from srlab.ops.reach import (
    Alternatives,
    Interpolation,
    Neighbours,
    Reflection,
    Upsampling,
    Windows,
    describe_reach,
    reaching_interval,
)


def intervals(steps, positions, end=None):
    first, last = reaching_interval(
        steps, torch.tensor(positions), None if end is None else torch.tensor(end)
    )
    return list(zip(first.tolist(), last.tolist(), strict=True))


def test_a_convolution_reads_its_radius_to_either_side():
    assert intervals([Neighbours(2)], [0, 5]) == [(-2, 2), (3, 7)]


def test_a_window_is_read_by_all_of_its_positions_also_left_of_zero():
    assert intervals([Windows(4)], [-1, 0, 3, 4]) == [(-4, -1), (0, 3), (0, 3), (4, 7)]


def test_a_shifted_window_starts_half_a_side_later():
    assert intervals([Windows(4, shift=2)], [1, 2, 5]) == [(-2, 1), (2, 5), (2, 5)]


def test_a_context_adds_a_window_on_either_side():
    assert intervals([Windows(4, beyond=1)], [5]) == [(0, 11)]


def test_windows_side_by_side_read_what_the_largest_does():
    assert intervals([Alternatives((Windows(2), Windows(8)))], [3]) == [(0, 7)]
    assert intervals([Alternatives((Windows(4), Windows(6)))], [5]) == [(0, 7)]  # 4..7 and 0..5


def test_upsampling_gives_each_position_several():
    assert intervals([Upsampling(3)], [-1, 0, 2, 3]) == [(-1, -1), (0, 0), (0, 0), (1, 1)]


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_interpolation_reads_the_taps_around_a_centre(factor):
    for position in range(-7, 8):
        centre = (position + 0.5) / factor - 0.5
        floor = int(centre // 1)
        assert intervals([Interpolation(factor, taps=2)], [position]) == [(floor, floor + 1)]
        assert intervals([Interpolation(factor, taps=4)], [position]) == [(floor - 1, floor + 2)]


def test_reflection_reads_what_is_mirrored_beyond_the_end():
    # of 6 positions, padded to 8: 0 1 2 3 4 5 4 3
    assert intervals([Reflection(4), Windows(4)], [5], end=6) == [(3, 5)]
    # of 5: 0 1 2 3 4 3 2 1
    assert intervals([Reflection(4), Windows(4)], [4], end=5) == [(1, 4)]
    assert intervals([Reflection(4), Windows(4)], [3], end=5) == [(0, 3)]


def test_steps_are_followed_from_the_last_to_the_first():
    assert intervals([Neighbours(1), Windows(4)], [0]) == [(-1, 4)]
    assert intervals([Windows(4), Neighbours(1)], [0]) == [(-4, 3)]


def test_the_grid_is_the_least_common_multiple_and_the_halo_a_multiple_of_it():
    steps = [Neighbours(1), Windows(4), Windows(6, shift=3, wraps=True)]
    reach = describe_reach(steps, scale=1, size_multiple=8)
    assert reach.alignment == 24
    assert reach.wraps
    # from position 8: the shifted window is 3..8, those of 4 make 0..11, the convolution -1..12
    assert reach.pixels == 9
    assert reach.halo == reach.full_halo == 24


def test_a_measured_halo_never_exceeds_the_full_one():
    steps = [Neighbours(3)]
    assert describe_reach(steps, scale=1, size_multiple=1, measured_halo=2).halo == 2
    assert describe_reach(steps, scale=1, size_multiple=1, measured_halo=9).halo == 3


def test_reflection_inside_a_network_can_lengthen_its_reach():
    steps = [Windows(6), Reflection(4), Windows(4)]
    ends = range(24, 48)
    longest = max(
        position - first
        for end in ends
        for position in range(end - 12, end)
        for first, _ in intervals(steps, [position], end)
    )
    assert describe_reach(steps, scale=1, size_multiple=1).pixels == longest
