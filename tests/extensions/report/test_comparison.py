"""Which parameters differ, which runs are one row, what the baseline is, what must not be compared."""

import pytest

from extensions.report.synthetic_runs import write_cell, write_run, write_sweep
from srlab.extensions.report import compare, read_runs
from srlab.extensions.report.parameters import differing_keys


def written(tmp_path, *runs):
    """Runs from keyword arguments of ``write_run``, in order."""
    return [
        read_runs(write_run(tmp_path / f"run{number}", **{"psnr": 30.0, **run}))[0]
        for number, run in enumerate(runs)
    ]


def labels(comparison):
    return [each.label for each in comparison.configurations]


def test_seeds_of_one_configuration_are_one_row(tmp_path):
    runs = written(tmp_path, {"seed": 1}, {"seed": 2}, {"seed": 1, "n_share": 3})
    comparison = compare(runs)
    assert [parameter.key for parameter in comparison.parameters] == ["model.n_share"]
    assert [len(each.runs) for each in comparison.configurations] == [2, 1]


def test_only_sources_of_differences_are_parameters(tmp_path):
    """The scale reaches model.scale and the name, the folder the callbacks; workers change nothing."""
    runs = written(tmp_path, {"scale": 2, "workers": 0}, {"scale": 4, "workers": 4, "devices": 2})
    assert [parameter.key for parameter in compare(runs).parameters] == ["scale"]


def test_rows_are_in_the_order_of_their_values(tmp_path):
    runs = written(tmp_path, {"lr": 0.01}, {"lr": 0.002}, {"lr": 0.1})
    assert labels(compare(runs)) == ["lr=0.002", "lr=0.01", "lr=0.1"]


def test_a_sweep_s_keys_are_the_columns_in_its_order(sweep):
    comparison = compare(read_runs(sweep))
    assert [parameter.key for parameter in comparison.parameters] == ["model.window_sizes", "model.n_share"]
    assert labels(comparison)[:4] == [
        "window_sizes=[4,8,16], n_share=0", "window_sizes=[4,8,16], n_share=1",
        "window_sizes=[4,8,16], n_share=3", "window_sizes=[8,8,8], n_share=0",
    ]  # fmt: skip
    assert [each.states for each in comparison.configurations] == [
        "2", "2", "0 of 2 (2 failed)", "2", "1 of 2 (1 killed)", "2", "2", "2", "1 of 2 (1 not started)",
    ]  # fmt: skip
    assert sum(len(each.runs) for each in comparison.configurations) == 18


def test_a_sweep_s_baseline_is_the_unchanged_preset_else_the_first_that_finished(sweep, tmp_path):
    comparison = compare(read_runs(sweep))
    assert comparison.baseline is comparison.configurations[1]
    assert "unchanged preset elan_light" in comparison.baseline_reason

    plain = write_sweep(tmp_path, {"model.n_share": ["0", "1", "3"]})
    for share, psnr in (("0", None), ("1", 30.0), ("3", 31.0)):
        write_run(write_cell(plain / share, swept={"model.n_share": share}), psnr=psnr, n_share=share)
    comparison = compare(read_runs(plain))
    assert comparison.baseline is comparison.configurations[1]
    assert comparison.baseline_reason == "the first of the table"


def test_of_runs_put_together_the_first_given_is_the_baseline(tmp_path):
    comparison = compare(
        written(tmp_path, {"psnr": None, "lr": 0.3}, {"lr": 0.2}, {"lr": 0.1, "preset": "elan"})
    )
    assert (comparison.baseline.label, comparison.baseline_reason) == ("lr=0.2", "the first run given")


@pytest.mark.parametrize(
    "wanted",
    [
        "7", "n_share=0,window_sizes=[16,16,16]", "window_sizes=[16,16,16], n_share=0",
        "model.n_share=0,model.window_sizes=[16,16,16],seed=2",
    ],
)  # fmt: skip
def test_a_baseline_can_be_named_by_row_values_or_cell(sweep, wanted):
    comparison = compare(read_runs(sweep), baseline=wanted)
    assert comparison.baseline is comparison.configurations[6]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("n_share=0", "names 3 configurations instead of one; there are 1: window_sizes"),
        ("n_share=9", "names 0 configurations"),
        ("3", "baseline '3' has no scores, 0 of 2 \\(2 failed\\); choose another"),
    ],
)
def test_an_unusable_baseline_is_refused(sweep, wanted, message):
    with pytest.raises(ValueError, match=message):
        compare(read_runs(sweep), baseline=wanted)


@pytest.mark.parametrize(
    ("other", "warning"),
    [
        ({"protocol": {"name": "basicsr", "color": "y", "border": 4}}, "scoring protocols differ"),
        ({"psnr": {"Set14": 30.0}}, "validation sets differ: Set5 of 5 images .1 run., Set14"),
        ({"scale": 4}, "scales differ: 2 .1 run., 4 .1 run.; their scores cannot be compared"),
        ({"max_steps": 200}, "numbers of steps differ: 100 .1 run., 200"),
        ({"commit": "badc0de"}, "commits differ: c0ffee000000 .1 run., badc0de"),
        ({"commit": "badc0de+changes"}, "some runs used sources with uncommitted changes"),
        ({"device": "another"}, "devices of the latency differ: test device .1 run., another"),
        ({"batch_size": 4}, "training data differ"),
        ({"psnr": None}, "1 of 2 runs have no scores: 1 unfinished"),
    ],
)
def test_what_forbids_a_comparison_is_a_warning(tmp_path, other, warning):
    import re

    comparison = compare(written(tmp_path, {}, other))
    assert any(re.search(warning, each) for each in comparison.warnings), comparison.warnings


def test_comparable_runs_cause_no_warning(tmp_path):
    assert compare(written(tmp_path, {"seed": 1}, {"seed": 2, "workers": 3}, {"n_share": 3})).warnings == ()


def test_steps_that_a_sweep_varies_on_purpose_are_allowed_but_scales_are_not(tmp_path):
    for key, field, values in (
        ("trainer.max_steps", "max_steps", ("100", "200")),
        ("scale", "scale", ("2", "4")),
    ):
        sweep = write_sweep(tmp_path / field, {key: values})
        for value in values:
            write_cell(sweep / value, swept={key: value})
            write_run(sweep / value, psnr=30.0, **{field: value})
    assert compare(read_runs(tmp_path / "max_steps")).warnings == ()
    assert "scales differ" in compare(read_runs(tmp_path / "scale")).warnings[0]


def test_values_of_a_key_that_one_run_lacks_differ(tmp_path):
    first, second = written(tmp_path, {}, {"n_share": 3})
    config = (tmp_path / "run1" / "config.yaml").read_text()
    (tmp_path / "run1" / "config.yaml").write_text(config + "compile: true\n")
    second = read_runs(tmp_path / "run1")[0]
    assert differing_keys(first, second) == [("model.n_share", "1", "3"), ("compile", "–", "true")]


def test_another_network_is_one_column_whatever_its_arguments(tmp_path):
    """Of SwinIR's runs one has another share, too: that does not follow from the network."""
    written(tmp_path, {}, {"n_share": 0, "window_sizes": "[8]"}, {"n_share": 3, "window_sizes": "[8]"})
    for name in ("run1", "run2"):
        file = tmp_path / name / "config.yaml"
        file.write_text(
            file.read_text().replace("elan.ELAN", "swinir.SwinIR").replace("elan_light", "swinir_light")
        )
    comparison = compare(read_runs([tmp_path / f"run{number}" for number in range(3)]))
    assert [parameter.key for parameter in comparison.parameters] == ["model", "model.n_share"]
    assert labels(comparison) == [
        "model=elan_light, n_share=1", "model=swinir_light, n_share=0", "model=swinir_light, n_share=3",
    ]  # fmt: skip


def test_no_runs_are_refused():
    with pytest.raises(ValueError, match="no runs to compare"):
        compare([])
