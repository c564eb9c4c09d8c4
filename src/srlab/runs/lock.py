"""One process writes to a run's folder at a time; the operating system notices when it is gone."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

__all__ = ["LOCK_NAME", "is_running", "locked_run"]

LOCK_NAME = ".running"

log = logging.getLogger(__name__)

# Somebody who only asks whether a run is going on holds its lock for an instant.
_PATIENCE_S = 2.0


def is_running(folder: Path) -> bool:
    """Whether a living process, of this machine or another that shares the file system, trains in ``folder``.

    However a process ends, its lock ends with it: there is nothing to clean up after a kill.
    """
    path = Path(folder) / LOCK_NAME
    if not path.is_file():
        return False
    if os.name == "posix":
        from srlab.extensions.sweep.leases import is_held  # who asks may be one who cannot write here

        return is_held(path)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


@contextmanager
def locked_run(folder: Path) -> Iterator[None]:
    """Keep other processes out of the run in ``folder``, which is made, until the block ends.

    Raises:
        ValueError: another process is at it; the message says which.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK_NAME
    lock = FileLock(path)
    try:
        lock.acquire(timeout=_PATIENCE_S, poll_interval=0.05)
    except Timeout:
        raise ValueError(
            f"{folder} is being written by {_holder(path)}: wait for it or stop it, or give this run another "
            "folder (hydra.run.dir=…)"
        ) from None
    try:
        path.write_text(f"process {os.getpid()} on {socket.gethostname()}\n")
        yield
    finally:
        lock.release()


def _holder(path: Path) -> str:
    """What the one who holds the lock wrote into its file."""
    try:
        return path.read_text().strip() or "another process"
    except OSError:  # Windows lets nobody else read a locked file
        return "another process"
