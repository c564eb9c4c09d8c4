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

from srlab.counts.probe import device_name
from srlab.extensions.lab.load import CoreLoad

__all__ = ["LabConditions", "arithmetic", "busy_warning", "describe_machine", "load_average"]

_MATMUL_PRECISIONS = ("highest", "high", "medium")

_DRIVER = Path("/proc/driver/nvidia/version")


@contextmanager
def arithmetic(*, threads: int | None, matmul_precision: str) -> Iterator[None]:
    """So many threads of the CPU (None: as they are), float32 products so precise; both set back after.

    Raises:
        ValueError: a precision that PyTorch does not know.
    """
    if matmul_precision not in _MATMUL_PRECISIONS:
        raise ValueError(
            f"matmul_precision={matmul_precision}: choose one of {', '.join(_MATMUL_PRECISIONS)}"
        )
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
    """Of one run of the lab; ``command`` is what repeats it.

    ``load_average_before`` and ``load_average_after`` are of the last minute, ``other_programs_cores`` is
    what other programs used on average during the rounds; None where the system does not say.
    ``float32_matmul_precision`` and ``cudnn_tf32`` say in what arithmetic float32 is multiplied.
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


def describe_machine(device: torch.device, *, command: str, commit: str | None) -> LabConditions:
    """The conditions at the start of a run."""
    import srlab

    return LabConditions(
        command=command,
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        commit=commit,
        srlab_version=srlab.__version__,
        device=str(device),
        device_name=device_name(device),
        processor=device_name(torch.device("cpu")),
        cores=os.cpu_count(),
        threads=torch.get_num_threads(),
        driver=_driver_version(),
        cuda=torch.version.cuda,
        torch_version=torch.__version__,
        triton_version=_installed("triton"),
        python_version=platform.python_version(),
        float32_matmul_precision=torch.get_float32_matmul_precision(),
        cudnn_tf32=torch.backends.cudnn.allow_tf32,
        load_average_before=load_average(),
    )


def busy_warning(conditions: LabConditions) -> str | None:
    """What to say if other programs were at work during the run, or before it where only that is known."""
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
    """Of the last minute."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):  # Windows has none
        return None


def _driver_version() -> str | None:
    """Of the NVIDIA driver, from Linux."""
    try:
        found = re.search(r"Kernel Module.*?\s(\d+\.\d[\d.]*)", _DRIVER.read_text())
    except OSError:
        return None
    return found.group(1) if found else None


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
