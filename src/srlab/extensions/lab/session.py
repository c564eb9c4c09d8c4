"""One run over all subjects of one size: memory first, then rounds in which each subject takes its turn."""

import gc
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import torch

from srlab.counts.live_memory import count_live_bytes
from srlab.counts.probe import is_out_of_memory, synchronize
from srlab.extensions.lab.latency import Spread, interleaved, spread_of, time_ms
from srlab.extensions.lab.load import LoadMeter
from srlab.extensions.lab.memory import cuda_peak, resident_growth
from srlab.extensions.lab.preparation import Workload, prepare
from srlab.extensions.lab.runtimes import find_run_time
from srlab.extensions.lab.subjects import Skipped, Subject
from srlab.models.network import Network
from srlab.ops.attention import forget_masks
from srlab.ops.subnormals import flush_subnormals

_MIB = 2**20
_SMALL = (8, 8)
_REASON = 300  # characters of an error's message
# A subject may fail with these without ending the run: memory, an unsupported dtype, a compiler, a back end.
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
        reserved_mib: what the GPU's caching allocator reserves for them, pools of CUDA graphs included.
        unavailable: why the resident growth is not known.
    """

    live_mib: float | None = None
    resident_growth_mib: float | None = None
    allocated_mib: float | None = None
    reserved_mib: float | None = None
    unavailable: str | None = None


@dataclass
class Timed:
    """A subject that has run: ``backend`` never is ``auto``; ``run`` is None once the session is released."""

    subject: Subject
    backend: str | None
    memory: Memory
    run: Callable[[], object] | None


class Session:
    """All subjects of one size. After Ctrl-C its state is consistent and can be reported.

    A subject that fails is listed in ``failed``, and the others continue.

    Args:
        networks: by the names that subjects have.
        workload: what each subject does.
        progress: called with a line before each step.
    """

    def __init__(
        self, networks: Mapping[str, Network], workload: Workload, progress: Callable[[str], None]
    ) -> None:
        self.networks = networks
        self.workload = workload
        self.progress = progress
        self.failed: list[Skipped] = []
        self.others: float | None = None  # cores that other programs used during the rounds
        self.timed: dict[str, Timed] = {}
        self._rounds: list[dict[str, float]] = []

    def prepare(self, subjects: Sequence[Subject]) -> None:
        """Build each subject, run it for the first time (which compiles) and measure its memory."""
        for subject in subjects:
            self.progress(f"preparing {subject.label}")
            try:
                self._prepare(subject)
            except _FAILURES as error:
                self._drop(subject.label, error)

    def time(self, *, warmup: int, repeats: int) -> None:
        """Run rounds in which every subject runs once, each round starting with another one."""
        meter = LoadMeter(torch.get_num_threads())
        orders = interleaved(list(self.timed), rounds=warmup + repeats)
        try:
            for number, order in enumerate(orders, start=1 - warmup):
                self.progress(f"round {number} of {repeats}" if number > 0 else "warming up")
                times: dict[str, float] = {}
                if number > 0:
                    self._rounds.append(times)
                for label in order:
                    self._time(label, times)
        finally:
            self.others = meter.read().others

    def release(self) -> None:
        """Free networks and images; the measurements stay."""
        for timed in self.timed.values():
            timed.run = None

    def times(self, label: str) -> list[float]:
        """Milliseconds of each finished round."""
        return [times[label] for times in self._rounds if label in times]

    def speedup(self, label: str, baseline: str) -> Spread | None:
        """The baseline's time over this one's in the same round: above 1 is faster."""
        both = [times for times in self._rounds if label in times and baseline in times]
        return spread_of([times[baseline] / times[label] for times in both]) if both else None

    def _prepare(self, subject: Subject) -> None:
        network = self.networks[subject.model]
        if subject.mask == "rebuilt" and not _makes_masks(network, subject, self.workload):
            raise ValueError("it makes no masks that could be rebuilt; --mask cached measures it")
        run, backend = prepare(network, subject, self.workload)
        measure = _gpu_memory if self.workload.device.type == "cuda" else _cpu_memory
        with _subnormals_of(subject):
            # the tensors of a run time are not PyTorch's
            memory = (
                measure(run, self.workload.device)
                if find_run_time(subject.backend) is None
                else _process_memory(run)
            )
        self.timed[subject.label] = Timed(subject, backend, memory, run)

    def _time(self, label: str, times: dict[str, float]) -> None:
        timed = self.timed.get(label)
        if timed is None or timed.run is None:  # it failed in an earlier round
            return
        try:
            with _subnormals_of(timed.subject):
                times[label] = time_ms(timed.run, self.workload.device)
        except _FAILURES as error:
            self._drop(label, error)

    def _drop(self, label: str, error: Exception) -> None:
        ran_out = isinstance(error, MemoryError) or (
            isinstance(error, RuntimeError) and is_out_of_memory(error)
        )
        reason = " ".join(str(error).split())[:_REASON] or type(error).__name__
        self.timed.pop(label, None)
        self.failed.append(Skipped(label, f"out of memory: {reason}" if ran_out else reason))
        error.__traceback__ = error.__cause__ = error.__context__ = None  # they hold the pass's tensors
        gc.collect()
        if self.workload.device.type == "cuda":
            torch.cuda.empty_cache()


def _subnormals_of(subject: Subject) -> AbstractContextManager[None]:
    return flush_subnormals(subject.subnormals == "flushed")


def _makes_masks(network: Network, subject: Subject, workload: Workload) -> bool:
    """Whether a pass caches masks, tried on a small image."""
    cached = prepare(network, replace(subject, mask="cached"), replace(workload, lr_size=_SMALL, batch=1))
    forget_masks()
    cached.run()
    return forget_masks() > 0


def _cpu_memory(run: Callable[[], object], _device: torch.device) -> Memory:
    forget_masks()  # an earlier subject may have cached the same ones
    _, left = count_live_bytes(run)
    peak, _ = count_live_bytes(run)
    growth_mib, unavailable = resident_growth(run)
    return Memory(
        live_mib=(max(left, 0) + peak) / _MIB,
        resident_growth_mib=growth_mib,
        unavailable=unavailable,
    )


def _process_memory(run: Callable[[], object]) -> Memory:
    run()
    growth_mib, unavailable = resident_growth(run)
    return Memory(resident_growth_mib=growth_mib, unavailable=unavailable)


def _gpu_memory(run: Callable[[], object], device: torch.device) -> Memory:
    forget_masks()
    gc.collect()
    synchronize(device)
    torch.cuda.empty_cache()
    allocated, reserved = torch.cuda.memory_allocated(device), torch.cuda.memory_reserved(device)
    run()
    allocated_mib, reserved_mib = cuda_peak(run, device)
    return Memory(allocated_mib=allocated_mib - allocated / _MIB, reserved_mib=reserved_mib - reserved / _MIB)
