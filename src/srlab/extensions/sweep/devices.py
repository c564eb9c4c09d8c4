"""Which GPUs and how many threads each cell of a pool gets."""

import os
import random
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from srlab.extensions.sweep.terminal import say
from srlab.locks import Lease, holder, is_held, take

__all__ = [
    "LIMITS_VARIABLE",
    "Devices",
    "borrow_gpus",
    "cell_environment",
    "list_gpus",
    "threads_per_process",
]

# Which limits of threads the user has set, told to joblib's workers.
LIMITS_VARIABLE = "SRLAB_SWEEP_THREAD_LIMITS"

# After so many looks at GPUs that are not free, about half a minute, who uses them is said.
_SILENT_TRIES = 120


@dataclass(kw_only=True)
class Devices:
    """What one cell may use while it runs."""

    environment: dict[str, str] = field(default_factory=dict)
    leases: list[Lease] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    """Of its GPUs; none on a CPU."""

    def release(self) -> None:
        """Let the next cell have them."""
        for lease in self.leases:
            lease.release()


def list_gpus(environment: Mapping[str, str]) -> list[str]:
    """GPUs that programs see: those of CUDA_VISIBLE_DEVICES, else all that ``nvidia-smi`` lists."""
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        # CUDA stops at the first that does not exist; -1 is the customary way to say none
        return [name for name in re.split(r"\s*,\s*", visible.strip()) if name and name != "-1"]
    query = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    try:
        listed = subprocess.run(query, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return []  # no driver: this machine computes on its CPU
    return listed.stdout.split()


def borrow_gpus(
    wanted: int | str | Sequence[int], gpus: Sequence[str], *, folder: Path, is_stopped: Callable[[], bool]
) -> Devices | None:
    """Wait until as many GPUs are free as a cell wants, and keep other cells off them.

    Args:
        wanted: Lightning's ``devices``: how many, ``auto`` or -1 for all, or which of them.
        gpus: what there is, by index or UUID.
        folder: of the locks that all sweeps of a user on this machine share.
        is_stopped: asked while waiting.

    Returns:
        The devices; None if the sweep was stopped before they were free.

    Raises:
        ValueError: there are not as many.
    """
    candidates, count = _wanted(wanted, gpus)
    folder.mkdir(parents=True, exist_ok=True)
    tries = 0
    while not is_stopped():
        leases = _take_all(candidates, count, folder)
        if leases:
            names = list(leases)
            # a cell that says which of them counts those that there are
            visible = names if isinstance(wanted, (int, str)) else gpus
            return Devices(
                environment={"CUDA_VISIBLE_DEVICES": ",".join(visible), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"},
                leases=list(leases.values()),
                names=names,
            )
        tries += 1
        if tries == _SILENT_TRIES:
            say(
                f"waits until {count} of GPU {', '.join(candidates)} are free: {_holders(candidates, folder)}"
            )
        time.sleep(random.uniform(0.1, 0.4))  # unequal, lest two that each have half take turns for ever
    return None


def _wanted(wanted: int | str | Sequence[int], gpus: Sequence[str]) -> tuple[list[str], int]:
    if isinstance(wanted, (int, str)):
        count = len(gpus) if str(wanted) in ("auto", "-1") else int(wanted)
        candidates = list(gpus)
    else:
        candidates = [gpus[index] for index in wanted if index < len(gpus)]
        count = len(wanted)
    if count > len(candidates):
        raise ValueError(
            f"the cell wants {count} GPUs (trainer.devices={wanted}) and {len(gpus)} can be seen "
            f"({', '.join(gpus)}); ask for fewer"
        )
    return candidates, count


def _lock(gpu: str, folder: Path) -> Path:
    return folder / f"gpu-{re.sub('[^A-Za-z0-9-]', '-', gpu)}.lock"


def _holders(gpus: Sequence[str], folder: Path) -> str:
    locks = {gpu: _lock(gpu, folder) for gpu in gpus}
    return ", ".join(f"{gpu} is used by {holder(lock)}" for gpu, lock in locks.items() if is_held(lock))


def _take_all(candidates: Sequence[str], count: int, folder: Path) -> dict[str, Lease]:
    """``count`` free ones, or none at all."""
    taken: dict[str, Lease] = {}
    for name in candidates:
        lease = take(_lock(name, folder))
        if lease is not None:
            taken[name] = lease
        if len(taken) == count:
            return taken
    for lease in taken.values():
        lease.release()
    return {}


def lock_folder() -> Path:
    """Where this user's sweeps on this machine agree on who has which GPU."""
    return Path(tempfile.gettempdir()) / f"srlab-gpus-{os.getuid()}"


def jobs_at_once(n_jobs: int) -> int:
    """What joblib makes of ``n_jobs``: -1 is one for each core, -2 one fewer."""
    return n_jobs if n_jobs > 0 else max(1, len(os.sched_getaffinity(0)) + 1 + n_jobs)


def threads_per_process(cells: int, processes: int) -> int:
    """Threads for each process where ``cells`` of ``processes`` each share this machine's cores."""
    return max(1, len(os.sched_getaffinity(0)) // max(1, cells * processes))


def thread_limits(environment: Mapping[str, str]) -> str:
    """Names of the variables that limit threads, such as OMP_NUM_THREADS, with commas between."""
    return ",".join(name for name in environment if name.endswith(("_NUM_THREADS", "_MAXIMUM_THREADS")))


def cell_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What a cell inherits.

    A cell starts the processes of ``trainer.devices`` itself. Nothing of SLURM's is left for Lightning, which
    would take the task that a cell runs in for one of them.

    Raises:
        ValueError: the job has several tasks, each of which would run the cell.
    """
    tasks = environment.get("SLURM_NTASKS", "1")
    if tasks != "1" and "SUBMITIT_EXECUTOR" in environment:
        raise ValueError(
            f"a job of this sweep has {tasks} tasks, each of which would run the cell; leave "
            "hydra.launcher.tasks_per_node and hydra.launcher.nodes at 1: a cell starts the processes of "
            "trainer.devices itself"
        )
    hidden = set()
    if LIMITS_VARIABLE in environment:
        # joblib limits its workers' threads, as if each were all that there is to a cell
        hidden = {*thread_limits(environment).split(",")} - {*environment[LIMITS_VARIABLE].split(",")}
    return {
        key: value
        for key, value in environment.items()
        if key not in hidden and not key.startswith(("SLURM_", "SRLAB_SWEEP_"))
    }


def devices_wanted(cfg: Any) -> int | str | list[int] | None:
    """What a cell of this configuration asks of the machine's GPUs; None if it computes on the CPU."""
    if "trainer" in cfg:
        if cfg.trainer.accelerator not in ("auto", "gpu", "cuda"):
            return None
        return _devices(cfg.trainer.devices)
    device = str(cfg.get("device", "auto"))
    if device.startswith("cuda:"):
        return [int(device.removeprefix("cuda:"))]
    return 1 if device in ("auto", "cuda") else None


def processes_wanted(cfg: Any) -> int:
    """Processes that a cell of this configuration starts on a CPU."""
    devices = _devices(cfg.trainer.devices) if "trainer" in cfg else 1
    if isinstance(devices, (int, str)):
        return int(devices) if str(devices).isdecimal() else 1
    return len(devices)


def _devices(devices: Any) -> int | str | list[int]:
    """Lightning's ``devices``, whose numbers may be typed with commas, too: ``'0,3'``."""
    if isinstance(devices, str) and "," in devices:
        return [int(number) for number in devices.split(",") if number.strip()]
    return devices if isinstance(devices, (int, str)) else list(devices)
