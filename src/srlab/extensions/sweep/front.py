"""The first process of a sweep: it owns terminal and signals, and says at the end how each cell stands.

Hydra's engine goes on in a forked process of another session. A pool's workers and Hydra itself thereby
never see the Ctrl-C that a terminal sends to all of its foreground processes: joblib would answer it by
killing its workers with everything that they have started.
"""

import logging
import os
import shlex
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from types import FrameType

from omegaconf import DictConfig, open_dict

from srlab.extensions.sweep.cell import CALL_VARIABLE
from srlab.extensions.sweep.devices import LIMITS_VARIABLE, thread_limits
from srlab.extensions.sweep.gray_rules import refuse_earlier_gray_rule
from srlab.extensions.sweep.planning import cells_at_once, planned_cells, this_sweep
from srlab.extensions.sweep.records import Cell, Sweep, identity, read_cells
from srlab.extensions.sweep.stopping import LOCAL_LAUNCHERS, mark_stop
from srlab.extensions.sweep.table import describe
from srlab.extensions.sweep.terminal import say
from srlab.locks import Lease, holder, is_held, take
from srlab.terminal.command_lines import override, shell_path
from srlab.terminal.progress import OncePerInterval

__all__ = ["begin"]

_INTERVAL_S = 0.1
# How long nothing may happen, once all cells have stopped, before the engine is ended.
_IDLE_S = 3.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# They number the cells and name even those that have nothing left to do.
_TALKATIVE = (
    "alembic",
    "hydra._internal.core_plugins.basic_launcher",
    "hydra_plugins.hydra_joblib_launcher._core",
)


def begin(config: DictConfig, config_name: str) -> None:
    """Begin the sweep or go on with it; only the engine's process returns from here.

    Raises:
        ValueError: another process runs it, or it asks for what cells cannot have.
        OSError: its folder cannot be written.
        SystemExit: in the first process, once the engine has ended.
    """
    sweep = this_sweep(config, config_name)
    sweep.folder.mkdir(parents=True, exist_ok=True)
    lease = take(sweep.lock)
    if lease is None:
        raise ValueError(
            f"{sweep.folder} is being run by {holder(sweep.lock)}: wait for it, stop it, or name another "
            "folder with hydra.sweep.dir=…"
        )
    planned = planned_cells(config)
    sweep.write()
    known = read_cells(sweep.folder)
    _announce(config, sweep, planned, known)
    if planned is not None and _settled(planned, known) == len(planned):
        sys.exit(_conclude(sweep, planned, stopped_by=0))
    refuse_earlier_gray_rule(sweep.folder, known.values())
    _adjust(config, sweep)
    requests = _Requests()
    os.environ[CALL_VARIABLE] = sweep.call
    if sweep.launcher == "joblib":
        os.environ[LIMITS_VARIABLE] = thread_limits(os.environ)
    engine = _fork(lease, requests)
    if engine:
        status, stopped_by = _watch(engine, sweep, requests)
        sys.exit(_conclude(sweep, planned, stopped_by=stopped_by, engine_status=status))


def _announce(
    config: DictConfig, sweep: Sweep, planned: list[list[str]] | None, known: dict[frozenset[str], Cell]
) -> None:
    at_once = cells_at_once(config)
    pool = "as many at once as the scheduler lets" if at_once is None else f"{at_once} at once"
    if planned is None:
        settled = sum(cell.is_settled for cell in known.values())
        size = f"a search by {sweep.sweeper}, {settled} cells done"
    else:
        size = f"{len(planned)} cells, {_settled(planned, known)} done"
    say(f"sweep {sweep.folder}: {size}, {pool}")


def _settled(planned: Sequence[Sequence[str]], known: dict[frozenset[str], Cell]) -> int:
    return sum(identity(cell) in known and known[identity(cell)].is_settled for cell in planned)


def _adjust(config: DictConfig, sweep: Sweep) -> None:
    """Tell the engine, which composes each cell from these overrides anew, what was decided here."""
    config.hydra.sweep.dir = str(sweep.folder)
    with open_dict(config.hydra):
        typed = [line for line in config.hydra.overrides.hydra if not line.startswith("hydra.sweep.dir=")]
        # each cell logs in its own folder; those who watch it have only the terminal
        has_chosen = any(line.startswith(("hydra/job_logging=", "~hydra/job_logging")) for line in typed)
        logging_choice = [] if has_chosen else ["hydra/job_logging=stdout"]
        folder = override("hydra.sweep.dir", sweep.folder)
        config.hydra.overrides.hydra = [*typed, folder, *logging_choice]
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)


class _Requests:
    """Signals that ask the sweep to stop, counted."""

    def __init__(self) -> None:
        self.number = 0
        self.times = 0
        for number in _SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:  # nohup's
                signal.signal(number, self._count)

    def _count(self, number: int, _frame: FrameType | None) -> None:
        self.number = self.number or number
        self.times += 1

    @staticmethod
    def forget() -> None:
        """The handlers that programs start with."""
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number in _SIGNALS[1:]:
            signal.signal(number, signal.SIG_DFL)


def _fork(lease: Lease, requests: _Requests) -> int:
    """The engine's process id; 0 in the engine itself."""
    sys.stdout.flush()
    sys.stderr.flush()
    engine = os.fork()
    if engine == 0:
        lease.release()  # the first process's alone, so that all know when that is gone
        requests.forget()
        os.setsid()
    return engine


def _watch(engine: int, sweep: Sweep, requests: _Requests) -> tuple[int, int]:
    """Wait for the engine and hand on what the user asks; its exit status, and the signal that stopped it."""
    told = 0
    idle_since = time.monotonic()
    is_due = OncePerInterval()
    while True:
        ended, status = os.waitpid(engine, os.WNOHANG)
        if ended:
            break
        if requests.times > told:
            told = min(requests.times, 2)
            mark_stop(sweep, _handed_on(requests.number), told)
            say(_STOPPING[told - 1].format(signal.Signals(requests.number).name))
            requests.times = told
        if not sys.stdout.isatty() and is_due():
            say(_standing(sweep))
        if not told or _is_running(sweep):
            idle_since = time.monotonic()
        if time.monotonic() - idle_since > _IDLE_S:
            # a search would go on asking for cells
            os.killpg(engine, signal.SIGKILL)
            os.waitpid(engine, 0)
            status = 0
            break
        time.sleep(_INTERVAL_S)
    return os.waitstatus_to_exitcode(status), requests.number


_STOPPING = (
    "{}: no cell begins any more, those that run save and stop; once more aborts them",
    "{}: aborting",
)


def _standing(sweep: Sweep) -> str:
    """How many cells are in which state, for logs that are looked at while the sweep runs."""
    states = Counter(cell.state.replace("_", " ") for cell in read_cells(sweep.folder).values())
    return f"cells: {', '.join(f'{count} {state}' for state, count in states.items()) or 'none has begun'}"


def _handed_on(number: int) -> int:
    """A terminal that is closed stops cells as SIGTERM does."""
    return signal.SIGTERM if number == signal.SIGHUP else number


def _is_running(sweep: Sweep) -> bool:
    cells = read_cells(sweep.folder).values()
    return any(
        cell.is_of(sweep.call) and cell.state == "running" and is_held(cell.lock(sweep.folder))
        for cell in cells
    )


def _conclude(
    sweep: Sweep, planned: Sequence[Sequence[str]] | None, *, stopped_by: int, engine_status: int = 0
) -> int:
    """Print how every cell stands; the program's exit status."""
    if sweep.launcher in LOCAL_LAUNCHERS:
        sweep.stop_mark.unlink(missing_ok=True)  # those that a scheduler has yet to start look for it
    known = read_cells(sweep.folder)
    if engine_status and not known:
        return engine_status  # Hydra has said why nothing could begin
    cells = list(known.values()) if planned is None else [known.get(identity(cell)) for cell in planned]
    overrides = [cell.overrides if cell else [] for cell in cells] if planned is None else planned
    left = sum(cell is None or not cell.is_settled for cell in cells)
    say(describe(sweep, overrides, cells))
    if left:
        say(f"{left} of {len(cells)} cells are left; the same command goes on with them:")
        say(f"  {shlex.join(['python', *sweep.command])}")
    else:
        say("every cell is done; to start over, name another folder with hydra.sweep.dir=…")
    if any(cell is not None and cell.objective is not None for cell in cells):
        say(f"compare them: srlab report {shell_path(sweep.folder)}")
    if stopped_by:
        return 128 + stopped_by
    return 1 if left or engine_status else 0
