"""Messages for faults of loader processes, with their remedies."""

import errno
import signal
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.process import BaseProcess

_FEWER_FILES = "raise the limit (ulimit -n 65536), or load without loader processes: data.num_workers=0"
_MORE_SHARED_MEMORY = (
    "give /dev/shm more room (docker run --shm-size=8g, or --ipc=host), set a smaller data.batch_size, or "
    "load without loader processes: data.num_workers=0"
)
# What torch and the operating system say.
_SHORTAGES = (
    (("Too many open files", "items of ancdata"), "too many open files", _FEWER_FILES),
    (
        ("No space left on device", "unable to allocate shared memory", "unable to write to file </torch"),
        "no room in shared memory",
        _MORE_SHARED_MEMORY,
    ),
)


class LoaderProcessError(RuntimeError):
    """Loader processes died, hang, or lack resources; the message says which, and what to do."""


def why_broken(error: BrokenProcessPool, processes: Sequence[BaseProcess]) -> str:
    """Names the processes that ended by themselves, or else what the reading thread failed on."""
    dead = [process for process in processes if not getattr(process, "was_killed_here", False)]
    if dead:
        return "; ".join(_cause_of_death(process, len(processes)) for process in dead)
    cause = error.__cause__ or error
    return shortage(cause) or f"{_failed(cause)}; data.num_workers=0 loads without loader processes"


def _cause_of_death(process: BaseProcess, num_workers: int) -> str:
    code = process.exitcode
    if code is None or code >= 0:
        return f"loader process {process.pid} ended with exit status {code}; see its output above"
    name = signal.Signals(-code).name
    advice = {
        "SIGKILL": "often because memory is short: set fewer than "
        f"data.num_workers={num_workers}, or a smaller data.batch_size",
        "SIGBUS": f"/dev/shm or the disk with decoded images is full: {_MORE_SHARED_MEMORY}",
    }.get(name, "data.num_workers=0 loads without loader processes")
    return f"loader process {process.pid} was killed by {name}; {advice}"


def shortage(error: BaseException) -> str | None:
    """The resource that is short, if the error says so, and the remedy."""
    for words, fault, advice in _SHORTAGES:
        if any(word in str(error) for word in words):
            return f"{fault} for loader processes ({_last_line(error)}); {advice}"
    return None


def why_not_started(error: Exception, num_workers: int) -> str:
    """Why loader processes did not start, and the remedy."""
    if isinstance(error, OSError) and error.errno in (errno.EAGAIN, errno.ENOMEM):
        return f"no room for data.num_workers={num_workers} loader processes ({error}); set fewer, or 0"
    return shortage(error) or f"{_failed(error)}; data.num_workers=0 loads without loader processes"


def _failed(error: BaseException) -> str:
    return f"loader processes failed ({type(error).__name__}: {_last_line(error)})"


def _last_line(error: BaseException) -> str:
    """What was said, without the traceback of another thread or process before it."""
    lines = [line for line in str(error).splitlines() if line.strip().strip("'\"")]
    return lines[-1].strip() if lines else "no message"
