import math
from dataclasses import replace

import pytest
import torch
from torch import nn

import srlab
from srlab.extensions.lab import ceilings, energy, measurement
from srlab.extensions.lab.conditions import arithmetic, busy_warning, describe_machine
from srlab.extensions.lab.energy import EnergyMeter, find_energy_meter
from srlab.extensions.lab.latency import Spread
from srlab.extensions.lab.measurement import Session
from srlab.extensions.lab.preparation import Workload, prepare
from srlab.extensions.lab.subjects import Choices, Subject, plan_subjects
from srlab.models.network import Network
from srlab.ops.attention import forget_masks
from srlab.ops.subnormals import subnormal_mode

CPU = torch.device("cpu")
KIB = 1024


class Scratch(Network):
    """Keeps ``kept`` KiB from its first pass on, and needs ``scratch`` KiB during each."""

    def __init__(self, kept: int, scratch: int, fail_from: float = math.inf):
        super().__init__(scale=1)
        self.weight = nn.Parameter(torch.ones(1))
        self.kept, self.scratch, self.fail_from = kept, scratch, fail_from
        self.cache, self.passes = None, 0

    def restore(self, lr_image):
        self.passes += 1
        if self.passes >= self.fail_from:
            raise torch.OutOfMemoryError("no more")
        if self.cache is None:
            self.cache = torch.empty(self.kept * KIB, dtype=torch.uint8)
        return torch.empty(self.scratch * KIB, dtype=torch.uint8)


def small_swinir() -> Network:
    return srlab.create_model("swinir_light", scale=2, depths=[2], num_heads=[6])


def session(*, size=(8, 8), **networks):
    return Session(networks, Workload(lr_size=size, batch=1, device=CPU), lambda _text: None)


def subjects(*models):
    return [Subject(model, None, "float32", "eager") for model in models]


def test_live_memory_counts_scratch_and_what_the_first_pass_left():
    run = session(a=Scratch(100, 50), b=Scratch(0, 50))
    run.prepare(subjects("a", "b"))
    run.time(warmup=0, repeats=1)
    live = [each.memory.live_mib for each in run.measurements("a/float32/eager")]
    assert live == [150 / KIB, 50 / KIB]


def test_weights_and_image_are_no_part_of_it():
    class Large(Scratch):
        def __init__(self):
            super().__init__(0, 1)
            self.large = nn.Parameter(torch.zeros(2**20))

    run = session(size=(256, 256), large=Large())
    run.prepare(subjects("large"))
    assert run.measurements("")[0].memory.live_mib == 1 / KIB


def test_speedups_are_ratios_within_rounds(monkeypatch):
    """The machine slows down fourfold in the second half: medians of times mix both, ratios do not."""
    pace = iter([1, 1] * 5 + [4, 4] * 5)
    slow, fast = object(), object()
    monkeypatch.setattr(measurement, "time_ms", lambda function, _device: next(pace) * cost[function])
    run = session(slow=Scratch(0, 1), fast=Scratch(0, 1))
    run.prepare(subjects("slow", "fast"))
    cost = dict(zip(run._runs.values(), (30.0, 10.0), strict=True))
    run.time(warmup=1, repeats=9)
    slow, fast = run.measurements("slow/float32/eager")
    assert (slow.rounds, fast.rounds) == (9, 9)
    assert slow.speedup == Spread(1, 1, 1)
    assert fast.speedup == Spread(3, 3, 3)
    assert (fast.time_ms.p10, fast.time_ms.p90) == (10, 40)


def test_each_subject_runs_with_subnormals_as_it_says():
    seen = []

    class Asking(Scratch):
        def restore(self, lr_image):
            seen.append(subnormal_mode())
            return super().restore(lr_image)

    plan = plan_subjects({"asking": Asking(0, 1)}, Choices(subnormals=("flushed", "kept")))
    assert [each.label for each in plan.subjects] == ["asking/float32/eager", "asking/float32/eager/kept"]
    run = session(asking=Asking(0, 1))
    run.prepare(plan.subjects)
    assert set(seen[: len(seen) // 2]) == {"flushed"}
    assert set(seen[len(seen) // 2 :]) == {"kept"}
    del seen[:]
    run.time(warmup=0, repeats=2)
    assert seen == ["flushed", "kept", "kept", "flushed"]
    assert subnormal_mode() == "kept"


@pytest.mark.parametrize("fail_from", [1, 4, 5])
def test_a_subject_that_runs_out_of_memory_is_noted_and_the_others_go_on(fail_from):
    """At its first pass, in the warm-up and in a round: the memory takes three passes."""
    run = session(bad=Scratch(0, 1, fail_from), good=Scratch(0, 1))
    run.prepare(subjects("bad", "good"))
    run.time(warmup=1, repeats=3)
    assert [(each.subject, each.reason) for each in run.failed] == [
        ("bad/float32/eager", "out of memory: no more")
    ]
    (good,) = run.measurements("bad/float32/eager")
    assert (good.rounds, good.speedup) == (3, None)


def test_masks_are_rebuilt_where_there_are_some_and_refused_elsewhere():
    networks = {
        "swinir": small_swinir(),
        "elan": srlab.create_model("elan_demo", scale=2),
    }
    plan = plan_subjects(networks, Choices(backends=("sdpa",), masks=("cached", "rebuilt")))
    run = session(**networks)
    run.prepare(plan.subjects)
    assert [(each.subject.model, each.subject.mask) for each in run.measurements(plan.baseline)] == [
        ("swinir", "cached"), ("swinir", "rebuilt"), ("elan", "cached"),
    ]  # fmt: skip
    assert [each.subject for each in run.failed] == ["elan/sdpa/float32/eager/rebuilt"]
    assert "it makes no masks that could be rebuilt" in run.failed[0].reason


@pytest.mark.parametrize("backend", ["reference", "sdpa"])
def test_rebuilt_masks_give_the_same_image_and_keep_nothing(backend):
    network = small_swinir()
    workload = Workload(lr_size=(9, 12), batch=1, device=CPU)
    cached, rebuilt = (
        prepare(network, Subject("m", backend, "float32", "eager", mask=mask), workload)
        for mask in ("cached", "rebuilt")
    )
    forget_masks()
    result = rebuilt.run()
    assert forget_masks() == 0
    assert torch.equal(result, cached.run())
    assert forget_masks() > 0


def test_auto_says_what_runs_under_a_compiler():
    network = srlab.create_model("elan_demo", scale=2)
    workload = Workload(lr_size=(8, 8), batch=1, device=CPU)
    for mode in ("eager", "default"):
        ready = prepare(network, Subject("m", "auto", "float32", mode), workload)
        assert ready.backend() in network.backends


def test_graphs_need_a_way_to_capture():
    network = srlab.create_model("elan_demo", scale=2)
    workload = Workload(lr_size=(8, 8), batch=1, device=CPU)
    with pytest.raises(ValueError, match="no way of capturing CUDA graphs"):
        prepare(network, Subject("m", "auto", "float32", "graph"), workload)


def test_a_counter_of_energy_that_starts_again_is_carried_over():
    readings = iter([[95.0, 3.0], [2.0, 4.5]])
    meter = EnergyMeter("two packages", lambda: next(readings), (100.0, 100.0))
    assert meter.used_by(lambda: None) == 7 + 1.5


def test_processor_packages_are_added_up_and_their_parts_are_not(tmp_path, monkeypatch):
    for name, joules in (("intel-rapl:0", 5), ("intel-rapl:0:0", 2), ("intel-rapl:1", 7)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "energy_uj").write_text(f"{joules}000000\n")
        (tmp_path / name / "max_energy_range_uj").write_text("9000000\n")
    monkeypatch.setattr(energy, "_POWERCAP", tmp_path)
    meter = find_energy_meter(CPU)
    assert meter.read_joules() == [5.0, 7.0]
    assert list(meter.wraps_at) == [9.0, 9.0]


def test_without_a_counter_the_reason_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(energy, "_POWERCAP", tmp_path)
    assert "the processor reports no energy" in find_energy_meter(CPU)
    (tmp_path / "intel-rapl:0").mkdir()
    assert "cannot be read" in find_energy_meter(CPU)


def test_energy_is_of_one_pass(monkeypatch):
    monkeypatch.setattr(measurement, "_ENERGY_SECONDS", 0.01)
    network = Scratch(0, 1)
    run = session(a=network)
    run.prepare(subjects("a"))
    calls = []
    monkeypatch.setitem(run._runs, "a/float32/eager", lambda: calls.append(1))
    before = len(calls)
    # each pass after the one that is timed costs 2 joules
    run.weigh(EnergyMeter("test", lambda: [2.0 * (len(calls) - before - 1)], (math.inf,)))
    assert run.measurements("a/float32/eager")[0].joules == 2.0


def test_a_gpus_ceilings_and_a_cpus_are_rates_of_what_was_timed(monkeypatch):
    """A clock on which everything takes 200 ms."""
    monkeypatch.setattr(ceilings, "time_ms", lambda function, _device: function() is None or 200.0)
    monkeypatch.setattr(ceilings, "_LEAST_COPY_BYTES", {"cpu": 2**20})
    monkeypatch.setattr(ceilings, "_last_level_cache_bytes", lambda: 2**20)
    found = ceilings.measure_ceilings(CPU, torch.float32)
    assert found.copied_mib == 4
    assert found.copy_gb_per_s == pytest.approx(2 * 4 * 2**20 / 0.2 / 1e9)
    assert found.matrix_side == 256
    assert found.matrix_gflop_per_s == pytest.approx(2 * 256**3 / 0.2 / 1e9)


def test_threads_and_precision_are_set_back():
    before = torch.get_num_threads(), torch.get_float32_matmul_precision()
    with arithmetic(threads=before[0] + 1, matmul_precision="medium"):
        assert (torch.get_num_threads(), torch.get_float32_matmul_precision()) == (before[0] + 1, "medium")
    assert (torch.get_num_threads(), torch.get_float32_matmul_precision()) == before


def test_a_busy_machine_is_reported(monkeypatch):
    monkeypatch.setattr("os.getloadavg", lambda: (3.0, 2.0, 1.0))
    before = describe_machine(CPU, command="", commit=None)
    assert "the machine was busy before the run (load average 3.0" in busy_warning(before)
    monkeypatch.setattr("os.getloadavg", lambda: (0.1, 2.0, 1.0))
    assert busy_warning(describe_machine(CPU, command="", commit=None)) is None
    quiet = replace(before, cores=2, threads=1, other_programs_cores=0.9)
    assert busy_warning(quiet) is None, "what was measured during the rounds says more than the load before"
    assert "other programs used 1.5 of 2 cores" in busy_warning(replace(quiet, other_programs_cores=1.5))
