"""Advisory locks that the operating system frees however their holders end."""

import fcntl
import os
import socket
from pathlib import Path
from types import TracebackType

__all__ = ["Lease", "holder", "is_held", "take"]


class Lease:
    """An exclusive lock on a file, held until released and until every process that inherited it has ended.

    Args:
        descriptor: of the open, locked file.
    """

    def __init__(self, *, descriptor: int) -> None:
        self.descriptor = descriptor

    def release(self) -> None:
        """Give it back, as far as this process is concerned; a second time does nothing."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def __enter__(self) -> "Lease":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def take(path: Path) -> Lease | None:
    """The lock on ``path``, whose folder must exist; None while another holds it.

    The file says who took it last, for messages only.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
    return Lease(descriptor=descriptor)


def is_held(path: Path) -> bool:
    """Whether some process holds the lock on ``path``."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        # shared, so that those who only ask do not see one another
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def holder(path: Path) -> str:
    """Who took the lock last, in words."""
    try:
        return path.read_text().strip() or "another process"
    except FileNotFoundError:
        return "another process"
