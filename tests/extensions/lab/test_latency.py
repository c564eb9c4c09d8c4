import pytest
import torch
from torch import nn

from srlab.extensions.lab.latency import Spread, interleaved, measure_latency, spread_of


class Sleeper(nn.Module):
    """Takes the given milliseconds of its clock, one after another."""

    def __init__(self, *milliseconds):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.backend = "sdpa"
        self.milliseconds = list(milliseconds)
        self.seen = []
        self.clock = [0.0]

    def forward(self, lr_image):
        self.seen.append(
            (self.training, torch.is_inference_mode_enabled(), lr_image.dtype, tuple(lr_image.shape))
        )
        self.clock[0] += self.milliseconds.pop(0) / 1e3
        return lr_image * self.scale


def test_warmup_is_dropped_and_quantiles_interpolate(monkeypatch):
    network = Sleeper(200, 200, 10, 20, 30, 40, 50)
    monkeypatch.setattr("srlab.extensions.lab.latency.time.perf_counter", lambda: network.clock[0])
    report = measure_latency(network, (4, 5), device="cpu", dtype=torch.float32, warmup=2, repeats=5)
    assert (report.p10_ms, report.median_ms, report.p90_ms) == pytest.approx((14, 30, 46))


def test_report_carries_its_conditions():
    report = measure_latency(Sleeper(0, 0, 0), (4, 5), device="cpu", dtype=torch.float32, warmup=1, repeats=2)
    assert (report.dtype, report.input_shape, report.warmup, report.repeats) == (
        "float32",
        (1, 3, 4, 5),
        1,
        2,
    )
    assert (report.threads, report.torch_version) == (torch.get_num_threads(), torch.__version__)
    assert report.backend == "sdpa"
    assert report.device


def test_runs_in_evaluation_and_inference_mode_and_restores_each_modules_mode():
    network = nn.Sequential(Sleeper(0), nn.BatchNorm2d(3).eval()).train()
    network[1].eval()
    measure_latency(network, (4, 5), device="cpu", dtype=torch.float32, warmup=0, repeats=1)
    assert network[0].seen == [(False, True, torch.float32, (1, 3, 4, 5))]
    assert [module.training for module in network.modules()] == [True, True, False]


def test_mode_is_restored_after_a_failure():
    network = Sleeper()
    with pytest.raises(IndexError, match="pop from empty list"):
        measure_latency(network, (4, 5), device="cpu", dtype=torch.float32, warmup=0, repeats=1)
    assert network.training


def test_another_dtype_is_measured_on_a_copy():
    network = Sleeper(0)
    with torch.no_grad():
        network.scale.fill_(1 / 3)
    report = measure_latency(network, (4, 5), device="cpu", dtype=torch.bfloat16, warmup=0, repeats=1)
    assert report.dtype == "bfloat16"
    assert network.scale.dtype is torch.float32
    assert network.scale.item() == torch.tensor(1 / 3).item()
    assert network.seen == []


def test_global_random_numbers_are_left_alone():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    measure_latency(Sleeper(0), (4, 5), device="cpu", dtype=torch.float32, warmup=0, repeats=1)
    assert torch.equal(torch.rand(1), expected)


def test_each_round_has_every_name_once_and_starts_with_another():
    assert list(interleaved(["a", "b", "c"], rounds=4)) == [
        ["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"], ["a", "b", "c"],
    ]  # fmt: skip
    assert list(interleaved([], rounds=4)) == []


def test_spread_interpolates_between_neighbours():
    assert spread_of([50.0, 20.0, 40.0, 10.0, 30.0]) == Spread(30, 14, 46)


def test_out_of_memory_says_what_to_do():
    class Greedy(nn.Module):
        def forward(self, lr_image):
            return torch.empty(10**15, device=lr_image.device)

    with pytest.raises(
        MemoryError, match=r"restoring a 40x50 image does not fit .* cpu: use smaller images, backend=sdpa"
    ):
        measure_latency(Greedy(), (40, 50), device="cpu", dtype=torch.float32, warmup=0, repeats=1)


def test_counts_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match=r"repeats 1 or more, got warmup=0, repeats=0"):
        measure_latency(Sleeper(), (4, 5), device="cpu", dtype=torch.float32, warmup=0, repeats=0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_time_includes_the_kernels_not_only_their_launch():
    class Multiply(nn.Module):
        def forward(self, lr_image):
            matrix = torch.ones(4096, 4096, device=lr_image.device)
            for _ in range(20):
                matrix = matrix @ matrix
            return matrix

    report = measure_latency(Multiply(), (4, 5), device="cuda", dtype=torch.float32, warmup=2, repeats=5)
    assert report.median_ms > 20 * 2 * 4096**3 / 2e15 * 1e3  # no GPU does 2 PFLOP/s in float32
    assert report.device == torch.cuda.get_device_name()
