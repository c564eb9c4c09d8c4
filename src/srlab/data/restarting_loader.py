"""A loader that outlives its processes: the kernel kills them first where memory is short."""

import logging
import multiprocessing.connection
import signal
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler

__all__ = ["LoaderProcessesDiedError", "RestartingLoader"]

log = logging.getLogger(__name__)

# A killed process closes its files a moment before it counts as dead.
_DYING_S = 1.0
# So many deaths without this many batches between them are no accident.
_MOST_DEATHS = 3
_FORGIVEN_AFTER = 1000


class LoaderProcessesDiedError(RuntimeError):
    """Loader processes are killed again and again."""


class RestartingLoader(DataLoader[Any]):
    """When a loader process is killed, new ones start with the first batch that has not arrived.

    What they make is what the dead ones would have made only where a batch is a function of its indices, as
    here. torch itself raises an error wherever the main thread happens to be, in the middle of an optimizer
    step if it comes to that.

    Args:
        dataset: what batches are made of.
        batches: indices of each batch, the same whenever iterated anew.
        num_workers: loader processes; they stay from one iteration to the next.
        options: further arguments of torch's ``DataLoader``.

    Raises:
        LoaderProcessesDiedError: when iterated, at the fourth death with few batches in between.
    """

    def __init__(
        self, dataset: Any, *, batches: Iterable[Sequence[int]], num_workers: int, **options: Any
    ) -> None:
        self._due = _Due(batches)
        super().__init__(
            dataset,
            batch_sampler=self._due,  # type: ignore[arg-type]  (any iterable will do)
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            **options,
        )

    def __iter__(self) -> Any:
        """All batches in their order, each once."""
        self._due.restart()
        arrived, deaths = 0, deque[int](maxlen=_MOST_DEATHS + 1)
        batches: Iterator[Any] | None = None
        while True:
            try:
                batches = self._start() if batches is None else batches
                batch = next(batches)
            except StopIteration:
                return
            except (RuntimeError, OSError, EOFError) as error:
                fate = self._bury_the_dead()
                if fate is None:
                    raise
                deaths.append(arrived)
                if len(deaths) > _MOST_DEATHS and arrived - deaths[0] < _FORGIVEN_AFTER:
                    raise LoaderProcessesDiedError(_too_often(len(deaths), fate, self.num_workers)) from error
                log.warning("%s; new ones go on with the batch that is due: samples stay the same", fate)
                batches = None
                continue
            arrived += 1
            self._due.arrived()
            yield batch

    def _start(self) -> Iterator[Any]:
        batches = super().__iter__()
        if getattr(batches, "_worker_pids_set", False):  # there are processes
            # torch's handler of SIGCHLD forgets them; a death is noticed when a batch does not come
            torch._C._remove_worker_pids(id(batches))
            batches._worker_pids_set = False  # type: ignore[attr-defined]
        return batches

    def _bury_the_dead(self) -> str | None:
        """Which processes died of what; all are ended then. None if they live: the error was another."""
        batches: Any = self._iterator
        if batches is None:
            return None
        ended = multiprocessing.connection.wait([each.sentinel for each in batches._workers], _DYING_S)
        dead = [each for each in batches._workers if each.sentinel in ended]
        if not dead:
            return None
        for process in batches._workers:
            if process not in dead:
                process.kill()
            process.join()
        _abandon(batches)
        self._iterator = None
        fates = ", ".join(f"{each.pid} ({_fate(each.exitcode)})" for each in dead)
        return f"loader process {fates} is dead"


class _Due(Sampler[Sequence[int]]):
    """Indices of batches in their order; those that were given out and have not arrived come again first."""

    def __init__(self, batches: Iterable[Sequence[int]]) -> None:
        self._batches = batches
        self.restart()

    def restart(self) -> None:
        """From the first batch on."""
        self._coming = iter(self._batches)
        self._given: deque[Sequence[int]] = deque()

    def arrived(self) -> None:
        """The oldest of those given out is there."""
        self._given.popleft()

    def __iter__(self) -> Iterator[Sequence[int]]:
        yield from tuple(self._given)
        for batch in self._coming:
            self._given.append(batch)
            yield batch

    def __len__(self) -> int:
        return len(self._batches)  # type: ignore[arg-type]  (a TypeError where there is no end)


def _abandon(batches: Any) -> None:
    """Torch's own way out asks processes to end by locks, which one that was killed may hold for ever."""
    batches._shutdown = True
    if hasattr(batches, "_pin_memory_thread"):
        batches._pin_memory_thread_done_event.set()
        batches._pin_memory_thread.join()  # it looks at the event every few seconds
    for queue in (*batches._index_queues, batches._worker_result_queue):
        queue.cancel_join_thread()
        queue.close()


def _fate(exit_code: int | None) -> str:
    return (
        f"exit status {exit_code}" if exit_code is None or exit_code >= 0 else signal.Signals(-exit_code).name
    )


def _too_often(deaths: int, fate: str, workers: int) -> str:
    return (
        f"{deaths} times loader processes died within few batches, last: {fate}. SIGKILL often means that "
        f"memory is short: give fewer than data.num_workers={workers}, or a smaller data.batch_size; SIGBUS "
        "that a disk with decoded images, or /dev/shm, is full or damaged"
    )
