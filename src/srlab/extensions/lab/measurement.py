"""One run over all subjects of one size: memory, then rounds in which each takes its turn, then energy."""

import gc
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch

from srlab.counts.probe import is_out_of_memory, synchronize
from srlab.extensions.lab.energy import EnergyMeter
from srlab.extensions.lab.latency import Spread, interleaved, spread_of, time_ms
from srlab.extensions.lab.live_memory import count_live_bytes
from srlab.extensions.lab.load import LoadMeter
from srlab.extensions.lab.memory import resident_growth
from srlab.extensions.lab.preparation import Workload, prepare
from srlab.extensions.lab.subjects import Skipped, Subject
from srlab.models.network import Network
from srlab.ops.attention import forget_masks
from srlab.ops.subnormals import flush_subnormals

__all__ = ["Measurement", "Memory", "Session"]

_MIB = 2**20
# Counters of energy tick every 1 to 100 ms: many passes go between two readings.
_ENERGY_SECONDS = 1.0
_SMALL = (8, 8)
_REASON = 300  # characters of an error's message
# What a subject may fail by without ending the run: memory, a dtype or compiler that cannot, a back end.
_FAILURES = (RuntimeError, ValueError, MemoryError, ImportError)


@dataclass(frozen=True)
class Memory:
    """Peak memory of one pass beyond input and weights, MiB; None where it is not measured.

    What the first pass leaves behind (masks, expanded biases, optimizer states) is counted in all but
    ``resident_growth_mib``.

    Attributes:
        live_mib: of tensors on the CPU that live at once.
        resident_growth_mib: growth of the process's resident memory during a later pass.
        allocated_mib: of tensors on the GPU.
        reserved_mib: what the GPU's caching allocator takes for them; with CUDA graphs their pools, too.
        unavailable: why the resident growth is not known.
    """

    live_mib: float | None = None
    resident_growth_mib: float | None = None
    allocated_mib: float | None = None
    reserved_mib: float | None = None
    unavailable: str | None = None


@dataclass(frozen=True)
class Measurement:
    """Of one subject.

    Attributes:
        subject: what was measured.
        backend: what ran, never ``auto``; None for a network that has no choice.
        rounds: how many passes were timed.
        time_ms: of one pass or step; None if no round was finished.
        speedup: the baseline's time over this one's in the same round: above 1 is faster.
        memory: beyond input and weights.
        joules: of one pass or step; None where there is no meter.
    """

    subject: Subject
    backend: str | None
    rounds: int
    time_ms: Spread | None
    speedup: Spread | None
    memory: Memory
    joules: float | None


class Session:
    """All subjects of one size. What an interruption leaves behind is consistent and can be reported.

    A subject that fails is noted in ``failed`` and the others go on.

    Args:
        networks: by the names that subjects have.
        workload: what each subject does.
        progress: is told what happens next.
    """

    def __init__(
        self, networks: Mapping[str, Network], workload: Workload, progress: Callable[[str], None]
    ) -> None:
        self.networks = networks
        self.workload = workload
        self.progress = progress
        self.failed: list[Skipped] = []
        self.others: float | None = None  # cores that other programs used during the rounds
        self._ready: dict[str, _Ready] = {}
        self._runs: dict[str, Callable[[], object]] = {}
        self._rounds: list[dict[str, float]] = []
        self._joules: dict[str, float] = {}

    def prepare(self, subjects: Sequence[Subject]) -> None:
        """Build each subject, run it for the first time (which compiles) and measure its memory."""
        for subject in subjects:
            self.progress(f"preparing {subject.label}")
            try:
                self._make_ready(subject)
            except _FAILURES as error:
                self._drop(subject.label, error)

    def time(self, *, warmup: int, repeats: int) -> None:
        """Rounds in which every subject runs once, each round starting with another one."""
        meter = LoadMeter(torch.get_num_threads())
        try:
            self._time_rounds(warmup, repeats)
        finally:
            self.others = meter.read().others

    def _time_rounds(self, warmup: int, repeats: int) -> None:
        for number, order in enumerate(
            interleaved(list(self._runs), rounds=warmup + repeats), start=1 - warmup
        ):
            self.progress(f"round {number} of {repeats}" if number > 0 else "warming up")
            times: dict[str, float] = {}
            if number > 0:
                self._rounds.append(times)
            for label in order:
                self._time(label, times)

    def weigh(self, meter: EnergyMeter) -> None:
        """Energy of one pass of each subject, from about a second of passes."""
        for label, run in list(self._runs.items()):
            self.progress(f"energy of {label}")
            try:
                with _arithmetic_of(self._ready[label].subject):
                    self._joules[label] = self._energy(run, meter)
            except _FAILURES as error:
                self._drop(label, error)

    def release(self) -> None:
        """Let networks and images go; what was measured stays."""
        self._runs.clear()

    def measurements(self, baseline: str) -> list[Measurement]:
        """Of every subject that was made ready and did not fail, in the order of the plan."""
        return [
            Measurement(
                subject=ready.subject,
                backend=ready.backend,
                rounds=len(self._times(label)),
                time_ms=spread_of(self._times(label)) if self._times(label) else None,
                speedup=self._speedup(label, baseline),
                memory=ready.memory,
                joules=self._joules.get(label),
            )
            for label, ready in self._ready.items()
        ]

    def _make_ready(self, subject: Subject) -> None:
        network = self.networks[subject.model]
        if subject.mask == "rebuilt" and not _makes_masks(network, subject, self.workload):
            raise ValueError("it makes no masks that could be rebuilt; mask=cached measures it")
        run, backend = prepare(network, subject, self.workload)
        weigh = _gpu_memory if self.workload.device.type == "cuda" else _cpu_memory
        with _arithmetic_of(subject):
            memory = weigh(run, self.workload.device)
        self._ready[subject.label] = _Ready(subject, backend(), memory)
        self._runs[subject.label] = run

    def _time(self, label: str, times: dict[str, float]) -> None:
        if label not in self._runs:  # it failed in an earlier round
            return
        try:
            with _arithmetic_of(self._ready[label].subject):
                times[label] = time_ms(self._runs[label], self.workload.device)
        except _FAILURES as error:
            self._drop(label, error)

    def _energy(self, run: Callable[[], object], meter: EnergyMeter) -> float:
        device = self.workload.device
        passes = max(1, round(_ENERGY_SECONDS * 1e3 / max(time_ms(run, device), 1e-3)))

        def many() -> None:
            for _ in range(passes):
                run()
            synchronize(device)

        return meter.used_by(many) / passes

    def _drop(self, label: str, error: Exception) -> None:
        ran_out = isinstance(error, MemoryError) or (
            isinstance(error, RuntimeError) and is_out_of_memory(error)
        )
        reason = " ".join(str(error).split())[:_REASON] or type(error).__name__
        self._ready.pop(label, None)
        self._runs.pop(label, None)
        self.failed.append(Skipped(label, f"out of memory: {reason}" if ran_out else reason))
        error.__traceback__ = error.__cause__ = error.__context__ = None  # they hold the pass's tensors
        gc.collect()
        if self.workload.device.type == "cuda":
            torch.cuda.empty_cache()

    def _times(self, label: str) -> list[float]:
        return [times[label] for times in self._rounds if label in times]

    def _speedup(self, label: str, baseline: str) -> Spread | None:
        both = [times for times in self._rounds if label in times and baseline in times]
        return spread_of([times[baseline] / times[label] for times in both]) if both else None


class _Ready(NamedTuple):
    subject: Subject
    backend: str | None
    memory: Memory


def _arithmetic_of(subject: Subject) -> AbstractContextManager[None]:
    return flush_subnormals(subject.subnormals == "flushed")


def _makes_masks(network: Network, subject: Subject, workload: Workload) -> bool:
    """Whether a pass keeps masks, tried on a small image."""
    cached = prepare(network, replace(subject, mask="cached"), replace(workload, lr_size=_SMALL, batch=1))
    forget_masks()
    cached.run()
    return forget_masks() > 0


def _cpu_memory(run: Callable[[], object], _device: torch.device) -> Memory:
    forget_masks()  # another subject may have made the same
    first, later = count_live_bytes(run), count_live_bytes(run)
    growth_mib, unavailable = resident_growth(run)
    return Memory(
        live_mib=(max(first.left, 0) + later.peak) / _MIB,
        resident_growth_mib=growth_mib,
        unavailable=unavailable,
    )


def _gpu_memory(run: Callable[[], object], device: torch.device) -> Memory:
    forget_masks()
    gc.collect()
    synchronize(device)
    torch.cuda.empty_cache()
    allocated, reserved = torch.cuda.memory_allocated(device), torch.cuda.memory_reserved(device)
    run()
    synchronize(device)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    run()
    synchronize(device)
    return Memory(
        allocated_mib=(torch.cuda.max_memory_allocated(device) - allocated) / _MIB,
        reserved_mib=(torch.cuda.max_memory_reserved(device) - reserved) / _MIB,
    )
