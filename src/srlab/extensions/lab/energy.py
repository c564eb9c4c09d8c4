"""Joules that a device has used, where it says so: NVIDIA's library, or the processor's counters."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

__all__ = ["EnergyMeter", "find_energy_meter"]

_POWERCAP = Path("/sys/class/powercap")
# Whole processors: subzones such as intel-rapl:0:0 (its cores) are parts of them.
_PACKAGES = "intel-rapl:[0-9]*"


@dataclass(frozen=True)
class EnergyMeter:
    """Counters of energy.

    Attributes:
        source: what they count, for the record.
        read_joules: joules so far of each counter, from an arbitrary start.
        wraps_at: joules at which each counter starts again at 0; infinite where it does not.
    """

    source: str
    read_joules: Callable[[], Sequence[float]]
    wraps_at: Sequence[float]

    def used_by(self, run: Callable[[], object]) -> float:
        """Joules while ``run`` is called: of the whole device, whoever uses it."""
        before = self.read_joules()
        run()
        used = [after - start for after, start in zip(self.read_joules(), before, strict=True)]
        return sum(j + wrap if j < 0 else j for j, wrap in zip(used, self.wraps_at, strict=True))


def find_energy_meter(device: torch.device) -> EnergyMeter | str:
    """The meter of ``device``, or why there is none."""
    return _nvml_meter(device) if device.type == "cuda" else _rapl_meter()


def _nvml_meter(device: torch.device) -> EnergyMeter | str:
    if find_spec("pynvml") is None:
        return "reading a GPU's energy needs the package nvidia-ml-py (module pynvml)"
    nvml: Any = import_module("pynvml")
    try:
        nvml.nvmlInit()
        properties: Any = torch.cuda.get_device_properties(device)
        handle = nvml.nvmlDeviceGetHandleByUUID(f"GPU-{properties.uuid}".encode())
        nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except (nvml.NVMLError, AttributeError) as error:
        return f"the GPU reports no energy: {error}"
    return EnergyMeter(
        source="NVML total energy of the GPU",
        read_joules=lambda: [nvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3],
        wraps_at=[math.inf],
    )


def _rapl_meter() -> EnergyMeter | str:
    zones = [zone for zone in sorted(_POWERCAP.glob(_PACKAGES)) if zone.name.count(":") == 1]
    if not zones:
        return f"the processor reports no energy: there is no {_POWERCAP / 'intel-rapl:0'}"
    counters = [zone / "energy_uj" for zone in zones]
    try:
        ranges = [int((zone / "max_energy_range_uj").read_text()) for zone in zones]
        for counter in counters:
            counter.read_text()
    except (OSError, ValueError) as error:
        return f"the processor's energy cannot be read: {error}"
    return EnergyMeter(
        source="RAPL energy of the processor packages, all of them",
        read_joules=lambda: [int(counter.read_text()) / 1e6 for counter in counters],
        wraps_at=[most / 1e6 for most in ranges],
    )
