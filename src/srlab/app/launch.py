"""How this process was started, from its environment alone: by whom, as one of how many, and which."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

__all__ = [
    "Launch",
    "check_launch",
    "check_shared_name",
    "first_process_log",
    "is_first_process",
    "new_run_name",
    "number_of_devices",
]


@dataclass(frozen=True)
class Launch:
    """One process among those of a run."""

    launcher: str | None
    """``torchrun``, ``srun``, ``hand`` (``NODE_RANK`` or ``LOCAL_RANK`` is set); None: a lone process."""
    is_first: bool
    """Whether this is the process that writes."""
    processes: int | None = None
    """All of the run, as far as the launcher says so."""
    nodes: int | None = None
    shared_name: str | None = None
    """A name that all processes of the run know and no other run has."""

    @property
    def is_one_of_several(self) -> bool:
        """Whether other processes of the run compose their configuration beside this one."""
        return self.launcher is not None and self.processes != 1

    @classmethod
    def of(cls, environment: Mapping[str, str] = os.environ) -> "Launch":
        """Read what torchrun, SLURM or Lightning say; the order is Lightning's."""
        if "TORCHELASTIC_RUN_ID" in environment:
            return _by_torchrun(environment)
        if _is_task_of_slurm(environment):
            return _by_srun(environment)
        own = [environment[key] for key in ("NODE_RANK", "GROUP_RANK", "LOCAL_RANK") if key in environment]
        return cls(launcher="hand" if own else None, is_first=all(int(rank) == 0 for rank in own))


def is_first_process() -> bool:
    """Whether this process is the one that writes; known before any process group is there."""
    return Launch.of().is_first


def new_run_name(environment: Mapping[str, str] = os.environ) -> str:
    """Name of a new run's folder: the date, or what all processes share if each would read its own clock."""
    return Launch.of(environment).shared_name or f"{datetime.now():%Y-%m-%d_%H-%M-%S}"


def check_shared_name(environment: Mapping[str, str] = os.environ) -> None:
    """Refuse a new run's folder that each process would name after its own clock.

    Raises:
        ValueError: saying how to name it.
    """
    launch = Launch.of(environment)
    if not launch.is_one_of_several or launch.shared_name is not None:
        return
    remedy = "give torchrun --rdzv-id=NAME (or --standalone), or " if launch.launcher == "torchrun" else ""
    raise ValueError(
        "this process is one of several that were started apart, and each would name the new run's folder "
        f"after its own clock; {remedy}give all of them the same hydra.run.dir=FOLDER"
    )


def check_launch(devices: object, num_nodes: int, environment: Mapping[str, str] = os.environ) -> None:
    """Refuse numbers of processes that would wait for others, or leave some out.

    Args:
        devices: ``trainer.devices``: a number, a list, or a word that leaves it to Lightning.
        num_nodes: ``trainer.num_nodes``.
        environment: of this process.

    Raises:
        ValueError: with the numbers that are right.
    """
    launch = Launch.of(environment)
    if launch.launcher is None and num_nodes != 1:
        raise ValueError(
            f"trainer.num_nodes={num_nodes}, but this process was started alone and would wait for the other "
            "nodes for ever: start it on each of them with torchrun or srun (docs/distributed.md)"
        )
    count = number_of_devices(devices)
    if launch.processes is None or launch.nodes is None or count is None:
        return
    if (count * launch.nodes, num_nodes) != (launch.processes, launch.nodes):
        raise ValueError(
            f"{launch.launcher} started {launch.processes} processes on {launch.nodes} nodes, but "
            f"trainer.devices={devices} and trainer.num_nodes={num_nodes} ask for {count * num_nodes} on "
            f"{num_nodes}: set trainer.devices={launch.processes // launch.nodes} "
            f"trainer.num_nodes={launch.nodes}, or start as many as these say"
        )


def first_process_log(folder: str, name: str) -> str:
    """Where a process logs to: the first one to ``<folder>/<name>.log``, the others to the console alone."""
    return os.path.join(folder, f"{name}.log") if is_first_process() else os.devnull  # noqa: PTH118


def _by_torchrun(environment: Mapping[str, str]) -> Launch:
    run_id = environment["TORCHELASTIC_RUN_ID"]
    return Launch(
        launcher="torchrun",
        is_first=int(environment["RANK"]) == 0,
        processes=int(environment["WORLD_SIZE"]),
        nodes=int(environment["GROUP_WORLD_SIZE"]),
        # what torchrun calls every run that was not given a name
        shared_name=None if run_id in ("", "none") else f"torchrun-{_file_safe(run_id)}",
    )


def _by_srun(environment: Mapping[str, str]) -> Launch:
    processes, step = int(environment["SLURM_NTASKS"]), environment.get("SLURM_STEP_ID")
    name = f"slurm-{environment.get('SLURM_JOB_ID')}.{step}"
    return Launch(
        launcher="srun",
        is_first=int(environment.get("SLURM_PROCID", 0)) == 0,
        processes=processes,
        nodes=int(environment.get("SLURM_NNODES", 1)),
        shared_name=name if processes > 1 and step is not None else None,
    )


def _is_task_of_slurm(environment: Mapping[str, str]) -> bool:
    """As Lightning decides it: shells of interactive jobs start what they like by themselves."""
    return "SLURM_NTASKS" in environment and environment.get("SLURM_JOB_NAME") not in ("bash", "interactive")


def _file_safe(name: str) -> str:
    return re.sub(r"[^\w.-]", "-", name)


def number_of_devices(devices: object) -> int | None:
    """How many ``trainer.devices`` names, None where Lightning counts what is there."""
    if isinstance(devices, int) and not isinstance(devices, bool):
        return devices if devices >= 0 else None
    if isinstance(devices, str):
        listed = [number for number in devices.split(",") if number.strip()]
        return int(devices) if devices.isdecimal() else len(listed) if "," in devices else None
    return len(devices) if hasattr(devices, "__len__") else None  # type: ignore[arg-type]
