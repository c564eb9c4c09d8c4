"""What figures show: the Pareto front against its definition, mean curves against the statistics module."""

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extensions.report.synthetic_runs import write_run
from srlab.extensions.report import compare, read_runs
from srlab.extensions.report.curves import curve_panels
from srlab.extensions.report.pareto import pareto_front, pareto_points


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
    points = pareto_points(compare(read_runs(folders)), "latency")
    assert [(point.cost, point.psnr.mean, point.on_front) for point in points] == [
        (10.0, 30.0, True), (30.0, 31.0, True), (20.0, 29.0, False),
    ]  # fmt: skip
    assert (points[0].low, points[0].high) == pytest.approx((9.0, 12.0))


def curves_of(tmp_path, *texts, psnr=30.0):
    folders = []
    for seed, text in enumerate(texts):
        folders.append(write_run(tmp_path / str(seed), psnr=psnr, seed=seed))
        (folders[-1] / "metrics.csv").write_text(text)
    panels = dict(curve_panels(compare(read_runs(folders))))
    return panels["validation PSNR (dB)"]


def test_a_band_is_the_sample_deviation_at_common_steps(tmp_path):
    [curve] = curves_of(tmp_path, "step,val/psnr\n10,20\n20,22\n30,99\n", "step,val/psnr\n10,21\n20,26\n")
    assert (curve.steps, curve.means) == ((10, 20), (20.5, 24.0))
    assert curve.stds == pytest.approx([statistics.stdev([20, 21]), statistics.stdev([22, 26])])


def test_of_unfinished_runs_the_longest_is_drawn(tmp_path):
    [curve] = curves_of(tmp_path, "step,val/psnr\n10,20\n", "step,val/psnr\n10,21\n20,26\n", psnr=None)
    assert (curve.steps, curve.stds, curve.configuration.finished) == ((10, 20), None, ())


def test_a_long_curve_is_thinned_to_means_of_neighbours(tmp_path):
    rows = "".join(f"{step},{step}\n" for step in range(1, 1001))
    [curve] = curves_of(tmp_path, "step,val/psnr\n" + rows)
    assert len(curve.steps) == 250
    assert (curve.steps[0], curve.means[0]) == (4, 2.5)
    assert curve.steps[-1] == 1000


def test_every_metric_that_was_logged_has_a_panel(tmp_path):
    run = write_run(tmp_path / "run", psnr=30.0)
    (run / "metrics.csv").write_text(
        "step,val/Set5/psnr,val/lpips,train/loss,val/psnr,lr\n10,1,0.2,0.1,30,1\n"
    )
    titles = [title for title, _ in curve_panels(compare(read_runs(run)))]
    assert titles == ["validation PSNR (dB)", "training loss", "validation LPIPS"]
