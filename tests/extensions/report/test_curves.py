"""Learning curves: means over what all runs of a configuration have."""

import statistics

import pytest

from extensions.report.synthetic_runs import write_run
from srlab.extensions.report import compare, read_runs
from srlab.extensions.report.curves import configuration_curves


def curves_of(tmp_path, *texts, psnr=30.0, **config):
    folders = []
    for seed, text in enumerate(texts):
        folders.append(write_run(tmp_path / str(seed), psnr=psnr, seed=seed, **config))
        (folders[-1] / "metrics.csv").write_text(text)
    return configuration_curves(compare(read_runs(folders)), "val/psnr")


def test_a_band_is_the_sample_deviation_at_common_steps(tmp_path):
    [curve] = curves_of(tmp_path, "step,val/psnr\n10,20\n20,22\n30,99\n", "step,val/psnr\n10,21\n20,26\n")
    assert (curve.steps, curve.means) == ((10, 20), (20.5, 24.0))
    assert curve.stds == pytest.approx([statistics.stdev([20, 21]), statistics.stdev([22, 26])])


def test_of_unfinished_runs_the_longest_is_drawn(tmp_path):
    [curve] = curves_of(tmp_path, "step,val/psnr\n10,20\n", "step,val/psnr\n10,21\n20,26\n", psnr=None)
    assert (curve.steps, curve.stds, curve.of_finished) == ((10, 20), None, False)


def test_a_long_curve_is_thinned_to_means_of_neighbours(tmp_path):
    rows = "".join(f"{step},{step}\n" for step in range(1, 1001))
    [curve] = curves_of(tmp_path, "step,val/psnr\n" + rows)
    assert len(curve.steps) == 250
    assert (curve.steps[0], curve.means[0]) == (4, 2.5)
    assert curve.steps[-1] == 1000
