"""The front against its definition, tried on every pair."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extensions.report.synthetic_runs import write_run
from srlab.extensions.report import compare, read_runs
from srlab.extensions.report.pareto import COST_AXES, pareto_front, pareto_points


def dominates(one, other):
    return one[0] <= other[0] and one[1] >= other[1] and one != other


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=12))
def test_the_front_is_what_no_other_dominates(points):
    expected = {
        place for place, point in enumerate(points) if not any(dominates(other, point) for other in points)
    }
    assert pareto_front(points) == expected


def test_points_are_of_configurations_with_both_score_and_cost(tmp_path):
    runs = [
        {"psnr": 30.0, "n_share": 0, "latency_ms": 10.0}, {"psnr": 31.0, "n_share": 1, "latency_ms": 30.0},
        {"psnr": 29.0, "n_share": 2, "latency_ms": 20.0}, {"psnr": None, "n_share": 3, "latency_ms": 1.0},
    ]  # fmt: skip
    folders = [write_run(tmp_path / str(number), **run) for number, run in enumerate(runs)]
    points = pareto_points(compare(read_runs(folders)), COST_AXES["latency"])
    assert [(point.cost, point.psnr.mean, point.on_front) for point in points] == [
        (10.0, 30.0, True), (30.0, 31.0, True), (20.0, 29.0, False),
    ]  # fmt: skip
    assert points[0].cost_range == pytest.approx((9.0, 12.0))
