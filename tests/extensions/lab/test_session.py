import math

import pytest
import torch
from torch import nn

import srlab
from srlab.extensions.lab import running
from srlab.extensions.lab import session as session_module
from srlab.extensions.lab.conditions import arithmetic, busy_warning, describe_machine
from srlab.extensions.lab.latency import Spread, spread_of
from srlab.extensions.lab.preparation import Workload, prepare
from srlab.extensions.lab.session import Session
from srlab.extensions.lab.subjects import Subject, plan_subjects
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
    return [Subject(model, None) for model in models]


def live_mib(run):
    return [each.memory.live_mib for each in run.timed.values()]


def test_live_memory_counts_scratch_and_what_the_first_pass_left():
    run = session(a=Scratch(100, 50), b=Scratch(0, 50))
    run.prepare(subjects("a", "b"))
    run.time(warmup=0, repeats=1)
    assert live_mib(run) == [150 / KIB, 50 / KIB]


def test_weights_and_image_are_no_part_of_it():
    class Large(Scratch):
        def __init__(self):
            super().__init__(0, 1)
            self.large = nn.Parameter(torch.zeros(2**20))

    run = session(size=(256, 256), large=Large())
    run.prepare(subjects("large"))
    assert live_mib(run) == [1 / KIB]


def test_speedups_are_ratios_within_rounds(monkeypatch):
    """The machine slows down fourfold in the second half: medians of times mix both, ratios do not."""
    pace = iter([1, 1] * 5 + [4, 4] * 5)
    monkeypatch.setattr(session_module, "time_ms", lambda function, _device: next(pace) * cost[function])
    run = session(slow=Scratch(0, 1), fast=Scratch(0, 1))
    run.prepare(subjects("slow", "fast"))
    slow, fast = run.timed
    cost = {run.timed[slow].run: 30.0, run.timed[fast].run: 10.0}
    run.time(warmup=1, repeats=9)
    assert (len(run.times(slow)), len(run.times(fast))) == (9, 9)
    assert run.speedup(slow, slow) == Spread(1, 1, 1)
    assert run.speedup(fast, slow) == Spread(3, 3, 3)
    assert (spread_of(run.times(fast)).p10, spread_of(run.times(fast)).p90) == (10, 40)


def test_each_subject_runs_with_subnormals_as_it_says():
    seen = []

    class Asking(Scratch):
        def restore(self, lr_image):
            seen.append(subnormal_mode())
            return super().restore(lr_image)

    plan = plan_subjects({"asking": Asking(0, 1)}, ["auto"], {"subnormals": ["flushed", "kept"]})
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
def test_a_subject_that_runs_out_of_memory_is_listed_and_the_others_continue(fail_from):
    """At its first pass, in the warm-up and in a round: the memory takes three passes."""
    run = session(bad=Scratch(0, 1, fail_from), good=Scratch(0, 1))
    run.prepare(subjects("bad", "good"))
    run.time(warmup=1, repeats=3)
    assert [(each.subject, each.reason) for each in run.failed] == [
        ("bad/float32/eager", "out of memory: no more")
    ]
    assert list(run.timed) == ["good/float32/eager"]
    assert len(run.times("good/float32/eager")) == 3
    assert run.speedup("good/float32/eager", "bad/float32/eager") is None


def test_masks_are_rebuilt_where_there_are_some_and_refused_elsewhere():
    networks = {
        "swinir": small_swinir(),
        "elan": srlab.create_model("elan_demo", scale=2),
    }
    plan = plan_subjects(networks, ["sdpa"], {"mask": ["cached", "rebuilt"]})
    run = session(**networks)
    run.prepare(plan.subjects)
    assert [(each.subject.model, each.subject.mask) for each in run.timed.values()] == [
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
        assert ready.backend in network.backends


def test_a_matrix_rate_is_operations_over_time(monkeypatch):
    """A clock on which everything takes 200 ms."""
    monkeypatch.setattr(running, "time_ms", lambda function, _device: function() is None or 200.0)
    assert running._matrix_gflop_per_s(CPU, torch.float32) == pytest.approx(2 * 256**3 / 0.2 / 1e9)


def test_threads_and_precision_are_set_back():
    before = torch.get_num_threads(), torch.get_float32_matmul_precision()
    with arithmetic(threads=before[0] + 1, matmul_precision="medium"):
        assert (torch.get_num_threads(), torch.get_float32_matmul_precision()) == (before[0] + 1, "medium")
    assert (torch.get_num_threads(), torch.get_float32_matmul_precision()) == before


def test_a_busy_machine_is_reported(monkeypatch):
    monkeypatch.setattr("os.getloadavg", lambda: (3.0, 2.0, 1.0))
    before = describe_machine(CPU, command="")
    assert "the machine was busy before the run (load average 3.0" in busy_warning(before)
    monkeypatch.setattr("os.getloadavg", lambda: (0.1, 2.0, 1.0))
    assert busy_warning(describe_machine(CPU, command="")) is None
    quiet = before | {"cores": 2, "threads": 1, "other_programs_cores": 0.9}
    assert busy_warning(quiet) is None, "what was measured during the rounds says more than the load before"
    assert "other programs used 1.5 of 2 cores" in busy_warning(quiet | {"other_programs_cores": 1.5})
