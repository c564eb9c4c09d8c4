"""Latencies side by side: whose they are, that they are the lab's, and what is said of unfair ones."""

import json
import statistics
from pathlib import Path

import numpy as np
import pytest

from extensions.report.synthetic_runs import write_cell, write_run, write_sweep
from srlab.extensions.console.main import main
from srlab.extensions.lab import running, session
from srlab.extensions.report import (
    ablation_table,
    compare,
    measure_latencies,
    pareto_figure,
    read_latencies,
    read_runs,
)
from srlab.extensions.report.latencies import network_arguments
from srlab.extensions.report.pareto import pareto_points
from srlab.extensions.report.runs import Run

SMALL = {"window_sizes": "[4,4]"}
SIDE_BY_SIDE = "latencies of sweep are not comparable"


@pytest.fixture(autouse=True)
def no_matrix_rates(monkeypatch):
    """They take seconds, and no report shows them."""
    monkeypatch.setattr(running, "_matrix_gflop_per_s", lambda *_: 1e9)


@pytest.fixture
def clock(monkeypatch):
    """What the lab measures is what is written here: k-th pass takes k^2 ms; returns the passes' times."""
    times: list[float] = []

    def time_ms(function, _device):
        function()
        times.append(float((len(times) + 1) ** 2))
        return times[-1]

    monkeypatch.setattr(session, "time_ms", time_ms)
    return times


@pytest.fixture
def sweep(tmp_path):
    """Two networks, one of them with two learning rates; a third row failed before it had a configuration."""
    root = write_sweep(tmp_path / "sweep", {"model.n_share": ["0", "1", "3"], "optimizer.lr": ["0.1", "0.2"]})
    for name, share, lr in (("a", "0", "0.1"), ("b", "0", "0.2"), ("c", "1", "0.1")):
        write_cell(root / name, swept={"model.n_share": share, "optimizer.lr": lr})
        write_run(root / name, psnr=30.0, n_share=share, lr=lr, latency_ms=1000.0, **SMALL)
    write_cell(root / "d", swept={"model.n_share": "3", "optimizer.lr": "0.1"}, state="failed", message="no")
    return root


def measured(sweep, **options):
    """Record, and the comparison with it."""
    record = sweep.parent / "latency.json"
    found = measure_latencies(read_runs(sweep), record, threads=1, **options)
    return json.loads(record.read_text()), compare(read_runs(sweep), latencies=found)


def estimates_of(comparison, column):
    table = ablation_table(comparison)
    place = [each.key for each in table.columns].index(column)
    return {row.configuration.number: row.estimates[place] for row in table.rows}


def test_table_and_plot_have_the_rounds_and_the_memory_of_the_lab(sweep, clock):
    record, comparison = measured(sweep, lr_size=(8, 12), repeats=5)
    assert len(clock) == 2 * (2 + 5), "what two rows share is measured once"
    # after two rounds of warming up; each round begins with the network that the one before ended with
    rounds = np.array(clock[4:]).reshape(5, 2)
    of_first = [row[number % 2] for number, row in enumerate(rounds)]
    of_second = [row[1 - number % 2] for number, row in enumerate(rounds)]
    shown = estimates_of(comparison, "latency_ms")
    for number, passes in ((1, of_first), (2, of_first), (3, of_second)):
        found = shown[number]
        assert found.mean == statistics.median(passes)
        assert (found.low, found.high) == pytest.approx(tuple(np.percentile(passes, [10, 90])))
        assert (found.n, found.std) == (5, None)
    points = pareto_points(comparison, "latency")
    assert [point.cost for point in points] == [
        statistics.median(each) for each in (of_first, of_first, of_second)
    ]
    assert (points[0].low, points[0].high) == pytest.approx(tuple(np.percentile(of_first, [10, 90])))
    own = pareto_points(compare(read_runs(sweep)), "latency")
    assert {point.cost for point in own} == {1000.0}
    live = {each["label"]: each["memory"]["live_mib"] for each in record["sizes"][0]["subjects"]}
    memory = estimates_of(comparison, "memory_mib")
    assert [memory[number].mean for number in (1, 2, 3)] == [
        *[live["n_share=0, lr=0.1/auto/float32/eager"]] * 2,
        live["n_share=1, lr=0.1/auto/float32/eager"],
    ]
    assert min(live.values()) > 0
    # the row that failed before it had a configuration, and those that never began
    assert shown[5] is None
    (warning,) = (each for each in comparison.warnings if each.startswith("no latency of"))
    assert "no latency of row 4, 5, 6 (" in warning
    assert "no run left a configuration to build the network from" in warning


@pytest.mark.slow
def test_page_and_caption_name_the_source_of_the_latency(sweep, clock):
    out = sweep.parent / "out"
    words = ["--measure", "--output", "24x16", "--rounds", "1", "--threads", "1"]
    assert main(["report", str(sweep), "--out", str(out), "--patches", "0", *words]) == 0
    record, data = (json.loads((out / name).read_text()) for name in ("latency.json", "data.json"))
    caption = (out / "table.md").read_text().splitlines()[0]
    assert "of one 24x16 image, float32, eager, on" in caption
    date = record["conditions"]["date"][:10]
    assert f"1 threads: all networks in one interleaved run of 1 rounds, {date}" in caption
    assert record["sizes"][0]["lr_size"] == [8, 12]
    page = (out / "report.html").read_text()
    assert "12x8 restored to 24x16, float32, eager" in page
    assert "latency (ms), one interleaved run" in (out / "pareto-latency.svg").read_text()
    assert data["latency"]["record"] == str(out / "latency.json")
    assert "1000 ms for 1280x720 on test device" in page, "a run's own is kept under Provenance"


def test_a_run_s_own_latency_is_named_as_such(sweep):
    comparison = compare(read_runs(sweep))
    assert "each run's own measurement after its training" in ablation_table(comparison).caption
    axes = pareto_figure(comparison, against="latency").axes[0]
    assert axes.get_xlabel() == "latency (ms), each run's own measurement"


@pytest.mark.slow
def test_a_record_can_be_used_again_and_identifies_networks(sweep, clock, tmp_path):
    _, comparison = measured(sweep, lr_size=(8, 12), repeats=3)
    passes = len(clock)
    write_run(tmp_path / "more" / "same", psnr=31.0, n_share=1, lr=0.3, seed=9, **SMALL)
    write_run(tmp_path / "more" / "other", psnr=31.0, n_share=1, lr=0.3, window_sizes="[2,4]")
    write_run(tmp_path / "more" / "backend", psnr=31.0, n_share=1, backend="reference", **SMALL)
    out = tmp_path / "again"
    words = ["--latency", str(tmp_path / "latency.json"), "--out", str(out), "--patches", "0"]
    assert main(["report", str(tmp_path / "more"), *words]) == 0
    data = json.loads((out / "data.json").read_text())
    found = {
        Path(each["runs"][0]).name: each["estimates"].get("latency_ms") for each in data["configurations"]
    }
    assert found["same"]["mean"] == estimates_of(comparison, "latency_ms")[3].mean
    assert found["other"] is found["backend"] is None
    assert any("the record has no such network" in each for each in data["warnings"])
    assert len(clock) == passes, "nothing was measured again"


def test_each_network_runs_with_the_back_end_of_its_configuration(tmp_path, clock):
    for backend in ("reference", "sdpa"):
        write_run(tmp_path / backend, psnr=30.0, backend=backend, **SMALL)
    found = measure_latencies(
        read_runs(tmp_path), tmp_path / "latency.json", lr_size=(8, 8), repeats=1, threads=1
    )
    assert sorted(each["resolved_backend"] for each in found.figures.values()) == ["reference", "sdpa"]


def test_a_network_that_fails_leaves_the_others(tmp_path, clock):
    write_run(tmp_path / "good", psnr=30.0, **SMALL)
    write_run(tmp_path / "bad", psnr=30.0, window_sizes="[4,0]")
    found = measure_latencies(
        read_runs(tmp_path), tmp_path / "latency.json", lr_size=(8, 8), repeats=1, threads=1
    )
    comparison = compare(read_runs(tmp_path), latencies=found)
    shown = {row.configuration.runs[0].name: row.estimates[-2] for row in ablation_table(comparison).rows}
    assert shown["good"] is not None
    assert shown["bad"] is None
    assert any(each.startswith("no latency of row") and "window" in each for each in comparison.warnings)


def test_an_interruption_records_the_finished_rounds(sweep, clock, monkeypatch, capsys):
    of_passes = session.time_ms

    def interrupted(function, device):
        if len(clock) == 8:
            raise KeyboardInterrupt
        return of_passes(function, device)

    monkeypatch.setattr(session, "time_ms", interrupted)
    out = sweep.parent / "out"
    words = [
        "report",
        str(sweep),
        "--out",
        str(out),
        "--measure",
        "--size",
        "8x12",
        "--rounds",
        "9",
        "--threads",
        "1",
    ]
    assert main(words) == 130
    assert not (out / "report.html").exists()
    found = read_latencies(out / "latency.json")
    assert {each["rounds"] for each in found.figures.values()} == {2}
    assert any("interrupted" in warning for warning in found.warnings)


def test_by_default_the_image_is_the_runs_own(sweep, clock, monkeypatch):
    sizes = []
    monkeypatch.setattr(
        "srlab.extensions.lab.session.Session.prepare",
        lambda self, _subjects: sizes.append(self.workload.lr_size),
    )
    with pytest.raises(ValueError, match="every subject failed"):
        measure_latencies(read_runs(sweep), sweep.parent / "latency.json", threads=1)
    assert sizes == [(360, 640)], "the fixture's runs restore 720x1280 at x2"


def test_arguments_of_training_do_not_make_another_network():
    def run(**model):
        config = {
            f"model.{name}": value for name, value in {"_target_": "x.SwinIR", "dim": 4, **model}.items()
        }
        return Run(source="here", name="run", state="finished", config=config)

    assert network_arguments([run(drop_path=0.1)]) == network_arguments([run(drop_path=0.0, _convert_="all")])
    assert network_arguments([run(dim=8)]) != network_arguments([run()])
    assert network_arguments([Run(source="there", name="run", state="failed"), run()]) == network_arguments(
        [run()]
    )


@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_cells_that_ran_side_by_side_cause_a_warning(tmp_path, launcher):
    sweep = write_sweep(tmp_path / "sweep", {"model.n_share": ["0", "1"]}, launcher=launcher)
    for share in ("0", "1"):
        write_run(write_cell(sweep / share, swept={"model.n_share": share}), psnr=30.0, n_share=share)
    found = [each for each in compare(read_runs(sweep)).warnings if each.startswith(SIDE_BY_SIDE)]
    assert len(found) == (launcher == "joblib")
    assert all(
        "the launcher joblib runs several" in each and "srlab report --measure" in each for each in found
    )


def test_a_latency_that_other_programs_disturbed_causes_a_warning(tmp_path):
    quiet, busy = ({"others": others, "cores": 2, "threads": 2} for others in (0.1, 1.5))
    for seed, (name, timing) in enumerate({"quiet": {"load": quiet}, "busy": {"load": busy}}.items()):
        write_run(tmp_path / name, psnr=30.0, seed=seed, timing=timing)
    (warning,) = compare(read_runs(tmp_path)).warnings
    assert "other programs needed the same cores: busy; srlab report --measure" in warning


def test_the_lab_s_latencies_need_no_warning_of_the_runs_own(tmp_path, clock):
    sweep = write_sweep(tmp_path / "sweep", {"model.n_share": ["0", "1"]}, launcher="joblib")
    for share in ("0", "1"):
        write_cell(sweep / share, swept={"model.n_share": share})
        write_run(sweep / share, psnr=30.0, n_share=share, device=f"device {share}", **SMALL)
    runs = read_runs(sweep)
    warned = " ".join(compare(runs).warnings)
    assert SIDE_BY_SIDE in warned
    assert "devices of the latency differ" in warned
    found = measure_latencies(runs, tmp_path / "latency.json", lr_size=(8, 8), repeats=1, threads=1)
    warned = " ".join(compare(runs, latencies=found).warnings)
    assert SIDE_BY_SIDE not in warned
    assert "devices of the latency" not in warned


def test_a_record_of_something_else_is_refused(tmp_path):
    path = tmp_path / "record.json"
    path.write_text(json.dumps({"kind": "srlab profile", "conditions": {}}))
    with pytest.raises(ValueError, match="was written by srlab profile, which does not record"):
        read_latencies(path)
    path.write_text(json.dumps({"kind": "srlab profile", "networks": {}}))
    with pytest.raises(ValueError, match="is a record of another version: KeyError"):
        read_latencies(path)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--threads", "2", "--size", "8x8"], "--size, --threads need --measure"),
        (["--measure", "--device", "tpu"], "tpu: choose cpu, cuda"),
        (["--latency", "nowhere.json"], "nowhere.json"),
        (["x3", "--measure"], "one scale at a time, these runs have 2 (x2 and x3)"),
        (["wide", "--measure"], "one image size at a time, these runs have 2 (64x64 and 1280x720)"),
    ],
)  # fmt: skip
def test_an_error_of_the_user_is_one_line_and_writes_nothing(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "RUN", psnr=30.0, **SMALL)
    write_run(tmp_path / "x3", psnr=30.0, scale=3, **SMALL)
    wide = write_run(tmp_path / "wide", psnr=30.0, **SMALL)
    config = (wide / "config.yaml").read_text().replace("[720, 1280]", "[64, 64]")
    (wide / "config.yaml").write_text(config)
    costs = json.loads((wide / "costs.json").read_text())
    (wide / "costs.json").write_text(json.dumps({**costs, "output_size": [64, 64]}))
    assert main(["report", "RUN", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert not (tmp_path / "RUN" / "report").exists()


def test_measuring_nothing_is_an_error(tmp_path):
    write_cell(tmp_path / "a", swept={}, state="failed")
    with pytest.raises(ValueError, match="nothing to measure: no run has left"):
        measure_latencies(read_runs(tmp_path), tmp_path / "latency.json", lr_size=(8, 8))
