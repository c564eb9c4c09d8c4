"""Peak memory of forward passes: growth of resident memory on the CPU, allocations on CUDA."""

import ctypes
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

from srlab.counts.probe import synchronize
from srlab.extensions.lab.latency import PassReport, forward_pass

_MIB = 2**20
_CLEAR_REFS = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")
_RESET_SLACK_KIB = 4096  # other threads may touch pages between the reset and the reading


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
