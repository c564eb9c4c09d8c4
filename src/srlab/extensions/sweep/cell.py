"""Runs one cell of a sweep as a process of its own and records the result."""

import os
import shlex
import sys
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from srlab.app.launch import configuration_folder
from srlab.extensions.sweep import devices
from srlab.extensions.sweep.child import ATTEMPT, last_lines, say, supervise
from srlab.extensions.sweep.records import LOCK_NAME, Cell, Sweep, now, read_cells
from srlab.locks import Lease, holder, locked_work, take
from srlab.runs.contract import MONITOR, OVER_LIMIT
from srlab.runs.folder import RunFolder
from srlab.terminal.command_lines import override

CALL_VARIABLE = "SRLAB_SWEEP_CALL"

# Exit statuses of a run that a signal stopped.
_STOPPED = (129, 130, 143)


def run_cell(cfg: DictConfig) -> float | None:
    """Run the cell that Hydra's launcher has just composed to ``cfg``, unless it is done.

    Returns:
        The validation PSNR in dB, which searches maximize; -inf above the latency limit; None without one.
        A cell that fails returns None as well: its record has the reason, and the other cells continue.
    """
    hydra = HydraConfig.get()
    sweep = Sweep.read(Path(hydra.sweep.dir))
    sweep.call = os.environ.get(CALL_VARIABLE, "")
    if sweep.is_stopped():
        return None
    overrides = list(hydra.overrides.task)
    with locked_work(sweep.folder / ".names.lock", work="naming a cell", watched=sweep.folder):
        known = read_cells(sweep.folder)
        cell = sweep.cell(overrides, known)
        if frozenset(overrides) not in known:
            cell.write()
    if not cell.is_done:
        lock = cell.folder / LOCK_NAME
        lease = devices.wait_for(
            lambda: take(lock),
            is_stopped=sweep.is_stopped,
            waiting=lambda: f"{lock.parent.name}: waiting for {holder(lock)}, which is running it",
        )
        if lease is None:
            return None
        with lease:
            cell = Cell.read(cell.folder)  # a search may ask for a cell twice: it may be done now
            if RunFolder(cell.folder).is_running:
                say(f"{cell.name}: skipped, since a process outside this sweep is training it")
            elif not cell.is_done:
                _attempt(cfg, sweep, cell, lease)
    return float("-inf") if cell.state == "over_limit" else cell.objective


def _attempt(cfg: DictConfig, sweep: Sweep, cell: Cell, lease: Lease) -> None:
    """Run the cell's process, once its devices are free, and record how it ended."""
    cell.attempts.append({"started": now(), "ended": None, "exit_status": None, "devices": []})
    wanted, uses_gpus = devices.devices_wanted(cfg)
    # with another launcher one cell runs at a time, or a scheduler assigns the devices
    is_pool = sweep.launcher == "joblib"
    gpus = devices.list_gpus(os.environ) if is_pool and uses_gpus else []
    borrowed: dict[str, Lease] | None = {}
    try:
        environment = devices.cell_environment(os.environ)
        if gpus:
            folder = devices.lock_folder()
            borrowed = devices.borrow_gpus(wanted, gpus, folder=folder, is_stopped=sweep.is_stopped)
    except ValueError as error:
        _finish(cell, "failed", 2, str(error))
        return
    if borrowed is None:  # stopped before it began
        return
    if borrowed:
        environment |= devices.visible_gpus(wanted, list(borrowed), gpus)
    if is_pool:
        import joblib  # here: only pools need it

        at_once = joblib.effective_n_jobs(int(HydraConfig.get().launcher["n_jobs"]))
        environment.setdefault("OMP_NUM_THREADS", str(devices.threads_per_process(at_once, wanted)))
    cell.attempts[-1]["devices"] = list(borrowed)
    try:
        _run(_command(cfg, sweep, cell), environment, [lease, *borrowed.values()], sweep, cell)
    finally:
        for gpu in borrowed.values():
            gpu.release()


def _run(
    command: list[str], environment: dict[str, str], leases: list[Lease], sweep: Sweep, cell: Cell
) -> None:
    """The process of the latest attempt, from start to end."""
    cell.state, cell.exit_status, cell.message = "running", None, None
    cell.write()
    number, attempt, log = len(cell.attempts), cell.attempts[-1], cell.folder / "output.log"
    on = f" on GPU {', '.join(attempt['devices'])}" if attempt["devices"] else ""
    say(f"{cell.name}: started{on}" + (f" (attempt {number})" if number > 1 else ""))
    with log.open("a") as file:
        file.write(f"{ATTEMPT} {number}, {attempt['started']}{on}: {shlex.join(command)}\n")
    status, was_asked = supervise(
        command,
        environment=environment,
        log=log,
        stop_request=sweep.stop_request,
        shown=sweep.launcher == "basic",
        inherited=[lease.descriptor for lease in leases],
    )
    state = "stopped" if was_asked or status in _STOPPED else "failed"
    state = {0: "finished", OVER_LIMIT: "over_limit"}.get(status, state)
    if state == "finished":
        cell.objective = (RunFolder(cell.folder).summary() or {}).get(MONITOR)  # evaluate.py writes none
    _finish(cell, state, status, last_lines(log) if state == "failed" else None)


def _finish(cell: Cell, state: str, status: int, message: str | None = None) -> None:
    cell.state, cell.exit_status, cell.message = state, status, message
    cell.attempts[-1].update(ended=now(), exit_status=status)
    cell.write()
    score = f", {MONITOR} {cell.objective:.4f}" if cell.objective is not None else ""
    say(f"{cell.name}: {cell.state_in_words}{score}" + (f" (exit status {status})" if status else ""))


def _command(cfg: DictConfig, sweep: Sweep, cell: Cell) -> list[str]:
    """The command that runs the cell alone."""
    hydra = HydraConfig.get()
    script = Path(sweep.script)
    command = [sys.executable, sweep.script]
    if script.suffix != ".py":  # srlab train, srlab evaluate
        command.append(sweep.command[1])
    if sweep.config_name != Path(command[-1]).stem:
        command += ["--config-name", sweep.config_name]
    for source in hydra.runtime.config_sources:
        if source.provider == "main" and Path(source.path) != configuration_folder():
            command += ["--config-path", source.path]
        if source.provider == "command-line":
            command += ["--config-dir", source.path]
    run_dir = override("hydra.run.dir", cell.folder.resolve())
    resumable = ["resume=auto"] if "resume" in cfg else []
    return [*command, *hydra.overrides.task, run_dir, *resumable, *sweep.forwarded]
