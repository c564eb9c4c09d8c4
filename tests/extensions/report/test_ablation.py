"""The table's numbers against the statistics module and closed forms; its three formats against readers."""

import csv
import io
import json
import statistics

import pytest

from extensions.report.synthetic_runs import write_run
from srlab.extensions.report import ablation_table, compare, read_runs, to_csv, to_latex, to_markdown


def table_of(tmp_path, *runs, baseline=None):
    folders = [write_run(tmp_path / f"run{number}", **run) for number, run in enumerate(runs)]
    return ablation_table(compare(read_runs(folders), baseline=baseline))


def estimates(table, key):
    place = next(place for place, column in enumerate(table.columns) if column.key == key)
    return [row.estimates[place] for row in table.rows]


def test_means_and_sample_standard_deviations_over_seeds(tmp_path):
    values = [30.125, 30.5, 31.75]
    runs = [{"psnr": value, "seed": seed} for seed, value in enumerate(values)]
    first, second = estimates(table_of(tmp_path, *runs, {"psnr": 29.0, "n_share": 3}), "psnr/Set5")
    assert (first.mean, first.n) == (statistics.mean(values), 3)
    assert first.std == pytest.approx(statistics.stdev(values), rel=1e-12)
    assert (second.mean, second.std, second.n) == (29.0, None, 1), "one run has no standard deviation"


@pytest.mark.parametrize(
    ("other", "marks"), [("test device", ["best", None]), ("a faster one", [None, None])]
)
def test_the_fastest_of_unlike_measurements_is_no_best(tmp_path, other, marks):
    runs = [
        {"psnr": 30.0, "latency_ms": 5.0},
        {"psnr": 30.0, "latency_ms": 9.0, "n_share": 3, "device": other},
    ]
    assert [each.mark for each in estimates(table_of(tmp_path, *runs), "latency_ms")] == marks


def test_another_device_is_reported_for_unfinished_runs_too(tmp_path):
    folders = [
        write_run(tmp_path / "finished", psnr=30.0),
        write_run(tmp_path / "unfinished", psnr=None, n_share=3, device="another device"),
    ]
    assert any("devices of the latency differ" in warning for warning in compare(read_runs(folders)).warnings)


def test_differences_are_of_the_seeds_that_both_have(tmp_path):
    """Pairs: 30.4 - 30.0 and 31.2 - 31.0. The lone seed 3, far away, does not count."""
    base = [{"psnr": 30.0, "seed": 1}, {"psnr": 31.0, "seed": 2}]
    other = [{"psnr": 30.4, "seed": 1}, {"psnr": 31.2, "seed": 2}, {"psnr": 50.0, "seed": 3}]
    table = table_of(tmp_path, *base, *({**run, "n_share": 3} for run in other))
    baseline, difference = estimates(table, "difference/Set5")
    assert baseline is None
    assert difference.n == 2
    assert difference.mean == pytest.approx(0.3)
    assert difference.std == pytest.approx(statistics.stdev([0.4, 0.2]))


def test_without_a_common_seed_a_difference_is_of_means_and_has_no_spread(tmp_path):
    table = table_of(tmp_path, {"psnr": 30.0, "seed": 1}, {"psnr": 31.5, "seed": 2, "n_share": 3})
    assert estimates(table, "difference/Set5")[1].mean == 1.5
    assert estimates(table, "difference/Set5")[1].std is None


def test_several_sets_have_a_mean(tmp_path):
    """Not of a run that lacks one: 33 of the easier set alone is not above 30 of both."""
    table = table_of(
        tmp_path, {"psnr": {"Set5": 32.0, "Set14": 28.0}}, {"psnr": {"Set5": 33.0}, "n_share": 3}
    )
    both, one = estimates(table, "psnr/mean of sets")
    assert (both.mean, both.mark, one) == (30.0, None, None)
    assert [each and each.mean for each in estimates(table, "ssim/mean of sets")] == [0.9, None]
    assert estimates(table, "psnr/Set14")[1] is None
    assert estimates(table, "difference/Set5")[1].mean == 1.0


def test_exact_restorations_have_differences(tmp_path):
    """Infinity less infinity is none; both infinities have no mean."""
    exact = float("inf")
    base = [{"psnr": exact, "seed": 1}, {"psnr": 30.0, "seed": 2}]
    same = [{"psnr": exact, "seed": 1, "n_share": 3}]
    opposite = [{"psnr": 30.0, "seed": 1, "n_share": 4}, {"psnr": exact, "seed": 2, "n_share": 4}]
    other_seed = [{"psnr": exact, "seed": 3, "n_share": 5}]
    table = table_of(tmp_path, *base, *same, *opposite, *other_seed)
    found = [each and (each.mean, each.n) for each in estimates(table, "difference/Set5")]
    assert found == [None, (0.0, 1), None, (0.0, 1)]
    assert [each.mean for each in estimates(table, "psnr/Set5")] == [exact] * 4


def test_latency_is_a_median_and_keeps_its_percentiles(tmp_path):
    runs = [
        {"psnr": 30.0, "seed": seed, "latency_ms": value} for seed, value in enumerate((10.0, 11.0, 900.0))
    ]
    [estimate] = estimates(table_of(tmp_path, *runs), "latency_ms")
    assert (estimate.mean, estimate.std) == (11.0, None)
    assert (estimate.low, estimate.high) == (pytest.approx(9.9), pytest.approx(13.2))


@pytest.mark.parametrize(
    ("values", "marks"),
    [
        ((30.0, 31.0, 32.0), [None, "second", "best"]),
        ((32.0, 32.0, 31.0, 30.0), ["best", "best", "second", None]),
        ((32.0001, 32.0004, 31.0, 30.0), ["best", "best", "second", None]),  # equal as shown
        ((32.0, 31.0, 31.0, 30.0), ["best", "second", "second", None]),
        ((32.0, 31.0, 31.0), ["best", None, None]),  # the worst cannot be second best
        ((30.0, 30.0, 30.0), [None, None, None]),
        ((30.0, 31.0), [None, "best"]),
    ],
)
def test_best_and_second_best_share_their_marks_with_equals(tmp_path, values, marks):
    runs = [{"psnr": value, "n_share": number} for number, value in enumerate(values)]
    assert [each.mark for each in estimates(table_of(tmp_path, *runs), "psnr/Set5")] == marks


def test_the_lowest_cost_is_the_best(tmp_path):
    table = table_of(tmp_path, {"psnr": 30.0, "params": 900}, {"psnr": 30.0, "params": 100, "n_share": 3})
    assert [each.mark for each in estimates(table, "params")] == [None, "best"]


def test_every_recorded_metric_is_a_column_whose_best_is_the_metric_s(tmp_path):
    """The records of 0.1.0 (``psnr`` in a field of its own) and today's make one table."""
    folders = [write_run(tmp_path / str(share), psnr=30.0, n_share=share) for share in (1, 3, 4)]
    for folder, lpips in zip(folders[1:], (0.3, 0.2), strict=True):
        summary = json.loads((folder / "summary.json").read_text())
        scores = {"psnr": 30.0, "lpips": lpips, "ours": 1.0}
        summary["scores"] = [{"set_name": "Set5", "images": 5, "scores": scores}]
        (folder / "summary.json").write_text(json.dumps(summary))
    table = ablation_table(compare(read_runs(folders)))
    headings = [column.heading for column in table.columns if column.is_score]
    assert headings == ["PSNR Set5 (dB)", "Δ PSNR Set5 (dB)", "SSIM Set5", "LPIPS Set5", "ours Set5"]
    assert [each and each.mean for each in estimates(table, "psnr/Set5")] == [30.0] * 3
    assert [each and (each.mean, each.mark) for each in estimates(table, "lpips/Set5")] == [
        None, (0.3, None), (0.2, "best"),
    ]  # fmt: skip


def test_runs_without_scores_have_a_row_and_their_costs(tmp_path):
    table = table_of(tmp_path, {"psnr": 30.0}, {"psnr": None, "params": 7, "n_share": 3})
    assert estimates(table, "psnr/Set5")[1] is None
    assert estimates(table, "params")[1].mean == 7
    assert "0 of 1 (1 unfinished)" in to_markdown(table)


def test_csv_has_every_number_unrounded_and_marks_in_words(tmp_path):
    values = [30.123456789012345, 30.2]
    runs = [{"psnr": value, "seed": seed} for seed, value in enumerate(values)]
    table = table_of(tmp_path, *runs, {"psnr": 29.0, "n_share": 3})
    first, second = csv.DictReader(io.StringIO(to_csv(table)))
    assert float(first["psnr/Set5"]) == statistics.mean(values)
    assert float(first["psnr/Set5 std"]) == pytest.approx(statistics.stdev(values), rel=1e-15)
    assert (first["psnr/Set5 n"], first["psnr/Set5 mark"]) == ("2", "best")
    assert (first["model.n_share"], second["model.n_share"]) == ("1", "3")
    assert (second["psnr/Set5 std"], first["baseline"], first["runs"]) == ("", "1", "2")


def test_markdown_rows_have_as_many_cells_as_the_heading(tmp_path):
    runs = [{"psnr": 30.0}, {"psnr": 31.0, "n_share": "'a|b_c'"}]
    lines = [line for line in to_markdown(table_of(tmp_path, *runs)).splitlines() if line.startswith("|")]
    cells = [line.replace(r"\|", "").count("|") for line in lines]
    assert len(lines) == 4
    assert len(set(cells)) == 1
    assert r"a\|b_c" in lines[3]
    assert "**31.000**" in lines[3]


def test_latex_has_booktabs_rules_equal_cells_and_balanced_braces(tmp_path):
    runs = [{"psnr": 30.0}, {"psnr": 31.0, "n_share": "'5% & \\#_{x}$~^<>|'"}, {"psnr": 30.5, "n_share": 0}]
    text = to_latex(table_of(tmp_path, *runs))
    for rule in ("\\toprule", "\\midrule", "\\bottomrule", "\\usepackage{booktabs}"):
        assert rule in text
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    columns = text.split("\\begin{tabular}{")[1].split("}")[0]
    assert len(rows) == 4
    assert {row.replace(r"\&", "").count("&") + 1 for row in rows} == {len(columns)}
    assert (
        r"5\% \& \textbackslash{}\#\_\{x\}\$\textasciitilde{}\textasciicircum{}\textless{}\textgreater{}"
        r"\textbar{}" in text
    )
    assert r"\textbf{31.000}" in text
    assert r"\underline{30.500}" in text
    unescaped = text.replace(r"\{", "").replace(r"\}", "")
    assert unescaped.count("{") == unescaped.count("}")
    assert all(line.replace(r"\$", "").count("$") % 2 == 0 for line in text.splitlines())


def test_a_notebook_shows_the_table_as_markdown(tmp_path):
    table = table_of(tmp_path, {"psnr": 30.0})
    assert table._repr_markdown_() == to_markdown(table)
