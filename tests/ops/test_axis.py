"""Oracles: LIIF's formulas, and centres of pixels in rational arithmetic."""

import math
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from srlab.ops.axis import Axis, corresponding_sides, exact_scale


@given(side=st.integers(1, 4000), scale=st.sampled_from([1, 2, 3, 4, 6, 8, 1.5, 2.7, 3.3, 1.1, 3.99]))
def test_sides_are_those_of_liif_but_for_halves(side: int, scale: float):
    """github.com/yinboc/liif at 4c833f8f, datasets/wrappers.py: floor(side / s + 1e-9), then round."""
    lr_side, hr_side = corresponding_sides(side, scale)
    assert lr_side == math.floor(side / scale + 1e-9)
    assert hr_side <= side
    covered = lr_side * exact_scale(scale)
    if covered.denominator != 2:
        assert hr_side == round(covered)


def test_sides_of_whole_scales_are_multiples_and_halves_are_rounded_up():
    assert corresponding_sides(23, 4) == (5, 20)
    assert corresponding_sides(14, 2.7) == (5, 14)  # 13.5
    assert corresponding_sides(2, 2.7) == (0, 0)


@given(
    lr_side=st.integers(1, 40),
    side=st.integers(1, 200),
    cuts=st.lists(st.integers(0, 40), max_size=4),
    start=st.integers(0, 5),
)
def test_each_pixel_is_between_the_cuts_around_its_centre(lr_side, side, cuts, start):
    edges = sorted({0, lr_side, *(cut for cut in cuts if cut < lr_side)})
    parts = [Axis.whole(lr_side, side).between(begin, end, start=start) for begin, end in pairwise(edges)]
    assert [pixel for part in parts for pixel in range(part.first, part.stop)] == list(range(side))
    for part, (begin, end) in zip(parts, pairwise(edges), strict=True):
        for pixel in range(part.first, part.stop):
            assert begin <= Fraction(2 * pixel + 1, 2) * Fraction(lr_side, side) < end
        assert (part.lr_side, part.side, part.start) == (lr_side, side, start)


@pytest.mark.parametrize(
    ("scale", "exact"), [(2.7, Fraction(27, 10)), (3, Fraction(3)), (0.1, Fraction(1, 10))]
)
def test_a_scale_is_the_number_that_was_written(scale: float, exact: Fraction):
    assert exact_scale(scale) == exact
