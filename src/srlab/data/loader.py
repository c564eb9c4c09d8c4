"""Batches from loader processes, for none of which the training waits without an end.

A ``DataLoader`` of torch's, as public arguments shape it:

- Processes start from a server that has neither threads nor a W&B run (``forkserver``; ``spawn`` where there
  is none). Forked from the training, they would inherit locks that nobody releases, and libraries that refuse
  to work there: W&B's hook on ``import kornia`` raises ``ForkedError``.
- torch asks its processes to end by a ``multiprocessing.Event``, whose lock a killed process may hold for
  ever; the context makes one without a lock. Waiting without a limit for one of the processes kills it.
- A thread kills processes that nothing comes from: whoever reads from them then finds them dead.
"""

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from srlab.data.loader_faults import LoaderProcessError, fault_of, why_not_started
from srlab.ops.subnormals import set_flush_subnormals

__all__ = ["PREFETCHED", "Loader", "LoaderProcessError", "leave_signals_to_the_parent"]

Batch = Mapping[str, Any]

# Batches that each loader process makes ahead of time.
PREFETCHED = 2
# Without a batch for so long, or so long after they were asked to end, processes count as hanging.
_MOST_S = 300.0
_END_S = 10.0
_TICK_S = 1.0

_METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
_SERVER_IMPORTS = ("srlab.data.loader_server",)
_Context: Any = type(multiprocessing.get_context(_METHOD))


class Loader(DataLoader[Batch]):
    """Whole batches, in the order of ``batches``, each made by one call of ``make``.

    Args:
        make: the batch of these indices, a dict of tensors and other values; it must pickle.
        batches: indices of each batch.
        num_workers: loader processes; 0 makes batches in this process.
        pin_memory: copy batches to page-locked memory, from where they reach a CUDA device while it works.

    Raises:
        LoaderProcessError: when iterated, if a process dies or hangs, or if open files or shared memory run
            out. All processes have ended then.
    """

    def __init__(
        self,
        make: Callable[[Sequence[int]], Batch],
        *,
        batches: Iterable[Sequence[int]],
        num_workers: int,
        pin_memory: bool,
    ) -> None:
        super().__init__(
            _Batches(make),
            batch_sampler=batches,  # type: ignore[arg-type]  (any iterable will do)
            collate_fn=_as_it_is,
            num_workers=num_workers,
            pin_memory=pin_memory,
            prefetch_factor=PREFETCHED if num_workers else None,
            worker_init_fn=_start_worker,
        )

    def __iter__(self) -> Any:
        """All batches; the processes, which start here, end with the iterator."""
        if not self.num_workers:
            return super().__iter__()
        context = _LoaderContext()
        self.multiprocessing_context = context
        try:
            batches = super().__iter__()
        except (RuntimeError, OSError, EOFError) as error:
            _kill(context.processes)
            raise LoaderProcessError(why_not_started(error, self.num_workers)) from error
        return _read(batches, context.processes)


def leave_signals_to_the_parent() -> None:
    """Ctrl-C and batch systems signal all processes; loaders work until the run has finished its step."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def _start_worker(_worker: int) -> None:
    leave_signals_to_the_parent()
    set_flush_subnormals(True)
    threading.Thread(target=_end_with_the_parent, daemon=True).start()


def _end_with_the_parent() -> None:
    """What torch watches is the server, which lives as long as what it has forked."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


class _Batches(Dataset[Batch]):
    """What torch's fetcher asks for all indices of a batch at once."""

    def __init__(self, make: Callable[[Sequence[int]], Batch]) -> None:
        self.make = make

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        batch = self.make(indices)
        if get_worker_info() is not None:
            # an error here reaches the reader; in torch's sending thread it would be printed, the batch lost
            for part in batch.values():
                if isinstance(part, Tensor):
                    part.share_memory_()
        return batch


def _as_it_is(batch: Any) -> Any:
    return batch


class _LoaderProcess(_Context.Process):
    """A process that nobody waits for without a limit, Python at its exit included."""

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end, which comes at once where no limit is given: it holds nothing worth keeping."""
        if timeout is None and self.is_alive():
            self.kill()
        super().join(_END_S if timeout is None else timeout)


class _LoaderContext(_Context):
    """The start method, with events that cannot be blocked, and a list of the processes that it made."""

    def __init__(self) -> None:
        self.processes: list[_LoaderProcess] = []
        if _METHOD == "forkserver":
            self.set_forkserver_preload(list(_SERVER_IMPORTS))

    def Process(self, *args: Any, **kwargs: Any) -> _LoaderProcess:  # noqa: N802  (the context's own name)
        """A new process, not started."""
        process = _LoaderProcess(*args, **kwargs)
        self.processes.append(process)
        return process

    def Event(self) -> "_Flag":  # noqa: N802
        """A new event, not set."""
        return _Flag(*self.Pipe(duplex=False))


class _Flag:
    """An event without a lock: a byte in a pipe that nobody reads from."""

    def __init__(
        self, reader: multiprocessing.connection.Connection, writer: multiprocessing.connection.Connection
    ) -> None:
        self._reader = reader
        self._writer = writer

    def set(self) -> None:
        self._writer.send_bytes(b"\0")

    def is_set(self) -> bool:
        """Also once the process that could set it has ended."""
        return self._reader.poll()

    def __getstate__(self) -> dict[str, Any]:
        return {"_reader": self._reader}


class _Watch(threading.Thread):
    """Kills the processes when its reader has waited for too long.

    Time is counted in ticks of this thread: a program that Ctrl-Z stopped, or a machine that slept, has not
    waited.
    """

    def __init__(self, processes: Sequence[_LoaderProcess]) -> None:
        super().__init__(daemon=True, name="loader watch")
        self.has_killed = False
        self._processes = processes
        self._left_s: float | None = None
        self._ended = threading.Event()

    @contextmanager
    def limit(self, seconds: float) -> Iterator[None]:
        """The block waits for the processes."""
        self._left_s = seconds
        yield
        self._left_s = None

    def run(self) -> None:
        while not self._ended.wait(_TICK_S):
            left_s = self._left_s
            if left_s is None:
                continue
            self._left_s = left_s - _TICK_S
            if left_s <= _TICK_S:
                self.has_killed = True
                _kill(self._processes)

    def end(self) -> None:
        self._ended.set()


def _read(batches: Iterator[Batch], processes: Sequence[_LoaderProcess]) -> Iterator[Batch]:
    """The batches, until the last one or the first fault; no process is left then."""
    watch = _Watch(processes)
    watch.start()
    fault: str | None = None
    try:
        while True:
            with watch.limit(_MOST_S):
                batch = next(batches, None)
            if batch is None:
                return
            yield batch
    except (RuntimeError, OSError, EOFError) as error:
        fault = fault_of(error, processes, hung_s=_MOST_S if watch.has_killed else None)
        _kill(processes)
        if fault is None:
            raise
    finally:
        with watch.limit(_END_S):
            del batches  # torch asks its processes to end, and waits for them
        _kill(processes)
        watch.end()
    # outside of the handler, whose exception would keep torch's iterator alive
    raise LoaderProcessError(fault)


def _kill(processes: Sequence[_LoaderProcess]) -> None:
    started = [process for process in processes if process.pid is not None]
    for process in started:
        if process.is_alive():
            process.kill()
    for process in started:
        process.join(_END_S)
