"""What a measurement was made under: machine, versions, load, arithmetic."""

import os
import platform
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from srlab import __version__
from srlab.counts.probe import device_name
from srlab.extensions.lab.load import CoreLoad
from srlab.runs.provenance import source_commit

_DRIVER = Path("/proc/driver/nvidia/version")


@contextmanager
def arithmetic(*, threads: int | None, matmul_precision: str) -> Iterator[None]:
    """Set CPU threads (None: unchanged) and the precision of float32 products; restore both at the end."""
    before = torch.get_num_threads(), torch.get_float32_matmul_precision()
    torch.set_num_threads(before[0] if threads is None else threads)
    torch.set_float32_matmul_precision(matmul_precision)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.set_float32_matmul_precision(before[1])


def describe_machine(device: torch.device, *, command: str) -> dict[str, Any]:
    """Conditions at the start of a run; ``command`` is what was typed.

    :func:`srlab.extensions.lab.running.run_lab` adds what is known at its end: ``load_average_after``, and
    ``other_programs_cores``, the cores that other programs used on average during the rounds.
    """
    return {
        "command": command,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": source_commit(),
        "srlab_version": __version__,
        "device": str(device),
        "device_name": device_name(device),
        "processor": device_name(torch.device("cpu")),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "driver": _driver_version(),
        "cuda": torch.version.cuda,
        "torch_version": torch.__version__,
        "triton_version": installed_version("triton"),
        "python_version": platform.python_version(),
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "cudnn_tf32": torch.backends.cudnn.allow_tf32,
        "load_average_before": load_average(),
    }


def busy_warning(conditions: Mapping[str, Any]) -> str | None:
    """A warning if other programs were running during the rounds, or before them if only that is known."""
    threads = conditions["threads"]
    if conditions.get("other_programs_cores") is not None:
        load = CoreLoad(conditions["other_programs_cores"], conditions["cores"] or 1, threads)
        return f"the machine was busy: {load}; trust ratios, not times" if load.is_busy else None
    load = conditions["load_average_before"]
    if load is None or load <= threads / 2:
        return None
    return (
        f"the machine was busy before the run (load average {load:.1f} with {threads} threads): "
        "trust ratios, not times"
    )


def load_average() -> float | None:
    """Load average of the last minute; None on Windows."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def _driver_version() -> str | None:
    """Version of the NVIDIA driver (Linux)."""
    if not _DRIVER.exists():
        return None
    found = re.search(r"Kernel Module.*?\s(\d+\.\d[\d.]*)", _DRIVER.read_text())
    return found.group(1) if found else None


def installed_version(package: str) -> str | None:
    """Version of a distribution; None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
