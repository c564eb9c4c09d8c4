"""What a network costs is known before its first step, and may be too much."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from srlab.tasks import cost_record
from tiny_runs import ROOT, TINY, train, write_photos


@pytest.mark.parametrize("devices", ["1", pytest.param("2", marks=pytest.mark.slow)])
def test_a_network_above_the_latency_limit_is_measured_and_not_trained(tmp_path, devices):
    words = [*TINY, *write_photos(tmp_path / "photos"), "logger=csv", f"hydra.run.dir={tmp_path / 'run'}"]
    command = [
        sys.executable,
        ROOT / "train.py",
        *words,
        "latency.limit_ms=1e-6",
        f"trainer.devices={devices}",
    ]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 3, ended.stderr
    assert "where latency.limit_ms=1e-06" in ended.stdout
    assert json.loads((tmp_path / "run" / "costs.json").read_text())["latency"]["median_ms"] > 1e-6
    assert not list(tmp_path.glob("run/checkpoints/*.ckpt"))
    assert not (tmp_path / "run" / "summary.json").exists()


def test_a_network_below_the_limit_is_trained_and_resumed_whatever_the_clock_says_then(tmp_path, monkeypatch):
    photos, summary = write_photos(tmp_path / "photos"), tmp_path / "run" / "summary.json"
    train(*TINY, *photos, "logger=csv", f"hydra.run.dir={summary.parent}", "latency.limit_ms=1e6")
    assert json.loads(summary.read_text())["steps"] == 4
    measure = cost_record.measure_costs

    def measure_slowly(*arguments, **options):
        costs = measure(*arguments, **options)
        return replace(costs, latency=replace(costs.latency, median_ms=1e9))

    monkeypatch.setattr(cost_record, "measure_costs", measure_slowly)
    train(f"resume={summary.parent}", "trainer.max_steps=6")
    assert json.loads(summary.read_text())["steps"] == 6
