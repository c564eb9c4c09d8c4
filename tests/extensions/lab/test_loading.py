import json
from dataclasses import asdict
from functools import partial
from pathlib import Path

import pytest
import torch

import demo_data
from srlab.data.training_crops import TrainingCrops
from srlab.extensions.lab.loading import measure_loading

CPU = torch.device("cpu")
demo = partial(demo_data.demo, batch_size=4)
SAMPLER = ["draw", "read", "degrade", "turn", "collate"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def test_a_report_holds_every_count_of_workers_and_stage_with_its_conditions(cache: Path):
    report = measure_loading(demo(cache), workers=[0, 1], batches=3, device=CPU, rounds=2)
    assert list(report.samples_per_s) == [0, 1]
    assert list(report.split_us) == [*SAMPLER, "hand over"]
    spreads = [*report.samples_per_s.values(), *report.split_us.values()]
    assert all(0 < spread.p10 <= spread.median <= spread.p90 for spread in spreads)
    assert (report.images, report.scale, report.patch_size, report.batch_size) == (9, 4, 8, 4)
    assert json.loads(json.dumps(asdict(report)))["degrade_on"] == "worker"
    assert "workers 1:" in str(report)


def test_what_the_device_does_is_no_stage_of_the_sampler(cache: Path):
    report = measure_loading(demo(cache, degrade_on="device"), workers=[0], batches=1, device=CPU, rounds=1)
    assert list(report.split_us) == ["draw", "read", "collate", "hand over", "on device"]


def test_a_slow_stage_is_found_where_it_is(cache: Path, monkeypatch):
    """A clock that only the reading stage moves forward, by a second a call."""
    now = [0.0]
    right = TrainingCrops.read

    def slow(self, draws, windows):
        now[0] += 1.0
        right(self, draws, windows)

    monkeypatch.setattr(TrainingCrops, "read", slow)
    monkeypatch.setattr("srlab.extensions.lab.loading.time.perf_counter", lambda: now[0])
    monkeypatch.setattr("srlab.extensions.lab.loading._samples_per_s", lambda *_: 1.0)
    report = measure_loading(demo(cache), workers=[0], batches=3, device=CPU, rounds=2)
    times = {name: time_us.median for name, time_us in report.split_us.items()}
    assert times.pop("read") == pytest.approx(1e6 / 4)
    assert times == pytest.approx(dict.fromkeys(times, 0.0))


def test_measuring_leaves_the_sampler_as_it_was(cache: Path):
    data = demo(cache)
    before = dict(vars(data.training_crops))
    measure_loading(data, workers=[0], batches=1, device=CPU, rounds=1)
    assert vars(data.training_crops) == before


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"workers": []}, r"workers must be distinct numbers from 0 on, at least one, got \[\]"),
        ({"workers": [0, 0]}, r"got \[0, 0\]"),
        ({"workers": [-1]}, r"got \[-1\]"),
        ({"batches": 0}, "batches=0"),
    ],
)
def test_counts_without_a_sense_are_refused(cache: Path, changes: dict, fault: str):
    arguments = {"workers": [0], "batches": 1, "device": CPU}
    with pytest.raises(ValueError, match=fault):
        measure_loading(demo(cache), **(arguments | changes))
