"""What a measurement was made under: machine, versions, load, arithmetic."""

import os
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from srlab import __version__
from srlab.counts.probe import device_name
from srlab.extensions.lab.load import CoreLoad
from srlab.runs.provenance import source_commit

__all__ = [
    "LabConditions",
    "arithmetic",
    "busy_warning",
    "describe_machine",
    "installed_version",
    "load_average",
]

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


@dataclass(frozen=True, kw_only=True)
class LabConditions:
    """Conditions of one run of the lab.

    Attributes:
        command: what was typed.
        float32_matmul_precision, cudnn_tf32: the arithmetic of float32 products.
        load_average_before, load_average_after: of the last minute; None where the system has none.
        other_programs_cores: cores that other programs used on average during the rounds; None if unknown.
    """

    command: str
    date: str
    commit: str | None
    srlab_version: str
    device: str
    device_name: str
    processor: str
    cores: int | None
    threads: int
    driver: str | None
    cuda: str | None
    torch_version: str
    triton_version: str | None
    python_version: str
    float32_matmul_precision: str
    cudnn_tf32: bool
    load_average_before: float | None
    load_average_after: float | None = None
    other_programs_cores: float | None = None


def describe_machine(device: torch.device, *, command: str) -> LabConditions:
    """Conditions at the start of a run."""
    return LabConditions(
        command=command,
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        commit=source_commit(),
        srlab_version=__version__,
        device=str(device),
        device_name=device_name(device),
        processor=device_name(torch.device("cpu")),
        cores=os.cpu_count(),
        threads=torch.get_num_threads(),
        driver=_driver_version(),
        cuda=torch.version.cuda,
        torch_version=torch.__version__,
        triton_version=installed_version("triton"),
        python_version=platform.python_version(),
        float32_matmul_precision=torch.get_float32_matmul_precision(),
        cudnn_tf32=torch.backends.cudnn.allow_tf32,
        load_average_before=load_average(),
    )


def busy_warning(conditions: LabConditions) -> str | None:
    """A warning if other programs were running during the rounds, or before them if only that is known."""
    if conditions.other_programs_cores is not None:
        load = CoreLoad(conditions.other_programs_cores, conditions.cores or 1, conditions.threads)
        return f"the machine was busy: {load}; trust ratios, not times" if load.is_busy else None
    load = conditions.load_average_before
    if load is None or load <= conditions.threads / 2:
        return None
    return (
        f"the machine was busy before the run (load average {load:.1f} with {conditions.threads} threads): "
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
