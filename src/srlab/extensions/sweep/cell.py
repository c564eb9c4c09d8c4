"""Runs one cell of a sweep as a process of its own and writes down how it went."""

import json
import os
import shlex
import sys
import time
from datetime import datetime, timezone
from pathlib import Path

from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from srlab.app.presets import configuration_folder
from srlab.extensions.sweep.child import HEADER, last_lines, supervise
from srlab.extensions.sweep.devices import (
    Devices,
    borrow_gpus,
    cell_environment,
    devices_wanted,
    jobs_at_once,
    list_gpus,
    lock_folder,
    processes_wanted,
    threads_per_process,
)
from srlab.extensions.sweep.records import LOCK_NAME, Cell, Sweep, cell_name, identity, read_cells
from srlab.extensions.sweep.stopping import StopWatch
from srlab.extensions.sweep.terminal import say
from srlab.locks import Lease, holder, take
from srlab.runs.contract import OVER_LATENCY_LIMIT
from srlab.runs.lock import is_running
from srlab.terminal.command_lines import override

__all__ = ["CALL_VARIABLE", "LOG_NAME", "run_cell"]

CALL_VARIABLE = "SRLAB_SWEEP_CALL"
LOG_NAME = "output.log"

_STOPPED = (129, 130, 143)
_INTERVAL_S = 0.2


def run_cell(cfg: DictConfig) -> float | None:
    """Run the cell that Hydra's engine has just composed, unless it is settled.

    Args:
        cfg: the cell's configuration.

    Returns:
        Its validation PSNR in dB, which searches maximise; -inf above the latency limit; None without one.
        A cell that fails returns None too: its record says why, and the others go on.

    Raises:
        ValueError: for a job that cannot run cells.
    """
    hydra = HydraConfig.get()
    sweep = Sweep.read(Path(hydra.sweep.dir))
    stop = StopWatch(sweep=sweep, call=os.environ.get(CALL_VARIABLE, ""))
    settled = read_cells(sweep.folder).get(identity(hydra.overrides.task))
    if settled is not None and settled.is_settled:
        say(f"{settled.name}: {settled.state.replace('_', ' ')} already")
        return _value(settled)
    claimed = None if stop.is_asked() else _claim(sweep, list(hydra.overrides.task), stop)
    if claimed is None:
        return None
    cell, lease = claimed
    with lease:
        if is_running(sweep.folder / cell.name):
            say(f"{cell.name}: somebody trains it outside this sweep; left alone")
        elif not cell.is_settled and not stop.is_asked():
            _attempt(cfg, hydra, sweep, cell, lease, stop)
    return _value(cell)


def _value(cell: Cell) -> float | None:
    return float("-inf") if cell.state == "over_latency_limit" else cell.objective


def _claim(sweep: Sweep, overrides: list[str], stop: StopWatch) -> tuple[Cell, Lease] | None:
    """The record of the cell with these overrides, old or new, and the right to change it.

    A search may ask for one cell twice at a time: the second waits for what the first gets. None if the sweep
    is stopped meanwhile.
    """
    wanted = identity(overrides)
    swept = dict(override.split("=", 1) for override in overrides if override.split("=")[0] in sweep.swept)
    swept = {key: swept[key] for key in sweep.swept if key in swept}
    known = read_cells(sweep.folder).get(wanted)
    names = (known.name,) if known else (cell_name(swept), cell_name(swept, distinct=overrides))
    for name in names:
        folder = sweep.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        lease = _take_from(folder, wanted, stop)
        cell = Cell.read(folder)
        if cell is not None and identity(cell.overrides) != wanted:
            if lease is not None:
                lease.release()
            continue
        if lease is None:
            return None
        if cell is None:
            cell = Cell(name=name, overrides=overrides, swept=swept, state="stopped")
            cell.write(sweep.folder)  # says at once whose the name is
        return cell, lease
    raise AssertionError(f"two cells have the name {names[-1]}")


def _take_from(folder: Path, wanted: frozenset[str], stop: StopWatch) -> Lease | None:
    """The lock of a cell's folder, waited for unless that is another cell's or the sweep is stopped."""
    told = False
    while (lease := take(folder / LOCK_NAME)) is None and not stop.is_asked():
        cell = Cell.read(folder)
        if cell is not None and identity(cell.overrides) != wanted:
            break
        if cell is not None and not told:
            say(f"{cell.name}: waits for {holder(folder / LOCK_NAME)}, which is on it")
            told = True
        time.sleep(_INTERVAL_S)
    return lease


def _attempt(
    cfg: DictConfig, hydra: HydraConf, sweep: Sweep, cell: Cell, lease: Lease, stop: StopWatch
) -> None:
    """Run the cell's process, once its devices are free, and bring its record up to date."""
    previous = cell.state, cell.exit_status, cell.message
    attempt = {"started": _now(), "ended": None, "exit_status": None, "devices": [], "call": stop.call}
    cell.attempts.append(attempt)
    cell.state, cell.exit_status, cell.message = "running", None, None
    try:
        environment = cell_environment(os.environ)
        if sweep.launcher == "joblib" and "OMP_NUM_THREADS" not in environment:
            environment["OMP_NUM_THREADS"] = _threads(cfg, hydra)
        devices = _devices(cfg, sweep, stop)
    except ValueError as error:
        _finish(cell, attempt, sweep, "failed", 2, str(error))
        return
    try:
        # written before the last look at the mark: whoever set it waits for each cell that says it is running
        attempt["devices"] = devices.names if devices else []
        cell.write(sweep.folder)
        if devices is None or stop.is_asked():
            cell.attempts.pop()
            cell.state, cell.exit_status, cell.message = previous
            cell.write(sweep.folder)
            return
        command = _command(cfg, hydra, sweep, sweep.folder / cell.name)
        inherited = [lease.descriptor, *(gpu.descriptor for gpu in devices.leases)]
        _run(command, environment | devices.environment, inherited, sweep=sweep, cell=cell, stop=stop)
    finally:
        if devices is not None:
            devices.release()


def _run(
    command: list[str],
    environment: dict[str, str],
    inherited: list[int],
    *,
    sweep: Sweep,
    cell: Cell,
    stop: StopWatch,
) -> None:
    """The process of the attempt that has just been written down, from its start to its end."""
    folder, attempt = sweep.folder / cell.name, cell.attempts[-1]
    log = folder / LOG_NAME
    number = len(cell.attempts)
    on = f" on GPU {', '.join(attempt['devices'])}" if attempt["devices"] else ""
    say(f"{cell.name}: starts{on}" + (f" (attempt {number})" if number > 1 else ""))
    with log.open("a") as file:
        file.write(f"{HEADER} {number}, {attempt['started']}{on}: {shlex.join(command)}\n")
    status, was_asked = supervise(
        command,
        environment=environment,
        log=log,
        asked_to_stop=stop.asked,
        shown=sweep.launcher == "basic",
        inherited=inherited,
    )
    state = _state(status, was_asked)
    cell.objective = _objective(folder) if state == "finished" else None
    _finish(cell, attempt, sweep, state, status, last_lines(log) if state == "failed" else None)


def _finish(
    cell: Cell, attempt: dict[str, object], sweep: Sweep, state: str, status: int, message: str | None
) -> None:
    cell.state, cell.exit_status, cell.message = state, status, message
    attempt.update(ended=_now(), exit_status=status)
    cell.write(sweep.folder)
    result = f", val/psnr {cell.objective:.4f}" if cell.objective is not None else ""
    say(f"{cell.name}: {cell.state.replace('_', ' ')}{result}" + (f" ({status})" if status else ""))


def _state(status: int, was_asked: bool) -> str:
    if status == 0:
        return "finished"
    if status == OVER_LATENCY_LIMIT:
        return "over_latency_limit"
    return "stopped" if was_asked or status in _STOPPED else "failed"


def _objective(folder: Path) -> float | None:
    try:
        return json.loads((folder / "summary.json").read_text()).get("val/psnr")
    except FileNotFoundError:
        return None  # evaluate.py has none


def _devices(cfg: DictConfig, sweep: Sweep, stop: StopWatch) -> Devices | None:
    """What the cell may use; None if the sweep was stopped before that was free."""
    wanted = devices_wanted(cfg)
    if sweep.launcher != "joblib" or wanted is None:
        return Devices()  # one cell at a time, a scheduler that gives devices out, or a CPU
    gpus = list_gpus(os.environ)
    if not gpus:
        return Devices()
    return borrow_gpus(wanted, gpus, folder=lock_folder(), is_stopped=stop.is_asked)


def _threads(cfg: DictConfig, hydra: HydraConf) -> str:
    """An equal share of the machine's cores for each process of a pool."""
    return str(threads_per_process(jobs_at_once(int(hydra.launcher["n_jobs"])), processes_wanted(cfg)))


def _command(cfg: DictConfig, hydra: HydraConf, sweep: Sweep, folder: Path) -> list[str]:
    """The cell as one would type it alone."""
    command = [sys.executable, sweep.script]
    if hydra.job.config_name != Path(sweep.script).stem:
        command += ["--config-name", str(hydra.job.config_name)]
    for source in hydra.runtime.config_sources:
        path = source["path"].removeprefix("file://") if isinstance(source, dict) else source.path
        if source.provider == "main" and Path(path) != configuration_folder():
            command += ["--config-path", path]
        if source.provider == "command-line":
            command += ["--config-dir", path]
    resumable = ["resume=auto"] if "resume" in cfg else []
    run_dir = override("hydra.run.dir", folder.resolve())
    return [*command, *hydra.overrides.task, run_dir, *resumable, *sweep.forwarded]


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
