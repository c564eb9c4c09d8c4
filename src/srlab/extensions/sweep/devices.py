"""GPUs and threads of the cells that run at the same time on one machine."""

import os
import random
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from srlab.app.launch import number_of_devices
from srlab.extensions.sweep.child import say
from srlab.locks import Lease, holder, is_held, take

# The thread limits that the user has set; joblib sets some for its workers, too.
THREAD_LIMITS_VARIABLE = "SRLAB_SWEEP_THREAD_LIMITS"

# Lightning's ``devices``: how many, "auto" or -1 for all, or indices.
Wanted = int | str | Sequence[int]
T = TypeVar("T")


def wait_for(
    attempt: Callable[[], T | None], *, is_stopped: Callable[[], bool], waiting: Callable[[], str]
) -> T | None:
    """What ``attempt`` returns once it succeeds; None if the sweep is stopped first.

    ``waiting`` says what to print if the first attempt fails.
    """
    said = False
    while not is_stopped():
        if result := attempt():
            return result
        if not said:
            say(waiting())
            said = True
        time.sleep(random.uniform(0.1, 0.4))  # random, so that two cells that collide do so only once
    return None


def list_gpus(environment: Mapping[str, str]) -> list[str]:
    """The GPUs in CUDA_VISIBLE_DEVICES, else all that ``nvidia-smi`` lists."""
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in re.split(r"[\s,]+", visible) if name and name != "-1"]  # -1: none
    query = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    try:
        listed = subprocess.run(query, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return []  # no driver, hence no GPUs
    return listed.stdout.split()


def borrow_gpus(
    wanted: Wanted, gpus: Sequence[str], *, folder: Path, is_stopped: Callable[[], bool]
) -> dict[str, Lease] | None:
    """Wait until ``wanted`` of all ``gpus`` are free and lock them; None if the sweep is stopped first.

    Raises:
        ValueError: there are fewer GPUs than wanted.
    """
    if isinstance(wanted, int | str):
        candidates, count = list(gpus), len(gpus) if str(wanted) in ("auto", "-1") else int(wanted)
    else:
        candidates, count = [gpus[index] for index in wanted if index < len(gpus)], len(wanted)
    if count > len(candidates):
        raise ValueError(
            f"the cell asks for {count} GPUs (trainer.devices={wanted}), but {len(gpus)} are visible "
            f"({', '.join(gpus)}): ask for fewer"
        )
    folder.mkdir(parents=True, exist_ok=True)
    locks = {gpu: folder / f"gpu-{re.sub('[^A-Za-z0-9-]', '-', gpu)}.lock" for gpu in candidates}

    def waiting() -> str:
        users = [f"{gpu} is used by {holder(lock)}" for gpu, lock in locks.items() if is_held(lock)]
        return f"waiting for {count} free GPUs of {', '.join(locks)}: {', '.join(users)}"

    return wait_for(lambda: _take_all(locks, count), is_stopped=is_stopped, waiting=waiting)


def _take_all(locks: Mapping[str, Path], count: int) -> dict[str, Lease]:
    """Leases of ``count`` GPUs, or none: a cell that waits must not keep others waiting."""
    taken: dict[str, Lease] = {}
    for gpu, lock in locks.items():
        if len(taken) < count and (lease := take(lock)):
            taken[gpu] = lease
    if len(taken) == count:
        return taken
    for lease in taken.values():
        lease.release()
    return {}


def visible_gpus(wanted: Wanted, borrowed: Sequence[str], gpus: Sequence[str]) -> dict[str, str]:
    """The variables that show a cell its GPUs; indices count all GPUs, so that these stay visible."""
    visible = borrowed if isinstance(wanted, int | str) else gpus
    return {"CUDA_VISIBLE_DEVICES": ",".join(visible), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


def lock_folder() -> Path:
    """Folder of the GPU locks of this user's sweeps on this machine."""
    return Path(tempfile.gettempdir()) / f"srlab-gpus-{os.getuid()}"


def threads_per_process(cells: int, wanted: Wanted) -> int:
    """Threads for each process of a cell where ``cells`` cells share this machine's cores."""
    return max(1, len(os.sched_getaffinity(0)) // (cells * (number_of_devices(wanted) or 1)))


def thread_limits(environment: Mapping[str, str]) -> list[str]:
    """Names of the variables that limit threads, such as OMP_NUM_THREADS."""
    return [name for name in environment if name.endswith(("_NUM_THREADS", "_MAXIMUM_THREADS"))]


def cell_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a cell's process.

    A cell starts the processes of ``trainer.devices`` itself. SLURM's variables are left out, since Lightning
    would take the task that the cell runs in for one of these processes.

    Raises:
        ValueError: the job has several tasks, each of which would run the cell.
    """
    tasks = environment.get("SLURM_NTASKS", "1")
    if tasks != "1" and "SUBMITIT_EXECUTOR" in environment:
        raise ValueError(
            f"a job of this sweep has {tasks} tasks, each of which would run the cell: leave "
            "hydra.launcher.tasks_per_node and hydra.launcher.nodes at 1; a cell starts the processes of "
            "trainer.devices itself"
        )
    hidden: set[str] = set()
    if THREAD_LIMITS_VARIABLE in environment:
        hidden = set(thread_limits(environment)) - set(environment[THREAD_LIMITS_VARIABLE].split(","))
    return {
        name: value
        for name, value in environment.items()
        if name not in hidden and not name.startswith(("SLURM_", "SRLAB_SWEEP_"))
    }


def devices_wanted(cfg: Any) -> tuple[Wanted, bool]:
    """The devices that a configuration asks for, and whether it asks for GPUs if there are any."""
    if "trainer" not in cfg:
        kind, colon, index = str(cfg.get("device", "auto")).partition(":")
        return [int(index)] if colon else 1, kind in ("auto", "cuda")
    devices, uses_gpus = cfg.trainer.devices, cfg.trainer.accelerator in ("auto", "gpu", "cuda")
    if isinstance(devices, str) and "," in devices:
        devices = [int(index) for index in devices.split(",") if index.strip()]
    return devices if isinstance(devices, int | str) else list(devices), uses_gpus
