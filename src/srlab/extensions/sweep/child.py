"""Runs a command as a supervised process: output to a file, signals passed on, no process left behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from srlab.extensions.sweep.records import StopRequest

# Start of the line that a log has above each attempt.
ATTEMPT = "==== attempt"

_POLL_S = 0.1
# Time for a process that was asked twice to stop, and for the processes that one leaves behind.
_GRACE_S = 15.0
_TAIL_BYTES = 8192


def say(line: str) -> None:
    """Print a line at once."""
    _show(f"{line}\n".encode())


def _show(text: bytes) -> None:
    """Print ``text``, or nothing once the terminal or the reader of a pipe is gone: logs have it all."""
    with suppress(OSError, AttributeError):  # AttributeError: there was no standard output to begin with
        sys.stdout.buffer.write(text)
        sys.stdout.buffer.flush()


def supervise(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    log: Path,
    stop_request: Callable[[], StopRequest | None],
    shown: bool,
    inherited: Sequence[int] = (),
) -> tuple[int, bool]:
    """Run ``command`` in a session of its own until it and all processes of its group have ended.

    The output goes directly to ``log``, so that the process can outlive its supervisor, and is also printed
    if ``shown``. The descriptors of locks in ``inherited`` are held as long as the process lives.

    Returns:
        The exit status as a shell reports it (128 + signal), and whether the process was asked to stop.
    """
    with log.open("ab") as sink, log.open("rb") as source:
        source.seek(0, os.SEEK_END)
        child = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=inherited,
        )
        was_asked = _wait(child, stop_request, source if shown else None)
        _end_group(child.pid)
    status = child.returncode
    return (128 - status if status < 0 else status), was_asked


def _wait(
    child: "subprocess.Popen[bytes]", stop_request: Callable[[], StopRequest | None], output: BinaryIO | None
) -> bool:
    """Wait for ``child`` and pass requests to stop on; returns whether there was one."""
    times, kill_at = 0, float("inf")
    while child.returncode is None:
        request = stop_request()
        if request is not None and request.times > times:
            # only to the first process: it stops its ranks and loaders itself
            child.send_signal(request.signal)
            times = request.times
            kill_at = time.monotonic() + _GRACE_S if times > 1 else kill_at
        if time.monotonic() > kill_at:
            os.killpg(child.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            child.wait(_POLL_S)
        if output is not None:
            _show(output.read())
    return times > 0


def _end_group(group: int) -> None:
    """Let other ranks, loaders and loggers end by themselves, then terminate, then kill what is left."""
    for number in (0, signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(group, number)
        deadline = time.monotonic() + _GRACE_S
        while time.monotonic() < deadline:
            if not _has_living(group):
                return
            time.sleep(_POLL_S)


def _has_living(group: int) -> bool:
    """Whether a process of ``group`` runs; containers often lack an init process that reaps zombies."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            state, _parent, own_group, *_ = path.read_text(errors="replace").rpartition(")")[2].split()
            if int(own_group) == group and state not in "ZX":
                return True
    return False


def last_lines(log: Path, count: int = 8) -> str:
    """The last lines of the latest attempt, without progress bars and blank lines."""
    text = log.read_bytes()[-_TAIL_BYTES:].decode(errors="replace")
    lines = [line.rstrip().rpartition("\r")[2] for line in text.split("\n")]
    header = max((index for index, line in enumerate(lines) if line.startswith(ATTEMPT)), default=-1)
    return "\n".join([line for line in lines[header + 1 :] if line][-count:])
