"""Peak memory of forward passes: live tensors on the CPU, growth of resident memory, allocations on CUDA."""

import ctypes
import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch._C._autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from srlab.counts.probe import synchronize
from srlab.extensions.lab.latency import PassReport, forward_pass

_MIB = 2**20
_CLEAR_REFS = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")
_RESET_SLACK_KIB = 4096  # other threads may touch pages between the reset and the reading
_STDERR = 2


@dataclass(frozen=True, kw_only=True)
class MemoryReport(PassReport):
    """Peak memory of one forward pass, and the conditions of the measurement.

    On CUDA ``peak_mib`` counts all live tensors, weights included, and ``reserved_mib`` what the caching
    allocator reserves for them. On the CPU ``peak_mib`` is the growth of the process's resident memory,
    weights excluded; None, with the reason in ``unavailable``, where the system does not provide it.
    """

    kind: str
    peak_mib: float | None
    reserved_mib: float | None
    unavailable: str | None


def measure_peak_memory(
    network: nn.Module, lr_size: tuple[int, int], *, device: torch.device | str, dtype: torch.dtype
) -> MemoryReport:
    """Run ``network`` on one random image of ``lr_size`` (height, width), batch 1, after a warm-up run.

    Mode, device and dtype of the network are unchanged afterwards.
    """
    device = torch.device(device)
    reserved_mib = unavailable = None
    with forward_pass(network, lr_size, device, dtype) as (run, conditions):
        run()
        if device.type == "cuda":
            peak_mib, reserved_mib = cuda_peak(run, device)
        elif device.type == "cpu":
            peak_mib, unavailable = resident_growth(run)
        else:
            peak_mib, unavailable = None, f"peak memory is not measured on {device.type} devices"
    return MemoryReport(
        **asdict(conditions),
        kind="max_memory_allocated" if device.type == "cuda" else "resident memory growth",
        peak_mib=peak_mib,
        reserved_mib=reserved_mib,
        unavailable=unavailable,
    )


def cuda_peak(run: Callable[[], object], device: torch.device) -> tuple[float, float]:
    """Most MiB of live tensors, and of what the caching allocator reserves, while ``run`` is called."""
    synchronize(device)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    run()
    synchronize(device)
    return torch.cuda.max_memory_allocated(device) / _MIB, torch.cuda.max_memory_reserved(device) / _MIB


def resident_growth(run: Callable[[], object]) -> tuple[float | None, str | None]:
    """MiB by which the process's resident memory grows at most while ``run`` is called; or why not known."""
    with suppress(OSError, AttributeError):  # glibc: freed heap held for reuse would hide growth
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    try:
        _CLEAR_REFS.write_text("5")  # resets VmHWM to VmRSS, see proc(5)
        before, high_water = _status_kib("VmRSS"), _status_kib("VmHWM")
    except (OSError, KeyError) as error:
        return None, f"this system cannot reset the peak of resident memory: {error}"
    if high_water > before + _RESET_SLACK_KIB:
        return None, f"the peak of resident memory stays at {high_water} KiB, {before} KiB are in use"
    run()
    return (_status_kib("VmHWM") - before) / 1024, None


def _status_kib(field: str) -> int:
    lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines() if ":" in line)
    return int(lines[field].split()[0])


def count_live_bytes(run: Callable[[], object]) -> tuple[int, int]:
    """Count every byte that PyTorch's CPU allocator allocates and frees during ``run()``.

    Returns the most bytes of tensors that lived at once, and the bytes still allocated when its result was
    dropped, both relative to the start.

    Exact, also for memory that operators allocate inside, our own C++ ones included, as long as they use
    PyTorch's allocator. Not counted: memory that libraries hold (oneDNN's scratch pads), which the growth of
    resident memory shows, and other threads than the caller's.
    """
    profiler = profile(activities=[ProfilerActivity.CPU], profile_memory=True)
    with _silent_stderr():
        profiler.start()
    try:
        with _no_garbage_collection():  # older cyclic garbage would be freed during the call
            run()  # its result is dropped before the profiler stops
    finally:
        with _silent_stderr():
            profiler.stop()
    results: Any = profiler.profiler
    events = [
        event
        for event in results.kineto_results.events()
        if event.name() == "[memory]" and event.device_type() == DeviceType.CPU
    ]
    live = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        live += event.nbytes()  # negative when memory is freed
        peak = max(peak, live)
    return peak, live


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """The profiler of torch 2.13 writes two lines to the file descriptor at each start and stop."""
    kept = None
    with suppress(OSError):  # without a standard error there is nothing to silence
        kept = os.dup(_STDERR)
    if kept is None:
        yield
        return
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), _STDERR)
        yield
    finally:
        os.dup2(kept, _STDERR)
        os.close(kept)
