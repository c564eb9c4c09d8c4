"""One process of its own, watched: its output kept, signals handed on, nothing of it left behind."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from srlab.extensions.sweep.terminal import show

__all__ = ["HEADER", "last_lines", "supervise"]

# Begins the line that a log has above each attempt.
HEADER = "==== attempt"

_INTERVAL_S = 0.1
# After the second request to stop, and for what a process leaves behind when it ends.
_PATIENCE_S = 15.0
_TAIL_BYTES = 8192


def supervise(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    log: Path,
    asked_to_stop: Callable[[], tuple[int, int]],
    shown: bool,
    inherited: Sequence[int] = (),
) -> tuple[int, bool]:
    """Run ``command`` in a session of its own, its output appended to ``log``, until it and its group end.

    The output goes to the file directly, so that the process outlives whoever supervises it.

    Args:
        command: program and arguments.
        environment: all of it.
        log: file to append to.
        asked_to_stop: the signal to hand on and how often, see :class:`StopWatch`.
        shown: copy the output to this process's standard output, too.
        inherited: descriptors that the process keeps open: locks that must live as long as it does.

    Returns:
        Its exit status as a shell has it (128 + the signal that killed it), and whether it was asked to stop.
    """
    with log.open("ab") as sink, log.open("rb") as source:
        source.seek(0, os.SEEK_END)
        child = subprocess.Popen(
            command,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=tuple(inherited),
        )
        was_asked = _wait(child, asked_to_stop, source if shown else None)
        _end_group(child.pid)
    status = child.returncode
    return (128 - status if status < 0 else status), was_asked


def _wait(
    child: "subprocess.Popen[bytes]", asked_to_stop: Callable[[], tuple[int, int]], output: BinaryIO | None
) -> bool:
    handed_on = 0
    last_chance: float | None = None
    while True:
        try:
            child.wait(_INTERVAL_S)
            break
        except subprocess.TimeoutExpired:
            pass
        number, times = asked_to_stop()
        if times > handed_on:
            # to the first process alone: ranks stop together, loaders when it is done with them
            child.send_signal(number)
            handed_on = times
            last_chance = time.monotonic() + _PATIENCE_S if times > 1 else None
        if last_chance is not None and time.monotonic() > last_chance:
            os.killpg(child.pid, signal.SIGKILL)
        _copy(output)
    _copy(output)
    return handed_on > 0


def _copy(output: BinaryIO | None) -> None:
    if output is not None and (text := output.read()):
        show(text)


def _end_group(group: int) -> None:
    """Other ranks, loaders and loggers get time to end by themselves; none may keep a device."""
    for number in (0, signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + _PATIENCE_S
        try:
            os.killpg(group, number)
            while time.monotonic() < deadline:
                if not _has_living(group):
                    return
                time.sleep(_INTERVAL_S)
        except ProcessLookupError:
            return


def _has_living(group: int) -> bool:
    """Whether any process of the group has not ended; in a container often nobody buries orphans."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            state, _parent, own_group, *_ = path.read_text(errors="replace").rpartition(")")[2].split()
            if int(own_group) == group and state not in "ZX":
                return True
    return False


def last_lines(log: Path, count: int = 8) -> str:
    """The end of what the last attempt printed, bars and blank lines left out."""
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
        text = file.read().decode(errors="replace")
    lines = [line.rpartition("\r")[2].rstrip() for line in text.replace("\r\n", "\n").split("\n")]
    begun = [index for index, line in enumerate(lines) if line.startswith(HEADER)]
    own = lines[begun[-1] + 1 :] if begun else lines
    return "\n".join([line for line in own if line][-count:])
