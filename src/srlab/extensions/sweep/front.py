"""The first process of a sweep: it handles terminal and signals, and prints how each cell ended.

Hydra's launcher runs in a forked process with a session of its own, so that a Ctrl-C, which a terminal sends
to all of its foreground processes, does not reach it: joblib would kill its workers and all their cells.
"""

import logging
import os
import shlex
import signal
import sys
import textwrap
import time
from collections.abc import Sequence

from omegaconf import DictConfig, open_dict

from srlab.extensions.sweep.cell import CALL_VARIABLE
from srlab.extensions.sweep.child import say
from srlab.extensions.sweep.devices import THREAD_LIMITS_VARIABLE, thread_limits
from srlab.extensions.sweep.planning import planned_cells, requested_sweep
from srlab.extensions.sweep.records import LOCK_NAME, Cell, StopRequest, Sweep, read_cells
from srlab.locks import holder, is_held, take
from srlab.runs.contract import MONITOR
from srlab.terminal.command_lines import override, shell_path
from srlab.terminal.output import READER_GONE
from srlab.terminal.tables import PlainTable, plain_console

_POLL_S = 0.1
# A stopped sweep without running cells waits this long for cells that are just starting.
_IDLE_S = 3.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# They number the cells, and list even those that are done.
_VERBOSE_LOGGERS = ("alembic", "hydra", "hydra_plugins.hydra_joblib_launcher")

_STOPPING = ("{}: no new cells start, running ones save and stop; once more to abort them", "{}: aborting")


def begin(config: DictConfig, config_name: str) -> None:
    """Start or resume the sweep; only the launcher's process returns, the first one exits.

    Raises:
        ValueError: another process runs the sweep, or a cell could not run.
        OSError: the sweep's folder cannot be written.
    """
    sweep = requested_sweep(config, config_name)
    sweep.folder.mkdir(parents=True, exist_ok=True)
    lease = take(sweep.lock)
    if lease is None:
        raise ValueError(
            f"{sweep.folder} is being run by {holder(sweep.lock)}: wait for it, stop it, or name another "
            "folder with hydra.sweep.dir=…"
        )
    planned = planned_cells(config)
    sweep.write()
    cells = _cells(sweep, planned)
    size = f"a search by {sweep.sweeper}" if planned is None else f"{len(cells)} cells"
    say(f"sweep {sweep.folder}: {size}, {sum(cell.is_done for cell in cells)} done")
    if planned is not None and all(cell.is_done for cell in cells):
        sys.exit(_conclude(sweep, cells))
    _configure(config, sweep)
    signals: list[int] = []
    launcher = _fork(signals)
    if launcher == 0:
        return
    status = _watch(launcher, sweep, signals)
    if sweep.is_local:  # jobs that a scheduler starts later still look for it
        (sweep.folder / StopRequest.FILE).unlink(missing_ok=True)
    if status and not read_cells(sweep.folder):
        sys.exit(status)  # Hydra has printed why nothing could start
    left = _conclude(sweep, _cells(sweep, planned)) or status not in (0, READER_GONE)
    sys.exit(128 + signals[0] if signals else int(left))


def _cells(sweep: Sweep, planned: Sequence[Sequence[str]] | None) -> list[Cell]:
    """All planned cells, or those that a search has asked for."""
    known = read_cells(sweep.folder)
    return list(known.values()) if planned is None else [sweep.cell(each, known) for each in planned]


def _configure(config: DictConfig, sweep: Sweep) -> None:
    """Pass the sweep to Hydra, which composes each cell from the overrides, and to its workers."""
    config.hydra.sweep.dir = str(sweep.folder)
    typed = [line for line in config.hydra.overrides.hydra if not line.startswith("hydra.sweep.dir=")]
    if not any(line.startswith(("hydra/job_logging=", "~hydra/job_logging")) for line in typed):
        typed.append("hydra/job_logging=stdout")  # each cell has a log file of its own
    with open_dict(config.hydra):
        config.hydra.overrides.hydra = [*typed, override("hydra.sweep.dir", sweep.folder)]
    for name in _VERBOSE_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    os.environ[CALL_VARIABLE] = sweep.call
    if sweep.launcher == "joblib":
        os.environ[THREAD_LIMITS_VARIABLE] = ",".join(thread_limits(os.environ))


def _fork(signals: list[int]) -> int:
    """Fork the launcher, whose id is returned, 0 in itself; signals to the first process are noted."""
    heeded = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]  # not under nohup
    before = {number: signal.signal(number, lambda sent, _: signals.append(sent)) for number in heeded}
    sys.stdout.flush()
    sys.stderr.flush()
    launcher = os.fork()
    if launcher == 0:
        os.setsid()
        for number, handler in before.items():
            signal.signal(number, handler)
    return launcher


def _watch(launcher: int, sweep: Sweep, signals: Sequence[int]) -> int:
    """Wait for the launcher and pass requests to stop on; returns its exit status."""
    passed_on, idle_since = 0, time.monotonic()
    while True:
        ended, status = os.waitpid(launcher, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if (times := min(len(signals), 2)) > passed_on:
            # cells stop at a closed terminal as at SIGTERM
            number = int(signal.SIGTERM) if signals[0] == signal.SIGHUP else signals[0]
            StopRequest(folder=sweep.folder, call=sweep.call, signal=number, times=times).write()
            say(_STOPPING[times - 1].format(signal.Signals(signals[0]).name))
            passed_on = times
        if not passed_on or any(map(is_held, sweep.folder.glob(f"*/{LOCK_NAME}"))):
            idle_since = time.monotonic()
        if time.monotonic() - idle_since > _IDLE_S:
            os.killpg(launcher, signal.SIGKILL)  # a search would continue to ask for cells
            os.waitpid(launcher, 0)
            return 0
        time.sleep(_POLL_S)


def _conclude(sweep: Sweep, cells: Sequence[Cell]) -> bool:
    """Print the state of every cell; returns whether some are not done."""
    rows = []
    for cell in cells:
        score = None if cell.objective is None else f"{cell.objective:.4f}"
        rows.append(
            {"cell": cell.name, "state": cell.state_in_words, MONITOR: score, "exit": cell.exit_status}
        )
    plain_console(unbounded_width=160).print(PlainTable(rows, text=("cell", "state")))
    for cell in cells:
        if cell.state == "failed":
            say(f"\n{cell.name} failed; its last lines:\n{textwrap.indent(cell.message or 'none', '  ')}")
    left = sum(not cell.is_done for cell in cells)
    if left:
        say(f"\n{left} of {len(cells)} cells are not done; to resume them, run the same command again:")
        say(f"  {shlex.join(sweep.command)}")
    else:
        say("\nevery cell is done; to start over, name another folder with hydra.sweep.dir=…")
    if any(cell.objective is not None for cell in cells):
        say(f"compare them: srlab report {shell_path(sweep.folder)}")
    return left > 0
