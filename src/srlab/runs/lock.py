"""One process at a time writes to a run's folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from srlab.locks import holder, is_held, take_within

LOCK_NAME = ".running"

# A process that only asks whether a run is training holds the lock for an instant.
_PATIENCE_S = 2.0


def is_running(folder: Path) -> bool:
    """Whether a process of this machine, or another that shares the file system, trains in ``folder``."""
    return is_held(Path(folder) / LOCK_NAME)


@contextmanager
def locked_run(folder: Path) -> Iterator[None]:
    """Create ``folder`` and keep other processes out of it until the block ends.

    Raises:
        ValueError: another process holds it; the message names that process.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK_NAME
    lease = take_within(path, _PATIENCE_S)
    if lease is None:
        raise ValueError(
            f"{folder} is being written by {holder(path)}: wait for it or stop it, or give this run another "
            "folder (hydra.run.dir=…)"
        )
    with lease:
        yield
