import pytest
import torch

import demo_data
from srlab.extensions.lab import loader
from srlab.extensions.lab.latency import Spread
from srlab.extensions.lab.loader import bottlenecks, measure_loading


@pytest.mark.slow  # starts loader processes
def test_every_number_of_workers_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(loader, "_BATCHES", 3)
    monkeypatch.setattr(loader, "_ROUNDS", 2)
    data = demo_data.demo(tmp_path, batch_size=4)
    before = dict(vars(data.training_crops))
    rates = measure_loading(data, workers=[0, 1], device=torch.device("cpu"))
    assert list(rates) == [0, 1]
    assert all(0 < rate.p10 <= rate.median <= rate.p90 for rate in rates.values())
    assert vars(data.training_crops) == before


def test_prefetched_batches_do_not_count(tmp_path, monkeypatch):
    """A clock that moves forward by a second for each batch: 3 batches of 4 samples in 3 s."""
    now = [0.0]
    data = demo_data.demo(tmp_path, batch_size=4)
    finish = data.training_crops.finish

    def slow(batch):
        now[0] += 1.0
        return finish(batch)

    monkeypatch.setattr(data.training_crops, "finish", slow)
    monkeypatch.setattr(loader, "_BATCHES", 3)
    monkeypatch.setattr(loader.time, "perf_counter", lambda: now[0])
    rates = measure_loading(data, workers=[0], device=torch.device("cpu"))
    assert rates[0] == Spread(4, 4, 4)


def test_the_slower_of_loader_and_network_is_the_bottleneck():
    rates = {0: Spread(1400, 1, 1), 2: Spread(2800, 1, 1)}
    network = {"slow": 12.0, "b": 28000.0, "unknown": None}
    found = list(
        bottlenecks(rates, [{"label": label, "images_per_second": rate} for label, rate in network.items()])
    )
    assert found[0] == "workers 0: 1400 samples/s (p10 1, p90 1)"
    assert found[2:] == [
        "loader 2,800 crops/s (2 workers), network 12 crops/s (slow): the network is the bottleneck (233 x)",
        "loader 2,800 crops/s (2 workers), network 28,000 crops/s (b): the loader is the bottleneck (10 x)",
    ]
