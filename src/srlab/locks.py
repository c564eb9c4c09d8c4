"""Work that one of several processes does while the others wait, as long as it makes progress."""

import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

__all__ = ["HolderHangsError", "locked_work"]

log = logging.getLogger(__name__)

_LOOK_S = 10.0


class HolderHangsError(RuntimeError):
    """Another process holds a lock and does nothing."""


@contextmanager
def locked_work(path: Path, *, work: str, watched: Path, patience_s: float = 600.0) -> Iterator[None]:
    """Hold the lock on the file ``path``, once whoever else works under it has finished or died.

    The operating system gives the lock free however its holder ends.

    Args:
        path: of the lock.
        work: what is done under it, for messages.
        watched: file or folder that changes while the work advances.
        patience_s: how long it may stay as it is.

    Raises:
        HolderHangsError: naming the process that holds the lock.
    """
    lock = FileLock(path)
    _wait(lock, path, work=work, watched=watched, patience_s=patience_s)
    try:
        with suppress(OSError):
            path.write_text(f"process {os.getpid()} on {socket.gethostname()}\n")
        yield
    finally:
        lock.release()


def _wait(lock: FileLock, path: Path, *, work: str, watched: Path, patience_s: float) -> None:
    state, since = _state(watched), time.monotonic()
    is_told = False
    while True:
        try:
            lock.acquire(timeout=min(_LOOK_S, patience_s))
        except Timeout:
            pass
        else:
            return
        if (now := _state(watched)) != state:
            state, since = now, time.monotonic()
        waited_s = time.monotonic() - since
        if waited_s >= patience_s:
            raise HolderHangsError(
                f"{work}: {_holder(path)} holds {path} and has made no progress for {waited_s:.0f} s; end "
                "that process (the lock ends with it) and start again"
            )
        if not is_told:
            log.info("%s: waiting for %s, which is at it (%s)", work, _holder(path), path)
            is_told = True


def _state(watched: Path) -> tuple[int, int] | None:
    try:
        status = watched.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _holder(path: Path) -> str:
    try:
        return path.read_text().strip() or "another process"
    except OSError:  # Windows lets nobody else read a locked file
        return "another process"
