"""How this process was started: command line, launcher, and the folder of presets."""

import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from srlab.terminal.command_lines import command

# An override of Hydra's grammar, as far as its beginning shows: KEY=…, +KEY=…, ++KEY=…, ~KEY.
_OVERRIDE = re.compile(r"(?P<sign>~|\+{0,2})(?P<key>[A-Za-z_][\w@./:]*)(?P<value>=.*)?", re.DOTALL)


@dataclass(frozen=True)
class Launch:
    """One process among those of a run."""

    launcher: str | None
    """``torchrun``, ``srun``, ``hand`` (``NODE_RANK`` or ``LOCAL_RANK`` is set); None: a lone process."""
    is_first: bool
    """Whether this is the process that writes."""
    processes: int | None = None
    """All of the run, where the launcher says so."""
    nodes: int | None = None
    shared_name: str | None = None
    """A name that all processes of the run know and no other run has."""

    @property
    def is_one_of_several(self) -> bool:
        """Whether other processes of the run compose their own configuration."""
        return self.launcher is not None and self.processes != 1

    @classmethod
    def of(cls, environment: Mapping[str, str] = os.environ) -> "Launch":
        """Read what torchrun, SLURM or Lightning set; the order is Lightning's."""
        get = environment.get
        if "TORCHELASTIC_RUN_ID" in environment:
            run_id = environment["TORCHELASTIC_RUN_ID"]
            # torchrun calls every run without a name "none"
            name = None if run_id in ("", "none") else "torchrun-" + re.sub(r"[^\w.-]", "-", run_id)
            sizes = int(environment["WORLD_SIZE"]), int(environment["GROUP_WORLD_SIZE"])
            return cls("torchrun", int(environment["RANK"]) == 0, *sizes, name)
        # in shells of interactive jobs programs are started without srun
        if "SLURM_NTASKS" in environment and get("SLURM_JOB_NAME") not in ("bash", "interactive"):
            processes, step = int(environment["SLURM_NTASKS"]), get("SLURM_STEP_ID")
            name = f"slurm-{get('SLURM_JOB_ID')}.{step}" if processes > 1 and step is not None else None
            is_first = int(get("SLURM_PROCID", 0)) == 0
            return cls("srun", is_first, processes, int(get("SLURM_NNODES", 1)), name)
        own = [environment[key] for key in ("NODE_RANK", "GROUP_RANK", "LOCAL_RANK") if key in environment]
        return cls("hand" if own else None, all(int(rank) == 0 for rank in own))


def is_first_process() -> bool:
    """Whether this process is the one that writes; known before any process group exists."""
    return Launch.of().is_first


def new_run_name(environment: Mapping[str, str] = os.environ) -> str:
    """Name of a new run's folder: the date, or a name that all processes of a launcher share."""
    return Launch.of(environment).shared_name or f"{datetime.now():%Y-%m-%d_%H-%M-%S}"


def check_shared_name(environment: Mapping[str, str] = os.environ) -> None:
    """Refuse, by a ``ValueError``, a new run's folder that each process would name after its own clock."""
    launch = Launch.of(environment)
    if not launch.is_one_of_several or launch.shared_name is not None:
        return
    remedy = "give torchrun --rdzv-id=NAME (or --standalone), or " if launch.launcher == "torchrun" else ""
    raise ValueError(
        "this process is one of several that were started apart, and each would name the new run's folder "
        f"after its own clock; {remedy}give all of them the same hydra.run.dir=FOLDER"
    )


def check_launch(devices: object, num_nodes: int, environment: Mapping[str, str] = os.environ) -> None:
    """Refuse ``trainer.devices`` and ``trainer.num_nodes`` that do not match the started processes.

    Raises:
        ValueError: with the right numbers.
    """
    launch = Launch.of(environment)
    if launch.launcher is None and num_nodes != 1:
        raise ValueError(
            f"trainer.num_nodes={num_nodes}, but this process was started alone and would wait for the other "
            "nodes forever: start it on each of them with torchrun or srun (docs/distributed.md)"
        )
    count = number_of_devices(devices)
    if launch.processes is None or launch.nodes is None or count is None:
        return
    if (count * launch.nodes, num_nodes) != (launch.processes, launch.nodes):
        raise ValueError(
            f"{launch.launcher} started {launch.processes} processes on {launch.nodes} nodes, but "
            f"trainer.devices={devices} and trainer.num_nodes={num_nodes} ask for {count * num_nodes} on "
            f"{num_nodes}: set trainer.devices={launch.processes // launch.nodes} "
            f"trainer.num_nodes={launch.nodes}, or start that many processes"
        )


def first_process_log(folder: str, name: str) -> str:
    """The log file of this process: ``<folder>/<name>.log``; processes after the first have none."""
    return os.path.join(folder, f"{name}.log") if is_first_process() else os.devnull  # noqa: PTH118


def number_of_devices(devices: object) -> int | None:
    """How many ``trainer.devices`` names; None where Lightning counts what is there."""
    if isinstance(devices, int) and not isinstance(devices, bool):
        return devices if devices >= 0 else None
    if isinstance(devices, str):
        listed = [number for number in devices.split(",") if number.strip()]
        return int(devices) if devices.isdecimal() else len(listed) if "," in devices else None
    return len(devices) if hasattr(devices, "__len__") else None  # type: ignore[arg-type]


def for_hydra(words: Sequence[str]) -> list[str]:
    """The words of a command line that Hydra gets.

    ``resume=RUN`` and ``rerun=RUN`` change the configuration that RUN was started with. Hydra would apply the
    changes to the defaults, which may lack their keys (``data.root``), so they are left out here and applied
    to RUN's configuration later.
    """
    names_a_run = any(
        _root(word) in ("resume", "rerun") and word.partition("=")[2] not in ("", "null", "auto")
        for word in words
    )
    if not names_a_run or any(word in ("-m", "--multirun", "hydra.mode=MULTIRUN") for word in words):
        return list(words)
    return [word for word in words if _root(word) in (None, "resume", "rerun", "hydra")]


def typed_overrides() -> list[str]:
    """The overrides of this program's command line, except Hydra's own."""
    return [word for word in sys.argv[1:] if _root(word) not in (None, "hydra")]


def program(verb: str) -> tuple[str, ...]:
    """How a user starts ``train`` or ``evaluate`` here: ``python train.py`` or ``srlab train``."""
    script = Path(sys.argv[0])
    return ("python", str(script.with_name(f"{verb}.py"))) if script.suffix == ".py" else ("srlab", verb)


def resume_command(folder: str | Path) -> str:
    """What a user types to resume the run in ``folder``."""
    return command(program("train"), {"resume": folder})


def _root(word: str) -> str | None:
    """The first part of the key of an override; None for flags and their values."""
    parsed = _OVERRIDE.fullmatch(word)
    if parsed is None or (parsed["value"] is None and parsed["sign"] != "~"):
        return None
    return re.split(r"[./]", parsed["key"])[0]


def configuration_folder() -> Path:
    """The folder of YAML presets: ``srlab/conf`` of a wheel, else the checkout's ``conf``."""
    package = Path(__file__).resolve().parents[1]
    candidates = (package / "conf", package.parents[1] / "conf")
    for folder in candidates:
        if (folder / "model").is_dir():
            return folder
    raise FileNotFoundError(
        f"no presets at {candidates[0]} (wheel) nor at {candidates[1]} (editable install); reinstall srlab"
    )
