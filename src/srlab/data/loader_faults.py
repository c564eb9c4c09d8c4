"""What is wrong with loader processes, in words that name the remedy."""

import errno
import multiprocessing.connection
import signal
from collections.abc import Sequence
from multiprocessing.process import BaseProcess

__all__ = ["LoaderProcessError", "fault_of", "why_not_started"]

# A killed process closes its files a moment before it counts as dead.
_DYING_S = 1.0

_FEWER_FILES = "raise the limit (ulimit -n 65536), or load without loader processes: data.num_workers=0"
_MORE_SHARED_MEMORY = (
    "give /dev/shm more room (docker run --shm-size=8g, or --ipc=host), take a smaller data.batch_size, or "
    "load without loader processes: data.num_workers=0"
)
# How torch and the operating system word it, in errors that reach the reader as text.
_SHORTAGES = (
    (("Too many open files", "items of ancdata"), "too many open files", _FEWER_FILES),
    (
        ("No space left on device", "unable to allocate shared memory", "unable to write to file </torch"),
        "no room in shared memory",
        _MORE_SHARED_MEMORY,
    ),
)


class LoaderProcessError(RuntimeError):
    """Loader processes died, hang, or lack what they need; the message says which, and what helps."""


def fault_of(error: Exception, processes: Sequence[BaseProcess], *, hung_s: float | None) -> str | None:
    """What is wrong with the processes, or None where a sample could not be made."""
    if hung_s is not None:
        return (
            f"no batch came from loader processes {', '.join(str(each.pid) for each in processes)} for "
            f"{hung_s:.0f} s, and they were killed; does a disk with images not answer?"
        )
    ended = multiprocessing.connection.wait([each.sentinel for each in processes], _DYING_S)
    dead = [each for each in processes if each.sentinel in ended]
    if dead:
        return "; ".join(_fate(each, len(processes)) for each in dead)
    return _shortage(error)


def _fate(process: BaseProcess, num_workers: int) -> str:
    code = process.exitcode
    if code is None or code >= 0:
        return f"loader process {process.pid} ended with exit status {code}; what it printed says why"
    name = signal.Signals(-code).name
    advice = {
        "SIGKILL": "often because memory is short: take fewer than "
        f"data.num_workers={num_workers}, or a smaller data.batch_size",
        "SIGBUS": f"/dev/shm or the disk with decoded images is full: {_MORE_SHARED_MEMORY}",
    }.get(name, "data.num_workers=0 loads without loader processes")
    return f"loader process {process.pid} was killed by {name}; {advice}"


def _shortage(error: Exception) -> str | None:
    for words, fault, advice in _SHORTAGES:
        if any(word in str(error) for word in words):
            return f"{fault} for loader processes ({_last_line(error)}); {advice}"
    return None


def why_not_started(error: Exception, num_workers: int) -> str:
    """What stands in the way of loader processes, and the remedy."""
    if isinstance(error, OSError) and error.errno in (errno.EAGAIN, errno.ENOMEM):
        return f"no room for data.num_workers={num_workers} loader processes ({error}); take fewer, or 0"
    return _shortage(error) or (
        f"loader processes do not start ({type(error).__name__}: {error}); data.num_workers=0 loads without"
    )


def _last_line(error: Exception) -> str:
    """What was said, without the traceback of another process that torch puts before it."""
    return str(error).strip().splitlines()[-1]
