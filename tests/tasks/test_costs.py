"""What a network costs is counted without delaying the first step, and may be too much."""

import json
from types import SimpleNamespace

import pytest
import torch

import srlab
from srlab.extension_points import load_extensions
from srlab.models.edsr import EDSR
from srlab.tasks.columns import COMPARERS, METERS, Meter, MeterSettings, Reading, absent_columns
from srlab.tasks.costs import CostRecord, measure_costs
from tiny_runs import TINY, write_photos

LIMIT = {"output_size": (16, 16), "warmup": 0, "repeats": 1}


class Log:
    """A result logger that keeps what it gets."""

    closing_line = None

    def __init__(self):
        self.summary = {}

    def log_summary(self, values):
        self.summary.update(values)

    def log_result(self, summary, folder, picture): ...

    def finish(self, exit_code): ...


@pytest.fixture
def meters(monkeypatch):
    """A latency of one second, and how often it was measured."""
    calls = []

    def measure(network, settings):
        calls.append(settings)
        return Reading(
            record={"latency": 1000.0}, fields={}, cells={}, summary={"latency_ms": 1e3}, value=1e3
        )

    load_extensions()
    monkeypatch.setattr(METERS, "_entries", {"latency": Meter("latency", measure)})
    return calls


def trainer_of(checkpoint=None):
    strategy = SimpleNamespace(
        root_device=torch.device("cpu"), reduce_boolean_decision=lambda decision, all: decision
    )
    return SimpleNamespace(is_global_zero=True, strategy=strategy, loggers=[Log()], ckpt_path=checkpoint)


@pytest.fixture
def task():
    return SimpleNamespace(network=EDSR(scale=2, dim=4, depth=1, residual_scale=1.0, value_range=1.0))


def test_counts_are_written_once_at_the_first_validation_and_measurements_at_the_end(tmp_path, meters, task):
    trainer, record = trainer_of(), CostRecord(folder=tmp_path, limit_ms=None, limits={}, **LIMIT)
    record.on_fit_start(trainer, task)
    assert not list(tmp_path.iterdir())
    record.on_validation_start(trainer, task)
    counted = json.loads((tmp_path / "costs.json").read_text())
    assert counted["parameters"]["all"] == sum(each.numel() for each in task.network.parameters())
    assert (meters, "latency" in counted) == ([], False)
    assert trainer.loggers[0].summary["params/all"] == counted["parameters"]["all"]
    (tmp_path / "costs.json").unlink()
    record.on_validation_start(trainer, task)
    assert not list(tmp_path.iterdir())
    record.measure(trainer, task.network)
    assert json.loads((tmp_path / "costs.json").read_text()) == {**counted, "latency": 1000.0}
    assert trainer.loggers[0].summary["latency_ms"] == 1e3
    assert len(meters) == 1


def test_without_repeats_nothing_is_measured_and_the_counts_remain(meters):
    settings = MeterSettings(output_size=(16, 16), device=torch.device("cpu"), warmup=1, repeats=0)
    network = srlab.create_model("bicubic", scale=2)
    assert "multiply_adds" in measure_costs(network, settings).merged("fields")
    assert len(measure_costs(network, settings).readings) == 1


def test_a_network_above_the_limit_is_not_trained_unless_its_run_had_begun(tmp_path, meters, task, caplog):
    record = CostRecord(folder=tmp_path, limit_ms=999.0, limits={}, **LIMIT)
    with pytest.raises(SystemExit) as ended:
        record.on_fit_start(trainer_of(), task)
    assert ended.value.code == 3
    assert "not trained: the network takes 1000.00 ms where latency.limit_ms=999" in caplog.text
    CostRecord(folder=tmp_path, limit_ms=1001.0, limits={}, **LIMIT).on_fit_start(trainer_of(), task)
    assert len(meters) == 2
    record.on_fit_start(trainer_of(checkpoint="last.ckpt"), task)
    assert len(meters) == 2


@pytest.mark.parametrize("name", ["parameters", "multiply_adds"])
def test_a_network_with_more_than_a_limit_is_not_trained(tmp_path, meters, task, caplog, name):
    """The oracle is the count that a run records."""
    record = CostRecord(folder=tmp_path, limit_ms=None, limits={}, **LIMIT)
    record.on_validation_start(trainer_of(), task)
    counted = json.loads((tmp_path / "costs.json").read_text())[name]
    most = counted["all"] if name == "parameters" else counted
    limits = {"parameters": None, "multiply_adds": None, name: most}
    CostRecord(folder=tmp_path, limit_ms=None, limits=limits, **LIMIT).on_fit_start(trainer_of(), task)
    below = CostRecord(folder=tmp_path, limit_ms=None, limits={**limits, name: most - 1}, **LIMIT)
    below.on_fit_start(trainer_of(checkpoint="last.ckpt"), task)
    with pytest.raises(SystemExit, match="3"):
        below.on_fit_start(trainer_of(), task)
    assert (
        f"not trained: the network has {most:,} {name.replace('_', '-')} where limits.{name}=" in caplog.text
    )
    assert not meters


def test_without_the_extensions_columns_are_absent_and_a_limit_is_refused(tmp_path, monkeypatch, task):
    assert absent_columns() is None
    for registry in (METERS, COMPARERS):
        monkeypatch.setattr(registry, "_entries", {})
    assert absent_columns() == (
        "without columns for latency, memory, published scores: no installed extension provides them"
    )
    with pytest.raises(ValueError, match=r"latency.limit_ms=5, but latency cannot be measured"):
        CostRecord(folder=tmp_path, limit_ms=5.0, limits={}, **LIMIT)
    costs = CostRecord(folder=tmp_path, limit_ms=None, limits={}, **LIMIT).measure(trainer_of(), task.network)
    assert not {"latency", "memory"} & costs.merged("record").keys()


def test_a_preset_of_the_zoo_has_its_recorded_numbers(tmp_path):
    network = srlab.create_model("elan_demo", scale=2)
    CostRecord(folder=tmp_path, limit_ms=None, limits={}, **LIMIT).on_validation_start(
        trainer_of(), SimpleNamespace(network=network)
    )
    assert json.loads((tmp_path / "costs.json").read_text())["parameters"]["trainable"] == 52_932


@pytest.mark.slow
def test_a_run_above_the_limit_exits_on_all_ranks_with_a_status_of_its_own(forked, tmp_path):
    words = [*TINY, *write_photos(tmp_path / "photos"), "logger=csv", f"hydra.run.dir={tmp_path / 'run'}"]
    run = forked.start([*words, "latency.limit_ms=1e-6", "trainer.devices=2"], cwd=tmp_path)
    assert run.wait() == 3, run.output
    assert "where latency.limit_ms=1e-06" in run.output
    assert not list(tmp_path.glob("run/checkpoints/*.ckpt"))
    assert not (tmp_path / "run" / "summary.json").exists()


def test_a_limit_without_a_measurement_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"latency.limit_ms=5 needs a measurement, which latency.repeats=0"):
        CostRecord(folder=tmp_path, limit_ms=5.0, limits={}, **{**LIMIT, "repeats": 0})
