"""Locks on files, which the operating system releases when their holder ends."""

import fcntl
import logging
import os
import socket
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

log = logging.getLogger(__name__)

_POLL_S = 0.05


class HolderHangsError(RuntimeError):
    """Another process holds a lock and makes no progress."""


class Lease:
    """An exclusive lock on a file, held until it is released or the process ends.

    Forked children (loader processes) do not inherit it; a program that is started with ``descriptor`` among
    its ``pass_fds`` does, and holds it too.

    Args:
        descriptor: of the open, locked file.
    """

    def __init__(self, *, descriptor: int) -> None:
        self.descriptor = descriptor
        _leases.add(self)

    def release(self) -> None:
        """Release the lock as far as this process is concerned; a second call does nothing."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def __enter__(self) -> "Lease":
        return self

    def __exit__(self, *_error: object) -> None:
        self.release()


_leases: "weakref.WeakSet[Lease]" = weakref.WeakSet()


def _release_in_child() -> None:
    for lease in list(_leases):
        lease.release()


os.register_at_fork(after_in_child=_release_in_child)


def take(path: Path) -> Lease | None:
    """The lock on ``path``, whose folder must exist; None while another process holds it.

    The file names the process that took it last, for messages only.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    if not _locked(descriptor, fcntl.LOCK_EX):
        os.close(descriptor)
        return None
    with suppress(OSError):  # a full disk
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
    return Lease(descriptor=descriptor)


def take_within(path: Path, timeout_s: float) -> Lease | None:
    """:func:`take`, tried until ``timeout_s`` is over."""
    deadline = time.monotonic() + timeout_s
    while (lease := take(path)) is None and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    return lease


def is_held(path: Path) -> bool:
    """Whether a process holds the lock on ``path``; reading permission is enough to ask."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        # shared, so that several processes can test the lock at the same time
        return not _locked(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def _locked(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def holder(path: Path) -> str:
    """The process that took the lock last, for messages."""
    try:
        return path.read_text().strip() or "another process"
    except OSError:
        return "another process"


@contextmanager
def locked_work(path: Path, *, work: str, watched: Path, patience_s: float = 600.0) -> Iterator[None]:
    """Hold the lock on ``path`` while the block runs; wait for another process as long as it makes progress.

    Args:
        path: of the lock.
        work: what is done under it, for messages.
        watched: file or folder that changes while the work advances.
        patience_s: how long it may stay unchanged.

    Raises:
        HolderHangsError: naming the process that holds the lock.
    """
    state, since = _state(watched), time.monotonic()
    lease = take_within(path, _POLL_S)
    if lease is None:
        log.info("%s: waiting for %s, which holds %s", work, holder(path), path)
    while lease is None:
        now, waited_s = _state(watched), time.monotonic() - since
        if now != state:
            state, since = now, time.monotonic()
        elif waited_s >= patience_s:
            raise HolderHangsError(
                f"{work}: {holder(path)} holds {path} and has made no progress for {waited_s:.0f} s; end "
                "that process (the lock ends with it) and start again"
            )
        lease = take_within(path, 4 * _POLL_S)
    with lease:
        yield


def _state(watched: Path) -> tuple[int, int] | None:
    try:
        status = watched.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns
