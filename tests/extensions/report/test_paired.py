"""Paired differences: intervals and power against scipy's t tests, drawn resamples and simulations."""

import numpy as np
import pytest
from scipy import stats

from extensions.report.synthetic_runs import write_run
from srlab.extensions.console.main import main
from srlab.extensions.report import ablation_table, compare, read_runs
from srlab.extensions.report.paired import error_of_mean, interval


def noisy(generator, *, seeds=3, images=18, of_seeds=1.0, of_images=1.0, rest=1.0):
    """Differences (S, I) whose true mean is 0, with these standard deviations."""
    return (
        of_seeds * generator.normal(size=(seeds, 1))
        + of_images * generator.normal(size=images)
        + rest * generator.normal(size=(seeds, images))
    )


@pytest.mark.parametrize("shape", [(3, 1), (1, 18)])
def test_with_one_source_of_variation_it_is_the_t_interval(shape):
    """Only seeds, or only images, differ; oracle: scipy's one-sample t test of their means."""
    values = np.random.default_rng(1).normal(0.02, 0.01, shape)
    low, high, detectable = interval(np.broadcast_to(values, (3, 18)))
    test = stats.ttest_1samp(values.ravel(), 0)
    assert (low, high) == pytest.approx(tuple(test.confidence_interval(0.95)), rel=1e-9)
    freedom = values.size - 1
    quantile = stats.t.ppf(0.975, freedom)
    power = stats.nct(freedom, detectable / stats.sem(values.ravel()))
    assert power.sf(quantile) + power.cdf(-quantile) == pytest.approx(0.80, abs=1e-4)


def test_the_error_is_that_of_drawn_resamples():
    """Oracle: 20,000 resamples of 4 of 5 seeds and 8 of 9 images, of which the variance is known to 1 %."""
    generator = np.random.default_rng(2)
    differences = noisy(generator, seeds=5, images=9)
    seeds = generator.multinomial(4, [1 / 5] * 5, 20_000) / 4
    images = generator.multinomial(8, [1 / 9] * 9, 20_000) / 8
    drawn = ((seeds @ differences) * images).sum(axis=1)
    assert error_of_mean(differences)[0] == pytest.approx(drawn.std(), rel=0.03)


@pytest.mark.parametrize(
    ("spread", "least", "most"),
    [
        ({"of_images": 0.0, "rest": 0.0}, 0.93, 0.97),
        ({"of_seeds": 0.5}, 0.93, 0.98),
        ({"of_seeds": 0.0, "of_images": 0.0}, 0.97, 1.0),  # the interaction counts three times
    ],
)
def test_the_interval_holds_the_true_mean(spread, least, most):
    """1,000 simulations: one standard deviation of 95 % is 0.7 %."""
    generator = np.random.default_rng(3)
    found = [interval(noisy(generator, **spread)) for _ in range(1000)]
    assert least < np.mean([low <= 0 <= high for low, high, _ in found]) < most


@pytest.mark.parametrize("spread", [{"of_images": 0.0, "rest": 0.0}, {"of_seeds": 0.5}])
def test_the_detectable_difference_is_detected_in_four_of_five_cases(spread):
    """Where the truth is the one of mean square; simulated power has a standard deviation of 1.3 %."""
    generator = np.random.default_rng(4)
    found = np.array([interval(noisy(generator, **spread)) for _ in range(1000)])
    truth = np.sqrt((found[:, 2] ** 2).mean())
    detected = (found[:, 0] + truth > 0) | (found[:, 1] + truth < 0)
    assert detected.mean() == pytest.approx(0.80, abs=0.05)


def scored(values):
    """Records of images named a, b, c …"""
    return [
        {"set_name": "Set5", "name": name, "psnr": value, "ssim": 0.9}
        for name, value in zip("abcdef", values, strict=False)
    ]


def comparison(tmp_path, base, other, **options):
    """Runs of seeds 1, 2 … with these PSNR, image by image."""
    folders = [
        write_run(
            tmp_path / f"{share}{seed}",
            psnr=float(np.mean(run)),
            images=scored(run),
            seed=seed,
            n_share=share,
        )
        for share, runs in ((1, base), (3, other))
        for seed, run in enumerate(runs, 1)
    ]
    return compare(read_runs(folders), **options)


def shown(table, key):
    places = [place for place, column in enumerate(table.columns) if column.key == key]
    return table.rows[1].estimates[places[0]] if places else None


BASE = [[30.0, 31.0, 32.0], [30.1, 31.1, 32.1]]
OTHER = [[30.2, 31.3, 32.2], [30.4, 31.5, 32.2]]


def test_the_table_has_the_interval_and_the_detectable_difference(tmp_path):
    table = ablation_table(comparison(tmp_path, BASE, OTHER))
    low, high, detectable = interval(np.array(OTHER) - BASE)
    difference = shown(table, "difference/Set5")
    assert (difference.mean, difference.std) == (pytest.approx(0.25), None)
    assert (difference.low, difference.high) == pytest.approx((low, high))
    assert shown(table, "detectable/Set5").mean == pytest.approx(detectable)
    assert "No interval" not in table.caption


@pytest.mark.parametrize(
    ("base", "other", "reason", "mean"),
    [
        (BASE[:1], OTHER[:1], "1 seed in common, an interval needs 2", 0.7 / 3),
        (BASE, [run[:2] for run in OTHER], "the runs were not scored on the same images", -0.2),
        (BASE, BASE, "all differences are equal, which leaves no spread to judge by", 0.0),
        ([run[:1] for run in BASE], [run[:1] for run in OTHER], "1 image, an interval needs 2", 0.25),
        ([[], []], [[], []], "a run recorded no PSNR of single images", None),
    ],
)
def test_what_an_interval_needs_is_said_instead(tmp_path, base, other, reason, mean):
    if mean is None:
        folders = [
            write_run(tmp_path / f"{share}{seed}", psnr=30.0 + share, seed=seed, n_share=share)
            for share in (1, 3)
            for seed in (1, 2)
        ]
        table, mean = ablation_table(compare(read_runs(folders))), 2.0
    else:
        table = ablation_table(comparison(tmp_path, base, other))
    difference = shown(table, "difference/Set5")
    assert difference.mean == pytest.approx(mean)
    assert (difference.low, shown(table, "detectable/Set5")) == (None, None)
    assert f"No interval on Set5 for row 2: {reason}." in table.caption


def test_groups_of_images_have_differences_of_their_own(tmp_path):
    """By hand: of a and c 0.2, 0.2, 0.3, 0.1; of b 0.3 and 0.4, which is one image."""
    table = ablation_table(comparison(tmp_path, BASE, OTHER, groups={"edges": ["a", "c"]}))
    pairs = np.array([[0.2, 0.2], [0.3, 0.1]])
    difference = shown(table, "difference/edges")
    assert (difference.mean, difference.low, difference.high) == pytest.approx((0.2, *interval(pairs)[:2]))
    assert shown(table, "difference/other images").mean == pytest.approx(0.35)
    assert "No interval on other images for row 2: 1 image, an interval needs 2." in table.caption


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"edges": ["a", "z"]}, r"group edges: no run was scored on z; images are a, b, c"),
        ({"Set5": ["a"]}, r"group Set5: choose a name that is none of Set5, other images"),
    ],
)
def test_groups_that_cannot_be_are_refused(tmp_path, groups, message):
    with pytest.raises(ValueError, match=message):
        comparison(tmp_path, BASE, OTHER, groups=groups)


def test_a_group_is_read_from_a_file(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("srlab.extensions.report.write_report", lambda _, folder, **__: folder / "page")
    comparison(tmp_path / "runs", BASE, OTHER)
    (tmp_path / "edges.txt").write_text("a\nc\n\n")
    words = ["report", str(tmp_path / "runs"), "--out", str(tmp_path / "out"), "--patches", "0"]
    assert main([*words, "--group", "edges"]) == 2
    assert "--group edges: give NAME=FILE" in capsys.readouterr().err
    assert main([*words, "--group", f"edges={tmp_path / 'edges.txt'}"]) == 0
    assert "Δ PSNR edges (dB)" in capsys.readouterr().out
